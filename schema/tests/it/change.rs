//! The reader of changes against real Automerge, and against chunks that no Automerge writes.

mod altered;
mod refused;

use std::collections::BTreeMap;

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{AutoCommit, Change, ObjType, ROOT};
use peerbase_schema::change::{
    CONTINUES, ChangeError, ChangeHeader, Fault, Merging, Objects, read_document, split,
};
use peerbase_schema::limits::{
    CHANGE_BYTES_MAX, CHANGE_CHARGE_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, CHARGE_OF_CHAIN, CHARGE_OF_CHANGE,
    CHARGE_OF_DEPENDENCY, CHARGE_OF_OBJECT, CHARGE_OF_OP, CHARGE_OF_PREDECESSOR, CHARGE_OF_REPLICA,
    DEPENDENCIES_PER_BYTE, KEY_BYTES_PER_BYTE, OP_COUNTER_MAX,
};
use peerbase_schema::{ChangeHash, ReplicaId};
use proptest::prelude::*;
use testkit::raw::*;
use testkit::{ADA, BEN, replica};

use crate::support::from_automerge;
use crate::support::history::{Edit, document, edits, play};

fn assert_same(change: &Change) {
    let header = ChangeHeader::read(change.raw_bytes()).unwrap();

    assert_eq!(header.hash, from_automerge(change.hash()));
    assert_eq!(header.replica.0.as_slice(), change.actor_id().to_bytes());
    assert_eq!(header.seq, change.seq());
    assert_eq!(header.start_op, change.start_op().get());
    assert_eq!(header.max_op(), change.max_op());
    assert_eq!(header.ops, change.len() as u64);
    assert_eq!(header.time, change.timestamp());
    assert_eq!(header.continues, change.message().is_some());
    assert_eq!(header.references, references(change));
    let deps: Vec<_> = change.deps().iter().copied().map(from_automerge).collect();
    assert_eq!(header.deps, deps);
    assert!(Objects::read(change.raw_bytes()).is_ok());
}

/// The largest op of each replica that the ops of a change name, as Automerge decodes them.
fn references(change: &Change) -> Vec<(ReplicaId, u64)> {
    use automerge::legacy::{ElementId, Key, ObjectId};
    let decoded = change.decode();
    let mut largest = BTreeMap::new();
    for op in &decoded.operations {
        let object = if let ObjectId::Id(id) = &op.obj { Some(id) } else { None };
        let element = if let Key::Seq(ElementId::Id(id)) = &op.key { Some(id) } else { None };
        for id in object.into_iter().chain(element).chain(op.pred.iter()) {
            if *id.actor() != decoded.actor_id || id.counter() < decoded.start_op.get() {
                let counter =
                    largest.entry(ReplicaId(id.actor().to_bytes().try_into().unwrap())).or_insert(0);
                *counter = id.counter().max(*counter);
            }
        }
    }
    largest.into_iter().collect()
}

fn assert_document(document: &mut AutoCommit) {
    let heads: Vec<_> = document.get_heads().into_iter().map(from_automerge).collect();
    let changes = document.get_changes(&[]).len() as u64;
    for saved in [document.save(), document.save_nocompress()] {
        let header = read_document(&saved).unwrap();
        assert_eq!(header.heads, heads);
        assert_eq!(header.changes, changes);
    }
}

