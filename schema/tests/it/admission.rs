//! Admission, check by check and as a whole: what passes never makes Automerge panic or queue.

use std::collections::BTreeMap;

use automerge::Change;
use peerbase_schema::change::{ChangeHeader, Merging};
use peerbase_schema::document::{Bound, Index, Refusal, Verdict, vet, vet_everything};
use peerbase_schema::limits::{CHANGE_DEPS_MAX, OP_COUNTER_MAX};
use peerbase_schema::tip::{Author, VerifiedTip};
use peerbase_schema::{ChangeHash, OpId, ReplicaId};
use proptest::prelude::*;
use testkit::raw::Raw;
use testkit::{ADA, BEN, CID, author, replica, tip, unsigned_tip};

use crate::support::from_automerge;
use crate::support::history::{document, edits, headers_and_tips, play};

fn all(_: &Author) -> Result<Vec<Bound>, Refusal> {
    Ok(Vec::new())
}

/// Applies a verdict: topological order is what `Index::accept` asserts.
fn apply(index: &mut Index, headers: &[ChangeHeader], verdict: &Verdict) {
    for &at in &verdict.accepted {
        index.accept(&headers[at]);
    }
}

fn hashes(headers: &[ChangeHeader], verdict: &Verdict) -> Vec<ChangeHash> {
    verdict.accepted.iter().map(|&at| headers[at].hash).collect()
}

fn refusals(headers: &[ChangeHeader], verdict: &Verdict) -> BTreeMap<ChangeHash, Refusal> {
    verdict.refused.iter().map(|(at, refusal)| (headers[*at].hash, refusal.clone())).collect()
}

/// Three small changes of `person` on top of `deps`, made by hand: one op each.
fn chain(person: u8, count: u64, first_op: u64, deps: &[ChangeHash]) -> Vec<ChangeHeader> {
    let mut deps = deps.to_vec();
    let mut headers = Vec::new();
    for seq in 1..=count {
        let header = header(&put(person, seq, first_op + seq - 1, deps));
        deps = vec![header.hash];
        headers.push(header);
    }
    headers
}

/// One op.
fn put(person: u8, seq: u64, start_op: u64, mut deps: Vec<ChangeHash>) -> Raw {
    deps.sort();
    let raw = Raw::puts(replica(person), seq, start_op, deps, 1);
    raw.with(0x15, &[0x7f, 1, b'k']).with(0x42, &[0x7f, 1]).with(0x56, &[0x7f, 0]).with(0x70, &[0x7f, 0])
}

fn header(raw: &Raw) -> ChangeHeader {
    ChangeHeader::read(&raw.chunk()).unwrap()
}

fn end(person: u8, headers: &[ChangeHeader]) -> VerifiedTip {
    let last = headers.last().unwrap();
    tip(person, last.seq, last.hash)
}

#[test]
fn an_honest_chain_is_accepted_up_to_its_tip() {
    let headers = chain(ADA, 3, 1, &[]);
    let mut index = Index::new();

    let verdict = vet(&index, &headers, &[tip(ADA, 2, headers[1].hash)], all);

    assert_eq!(verdict.accepted, [0, 1]);
    assert_eq!(verdict.refused, [(2, Refusal::Unvouched)]);
    assert_eq!(verdict.tips, [tip(ADA, 2, headers[1].hash)]);
    apply(&mut index, &headers, &verdict);
    assert_eq!(index.length(&replica(ADA)), 2);
    assert_eq!(index.newest(&replica(ADA)), Some(headers[1].hash));
    assert_eq!(index.place(&headers[0].hash), Some((replica(ADA), 1)));
    assert_eq!(index.next_start_op(), 3);
    assert_eq!(index.replicas().collect::<Vec<_>>(), [(replica(ADA), 2, headers[1].hash)]);
}

#[test]
fn a_known_change_is_counted_and_skipped() {
    let headers = chain(ADA, 2, 1, &[]);
    let mut index = Index::new();
    index.accept(&headers[0]);
    let twice = [headers.clone(), headers.clone()].concat();

    let verdict = vet(&index, &twice, &[end(ADA, &headers)], all);

    assert_eq!((verdict.accepted, verdict.duplicates), (vec![1], 3));
}

