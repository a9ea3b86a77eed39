//! Random histories of one real document, written by ada, ben and cid.

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};
use peerbase_schema::change::{CONTINUES, ChangeHeader};
use peerbase_schema::tip::VerifiedTip;
use proptest::prelude::*;

use testkit::{replica, unsigned_tip};

pub(crate) const PEOPLE: u8 = 3;
/// The kinds of edits.
pub(crate) const KINDS: u8 = 23;

/// One edit of one person; indexes are reduced modulo the current length.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) person: u8,
    pub(crate) kind: u8,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) commit: bool,
}

pub(crate) fn edits(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Edit>> {
    let edit = (0..PEOPLE, 0..KINDS, any::<u16>(), any::<u16>(), any::<bool>())
        .prop_map(|(person, kind, a, b, commit)| Edit { person, kind, a, b, commit });
    proptest::collection::vec(edit, count)
}

/// An empty document that `person` writes.
pub(crate) fn document(person: u8) -> AutoCommit {
    AutoCommit::new().with_actor(ActorId::from(replica(person).0.as_slice()))
}

/// Plays the edits on three documents, merges all into the first one and returns it.
pub(crate) fn play(edits: &[Edit]) -> AutoCommit {
    let mut documents: Vec<AutoCommit> = (0..PEOPLE).map(document).collect();
    for edit in edits {
        step(&mut documents, edit);
    }
    let (first, others) = documents.split_at_mut(1);
    for other in others {
        first[0].merge(other).unwrap();
    }
    first[0].commit();
    documents.swap_remove(0)
}

/// Plays the edits of all persons on one document.
pub(crate) fn play_on(document: &mut AutoCommit, edits: &[Edit]) {
    let one = std::slice::from_mut(document);
    edits.iter().for_each(|edit| step(one, &Edit { person: 0, ..edit.clone() }));
    one[0].commit();
}

/// The headers of a document's changes and a tip for the end of each chain.
pub(crate) fn headers_and_tips(
    document: &mut AutoCommit,
) -> (Vec<Change>, Vec<ChangeHeader>, Vec<VerifiedTip>) {
    let changes = document.get_changes(&[]);
    let headers: Vec<_> =
        changes.iter().map(|change| ChangeHeader::read(change.raw_bytes()).unwrap()).collect();
    let tips = (0..PEOPLE).filter_map(|person| {
        let chain = headers.iter().filter(|header| header.replica == replica(person));
        let end = chain.max_by_key(|header| header.seq)?;
        Some(unsigned_tip(person, end.seq, end.hash))
    });
    let tips = tips.collect();
    (changes, headers, tips)
}

fn object(document: &mut AutoCommit, key: &str, kind: ObjType) -> ObjId {
    match document.get(ROOT, key).unwrap() {
        Some((Value::Object(found), id)) if found == kind => id,
        _ => document.put_object(ROOT, key, kind).unwrap(),
    }
}

fn scalar(number: u16) -> ScalarValue {
    let large = i64::from(number) * 1_000_003;
    match number % 9 {
        0 => ScalarValue::Null,
        1 => ScalarValue::Boolean(number.is_multiple_of(2)),
        2 => ScalarValue::Int(-large),
        3 => ScalarValue::Uint(large.unsigned_abs()),
        4 => ScalarValue::F64(f64::from(number) / 7.0),
        5 => ScalarValue::Str("héllo".repeat(usize::from(number % 40)).into()),
        6 => ScalarValue::Bytes(vec![0; usize::from(number % 300)]),
        7 => ScalarValue::Timestamp(large),
        _ => ScalarValue::counter(large),
    }
}

fn step(documents: &mut [AutoCommit], edit: &Edit) {
    let &Edit { person, kind, a, b, commit } = edit;
    let at = usize::from(person);
    let document = &mut documents[at];
    let key = ["alpha", "beta", "γ", "delta"][usize::from(a % 4)];
    match kind {
        0..=2 => document.put(ROOT, key, scalar(b)).unwrap(),
        3 => document.delete(ROOT, key).unwrap(),
        4 => {
            let outer = object(document, "map", ObjType::Map);
            let inner = document.put_object(&outer, key, ObjType::Map).unwrap();
            document.put(&inner, "deep", scalar(b)).unwrap();
        }
        5 if b.is_multiple_of(3) => {
            let list = object(document, "list", ObjType::List);
            let at = usize::from(a) % (document.length(&list) + 1);
            let kind = [ObjType::Map, ObjType::List, ObjType::Text][usize::from(a % 3)];
            let inner = document.insert_object(&list, at, kind).unwrap();
            match kind {
                ObjType::Map => document.put(&inner, key, scalar(b)).unwrap(),
                ObjType::List => document.insert(&inner, 0, scalar(b)).unwrap(),
                _ => document.splice_text(&inner, 0, 0, "inner").unwrap(),
            }
        }
        5 | 6 => {
            let list = object(document, "list", ObjType::List);
            let length = document.length(&list);
            document.insert(&list, usize::from(a) % (length + 1), scalar(b)).unwrap();
        }
        7 => {
            let list = object(document, "list", ObjType::List);
            let length = document.length(&list);
            if length > 0 && b.is_multiple_of(2) {
                document.delete(&list, usize::from(a) % length).unwrap();
            } else if length > 0 {
                document.put(&list, usize::from(a) % length, scalar(b)).unwrap();
            }
        }
        8..=10 => {
            let text = object(document, "text", ObjType::Text);
            let length = document.length(&text);
            let words = "ünd weiter ".repeat(usize::from(b % 5));
            document.splice_text(&text, usize::from(a) % (length + 1), 0, &words).unwrap();
        }
        11 => {
            let text = object(document, "text", ObjType::Text);
            let length = document.length(&text);
            let from = usize::from(a) % (length + 1);
            let count = isize::try_from((length - from).min(usize::from(b % 7))).unwrap();
            document.splice_text(&text, from, count, "").unwrap();
        }
        12 | 13 => document.put(ROOT, key, scalar(a)).unwrap(),
        14 => document.put(ROOT, "counter", ScalarValue::counter(i64::from(a))).unwrap(),
        15 if a.is_multiple_of(3) => {
            let list = object(document, "list", ObjType::List);
            let length = document.length(&list);
            let at = usize::from(a) % (length + 1);
            if document.increment(&list, at, i64::from(b) - 9).is_err() {
                document.insert(&list, at, ScalarValue::counter(0)).unwrap();
            }
        }
        15 => {
            if document.increment(ROOT, "counter", i64::from(b) - 9).is_err() {
                document.put(ROOT, "counter", ScalarValue::counter(0)).unwrap();
            }
        }
        16 => {
            document.commit();
            document.empty_change(CommitOptions::default().with_time(i64::from(a) * -77));
        }
        17 => {
            let text = object(document, "text", ObjType::Text);
            let length = document.length(&text);
            document.split_block(&text, usize::from(a) % (length + 1)).unwrap();
        }
        18 => {
            let list = object(document, "list", ObjType::List);
            let length = document.length(&list);
            let at = usize::from(a) % (length + 1);
            let count = isize::try_from((length - at).min(usize::from(b % 4))).unwrap();
            document.splice(&list, at, count, (0..b % 5).map(scalar)).unwrap();
        }
        19 => {
            let list = object(document, "list", ObjType::List);
            let length = document.length(&list);
            if length > 0 {
                let inner = document.put_object(&list, usize::from(a) % length, ObjType::List).unwrap();
                document.splice(&inner, 0, 0, (0..b % 3).map(scalar)).unwrap();
            }
        }
        20 => {
            let text = object(document, "text", ObjType::Text);
            let changed: String = document.text(&text).unwrap().chars().skip(usize::from(a % 3)).collect();
            document.update_text(&text, format!("{changed}é")).unwrap();
        }
        _ => {
            let from = (at + 1 + usize::from(a % 2)) % documents.len();
            documents[from].commit(); // or the copy would commit what is pending a second time
            let mut other = documents[from].clone();
            documents[at].merge(&mut other).unwrap();
        }
    }
    if commit {
        let options = CommitOptions::default().with_time(i64::from(b) << 30);
        let options = if a.is_multiple_of(3) { options.with_message(CONTINUES) } else { options };
        documents[at].commit_with(options);
    }
}