proptest! {
    #[test]
    fn a_header_agrees_with_automerge(edits in edits(0..60)) {
        let mut document = play(&edits);

        for change in document.get_changes(&[]) {
            assert_same(&change);
        }
        assert_document(&mut document);
    }

    #[test]
    fn stored_chunks_split_into_their_changes(edits in edits(0..30)) {
        let mut document = play(&edits);
        let changes = document.get_changes(&[]);
        let stored: Vec<u8> = changes.iter().flat_map(|change| change.raw_bytes().to_vec()).collect();

        let read: Vec<_> = split(&stored).map(Result::unwrap).collect();

        prop_assert_eq!(read.len(), changes.len());
        for ((header, chunk), change) in read.iter().zip(&changes) {
            prop_assert_eq!(*chunk, change.raw_bytes());
            prop_assert_eq!(header.hash, from_automerge(change.hash()));
        }
    }

    #[test]
    fn no_byte_of_a_change_can_be_altered(edits in edits(1..10), at: prop::sample::Index, by in 1..=255_u8) {
        let mut document = play(&edits);
        for change in document.get_changes(&[]) {
            let mut bytes = change.raw_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            prop_assert!(ChangeHeader::read(&bytes).is_err());
            prop_assert!(ChangeHeader::read(&bytes[..at]).is_err());
        }
    }

    /// Altered data with a correct checksum: Automerge parses every change that the reader accepts, with
    /// an equal header.
    #[test]
    fn automerge_can_parse_every_change_that_the_reader_accepts(
        edits in edits(1..20),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut document = play(&edits);
        for change in document.get_changes(&[]) {
            let prefix = change.raw_bytes().len() - data_of(change.raw_bytes()).len();
            let mut data = change.raw_bytes()[prefix..].to_vec();
            for (at, byte) in &places {
                let at = at.index(data.len());
                data[at] = *byte;
            }
            let forged = chunk(1, &data);
            if ChangeHeader::read(&forged).is_ok() {
                assert_same(&Change::from_bytes(forged).unwrap());
            }
        }
    }

    #[test]
    fn random_bytes_are_never_a_change(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(ChangeHeader::read(&noise).is_err());
        prop_assert!(read_document(&noise).is_err());
        let _ = ChangeHeader::read(&chunk(1, &noise));
        let _ = read_document(&chunk(0, &noise));
    }
}