#[test]
fn c1_a_tip_vouches_for_its_own_chain_place_and_change_alone() {
    let headers = chain(ADA, 2, 1, &[]);
    let last = headers[1].hash;
    let strangers = [tip(BEN, 2, last), tip(ADA, 3, last), tip(ADA, 2, ChangeHash([9; 32]))];

    let verdict = vet(&Index::new(), &headers, &strangers, all);

    assert!(verdict.accepted.is_empty());
    assert!(verdict.refused.iter().all(|(_, refusal)| *refusal == Refusal::Unvouched));
}

#[test]
fn c1_a_chain_falls_with_its_tip_and_takes_with_it_what_depends_on_it() {
    let ada = chain(ADA, 2, 1, &[]);
    let ben = [header(&put(BEN, 1, 2, vec![ada[0].hash])), header(&put(BEN, 2, 0x99, vec![]))];
    // cid writes on ben's vouched change, whose vouching tip falls because of its wrong start_op.
    let cid = header(&put(CID, 1, 3, vec![ben[0].hash]));
    let bad = header(&put(BEN, 2, 9, vec![ben[0].hash]));
    let batch = vec![ada[0].clone(), ada[1].clone(), ben[0].clone(), bad.clone(), cid.clone()];
    let tips = [end(ADA, &ada), tip(BEN, 2, bad.hash), tip(CID, 1, cid.hash)];

    let verdict = vet(&Index::new(), &batch, &tips, all);

    assert_eq!(hashes(&batch, &verdict), [ada[0].hash, ada[1].hash]);
    let refused = refusals(&batch, &verdict);
    assert_eq!(refused[&bad.hash], Refusal::StartOp { expected: 3, got: 9 });
    assert_eq!(refused[&ben[0].hash], Refusal::Unvouched);
    assert_eq!(refused[&cid.hash], Refusal::UnvouchedDependency { dependency: ben[0].hash });
    assert_eq!(verdict.tips, [end(ADA, &ada)]);
}

#[test]
fn c1_a_lower_tip_holds_what_the_higher_one_loses() {
    let ada = chain(ADA, 1, 1, &[]);
    let bad = header(&put(ADA, 2, 9, vec![ada[0].hash]));
    let batch = vec![bad.clone(), ada[0].clone()];

    let verdict = vet(&Index::new(), &batch, &[tip(ADA, 2, bad.hash), end(ADA, &ada)], all);

    assert_eq!(verdict.accepted, [1]);
    assert_eq!(verdict.tips, [end(ADA, &ada)]);
}

#[test]
fn c2_a_missing_dependency_is_named_through_the_whole_batch() {
    let headers = chain(ADA, 4, 1, &[]);
    let batch = headers[1..].to_vec();

    let verdict = vet(&Index::new(), &batch, &[end(ADA, &headers)], all);

    let missing = Refusal::MissingDependency { dependency: headers[0].hash };
    assert_eq!(verdict.missing().into_iter().collect::<Vec<_>>(), [headers[0].hash]);
    assert!(verdict.refused.iter().all(|(_, refusal)| *refusal == missing && refusal.is_pending()));
    assert_eq!(verdict.refused.len(), 3);
}

#[test]
fn c2_what_depends_on_a_refused_change_is_refused_for_good() {
    let bad = header(&put(ADA, 1, 7, vec![]));
    let above = header(&put(ADA, 2, 8, vec![bad.hash]));

    let verdict = vet(&Index::new(), &[above.clone(), bad.clone()], &[tip(ADA, 2, above.hash)], all);

    let refused = refusals(&[above.clone(), bad.clone()], &verdict);
    assert_eq!(refused[&above.hash], Refusal::RefusedDependency { dependency: bad.hash });
    assert!(verdict.refused.iter().all(|(_, refusal)| !refusal.is_pending()));
}

#[test]
fn c3_chains_have_no_gaps() {
    let first = header(&put(ADA, 2, 1, vec![]));
    let mut index = Index::new();

    let verdict = vet(&index, std::slice::from_ref(&first), &[tip(ADA, 2, first.hash)], all);
    assert_eq!(verdict.refused, [(0, Refusal::SequenceGap { expected: 1, got: 2 })]);

    let good = chain(ADA, 1, 1, &[]);
    index.accept(&good[0]);
    let gap = header(&put(ADA, 3, 2, vec![good[0].hash]));
    let verdict = vet(&index, std::slice::from_ref(&gap), &[tip(ADA, 3, gap.hash)], all);
    assert_eq!(verdict.refused, [(0, Refusal::SequenceGap { expected: 2, got: 3 })]);
}

