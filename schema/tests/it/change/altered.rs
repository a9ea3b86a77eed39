//! Altered changes of random documents: what the reader accepts and what makes sense in its document,
//! Automerge applies, returns, saves and loads.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{AutoCommit, Change};
use peerbase_schema::ReplicaId;
use peerbase_schema::change::{ChangeError, ChangeHeader, ElementUse, Fault, ObjectUse, Objects, OpOf};
use testkit::dear::Random;
use testkit::rows::Row;

use crate::support::altered::{Ops, alter, rows, with_rows};
use crate::support::history::{Edit, KINDS, PEOPLE, document, play, play_on};

/// The reaction of Automerge to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Fine,
    NotParsed,
    ApplyFails,
    ApplyPanics,
    ComesBackOtherwise,
    DoesNotLoad,
    /// Changes that are written on top of it do not come back, or do not load.
    SpoilsLaterOnes,
}

/// Applies a change behind others, with all, some or none of them in one batch, asks for it again, before and
/// after a save, and writes on top of it. Returns the best and the worst outcome.
pub(super) fn outcomes(before: &[Change], chunk: &[u8], later: &[Edit]) -> (Outcome, Outcome) {
    let attempt =
        |first: usize| catch_unwind(AssertUnwindSafe(|| apply(before.split_at(first), chunk, later)));
    let all = [0, before.len() / 2, before.len()].map(|first| attempt(first).unwrap_or(Outcome::ApplyPanics));
    let [mut best, mut worst] = [all[0]; 2];
    for outcome in all {
        (best, worst) = (best.min(outcome), worst.max(outcome));
    }
    (best, worst)
}

fn apply((first, second): (&[Change], &[Change]), chunk: &[u8], later: &[Edit]) -> Outcome {
    let Ok(change) = Change::from_bytes(chunk.to_vec()) else { return Outcome::NotParsed };
    let batch = [second, &[change]].concat();
    let all = [first, &batch[..]].concat();
    let mut document = document(PEOPLE);
    document.apply_changes(first.to_vec()).unwrap();
    let applied = document.apply_changes(batch);
    if applied.is_err() {
        return Outcome::ApplyFails;
    }
    let comes_back = |document: &mut AutoCommit| {
        let back = catch_unwind(AssertUnwindSafe(|| document.get_changes(&[]))).unwrap_or_default();
        let back: BTreeSet<_> = back.iter().map(|change| change.raw_bytes()).collect();
        all.iter().all(|change| back.contains(change.raw_bytes()))
    };
    if !comes_back(&mut document) {
        return Outcome::ComesBackOtherwise;
    }
    let loaded = catch_unwind(AssertUnwindSafe(|| AutoCommit::load(&document.save())));
    let Ok(Ok(mut loaded)) = loaded else { return Outcome::DoesNotLoad };
    if !comes_back(&mut loaded) {
        return Outcome::DoesNotLoad;
    }
    let goes_on = catch_unwind(AssertUnwindSafe(|| goes_on(document, later)));
    if goes_on.unwrap_or(false) { Outcome::Fine } else { Outcome::SpoilsLaterOnes }
}

/// Returns true if edits on top of a document come back and load.
fn goes_on(mut document: AutoCommit, edits: &[Edit]) -> bool {
    play_on(&mut document, edits);
    let changes = document.get_changes(&[]);
    let mut again = AutoCommit::new();
    again.apply_changes(changes.clone()).unwrap();
    let mut loaded = AutoCommit::load(&document.save()).unwrap();
    again.get_heads() == document.get_heads() && loaded.get_changes(&[]).len() == changes.len()
}