fn data_of(chunk: &[u8]) -> &[u8] {
    let length_bytes = chunk[9..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    &chunk[9 + length_bytes..]
}

#[test]
fn long_changes_pass() {
    let mut document = document(ADA);
    let text = document.put_object(ROOT, "text", ObjType::Text).unwrap();
    document.commit();
    document.splice_text(&text, 0, 0, &"no two runs alike, ünd so weiter. ".repeat(2_000)).unwrap();
    document.commit();
    document.splice_text(&text, 500, 40_000, "cut").unwrap();
    for number in 0..20_000_i64 {
        document.put(ROOT, format!("key {}", number % 7_000), number / 3).unwrap();
    }
    document.commit();

    for change in document.get_changes(&[]) {
        assert_same(&change);
    }
    assert_document(&mut document);
}

#[test]
fn a_thousand_heads_are_merged_by_the_next_ordinary_write() {
    let mut all = document(ADA);
    for number in 0..1_000_u64 {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let mut other = AutoCommit::new().with_actor(automerge::ActorId::from(id.as_slice()));
        other.put(ROOT, format!("key {number}"), number).unwrap();
        all.merge(&mut other).unwrap();
    }
    all.put(ROOT, "merged", true).unwrap();
    all.commit();

    let change = all.get_last_local_change().unwrap();

    assert_eq!(change.deps().len(), 1_000);
    assert_same(&change);
    assert_document(&mut all);
}

#[test]
fn an_empty_change_ends_before_it_starts() {
    let mut document = document(ADA);
    document.put(ROOT, "a", 1).unwrap();
    document.commit();
    document.empty_change(CommitOptions::default());
    let change = document.get_last_local_change().unwrap();

    let header = ChangeHeader::read(change.raw_bytes()).unwrap();

    assert_eq!((header.ops, header.start_op, header.max_op()), (0, 2, 1));
}

#[test]
fn a_compressed_change_is_refused_on_the_wire() {
    let mut document = document(ADA);
    document.put(ROOT, "long", "aaaa".repeat(200)).unwrap();
    document.commit();
    let mut change = document.get_last_local_change().unwrap();

    let refused = ChangeHeader::read(&change.bytes());

    assert_eq!(refused, Err(ChangeError::ChunkType { got: 2, expected: 1 }));
}

fn puts(ops: i64) -> Raw {
    Raw::puts(replica(ADA), 1, 1, vec![], ops)
}

fn column(number: u32, fault: Fault) -> Result<ChangeHeader, ChangeError> {
    Err(ChangeError::Column { column: number, fault })
}

fn read(raw: &Raw) -> Result<ChangeHeader, ChangeError> {
    ChangeHeader::read(&raw.chunk())
}

#[test]
fn the_reader_and_automerge_agree_on_a_change_made_by_hand() {
    let raw = puts(3);

    let header = read(&raw).unwrap();

    assert_eq!(header.hash, raw.hash());
    assert_eq!(header.ops, 3);
    assert_same(&Change::from_bytes(raw.chunk()).unwrap());
}

#[test]
fn a_change_counts_as_what_its_ops_cost_and_one_beyond_the_bound_is_refused() {
    // Each op puts under a key of one byte.
    let room = CHANGE_CHARGE_MAX - CHARGE_OF_CHANGE - CHARGE_OF_CHAIN - 200;
    let most = i64::try_from(room * KEY_BYTES_PER_BYTE / (CHARGE_OF_OP * KEY_BYTES_PER_BYTE + 1)).unwrap();
    assert!(puts(most).chunk().len() < 130);

    let header = read(&puts(most)).unwrap();
    assert_eq!(header.ops, most.unsigned_abs());
    assert!(header.charge > CHANGE_CHARGE_MAX - 3 * CHARGE_OF_OP, "{}", header.charge);
    for ops in [most + 4, 1_000_000] {
        let Err(ChangeError::TooCostly { got, max }) = read(&puts(ops)) else { panic!("{ops} ops are read") };
        assert!(got > max);
    }
}

#[test]
fn each_part_of_a_change_adds_to_its_charge() {
    let charge = |raw: &Raw| read(raw).unwrap().charge - raw.chunk().len() as u64;
    let plain = charge(&puts(10));
    let later = Raw { seq: 2, ..puts(10) };
    let makes = puts(10).with(ACTION, &[10, 0]);
    let predecessors = Raw { start_op: 100, ..puts(10) }
        .with(PREDECESSORS, &[10, 2])
        .with(PREDECESSOR_REPLICA, &[20, 0])
        .with(PREDECESSOR_COUNTER, &[20, 1]);
    let long_key = puts(10).with(KEY_TEXT, &[vec![10], prefixed(&[b'k'; 501])].concat());
    let merging = Raw { deps: vec![ChangeHash([1; 32]), ChangeHash([2; 32])], ..puts(10) };

    let others = Raw { start_op: 100, ..puts(10) };
    let others = others.with(PREDECESSORS, &[10, 1]).with(PREDECESSOR_COUNTER, &[10, 1]);
    let own = others.clone().with(PREDECESSOR_REPLICA, &[10, 0]);
    let of_ben = Raw { others: vec![replica(BEN).0.to_vec()], ..others.with(PREDECESSOR_REPLICA, &[10, 1]) };
    let many = u32::try_from(CHANGE_DEPS_MAX).unwrap();
    let dep = |number: u32| {
        ChangeHash(std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or(0)))
    };
    let most_heads = Raw { deps: (0..many).map(dep).collect(), ..puts(10) };

    assert_eq!(charge(&of_ben) - charge(&own), CHARGE_OF_REPLICA);
    let (many, squares) = (u64::from(many), u64::from(many * many));
    assert_eq!(charge(&most_heads) - plain, many * CHARGE_OF_DEPENDENCY + squares / DEPENDENCIES_PER_BYTE);
    assert_eq!(plain, CHARGE_OF_CHANGE + CHARGE_OF_CHAIN + 10 * CHARGE_OF_OP + 10 / KEY_BYTES_PER_BYTE);
    assert_eq!(plain - charge(&later), CHARGE_OF_CHAIN);
    assert_eq!(charge(&makes) - plain, 10 * CHARGE_OF_OBJECT);
    assert_eq!(charge(&predecessors) - plain, 20 * CHARGE_OF_PREDECESSOR);
    assert_eq!(charge(&long_key) - plain, 5_000 / KEY_BYTES_PER_BYTE);
    assert_eq!(charge(&merging) - plain, 2 * CHARGE_OF_DEPENDENCY);
}