#[test]
fn c4_the_previous_change_is_a_direct_dependency() {
    let ada = chain(ADA, 1, 1, &[]);
    let ben = header(&put(BEN, 1, 2, vec![ada[0].hash]));
    let mut index = Index::new();
    index.accept(&ada[0]);
    index.accept(&ben);
    let around = header(&put(ADA, 2, 3, vec![ben.hash]));

    let verdict = vet(&index, std::slice::from_ref(&around), &[tip(ADA, 2, around.hash)], all);

    assert_eq!(verdict.refused, [(0, Refusal::PreviousNotDirect)]);
}

#[test]
fn c5_ops_follow_those_of_the_dependencies() {
    let ada = chain(ADA, 1, 1, &[]);
    let mut index = Index::new();
    index.accept(&ada[0]);

    for start_op in [1, 3, OP_COUNTER_MAX] {
        let bad = header(&put(BEN, 1, start_op, vec![ada[0].hash]));
        let verdict = vet(&index, std::slice::from_ref(&bad), &[tip(BEN, 1, bad.hash)], all);
        assert_eq!(verdict.refused, [(0, Refusal::StartOp { expected: 2, got: start_op })]);
    }
}

#[test]
fn c6_the_first_of_two_histories_stays() {
    let ada = chain(ADA, 2, 1, &[]);
    let mut index = Index::new();
    ada.iter().for_each(|header| index.accept(header));
    let mut other = put(ADA, 2, 2, vec![ada[0].hash]);
    other.time = 1;
    let other = header(&other);

    let verdict = vet(&index, std::slice::from_ref(&other), &[tip(ADA, 2, other.hash)], all);

    assert_eq!(verdict.refused, [(0, Refusal::Fork { replica: replica(ADA), seq: 2 })]);
}

#[test]
fn c6_a_change_that_nobody_signed_never_displaces_one_that_somebody_did() {
    let ada = chain(ADA, 2, 1, &[]);
    for time in 1..20 {
        let forged = header(&Raw { time, ..put(ADA, 1, 1, vec![]) });
        let batch = vec![forged.clone(), ada[0].clone(), ada[1].clone()];

        let verdict = vet(&Index::new(), &batch, &[end(ADA, &ada)], all);

        assert_eq!(verdict.accepted, [1, 2]);
        assert_eq!(verdict.refused, [(0, Refusal::Unvouched)]);
    }
}

#[test]
fn c6_of_two_signed_histories_in_one_batch_one_is_kept() {
    let first = header(&put(ADA, 1, 1, vec![]));
    let second = header(&Raw { time: 1, ..put(ADA, 1, 1, vec![]) });
    let tips = [tip(ADA, 1, first.hash), tip(ADA, 1, second.hash)];

    let straight = vet(&Index::new(), &[first.clone(), second.clone()], &tips, all);
    let crooked = vet(&Index::new(), &[second.clone(), first.clone()], &tips, all);

    assert_eq!(straight.accepted.len(), 1);
    let kept = |at: usize| [&first, &second][at].hash;
    assert_eq!(kept(straight.accepted[0]), kept(1 - crooked.accepted[0]));
    assert_eq!(straight.refused[0].1, Refusal::Fork { replica: replica(ADA), seq: 1 });
    assert_eq!(straight.tips, crooked.tips);
}

/// Changes were once re-judged in the order of their hashes, so that a Writer could displace the first
/// branch by a fork.
#[test]
fn c6_a_rebuild_keeps_the_branch_that_was_seen_first() {
    for time in 1..20 {
        let first = header(&put(ADA, 1, 1, vec![]));
        let second = header(&Raw { time, ..put(ADA, 1, 1, vec![]) });
        let upon = header(&put(BEN, 1, 2, vec![first.hash]));
        let tips = [tip(ADA, 1, first.hash), tip(ADA, 1, second.hash), end(BEN, std::slice::from_ref(&upon))];
        let known = [first, upon, second];

        let verdict = vet_everything(&known, &tips, &BTreeMap::new(), all);
        assert_eq!(verdict.accepted, [0, 1]);

        let end = Some((1, known[2].hash));
        let decided = vet_everything(&known, &tips, &BTreeMap::new(), cut_at(ADA, end));
        assert_eq!(decided.accepted, [2], "unless a cut names the other");
    }
}

