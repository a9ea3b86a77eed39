//! One document under commits, remote changes and damage: what it accepts, keeps and gives out.

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ObjType, ROOT};
use proptest::prelude::*;
use schema::codec;
use schema::limits::VALUE_DEPTH_MAX;

use super::*;
use crate::edit::{Part, Path, diff};

const ADA: ReplicaId = ReplicaId([1; 32]);
const BEN: ReplicaId = ReplicaId([2; 32]);
const CID: ReplicaId = ReplicaId([3; 32]);

fn edit(record: impl FnOnce(&mut RowEdit)) -> RowEdit {
    let mut edit = RowEdit::default();
    record(&mut edit);
    edit
}

fn commit(replica: &mut Replica, author: ReplicaId, record: impl FnOnce(&mut RowEdit)) -> EncodedChange {
    replica.commit(author, 7, &edit(record)).unwrap().pop().expect("something differs")
}

fn merge(into: &mut Replica, from: &Replica) {
    into.apply(&from.changes_since(&into.heads())).unwrap();
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A row that ada wrote and both have.
fn shared(record: impl FnOnce(&mut RowEdit)) -> (Replica, Replica) {
    let mut ada = Replica::new();
    commit(&mut ada, ADA, record);
    (ada.clone(), ada)
}

#[test]
fn a_commit_is_one_change_that_a_fresh_replica_loads() {
    let mut ada = Replica::new();
    let first = commit(&mut ada, ADA, |doc| doc.put("title", "beans"));
    let second = commit(&mut ada, ADA, |doc| doc.put("title", "peas"));
    assert_eq!(
        (first.header.seq, first.header.start_op, second.header.seq, second.header.start_op),
        (1, 1, 2, 2)
    );
    assert_eq!(ada.heads(), [second.header.hash]);
    assert_eq!(ada.changes_since(&[]), [first.bytes.clone(), second.bytes.clone()]);
    assert_eq!(ada.changes_since(&[first.header.hash]), std::slice::from_ref(&second.bytes));

    let joined = [first.bytes, second.bytes].concat();
    let from_changes = Replica::load(&[&joined], &[second.header.hash]).unwrap();
    let from_document = Replica::load(&[&ada.save()], &[second.header.hash]).unwrap();

    assert_eq!(from_changes.row().unwrap(), ada.row().unwrap());
    assert_eq!(from_document.row().unwrap(), ada.row().unwrap());
    assert_eq!(
        ada.row().unwrap(),
        Row { value: map([("title", "peas".into())]), removed: false, too_deep: false }
    );
}

#[test]
fn chunks_load_in_any_order_and_shape() {
    let mut ada = Replica::new();
    commit(&mut ada, ADA, |doc| doc.put("n", 1i64));
    let old = ada.save();
    let a = commit(&mut ada, ADA, |doc| doc.put("n", 2i64)).bytes;
    let newer = ada.save();
    let b = commit(&mut ada, ADA, |doc| doc.put("n", 3i64)).bytes;

    for chunks in [vec![&b[..], &a, &old], vec![&old, &newer, &b], vec![&b, &newer, &old, &a]] {
        assert_eq!(Replica::load(&chunks, &ada.heads()).unwrap().row().unwrap(), ada.row().unwrap());
    }
}

#[test]
fn a_document_that_is_not_what_the_record_says_is_refused() {
    let mut ada = Replica::new();
    let first = commit(&mut ada, ADA, |doc| doc.put("n", 1i64));
    let second = commit(&mut ada, ADA, |doc| doc.put("n", 2i64));

    let missing = Replica::load(&[&second.bytes], &[second.header.hash]);
    assert_eq!(missing.unwrap_err(), LoadError::Missing { missing: first.header.hash });
    let stale = Replica::load(&[&first.bytes], &[second.header.hash]);
    assert_eq!(stale.unwrap_err(), LoadError::Heads { got: 1, expected: 1 });
    assert!(matches!(Replica::load(&[&first.bytes[..20]], &[first.header.hash]), Err(LoadError::Chunk(_))));
}

proptest! {
    #[test]
    fn damaged_bytes_never_load_as_the_document(
        flip in any::<prop::sample::Index>(),
        bit in 0u8..8,
        saved: bool,
    ) {
        let mut ada = Replica::new();
        commit(&mut ada, ADA, |doc| doc.put("title", "beans"));
        commit(&mut ada, ADA, |doc| doc.put("body", Value::Text("sow in may".into())));
        let mut bytes = if saved { ada.save() } else { ada.changes_since(&[]).concat() };
        let at = flip.index(bytes.len());
        bytes[at] ^= 1 << bit;

        prop_assert!(Replica::load(&[&bytes], &ada.heads()).is_err());
    }
}

#[test]
fn an_edit_that_does_not_fit_leaves_the_document_as_it_was() {
    type Record = fn(&mut RowEdit);
    let mut ada = Replica::new();
    commit(&mut ada, ADA, |doc| {
        doc.put("title", "beans");
        doc.put("body", Value::Text("sow".into()));
    });
    let before = (ada.row().unwrap(), ada.save());
    let half = |record: Record| {
        edit(|doc| {
            doc.put("title", "peas");
            doc.splice_text("body", 0, 3, "");
            record(doc);
        })
    };

    let wrong: [(Record, EditError); 6] = [
        (|doc| doc.splice_text("nobody", 0, 0, "x"), EditError::NotFound { path: "nobody".into() }),
        (|doc| doc.put("a.b", 1i64), EditError::NotFound { path: "a.b".into() }),
        (
            |doc| doc.increment("title", 1),
            EditError::Kind { path: "title".into(), expected: "counter", found: "string" },
        ),
        (
            |doc| doc.splice_text("body", 1, 0, "x"),
            EditError::OutOfRange { path: "body".into(), position: 1, length: 0 },
        ),
        (|doc| doc.put("$removed", true), EditError::Reserved { path: "$removed".into() }),
        (|doc| doc.put("deep", Value::TooDeep), EditError::TooDeep { path: "deep".into() }),
    ];
    for (record, error) in wrong {
        assert_eq!(ada.commit(ADA, 7, &half(record)), Err(error));
        assert_eq!((ada.row().unwrap(), ada.save()), before);
        assert!(!ada.is_broken());
    }
    assert_eq!(
        Replica::new()
            .commit(BEN, 7, &edit(|doc| doc.increment("n", 1)))
            .map(|_| ())
            .unwrap_err()
            .to_string(),
        "n: no value there"
    );
}

#[test]
fn what_does_not_differ_makes_no_change() {
    let mut ada = Replica::new();
    commit(&mut ada, ADA, |doc| doc.put("n", 1i64));
    let before = ada.save();

    assert_eq!(ada.commit(BEN, 7, &edit(|doc| doc.put("n", 1i64))), Ok(Vec::new()));
    assert_eq!(ada.commit(BEN, 7, &RowEdit::default()), Ok(Vec::new()));
    assert_eq!(ada.save(), before);
}

/// authority C4, C7: the next ordinary write names all heads, and the replica's own last change directly.
#[test]
fn a_thousand_concurrent_heads_are_merged_by_the_next_write() {
    let (mut ada, base) = shared(|doc| doc.put("n", Value::Counter(0)));
    let mut changes = Vec::new();
    for i in 0..1000u32 {
        let mut id = [9; 32];
        id[..4].copy_from_slice(&i.to_be_bytes());
        let mut peer = base.clone();
        changes.push(commit(&mut peer, ReplicaId(id), |doc| doc.increment("n", 1)).bytes);
    }
    let own = commit(&mut ada, ADA, |doc| doc.put("mine", 1i64));
    ada.apply(&changes).unwrap();
    assert_eq!(ada.heads().len(), 1001);

    let heads = ada.heads();
    let merging = commit(&mut ada, ADA, |doc| doc.put("mine", 2i64));

    let change = Change::from_bytes(merging.bytes).unwrap();
    let deps: Vec<_> = change.deps().iter().map(ours).collect();
    assert_eq!(deps, heads);
    assert!(deps.contains(&own.header.hash));
    assert_eq!(ada.heads(), [merging.header.hash]);
    let mut seen = BTreeSet::new();
    for bytes in ada.changes_since(&[]) {
        let change = Change::from_bytes(bytes).unwrap();
        assert!(change.deps().iter().all(|dep| seen.contains(dep)), "a change comes after what it builds on");
        seen.insert(change.hash());
    }
    assert_eq!(seen.len(), 1003);
    assert_eq!(ada.row().unwrap().value.field("n"), Some(&Value::Counter(1000)));
}

#[test]
fn the_own_last_change_is_a_direct_dependency_even_below_the_heads() {
    let (mut ada, mut ben) = shared(|doc| doc.put("n", 1i64));
    let own = ada.heads()[0];
    commit(&mut ben, BEN, |doc| doc.put("n", 2i64));
    merge(&mut ada, &ben);

    let next = commit(&mut ada, ADA, |doc| doc.put("n", 3i64));

    let deps: Vec<_> = Change::from_bytes(next.bytes).unwrap().deps().iter().map(ours).collect();
    assert!(deps.contains(&own) && deps.contains(&ben.heads()[0]), "{deps:?}");
}

#[test]
fn a_change_without_its_past_is_refused_and_nothing_waits() {
    let (mut ada, mut ben) = shared(|doc| doc.put("n", 1i64));
    let first = commit(&mut ben, BEN, |doc| doc.put("n", 2i64));
    let second = commit(&mut ben, BEN, |doc| doc.put("n", 3i64));
    let before = ada.save();

    assert_eq!(
        ada.apply(std::slice::from_ref(&second.bytes)),
        Err(ApplyError::Missing { missing: first.header.hash })
    );
    assert!(!ada.is_broken());
    assert_eq!(ada.save(), before);

    let both = [second.bytes, first.bytes];
    ada.apply(&both).unwrap();
    ada.apply(&both).unwrap();
    assert_eq!(ada.row().unwrap(), ben.row().unwrap());
}

#[test]
fn two_changes_at_one_place_of_a_chain_break_the_replica_instead_of_the_process() {
    let (ada, mut ben) = shared(|doc| doc.put("n", 1i64));
    let mut fork = ada.clone();
    commit(&mut ben, BEN, |doc| doc.put("n", 2i64));
    let forked = commit(&mut fork, BEN, |doc| doc.put("n", 3i64));

    assert!(matches!(ben.apply(&[forked.bytes]), Err(ApplyError::Document { .. })));
    assert!(ben.is_broken());
    assert!(ben.commit(BEN, 7, &edit(|doc| doc.put("n", 9i64))).is_err());
}

#[test]
fn a_removal_wins_over_concurrent_edits_and_puts_and_a_later_put_brings_the_row_back() {
    let (mut ada, mut ben) = shared(|doc| {
        doc.put("title", "beans");
        doc.put("n", 1i64);
    });
    ada.commit(ADA, 7, &RowEdit::remove()).unwrap().pop().unwrap();
    commit(&mut ben, BEN, |doc| {
        doc.restore();
        doc.put("title", "peas");
    });
    merge(&mut ada, &ben);
    merge(&mut ben, &ada);
    assert_eq!(ada.row().unwrap(), ben.row().unwrap());
    assert!(ada.row().unwrap().removed);
    assert_eq!(ada.row().unwrap().value, map([("title", "peas".into()), ("n", 1.into())]));

    commit(&mut ben, BEN, |doc| doc.restore());
    assert!(!ben.row().unwrap().removed);
    merge(&mut ada, &ben);
    assert!(!ada.row().unwrap().removed);
}

#[test]
fn two_removals_are_cleared_by_one_restore_and_one_restore_leaves_a_removal_that_it_did_not_see() {
    let (mut ada, mut ben) = shared(|doc| doc.put("n", 1i64));
    ada.commit(ADA, 7, &RowEdit::remove()).unwrap().pop().unwrap();
    ben.commit(BEN, 7, &RowEdit::remove()).unwrap().pop().unwrap();
    let mut cid = ada.clone();
    merge(&mut ada, &ben);
    commit(&mut ada, ADA, |doc| doc.restore());
    assert!(!ada.row().unwrap().removed);

    commit(&mut cid, CID, |doc| doc.restore());
    assert!(!cid.row().unwrap().removed);
    merge(&mut cid, &ben);
    assert!(cid.row().unwrap().removed, "ben's removal was not seen by cid's restore");
    merge(&mut cid, &ada);
    assert!(!cid.row().unwrap().removed, "ada saw both");
}

#[test]
fn a_row_without_fields_exists_once_restored() {
    let mut ada = Replica::new();
    commit(&mut ada, ADA, |doc| doc.restore());

    assert_eq!(ada.row().unwrap(), Row { value: map([]), removed: false, too_deep: false });
    assert_eq!(ada.commit(ADA, 7, &edit(RowEdit::restore)), Ok(Vec::new()));
    ada.commit(ADA, 7, &RowEdit::remove()).unwrap().pop().unwrap();
    assert!(ada.row().unwrap().removed);
}

#[test]
fn texts_merge_counters_add_up_and_of_two_registers_one_wins_everywhere() {
    let (mut ada, mut ben) = shared(|doc| {
        doc.put("body", Value::Text("grün".into()));
        doc.put("likes", Value::Counter(1));
        doc.put("title", "beans");
    });
    commit(&mut ada, ADA, |doc| {
        doc.splice_text("body", 0, 0, "sehr ");
        doc.increment("likes", 2);
        doc.put("title", "peas");
    });
    commit(&mut ben, BEN, |doc| {
        doc.splice_text("body", 4, 0, "é!");
        doc.increment("likes", -4);
        doc.put("title", "lentils");
    });
    let (old_ada, old_ben) = (ada.clone(), ben.clone());
    merge(&mut ada, &old_ben);
    merge(&mut ben, &old_ada);

    assert_eq!(ada.row().unwrap(), ben.row().unwrap());
    assert_eq!(ada.row().unwrap().value.field("body"), Some(&Value::Text("sehr grüné!".into())));
    assert_eq!(ada.row().unwrap().value.field("likes"), Some(&Value::Counter(-1)));
    let mut titles = vec![ada.row().unwrap().value.field("title").unwrap().clone()];
    titles.extend(ada.conflicts().unwrap()["title"].clone());
    titles.sort_by_key(|title| format!("{title:?}"));
    assert_eq!(titles, ["lentils".into(), "peas".into()]);
    assert_eq!(ada.conflicts().unwrap().len(), 1);
    assert_eq!(ada.conflicts().unwrap(), ben.conflicts().unwrap());
}

#[test]
fn a_loser_among_containers_stays_readable() {
    let (mut ada, mut ben) = (Replica::new(), Replica::new());
    commit(&mut ada, ADA, |doc| doc.put("place", map([("city", "Bonn".into())])));
    commit(&mut ben, BEN, |doc| doc.put("place", map([("zip", 53111i64.into())])));
    merge(&mut ada, &ben);

    let mut places = vec![ada.row().unwrap().value.field("place").unwrap().clone()];
    places.extend(ada.conflicts().unwrap()["place"].clone());
    places.sort_by_key(|place| format!("{place:?}"));
    assert_eq!(places, [map([("city", "Bonn".into())]), map([("zip", 53111i64.into())])]);
}

#[test]
fn the_past_can_be_read() {
    let mut ada = Replica::new();
    let first = commit(&mut ada, ADA, |doc| doc.put("l", Value::List(vec![Value::Text("a".into())])));
    let second = commit(&mut ada, ADA, |doc| doc.splice_text("l.0", 1, 0, "b"));
    ada.commit(BEN, 9, &RowEdit::remove()).unwrap().pop().unwrap();

    let at = |hash| ada.row_at(&[hash]).unwrap();
    assert_eq!(at(first.header.hash).value, map([("l", Value::List(vec![Value::Text("a".into())]))]));
    assert_eq!(at(second.header.hash).value, map([("l", Value::List(vec![Value::Text("ab".into())]))]));
    assert!(!at(second.header.hash).removed && ada.row_at(&ada.heads()).unwrap().removed);
    let authors: Vec<_> =
        ada.history().iter().map(|revision| (revision.author, revision.seq, revision.time_ms)).collect();
    assert_eq!(authors, [(ADA, 1, 7), (ADA, 2, 7), (BEN, 1, 9)]);
    assert!(ada.row_at(&[ChangeHash([0; 32])]).is_err());
}

#[test]
fn what_automerge_takes_for_no_change_is_written_all_the_same() {
    let mut ada = Replica::new();
    commit(&mut ada, ADA, |doc| {
        doc.put("zero", 0.0);
        doc.put("n", Value::Counter(1));
        doc.put("l", Value::List(vec![0.0.into()]));
    });
    commit(&mut ada, ADA, |doc| doc.increment("n", 5));

    commit(&mut ada, ADA, |doc| {
        doc.put("zero", -0.0);
        doc.put("n", Value::Counter(1));
        doc.put("l.0", -0.0);
    });

    let expected =
        map([("zero", (-0.0).into()), ("n", Value::Counter(1)), ("l", Value::List(vec![(-0.0).into()]))]);
    assert_eq!(ada.row().unwrap().value, expected);
}

#[test]
fn unsigned_numbers_of_other_tools_are_our_integers() {
    let mut doc = Automerge::new().with_actor(ActorId::from(BEN.0));
    let mut tx = doc.transaction();
    tx.put(ROOT, "u", 3u64).unwrap();
    tx.put(ROOT, "large", u64::MAX).unwrap();
    tx.commit();
    let mut ada = Replica::new();
    ada.apply(&[doc.get_changes(&[])[0].raw_bytes().to_vec()]).unwrap();

    assert_eq!(ada.row().unwrap().value, map([("u", Value::Int(3)), ("large", Value::Uint(u64::MAX))]));
}

#[test]
fn a_change_that_peers_would_refuse_is_not_made() {
    let mut ada = Replica::new();
    let large = edit(|doc| doc.put("photo", vec![7u8; CHANGE_BYTES_MAX]));
    assert!(matches!(ada.commit(ADA, 7, &large), Err(EditError::TooLarge { .. })));
    assert_eq!(ada.heads(), []);

    let fits = edit(|doc| doc.put("photo", vec![7u8; CHANGE_BYTES_MAX - 1024]));
    assert!(ada.commit(ADA, 7, &fits).unwrap().pop().unwrap().bytes.len() <= CHANGE_BYTES_MAX);
}

#[test]
fn a_document_of_two_thousand_nested_maps_is_read_compared_and_stored_on_a_small_stack() {
    let work = || {
        let mut doc = Automerge::new().with_actor(ActorId::from(BEN.0));
        let mut tx = doc.transaction();
        let mut id = ROOT;
        for _ in 0..2000 {
            id = tx.put_object(&id, "a", ObjType::Map).unwrap();
        }
        tx.put(&id, "bottom", 1i64).unwrap();
        tx.commit();
        let mut ada = Replica::new();
        ada.apply(&[doc.get_changes(&[])[0].raw_bytes().to_vec()]).unwrap();

        let row = ada.row().unwrap();
        assert!(row.too_deep);
        let bytes = codec::encode(&row.value);
        assert_eq!(codec::decode_stored::<Value>(&bytes).as_ref(), Ok(&row.value));
        let edit = diff(Some(&row.value), None, &map([("b", 1i64.into())]), &Default::default());
        ada.commit(ADA, 7, &edit).unwrap().pop().unwrap();
        assert_eq!(
            ada.row().unwrap(),
            Row { value: map([("b", 1i64.into())]), removed: false, too_deep: false }
        );
        let again = Replica::load(&[&ada.save()], &ada.heads()).unwrap();
        assert_eq!(again.row().unwrap(), ada.row().unwrap());
        assert!(ada.row_at(&[ada.history()[0].hash]).unwrap().too_deep);
        let deep = Path((0..2000).map(|_| Part::Name("a".into())).collect());
        assert!(ada.commit(ADA, 7, &super::tests::edit(|doc| doc.put(deep, 1i64))).is_err());
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_counter_that_was_driven_over_its_end_does_not_take_the_reader_down() {
    let mut doc = Automerge::new().with_actor(ActorId::from(BEN.0));
    let mut tx = doc.transaction();
    tx.put(ROOT, "n", automerge::ScalarValue::counter(i64::MAX)).unwrap();
    tx.commit();
    let first = doc.get_changes(&[])[0].raw_bytes().to_vec();
    let mut ada = Replica::new();
    ada.apply(&[first]).unwrap();
    assert_eq!(
        ada.commit(ADA, 7, &edit(|doc| doc.increment("n", 1))),
        Err(EditError::Overflow { path: "n".into() })
    );
    let (mut ben, mut cid) = (ada.clone(), ada.clone());
    commit(&mut ben, CID, |doc| doc.increment("n", i64::MIN));
    commit(&mut cid, ADA, |doc| doc.increment("n", i64::MIN));
    merge(&mut ben, &cid);
    // Automerge panics if overflow is checked, as in this build; otherwise the number wraps. Neither ends the
    // process.
    assert!(matches!(ben.row(), Err(ReadError::Document { .. }) | Ok(_)));
}

/// Values that a document can hold.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1.5, f64::INFINITY, f64::NAN]).prop_map(Value::from),
        "[aé😀]{0,4}".prop_map(Value::String),
        "[aé😀]{0,6}".prop_map(Value::Text),
        (-9i64..9).prop_map(Value::Counter),
        Just(Value::Timestamp(5)),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("[abc$]?", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn rows() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc]?", values(), 0..4).prop_map(Value::Map)
}

fn edits() -> impl Strategy<Value = RowEdit> {
    let part = prop_oneof!["[abc]?".prop_map(Part::Name), (0usize..4).prop_map(Part::Index)];
    let path = prop::collection::vec(part, 1..4).prop_map(Path);
    let op = prop_oneof![
        (path.clone(), values()).prop_map(|(path, value)| edit(|doc| doc.put(path, value))),
        path.clone().prop_map(|path| edit(|doc| doc.delete(path))),
        (path.clone(), 0usize..6, 0usize..3, "[xü]{0,2}").prop_map(|(path, position, delete, text)| edit(
            |doc| doc.splice_text(path, position, delete, text)
        )),
        (path.clone(), -3i64..3).prop_map(|(path, by)| edit(|doc| doc.increment(path, by))),
        (path, 0usize..4, 0usize..3, prop::collection::vec(values(), 0..3))
            .prop_map(|(path, index, delete, values)| edit(|doc| doc.splice(path, index, delete, values))),
    ];
    prop::collection::vec(op, 1..4)
        .prop_map(|edits| RowEdit { ops: edits.into_iter().flat_map(|e| e.ops).collect() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A diff says exactly what to do, on a plain value and in a document, and a load gives the same.
    #[test]
    fn a_diff_turns_one_row_into_the_other(old in rows(), new in rows()) {
        let mut ada = Replica::new();
        ada.commit(ADA, 7, &diff(None, None, &old, &Default::default())).unwrap();
        prop_assert_eq!(&ada.row().unwrap().value, &old);

        let change = diff(Some(&old), None, &new, &Default::default());
        let mut model = old.clone();
        change.apply(&mut model).unwrap();
        ada.commit(ADA, 7, &change).unwrap();

        prop_assert_eq!(&model, &new);
        prop_assert_eq!(&ada.row().unwrap().value, &new);
        let again = Replica::load(&[&ada.changes_since(&[]).concat()], &ada.heads()).unwrap();
        prop_assert_eq!(&again.row().unwrap().value, &new);
        let saved = Replica::load(&[&ada.save()], &ada.heads());
        if !ada.heads().is_empty() {
            prop_assert_eq!(&saved.unwrap().row().unwrap().value, &new);
        }
    }

    /// Three devices edit one row and read each other's edits now and then.
    #[test]
    fn what_devices_write_is_applied_whole_and_in_parts(
        first in rows(),
        writes in prop::collection::vec((0usize..3, prop::option::of(rows()), edits(), any::<bool>()), 1..12),
    ) {
        let authors = [ADA, BEN, CID];
        let mut ada = Replica::new();
        ada.commit(ADA, 7, &diff(None, None, &first, &Default::default())).unwrap();
        let mut replicas = [ada.clone(), ada.clone(), ada];
        for (at, row, edit, hears) in writes {
            if hears {
                let other = replicas[(at + 1) % 3].clone();
                merge(&mut replicas[at], &other);
            }
            let old = replicas[at].row().unwrap().value;
            let edit = row.map_or(edit, |row| diff(Some(&old), None, &row, &Default::default()));
            let _ = replicas[at].commit(authors[at], 7, &edit);
            prop_assert!(!replicas[at].is_broken());
        }
        let [mut ada, ben, cid] = replicas;
        merge(&mut ada, &ben);
        merge(&mut ada, &cid);

        let changes = ada.changes_since(&[]);
        let (mut whole, mut in_parts) = (Replica::new(), Replica::new());
        whole.apply(&changes).unwrap();
        changes.iter().for_each(|change| in_parts.apply(&[change]).unwrap());

        prop_assert_eq!(whole.row().unwrap(), ada.row().unwrap());
        prop_assert_eq!(in_parts.row().unwrap(), ada.row().unwrap());
    }

    /// The model and the document agree on every edit, the ones that do not fit among them.
    #[test]
    fn an_edit_means_the_same_on_a_value_and_in_a_document(old in rows(), edit in edits()) {
        let mut ada = Replica::new();
        ada.commit(ADA, 7, &diff(None, None, &old, &Default::default())).unwrap();
        let mut model = old.clone();

        let modelled = edit.apply(&mut model);
        let committed = ada.commit(BEN, 7, &edit);

        prop_assert_eq!(&committed.map(|_| ()), &modelled);
        let expected = if modelled.is_ok() { &model } else { &old };
        prop_assert_eq!(&ada.row().unwrap().value, expected);
    }
}

#[test]
fn sixty_four_containers_are_written_and_read_back() {
    let nested = |containers| (0..containers).fold(Value::from(7), |inner, _| map([("a", inner)]));
    let mut ada = Replica::new();
    commit(&mut ada, ADA, |doc| doc.put("a", nested(VALUE_DEPTH_MAX - 1)));
    assert_eq!(ada.row().unwrap(), Row { value: nested(VALUE_DEPTH_MAX), removed: false, too_deep: false });

    let deeper = edit(|doc| doc.put("a", nested(VALUE_DEPTH_MAX)));
    assert_eq!(ada.commit(ADA, 7, &deeper), Err(EditError::TooDeep { path: "a".into() }));
}

#[test]
fn an_edit_that_is_too_large_for_a_change_is_made_of_several() {
    let mut ada = Replica::new();
    let whole: String = ('a'..='z').cycle().take(200_000).collect();
    let put = edit(|doc| {
        doc.put("text", Value::Text(whole.clone()));
        doc.put("after", 1i64);
    });

    let pieces = ada.commit(ADA, 7, &put).unwrap();

    assert!(pieces.len() > 2, "{}", pieces.len());
    let continues: Vec<bool> = pieces.iter().map(|piece| piece.header.continues).collect();
    assert_eq!(continues.iter().filter(|continues| !**continues).count(), 1);
    assert!(!continues[continues.len() - 1], "the last piece ends the bundle");
    let expected = map([("text", Value::Text(whole)), ("after", 1i64.into())]);
    assert_eq!(ada.row().unwrap().value, expected);
    let mut ben = Replica::new();
    for piece in &pieces {
        ben.apply(&[&piece.bytes]).unwrap();
    }
    assert_eq!(ben.row().unwrap().value, expected);
    assert_eq!(Replica::load(&[&ben.save()], &ben.heads()).unwrap().row().unwrap().value, expected);
}

/// A key with more conflicting values than a change may name could once never be written again.
#[test]
fn a_key_of_any_number_of_conflicting_values_can_be_written() {
    let mut ada = Replica::new();
    let count = 330_000;
    for (replica, puts) in [(ADA, count), (BEN, count)] {
        // Puts that replace nothing leave as many values.
        for part in 0..puts / 66_000 {
            let deps = ada.heads().into_iter().filter(|_| part > 0).collect();
            let change = testkit::raw::Raw::puts(replica, part + 1, 1 + part * 66_000, deps, 66_000);
            ada.apply(&[change.chunk()]).unwrap();
        }
    }

    let pieces = ada.commit(ADA, 7, &edit(|doc| doc.put("k", 2i64))).unwrap();

    assert!(pieces.len() > 1);
    assert_eq!(ada.row().unwrap().value, map([("k", 2i64.into())]));
    assert_eq!(ada.conflicts().unwrap(), Default::default());
}

/// Automerge panics when one of several values of a character is deleted, but not if they come one by one.
#[test]
fn a_change_that_sets_a_character_of_a_text_is_not_taken_in_any_order() {
    use testkit::dear::{Crafter, DELETE, Id, Key, MAKE_TEXT, Op, PUT};

    let replica = |chain: usize| [ADA, BEN, CID][chain];
    let mut crafter = Crafter::new(&replica);
    let [text, character] = [1, 2].map(|counter| Id { chain: 0, counter });
    let make = Op::new(None, Key::Field("text".into()), MAKE_TEXT);
    let type_it = Op::behind(text, None, PUT).text("x");
    let first = crafter.write(0, &[], &[make, type_it]);
    let set = Op::new(Some(text), Key::Element(character), PUT).text("y");
    let bens = crafter.write(1, &[first], &[set]);
    let delete = Op::new(Some(text), Key::Element(character), PUT);
    crafter.write(2, &[bens], &[Op { action: DELETE, ..delete }.over(vec![character])]);
    let changes = crafter.into_changes();
    let chunks: Vec<&[u8]> = changes.iter().map(|change| change.chunk.as_slice()).collect();

    let mut one_by_one = Replica::new();
    one_by_one.apply(&chunks[..1]).unwrap();
    assert!(matches!(one_by_one.apply(&chunks[1..2]), Err(ApplyError::Document { .. })));
    assert!(!one_by_one.is_broken(), "it was not tried");
    let mut at_once = Replica::new();
    assert!(matches!(at_once.apply(&chunks), Err(ApplyError::Document { .. })));
    assert!(!at_once.is_broken(), "it was not tried");
}