/// Five ops with a predecessor each: of Ada, of Ben, and three of one of them, with one run of differences.
#[test]
fn a_run_of_references_names_its_largest_op_of_an_earlier_change() {
    let named = |start_op: u64, author: u8, counters: &[u8]| {
        let raw = Raw { start_op, others: vec![replica(BEN).0.to_vec()], ..puts(5) };
        let authors: &[u8] = if author == 0 { &[0x7e, 0, 1, 3, 0] } else { &[0x7f, 0, 4, 1] };
        let raw = raw.with(PREDECESSORS, &[5, 1]).with(PREDECESSOR_REPLICA, authors);
        let references = read(&raw.with(PREDECESSOR_COUNTER, counters))?.references;
        Ok(references.into_iter().collect::<BTreeMap<_, _>>())
    };
    let both = |own: u64, other: u64| Ok(BTreeMap::from([(replica(ADA), own), (replica(BEN), other)]));
    let not_earlier = column(PREDECESSOR_COUNTER, Fault::NotEarlier).map(|_| BTreeMap::new());
    let ascending = [5, 3]; // 3, 6, 9, 12, 15
    let consecutive = [5, 1]; // 1, 2, 3, 4, 5
    let descending = [0x7f, 15, 4, 0x7d]; // 15, 12, 9, 6, 3

    assert_eq!(named(100, 1, &ascending), both(3, 15));
    assert_eq!(named(100, 0, &ascending), both(15, 6));
    assert_eq!(named(100, 1, &descending), both(15, 12));
    assert_eq!(named(100, 0, &descending), both(15, 12));
    // The ops from 12 on are its own.
    assert_eq!(named(12, 0, &ascending), both(9, 6));
    assert_eq!(named(11, 0, &ascending), not_earlier);
    assert_eq!(named(15, 1, &ascending), not_earlier);
    assert_eq!(named(16, 0, &descending), both(15, 12));
    assert_eq!(named(15, 0, &descending), not_earlier);
    assert_eq!(named(4, 0, &consecutive), both(3, 2));
    assert_eq!(named(3, 0, &consecutive), both(1, 2));
    assert_eq!(named(2, 0, &consecutive), not_earlier);
}

#[test]
fn more_ops_than_any_change_may_have_end_the_reading() {
    let max = i64::try_from(CHANGE_OPS_MAX).unwrap();

    assert!(matches!(read(&puts(max)), Err(ChangeError::TooCostly { .. })));
    assert_eq!(read(&puts(max + 1)), Err(run_fault(KEY_TEXT)));
    assert_eq!(read(&puts(1 << 60)), Err(run_fault(KEY_TEXT)));
}

/// No row has them, and Automerge saves documents with some marks that it does not load again.
#[test]
fn tables_and_marks_are_refused() {
    for action in [6, 7] {
        assert_eq!(read(&puts(2).with(ACTION, &[2, action])), column(ACTION, Fault::OutOfRange));
    }
    let (expand, name) = (0x94, 0xa5);
    assert_eq!(read(&puts(2).with(expand, &[0, 2])), column(expand, Fault::Unknown));
    assert_eq!(read(&puts(2).with(name, &[2, 1, b'b'])), column(name, Fault::Unknown));
}

proptest! {
    #[test]
    fn a_merging_change_is_read_as_it_was_written(
        seq in 1u64..,
        start_op in 1u64..1 << 31,
        count in 0u8..200,
        time: i64,
    ) {
        let deps: Vec<_> = (0..count).map(|dep| ChangeHash([dep; 32])).collect();
        let merging = Merging { replica: ReplicaId([9; 32]), seq, start_op, deps };

        let chunk = merging.encode(time);

        let header = ChangeHeader::read(&chunk).unwrap();
        let Merging { replica, seq, start_op, deps } = merging;
        prop_assert_eq!((header.replica, header.seq, header.start_op), (replica, seq, start_op));
        prop_assert_eq!((header.ops, header.deps, header.time), (0, deps, time));
        let read = Change::from_bytes(chunk.clone()).unwrap();
        prop_assert_eq!(read.raw_bytes(), &chunk[..]);
    }
}

fn run_fault(column: u32) -> ChangeError {
    ChangeError::Column { column, fault: Fault::Run }
}