#[test]
fn c8_the_author_and_the_cut_are_asked_last() {
    let ada = chain(ADA, 3, 1, &[]);
    let ben = chain(BEN, 1, 1, &[]);
    let batch = [ada.clone(), ben.clone()].concat();
    let tips = [end(ADA, &ada), tip(ADA, 1, ada[0].hash), end(BEN, &ben)];
    let denied = Refusal::NotAllowed { author: author(ADA) };

    let verdict = vet(&Index::new(), &batch, &tips, |author| match author.device {
        device if device == testkit::author(ADA).device => Err(denied.clone()),
        _ => Ok(Vec::new()),
    });
    assert_eq!(verdict.accepted, [3]);
    assert_eq!(refusals(&batch, &verdict)[&ada[0].hash], denied);

    let cut = vet(&Index::new(), &batch, &tips, cut_at(ADA, Some((1, ada[0].hash))));
    assert_eq!(cut.accepted.len(), 2);
    let beyond = Refusal::BeyondCut { author: author(ADA), revocation: REMOVAL, seq: 1, got: 2 };
    assert_eq!(refusals(&batch, &cut)[&ada[1].hash], beyond);
}

const REMOVAL: OpId = OpId([9; 32]);

/// Everybody may write; `person` no further than `end`.
fn cut_at(person: u8, end: Option<(u64, ChangeHash)>) -> impl Fn(&Author) -> Result<Vec<Bound>, Refusal> {
    move |author| {
        let is_cut = author.device == testkit::author(person).device;
        Ok(is_cut.then_some(Bound { revocation: REMOVAL, end }).into_iter().collect())
    }
}

/// A manifest can name a change at a place where it is not. Who had that change once read the cut otherwise
/// than who had not.
#[test]
fn a_cut_that_names_a_change_at_a_wrong_place_means_the_same_to_all() {
    let ada = chain(ADA, 4, 1, &[]);
    let tips: Vec<_> = ada.iter().map(|header| tip(ADA, header.seq, header.hash)).collect();
    let crooked = cut_at(ADA, Some((1_000, ada[1].hash)));

    let at_once = vet(&Index::new(), &ada, &tips, &crooked);
    assert_eq!(at_once.accepted, [0, 1, 2, 3]);
    let mut index = Index::new();
    ada[..3].iter().for_each(|header| index.accept(header));
    let later = vet(&index, &ada[3..], &tips[3..], &crooked);
    assert_eq!(later.accepted, [0]);
}

#[test]
fn of_ones_own_chain_any_change_may_be_the_last() {
    let ada = chain(ADA, 3, 1, &[]);
    let tips = [end(ADA, &ada)];
    let cut = || cut_at(ADA, Some((3, ChangeHash([7; 32]))));
    let own = ada.iter().map(|header| (header.hash, author(ADA))).collect();

    assert!(
        vet_everything(&ada, &tips, &BTreeMap::new(), cut()).accepted.is_empty(),
        "nobody signed for the second"
    );
    let verdict = vet_everything(&ada, &tips, &own, cut());
    assert_eq!((verdict.accepted, verdict.tips, verdict.open), (vec![0, 1], vec![], vec![(1, author(ADA))]));
}

#[test]
fn a_cut_whose_change_is_not_here_holds_by_its_place() {
    let ada = chain(ADA, 4, 1, &[]);
    let tips: Vec<_> =
        (1..=4).map(|seq| tip(ADA, seq, ada[usize::try_from(seq).unwrap() - 1].hash)).collect();

    let verdict = vet(&Index::new(), &ada, &tips, cut_at(ADA, Some((3, ChangeHash([7; 32])))));
    assert_eq!(verdict.accepted, [0, 1], "another change number 3 is none of that chain");

    let nothing = vet(&Index::new(), &ada, &tips, cut_at(ADA, None));
    assert!(nothing.accepted.is_empty());
}