#[derive(Default)]
struct Count {
    altered: u64,
    /// Changes that name what is not there, as their headers tell.
    missing: u64,
    /// Changes that work on an object that is none, or of another kind.
    misused: u64,
    refused: BTreeMap<String, u64>,
    /// Outcomes of the accepted changes in which nothing is wrong.
    sensible: BTreeMap<Outcome, u64>,
    /// Outcomes of the others, by each fault.
    faulty: BTreeMap<(&'static str, Outcome), u64>,
    unexpected: Vec<String>,
}

fn random_edits(random: &mut Random) -> Vec<Edit> {
    let mut number = |end: usize| u16::try_from(random.below(end)).unwrap();
    let edits = 5 + number(40);
    let mut edit = || Edit {
        person: u8::try_from(number(usize::from(PEOPLE))).unwrap(),
        kind: u8::try_from(number(usize::from(KINDS))).unwrap(),
        a: number(1 << 16),
        b: number(1 << 16),
        commit: number(3) == 0,
    };
    (0..edits).map(|_| edit()).collect()
}

fn ops_of(changes: &[Change]) -> Ops {
    let mut ops = Ops::default();
    changes.iter().for_each(|change| ops.add(change, &rows(change)));
    ops
}

/// Alters the last change of a random document several times.
fn try_seed(seed: u64, count: &mut Count) {
    let mut random = Random(seed);
    let changes = play(&random_edits(&mut random)).get_changes(&[]);
    let Some((last, before)) = changes.split_last().filter(|(last, _)| !last.is_empty()) else { return };
    let honest = rows(last);
    assert_eq!(with_rows(last, &honest).chunk(), last.raw_bytes(), "seed {seed}");
    let all = ops_of(&changes);

    for _ in 0..20 {
        let mut altered = honest.clone();
        for _ in 0..1 + random.below(3) {
            alter(&mut altered, &all, &mut random);
        }
        if altered != honest {
            count.altered += 1;
            let later = random_edits(&mut random);
            judge(seed, before, last, &altered, &later, count);
        }
    }
}

/// Returns true if each object and each element that is set is what the change takes it for.
fn objects_fit(before: &[Change], chunk: &[u8]) -> bool {
    let all: Vec<_> = before.iter().map(|change| Objects::read(change.raw_bytes()).unwrap()).collect();
    let change = Objects::read(chunk).unwrap();
    let made = |object: OpOf| all.iter().chain([&change]).find_map(|change| change.made(object));
    let inserts = |element: OpOf| all.iter().find_map(|before| before.inserts_into(element));
    change.uses().iter().all(|ObjectUse { object, shape }| made(*object).is_some_and(|kind| kind.has(*shape)))
        && change.updates().iter().all(|ElementUse { object, element }| inserts(*element) == Some(*object))
}

fn judge(seed: u64, before: &[Change], last: &Change, altered: &[Row], later: &[Edit], count: &mut Count) {
    let read = |chunk: &[u8]| ChangeHeader::read(chunk);
    let chunk = with_rows(last, altered).chunk();
    let header = match read(&chunk) {
        Ok(header) => header,
        Err(ChangeError::Column { fault: Fault::Rows { .. }, .. }) => {
            *count.refused.entry("the numbers of rows do not agree".into()).or_default() += 1;
            return;
        }
        Err(error) => {
            *count.refused.entry(error.to_string()).or_default() += 1;
            return;
        }
    };
    let headers: Vec<_> = before.iter().map(|change| read(change.raw_bytes()).unwrap()).collect();
    let is_there = |(replica, counter): &(ReplicaId, u64)| {
        headers.iter().any(|header| header.replica == *replica && header.max_op() >= *counter)
    };
    if !header.references.iter().all(is_there) {
        count.missing += 1;
        return;
    }
    if !objects_fit(before, &chunk) {
        count.misused += 1;
        return;
    }
    let mut ops = ops_of(before);
    ops.add(last, altered);
    let faults = ops.faults(last, altered);
    let (best, outcome) = outcomes(before, &chunk, later);
    if faults.is_empty() {
        *count.sensible.entry(outcome).or_default() += 1;
    }
    // Each is applied, whatever is applied beside it, or it never is; and none spoils a later one.
    if (faults.is_empty() && outcome != Outcome::Fine) || (!faults.is_empty() && best == Outcome::Fine) {
        count.unexpected.push(format!("seed {seed}, {outcome:?}, {faults:?}: {altered:?}"));
    }
    for fault in faults {
        *count.faulty.entry((fault, outcome)).or_default() += 1;
    }
}

/// `ALTERED_SEEDS` is the number of documents, for a longer run.
#[test]
fn what_the_reader_accepts_and_what_makes_sense_in_its_document_is_applied() {
    let seeds = std::env::var("ALTERED_SEEDS").map_or(12, |seeds| seeds.parse().unwrap());
    let mut count = Count::default();
    (0..seeds).for_each(|seed| try_seed(seed, &mut count));

    println!("seeds 0 to {seeds}: {} altered changes", count.altered);
    println!("{} name what is not there, {} take an object for another", count.missing, count.misused);
    count.refused.iter().for_each(|(error, count)| println!("{count} refused: {error}"));
    count.sensible.iter().for_each(|(outcome, count)| println!("{count} make sense: {outcome:?}"));
    count.faulty.iter().for_each(|((fault, outcome), count)| println!("{count} with {fault}: {outcome:?}"));
    assert!(count.sensible.contains_key(&Outcome::Fine), "some are applied");
    assert!(count.unexpected.is_empty(), "{:#?}", count.unexpected);
}