#[test]
fn runs_that_overflow_are_refused() {
    let twice = [sleb(i64::MAX), vec![1], sleb(i64::MAX), vec![2]].concat();
    let action = |run: Vec<u8>| puts(2).with(ACTION, &run);

    assert_eq!(read(&action(twice)), column(ACTION, Fault::Run));
    assert_eq!(read(&action([sleb(i64::MIN), vec![1]].concat())), column(ACTION, Fault::Truncated));
    assert_eq!(read(&action([sleb(0), uleb(u64::MAX)].concat())), column(ACTION, Fault::Run));
    assert_eq!(read(&action([sleb(0), uleb(0)].concat())), column(ACTION, Fault::Run));
    assert_eq!(read(&action([sleb(0), uleb(2)].concat())), column(ACTION, Fault::NotNormal));
    assert_eq!(read(&puts(2).with(INSERT, &uleb(u64::MAX))), column(INSERT, Fault::Run));
}

#[test]
fn columns_that_contradict_each_other_are_refused() {
    let rows = |got, expected| Fault::Rows { got, expected };

    assert_eq!(read(&puts(2).with(INSERT, &uleb(3))), column(INSERT, rows(3, 2)));
    assert_eq!(read(&puts(2).with(INSERT, &[])), column(INSERT, rows(0, 2)));
    assert_eq!(read(&puts(2).with(VALUE_META, &[3, 0])), column(VALUE_META, rows(3, 2)));
    assert_eq!(read(&puts(2).with(VALUE, b"x")), column(VALUE, rows(1, 0)));
    assert_eq!(read(&puts(2).with(VALUE_META, &[2, 0x16])), column(VALUE, rows(0, 2)));
    assert_eq!(read(&puts(2).with(KEY_TEXT, &[])), column(KEY_COUNTER, rows(0, 2)));
    assert_eq!(read(&puts(2).with(OBJECT_COUNTER, &[2, 1])), column(OBJECT_REPLICA, rows(0, 2)));
    assert_eq!(read(&puts(2).with(ACTION, &[2, 8])), column(ACTION, Fault::OutOfRange));
    assert_eq!(read(&puts(2).with(VALUE_META, &[2, 0x10])), column(VALUE_META, Fault::OutOfRange));
}

#[test]
fn predecessors_count_towards_the_limit() {
    let max = i64::try_from(CHANGE_OPS_MAX).unwrap();
    let with = |count: i64, each: i64| {
        let all = sleb(count * each);
        Raw { start_op: 1_000, ..puts(count) }
            .with(PREDECESSORS, &[sleb(count), uleb(each.unsigned_abs())].concat())
            .with(PREDECESSOR_REPLICA, &[all.clone(), vec![0]].concat())
            .with(PREDECESSOR_COUNTER, &[all, vec![1]].concat())
    };

    assert!(read(&with(10, 10)).is_ok());
    assert_eq!(read(&with(max, 2)), Err(run_fault(PREDECESSOR_REPLICA)));
    let claimed = puts(2).with(PREDECESSORS, &[sleb(2), uleb(u64::MAX)].concat());
    let fault = Fault::Rows { got: 0, expected: u64::MAX };
    assert_eq!(read(&claimed), column(PREDECESSOR_REPLICA, fault));
}

#[test]
fn long_keys_repeated_often_are_refused() {
    let ops = 1_000;
    let key = |bytes: usize| puts(ops).with(KEY_TEXT, &[sleb(ops), prefixed(&vec![b'k'; bytes])].concat());

    assert!(read(&key(30_000)).is_ok());
    assert!(matches!(read(&key(60_000)), Err(ChangeError::TooCostly { .. })));
    assert!(matches!(read(&key(70_000)), Err(ChangeError::TooMany { what: "bytes of keys", .. })));
    let claim = puts(2).with(KEY_TEXT, &[sleb(2), uleb(1_000_000_000)].concat());
    assert_eq!(read(&claim), column(KEY_TEXT, Fault::Truncated));
}

type Columns = Vec<(u32, Vec<u8>)>;

#[test]
fn column_tables_are_strict() {
    let raw = puts(2);
    let table = |change: &dyn Fn(&mut Columns)| {
        let mut raw = raw.clone();
        change(&mut raw.columns);
        read(&raw)
    };

    assert_eq!(table(&|columns| columns.swap(1, 2)), column(INSERT, Fault::OutOfOrder));
    let twice = table(&|columns| columns.insert(2, columns[1].clone()));
    assert_eq!(twice, column(INSERT, Fault::OutOfOrder));
    assert_eq!(table(&|columns| columns[1].0 |= 8), column(INSERT, Fault::Compressed));
    assert_eq!(table(&|columns| columns[1].0 = 0x35), column(0x35, Fault::Unknown));
    assert_eq!(table(&|columns| columns[1].1.clear()), column(INSERT, Fault::Empty));
}