/// Ada signs two histories; one batch has both, and the cut names the end of the second.
#[test]
fn of_a_fork_the_branch_that_a_cut_names_is_taken() {
    let trunk = chain(ADA, 1, 1, &[]);
    let left = header(&put(ADA, 2, 2, vec![trunk[0].hash]));
    let right = header(&put(ADA, 2, 2, vec![trunk[0].hash]).with(0x15, &[0x7f, 1, b'z']));
    assert_ne!(left.hash, right.hash);
    let tips = [tip(ADA, 2, left.hash), tip(ADA, 2, right.hash)];
    for (chosen, other) in [(&left, &right), (&right, &left)] {
        let cut = cut_at(ADA, Some((2, chosen.hash)));
        let batch = [trunk[0].clone(), left.clone(), right.clone()];

        let verdict = vet(&Index::new(), &batch, &tips, &cut);

        assert_eq!(hashes(&batch, &verdict), [trunk[0].hash, chosen.hash]);
        assert!(verdict.decided.is_empty());

        // A peer with the other branch must rebuild the document.
        let mut index = Index::new();
        index.accept(&trunk[0]);
        index.accept(other);
        let late = vet(&index, std::slice::from_ref(chosen), &tips, &cut);
        assert_eq!(late.decided.into_iter().collect::<Vec<_>>(), [replica(ADA)]);
        let mut held = Index::new();
        held.accept(&trunk[0]);
        held.accept(chosen);
        assert!(vet(&held, std::slice::from_ref(other), &tips, &cut).accepted.is_empty());
    }
}

#[test]
fn two_cuts_of_one_replica_intersect() {
    let ada = chain(ADA, 4, 1, &[]);
    let tips: Vec<_> = ada.iter().map(|change| tip(ADA, change.seq, change.hash)).collect();
    let bounds = |ends: [usize; 2]| {
        ends.map(|end| Bound {
            revocation: OpId([u8::try_from(end).unwrap(); 32]),
            end: Some((ada[end].seq, ada[end].hash)),
        })
        .to_vec()
    };

    for ends in [[0, 2], [2, 0]] {
        let verdict = vet(&Index::new(), &ada, &tips, |_| Ok(bounds(ends)));
        assert_eq!(verdict.accepted, [0]);
    }
}

#[test]
fn headers_in_a_circle_are_refused() {
    let mut ada = chain(ADA, 2, 1, &[]);
    ada[0].deps = vec![ada[1].hash];

    let verdict = vet(&Index::new(), &ada, &[end(ADA, &ada)], all);

    assert_eq!((verdict.accepted.len(), verdict.refused.len()), (0, 2));
}

#[test]
fn refusals_survive_the_wire() {
    use peerbase_schema::codec::{decode, encode};
    let refusal = Refusal::NotAllowed { author: author(ADA) };
    assert_eq!(decode(&encode(&refusal), 200), Ok(refusal));
}

#[test]
fn a_hundred_thousand_changes_are_judged_in_one_step() {
    let mut headers = Vec::new();
    let mut deps = Vec::new();
    for seq in 1..=100_000_u64 {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
        let hash = ChangeHash(hash);
        let deps = std::mem::replace(&mut deps, vec![hash]);
        headers.push(ChangeHeader {
            hash,
            replica: replica(ADA),
            seq,
            start_op: seq,
            ops: 1,
            deps,
            time: 0,
            references: Vec::new(),
            continues: false,
            needs_objects: false,
            charge: 700,
        });
    }
    let newest = headers.last().unwrap().hash;
    headers.reverse();

    let verdict = vet(&Index::new(), &headers, &[unsigned_tip(ADA, 100_000, newest)], all);

    assert_eq!(verdict.accepted.len(), 100_000);
    let mut index = Index::new();
    apply(&mut index, &headers, &verdict);
    assert_eq!(index.heads().iter().collect::<Vec<_>>(), [&newest]);
}

/// The acts of a carrier on a batch.
#[derive(Clone, Debug)]
enum Harm {
    Drop(prop::sample::Index),
    Repeat(prop::sample::Index),
    DropTip(prop::sample::Index),
    Forge(prop::sample::Index, u8, u8),
}

fn harms() -> impl Strategy<Value = Vec<Harm>> {
    let at = any::<prop::sample::Index>;
    let harm = prop_oneof![
        at().prop_map(Harm::Drop),
        at().prop_map(Harm::Repeat),
        at().prop_map(Harm::DropTip),
        (at(), 0..5_u8, any::<u8>()).prop_map(|(at, kind, by)| Harm::Forge(at, kind, by)),
    ];
    prop::collection::vec(harm, 0..6)
}

/// A change by hand beside `honest`: a hostile device signs what it likes.
fn forge(honest: &ChangeHeader, others: &[ChangeHeader], kind: u8, by: u8) -> (Raw, VerifiedTip) {
    let person = (0..3).find(|&person| replica(person) == honest.replica).unwrap();
    let other = others[usize::from(by) % others.len()].hash;
    let mut raw = put(person, honest.seq, honest.start_op, honest.deps.clone());
    match kind {
        0 => raw.seq = u64::from(by),
        1 => raw.start_op = u64::from(by) + 1,
        2 => raw.deps = vec![],
        3 => raw.deps = vec![other],
        _ => raw.time = by.into(),
    }
    raw.seq = raw.seq.max(1);
    let tip = unsigned_tip(person, raw.seq, raw.hash());
    (raw, tip)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Authority 4.1 D5, D6, D7, D8.
    #[test]
    fn what_is_accepted_never_makes_automerge_panic_or_queue(
        edits in edits(1..40),
        harms in harms(),
        split in any::<prop::sample::Index>(),
    ) {
        let (changes, headers, mut tips) = headers_and_tips(&mut play(&edits));
        prop_assume!(!headers.is_empty());
        let mut chunks: BTreeMap<ChangeHash, Vec<u8>> =
            changes.iter().map(|c| (from_automerge(c.hash()), c.raw_bytes().to_vec())).collect();
        let mut batch = headers.clone();
        for harm in &harms {
            match harm {
                Harm::Drop(at) if !batch.is_empty() => drop(batch.remove(at.index(batch.len()))),
                Harm::Repeat(at) if !batch.is_empty() => batch.push(batch[at.index(batch.len())].clone()),
                Harm::DropTip(at) if !tips.is_empty() => drop(tips.remove(at.index(tips.len()))),
                Harm::Forge(at, kind, by) => {
                    let (raw, tip) = forge(&headers[at.index(headers.len())], &headers, *kind, *by);
                    let header = header(&raw);
                    chunks.insert(header.hash, raw.chunk());
                    batch.insert(at.index(batch.len() + 1), header);
                    tips.push(tip);
                }
                _ => {}
            }
        }

        let mut index = Index::new();
        let mut document = document(ADA);
        let (first, second) = batch.split_at(split.index(batch.len() + 1));
        for part in [first, second] {
            let verdict = vet(&index, part, &tips, all);
            let tips_at: Vec<_> = verdict.tips.iter().map(|tip| tip.tip().change).collect();
            let accepted = hashes(part, &verdict);
            prop_assert_eq!(accepted.len() + verdict.refused.len() + verdict.duplicates, part.len());
            apply(&mut index, part, &verdict); // asserts dependencies first, chains without gaps
            for (replica, _, newest) in index.replicas() {
                let is_advanced = |h: &ChangeHeader| h.replica == replica && accepted.contains(&h.hash);
                let advanced = part.iter().any(is_advanced);
                prop_assert!(!advanced || tips_at.contains(&newest), "the end of each chain is vouched for");
            }

            let parsed = accepted.iter().map(|hash| Change::from_bytes(chunks[hash].clone()).unwrap());
            document.apply_changes(parsed.collect::<Vec<_>>()).unwrap();
            prop_assert!(document.get_missing_deps(&[]).is_empty());
            let heads: Vec<_> = document.get_heads().into_iter().map(from_automerge).collect();
            prop_assert_eq!(heads, index.heads().iter().copied().collect::<Vec<_>>());
        }
    }

    /// Authority 4.1 D4.
    #[test]
    fn an_honest_history_is_accepted_whole(edits in edits(0..60)) {
        let (_, headers, tips) = headers_and_tips(&mut play(&edits));

        let verdict = vet(&Index::new(), &headers, &tips, all);

        prop_assert_eq!(verdict.accepted.len(), headers.len());
        prop_assert_eq!(verdict.tips.len(), tips.len());
    }

    /// A batch is a set.
    #[test]
    fn order_and_repetition_change_nothing(
        edits in edits(1..40),
        seed: u64,
        drop_tip: bool,
        forgeries in 0..3_u8,
    ) {
        let (_, headers, mut tips) = headers_and_tips(&mut play(&edits));
        prop_assume!(!headers.is_empty());
        if drop_tip {
            tips.pop();
        }
        let mut straight = headers.clone();
        for kind in 0..forgeries {
            let (raw, tip) = forge(&headers[usize::from(kind) % headers.len()], &headers, kind + 2, 5);
            straight.push(header(&raw));
            tips.push(tip);
        }
        let mut crooked = [straight.clone(), straight.clone()].concat();
        crooked.sort_by_key(|header| {
            let mix = |at: usize| u64::from(header.hash.0[at]).wrapping_mul(seed | 1) >> 7;
            (mix(0), mix(1))
        });
        let mut turned = tips.clone();
        turned.reverse();

        let one = vet(&Index::new(), &straight, &tips, all);
        let two = vet(&Index::new(), &crooked, &turned, all);

        prop_assert_eq!(hashes(&straight, &one), hashes(&crooked, &two));
        prop_assert_eq!(refusals(&straight, &one), refusals(&crooked, &two));
        prop_assert_eq!(&one.tips, &two.tips);
        prop_assert_eq!(two.duplicates, one.duplicates + straight.len());
    }

    /// A bad chain disturbs nobody who did not build on it.
    #[test]
    fn independent_chains_are_not_disturbed(edits in edits(1..30), forged in 0..5_u8, by: u8) {
        let (_, headers, mut tips) = headers_and_tips(&mut play(&edits));
        prop_assume!(!headers.is_empty());
        let (raw, tip) = forge(&headers[0], &headers, forged, by);
        tips.push(tip);
        let honest = vet(&Index::new(), &headers, &tips[..tips.len() - 1], all);
        let batch = [vec![header(&raw)], headers.clone()].concat();

        let verdict = vet(&Index::new(), &batch, &tips, all);

        // Unless the device itself signed two histories, all that was accepted still is.
        if !refusals(&batch, &verdict).values().any(|refusal| matches!(refusal, Refusal::Fork { .. })) {
            let accepted = hashes(&batch, &verdict);
            prop_assert!(hashes(&headers, &honest).iter().all(|hash| accepted.contains(hash)));
        }
    }
}