#[test]
fn counters_and_replicas_stay_within_their_tables() {
    let late = Raw { start_op: OP_COUNTER_MAX - 1, ..puts(2) };
    let object = |replica: u8, counter: u64| {
        let counters = [sleb(2), uleb(counter)].concat();
        late.clone().with(OBJECT_REPLICA, &[2, replica]).with(OBJECT_COUNTER, &counters)
    };

    assert!(read(&object(0, OP_COUNTER_MAX - 2)).is_ok());
    assert_eq!(read(&object(1, 1)), column(OBJECT_REPLICA, Fault::OutOfRange));
    assert_eq!(read(&object(0, 0)), column(OBJECT_COUNTER, Fault::OutOfRange));
    assert_eq!(read(&object(0, 1 << 32)), column(OBJECT_COUNTER, Fault::OutOfRange));
    let element = |delta: i64| {
        let keys = object(0, 1).with(KEY_TEXT, &[]).with(KEY_REPLICA, &[2, 0]);
        keys.with(KEY_COUNTER, &[sleb(2), sleb(delta)].concat())
    };
    assert!(read(&element(1)).is_ok());
    assert_eq!(read(&element(-1)), column(KEY_COUNTER, Fault::OutOfRange));
    assert_eq!(read(&element(i64::MAX)), column(KEY_COUNTER, Fault::OutOfRange));
    assert_eq!(read(&element(1 << 31)), column(KEY_COUNTER, Fault::OutOfRange));
}

#[test]
fn runs_have_one_form() {
    let action = |run: &[u8]| read(&puts(2).with(ACTION, run));

    assert_eq!(action(&[1, 1, 1, 1]), column(ACTION, Fault::NotNormal));
    assert_eq!(action(&[0x7e, 1, 1]), column(ACTION, Fault::NotNormal));
    assert_eq!(action(&[0x7f, 1, 0x7f, 3]), column(ACTION, Fault::NotNormal));
    assert_eq!(action(&[0x82, 0, 1]), column(ACTION, Fault::Leb128));
    assert!(action(&[0x7e, 1, 0]).is_ok());
    assert_eq!(read(&puts(2).with(INSERT, &[1, 0, 1])), column(INSERT, Fault::NotNormal));
}

#[test]
fn fields_before_the_columns_are_strict() {
    let good = puts(2);
    let ben = replica(BEN).0.to_vec();
    let (low, high) = (peerbase_schema::ChangeHash([1; 32]), peerbase_schema::ChangeHash([2; 32]));
    let malformed = |fault: Fault| Err(ChangeError::Malformed(fault));

    let with = |change: &dyn Fn(&mut Raw)| {
        let mut raw = good.clone();
        change(&mut raw);
        read(&raw)
    };
    assert!(with(&|raw| raw.deps = vec![low, high]).is_ok());
    assert_eq!(with(&|raw| raw.deps = vec![high, low]), malformed(Fault::OutOfOrder));
    assert_eq!(with(&|raw| raw.deps = vec![low, low]), malformed(Fault::OutOfOrder));
    assert_eq!(with(&|raw| raw.actor = vec![7; 16]), Err(ChangeError::ReplicaId { got: 16 }));
    assert_eq!(with(&|raw| raw.seq = 0), Err(ChangeError::Zero { what: "seq" }));
    assert_eq!(with(&|raw| raw.start_op = 0), Err(ChangeError::Zero { what: "start op" }));
    for message in ["why", "++", " "] {
        assert_eq!(with(&|raw| raw.message = message.into()), Err(ChangeError::Message));
    }
    assert!(!read(&good).unwrap().continues);
    assert!(with(&|raw| raw.message = CONTINUES.into()).unwrap().continues);
    assert_eq!(with(&|raw| raw.others = vec![raw.actor.clone()]), malformed(Fault::OutOfOrder));
    assert_eq!(with(&|raw| raw.others = vec![ben.clone()]), malformed(Fault::Unused));
    assert_eq!(with(&|raw| raw.extra = vec![0]), Err(ChangeError::TrailingBytes { extra: 1 }));
    assert!(matches!(with(&|raw| raw.start_op = (1 << 32) - 2), Err(ChangeError::TooMany { .. })));
    assert!(matches!(with(&|raw| raw.start_op = u64::MAX), Err(ChangeError::TooMany { .. })));
    assert!(with(&|raw| raw.start_op = OP_COUNTER_MAX - 1).is_ok());
    assert!(with(&|raw| raw.start_op = OP_COUNTER_MAX).is_err());
}