/// A change names at most `CHANGE_DEPS_MAX` heads; a hostile Writer makes any number of them.
#[test]
fn more_heads_than_a_change_may_name_are_merged_in_steps_that_are_accepted() {
    let mut index = Index::new();
    let count = 2 * CHANGE_DEPS_MAX + 7;
    for chain in 0..count {
        let hash = |kind| peerbase_schema::id::hash(kind, &[&chain.to_be_bytes()]);
        let (replica, hash) = (ReplicaId(hash("chain")), ChangeHash(hash("change")));
        let start_op = 1;
        let ops = chain as u64 % 3;
        index.accept(&ChangeHeader {
            hash,
            replica,
            seq: 1,
            start_op,
            ops,
            deps: Vec::new(),
            time: 0,
            references: Vec::new(),
            continues: false,
            needs_objects: false,
            charge: 700,
        });
    }
    let own = header(&put(ADA, 1, 1, Vec::new()));
    index.accept(&own);

    let mut steps = 0;
    let next = |index: &Index| {
        Merging::next(replica(ADA), index.end(&replica(ADA)), index.heads(), |head| index.max_op(head))
    };
    while let Some(merging) = next(&index) {
        assert!(merging.deps.len() <= CHANGE_DEPS_MAX);
        let merged = ChangeHeader::read(&merging.encode(7)).unwrap();
        let tip = unsigned_tip(ADA, merged.seq, merged.hash);
        let verdict = vet(&index, std::slice::from_ref(&merged), &[tip], all);
        assert_eq!((verdict.accepted, verdict.refused), (vec![0], vec![]), "step {steps}");
        index.accept(&merged);
        steps += 1;
    }

    assert_eq!(steps, 2);
    assert!(index.heads().len() <= CHANGE_DEPS_MAX, "the next change may name all of them");
}