#[test]
fn a_hundred_thousand_dependencies_are_refused() {
    let deps = (0..100_000_u32).map(|number| {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        peerbase_schema::ChangeHash(hash)
    });
    let raw = Raw::empty(replica(ADA), 1, 1, deps.collect());

    let refused = ChangeError::TooMany { what: "dependencies", got: 100_000, max: 4_096 };

    assert_eq!(read(&raw), Err(refused));
    let mut claim = uleb(u64::MAX);
    claim.extend([0; 40]);
    assert_eq!(ChangeHeader::read(&chunk(1, &claim)), Err(ChangeError::Malformed(Fault::Truncated)));
}

#[test]
fn frames_are_strict() {
    let good = puts(1).with(KEY_TEXT, &[0x7f, 1, b'k']);
    let good = good.with(ACTION, &[0x7f, 1]).with(VALUE_META, &[0x7f, 0]).with(PREDECESSORS, &[0x7f, 0]);
    let chunk = good.chunk();
    assert!(ChangeHeader::read(&chunk).is_ok());

    let trailing = [chunk.clone(), vec![0]].concat();
    assert_eq!(ChangeHeader::read(&trailing), Err(ChangeError::TrailingBytes { extra: 1 }));
    assert_eq!(ChangeHeader::read(b"PNG, not a chunk"), Err(ChangeError::Magic));
    let mut damaged = chunk.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(ChangeHeader::read(&damaged), Err(ChangeError::Checksum));
    assert_eq!(ChangeHeader::read(&chunk[..20]), Err(ChangeError::Malformed(Fault::Truncated)));
    let huge = testkit::raw::chunk(1, &vec![0; CHANGE_BYTES_MAX]);
    assert!(matches!(ChangeHeader::read(&huge), Err(ChangeError::TooLong { .. })));
}

#[test]
fn a_deflate_bomb_ends_at_the_budget() {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..300 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 400_000);
    // No replicas, no heads, no columns of changes, one deflated column of values.
    let table = [vec![0, 0, 0, 1], uleb(0x57 | 8), uleb(bomb.len() as u64)].concat();

    let refused = read_document(&chunk(0, &[table, bomb].concat()));

    assert_eq!(refused, Err(ChangeError::Column { column: 0x57, fault: Fault::Budget }));
}

#[test]
fn split_ends_after_the_first_error() {
    let good = Raw::empty(ReplicaId([1; 32]), 1, 1, vec![]).chunk();
    let stored = [good.clone(), b"damage".to_vec(), good].concat();

    let read: Vec<_> = split(&stored).map(|chunk| chunk.is_ok()).collect();

    assert_eq!(read, [true, false]);
}

#[test]
fn the_generator_reaches_every_kind_of_op() {
    let all: Vec<Edit> = (0..20)
        .flat_map(|kind| (0..40).map(move |a| Edit { person: 0, kind, a, b: 3 * a + 8, commit: true }))
        .collect();
    let mut document = play(&all);

    let actions: std::collections::BTreeSet<_> = document
        .get_changes(&[])
        .iter()
        .flat_map(|change| change.decode().operations)
        .map(|op| op.action_name())
        .collect();

    let expected = ["Delete", "Increment", "Make", "Put"];
    assert_eq!(actions.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

trait ActionName {
    fn action_name(&self) -> String;
}

impl ActionName for automerge::legacy::Op {
    fn action_name(&self) -> String {
        let action = format!("{:?}", self.action);
        action.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
    }
}
