//! Pins the behaviour of Automerge 0.12 without each of our checks: the reason for each check.
//!
//! A test here that fails after an upgrade is good news: read it, then see whether the check is still needed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::Transactable;
use automerge::{AutoCommit, AutomergeError, Change, ROOT, ReadDoc};
use peerbase_schema::ChangeHash;
use peerbase_schema::change::{ChangeError, ChangeHeader, Fault};
use testkit::raw::*;
use testkit::{ADA, BEN, replica};

use crate::support::from_automerge;
use crate::support::history::document;

fn one(seq: u64, start_op: u64, deps: Vec<ChangeHash>) -> Raw {
    let raw = Raw::puts(replica(ADA), seq, start_op, deps, 1);
    raw.with(KEY_TEXT, &[0x7f, 1, b'k'])
        .with(ACTION, &[0x7f, 1])
        .with(VALUE_META, &[0x7f, 0])
        .with(PREDECESSORS, &[0x7f, 0])
}

fn parse(raw: &Raw) -> Change {
    Change::from_bytes(raw.chunk()).unwrap()
}

/// Applies changes one after the other; `None` when Automerge panicked.
fn apply(raws: &[&Raw]) -> Option<(Result<(), AutomergeError>, AutoCommit)> {
    let changes: Vec<_> = raws.iter().map(|raw| parse(raw)).collect();
    catch_unwind(AssertUnwindSafe(|| {
        let mut ben = document(BEN);
        let mut result = Ok(());
        for change in changes {
            result = result.and_then(|()| ben.apply_changes([change]));
        }
        (result, ben)
    }))
    .ok()
}

/// Automerge keeps ops, not bytes: it encodes a change again on request.
fn comes_back(raw: &Raw, document: &mut AutoCommit) -> bool {
    let back = catch_unwind(AssertUnwindSafe(|| document.get_changes(&[])));
    back.is_ok_and(|changes| changes.iter().any(|change| change.raw_bytes() == raw.chunk()))
}

/// Returns true if a saved document can be loaded.
fn loads(document: &mut AutoCommit) -> bool {
    catch_unwind(AssertUnwindSafe(|| AutoCommit::load(&document.save()).is_ok())).unwrap_or(false)
}

#[test]
fn c2_a_missing_dependency_is_queued_for_ever() {
    let orphan = one(1, 1, vec![ChangeHash([9; 32])]);

    let (result, mut ben) = apply(&[&orphan]).unwrap();

    assert!(result.is_ok());
    assert!(ben.get_heads().is_empty());
    assert_eq!(
        ben.get_missing_deps(&[]).into_iter().map(from_automerge).collect::<Vec<_>>(),
        [ChangeHash([9; 32])]
    );
}

#[test]
fn c3_a_sequence_gap_panics() {
    let first = one(1, 1, vec![]);

    assert!(apply(&[&one(2, 1, vec![])]).is_none());
    assert!(apply(&[&first, &one(3, 2, vec![first.hash()])]).is_none());
}

#[test]
fn c4_a_chain_without_direct_links_is_accepted() {
    let first = one(1, 1, vec![]);

    let (result, mut ben) = apply(&[&first, &one(2, 2, vec![])]).unwrap();

    assert!(result.is_ok());
    assert_eq!(
        ben.get_heads().len(),
        2,
        "one replica, two heads: a tip over one proves nothing of the other"
    );
}

#[test]
fn c5_ops_that_do_not_follow_are_accepted() {
    let first = one(1, 1, vec![]);

    for start_op in [77, (1 << 32) - 2] {
        let second = one(2, start_op, vec![first.hash()]);
        let (result, _) = apply(&[&first, &second]).unwrap();
        assert!(result.is_ok(), "start op {start_op}");
    }
}

#[test]
fn c5_op_counters_used_twice_spoil_the_document() {
    let first = one(1, 1, vec![]);
    let second = one(2, 1, vec![first.hash()]);

    // A debug build notices and panics.
    if let Some((_, mut ben)) = apply(&[&first, &second]) {
        assert!(!loads(&mut ben) || !comes_back(&second, &mut ben));
    }
}

#[test]
fn c5_the_last_counter_ends_all_writing() {
    let (_, mut ben) = apply(&[&one(1, (1 << 32) - 1, vec![])]).unwrap();

    let write = catch_unwind(AssertUnwindSafe(|| {
        ben.put(ROOT, "b", 1).unwrap();
        ben.commit();
    }));

    assert!(write.is_err());
}

#[test]
fn c6_a_second_change_at_one_place_fails_the_whole_batch() {
    let first = one(1, 1, vec![]);
    let second = Raw { time: 1, ..first.clone() };
    let honest = Raw { actor: replica(BEN).0.to_vec(), ..first.clone() };
    let batch = [parse(&honest), parse(&first), parse(&second)];

    let mut cid = AutoCommit::new();
    let result = cid.apply_changes(batch);

    assert!(matches!(result, Err(AutomergeError::DuplicateSeqNumber(1, _))));
    assert!(cid.get_heads().is_empty(), "the honest change went with it");
}

#[test]
fn c7_any_number_of_dependencies_and_any_replica_id_parse() {
    let deps = (0..100_000_u32).map(|number| {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        ChangeHash(hash)
    });
    let change = parse(&Raw { actor: vec![7; 3], ..one(1, 1, deps.collect()) });

    assert_eq!(change.deps().len(), 100_000);
    assert_eq!(change.actor_id().to_bytes(), [7; 3]);
}

#[test]
fn a_hundred_bytes_become_a_hundred_thousand_ops() {
    let raw = Raw::puts(replica(ADA), 1, 1, vec![], 100_000);

    assert!(raw.chunk().len() < 130);
    assert_eq!(parse(&raw).len(), 100_000);
}

#[test]
fn a_hundred_bytes_become_a_hundred_thousand_predecessors() {
    let raw = one(1, 1, vec![])
        .with(PREDECESSORS, &[sleb(-1), uleb(100_000)].concat())
        .with(PREDECESSOR_REPLICA, &[sleb(100_000), vec![0]].concat())
        .with(PREDECESSOR_COUNTER, &[sleb(100_000), vec![1]].concat());

    assert_eq!(parse(&raw).decode().operations[0].pred.iter().count(), 100_000);
}

#[test]
fn a_wrong_checksum_parses() {
    let mut chunk = one(1, 1, vec![]).chunk();
    chunk[4] ^= 1;

    assert!(Change::from_bytes(chunk.clone()).is_ok());
    assert_eq!(ChangeHeader::read(&chunk), Err(ChangeError::Checksum));
}

#[test]
fn counters_above_32_bits_panic_while_parsing() {
    let object = one(1, 1, vec![]).with(OBJECT_REPLICA, &[0x7f, 0]);
    let object = object.with(OBJECT_COUNTER, &[vec![0x7f], uleb(1 << 32)].concat());

    assert!(catch_unwind(|| Change::from_bytes(object.chunk())).is_err());
    let refused = ChangeError::Column { column: OBJECT_COUNTER, fault: Fault::OutOfRange };
    assert_eq!(ChangeHeader::read(&object.chunk()), Err(refused));
}

#[test]
fn an_index_outside_the_table_of_replicas_panics_when_applied() {
    let stranger = one(1, 1, vec![]).with(OBJECT_REPLICA, &[0x7f, 3]).with(OBJECT_COUNTER, &[0x7f, 1]);

    assert!(apply(&[&stranger]).is_none());
}

#[test]
fn a_change_in_another_form_spoils_the_saved_document() {
    let usual = Raw::puts(replica(ADA), 1, 1, vec![], 2);
    let others: [(&str, Raw); 4] = [
        ("runs that could be one", usual.clone().with(ACTION, &[0x7e, 1, 1])),
        ("a column unknown to it", usual.clone().with(0xc2, &[2, 1])),
        (
            "an empty column",
            Raw { columns: [usual.columns.clone(), vec![(0xa5, vec![])]].concat(), ..usual.clone() },
        ),
        ("an unused replica", Raw { others: vec![replica(BEN).0.to_vec()], ..usual.clone() }),
    ];

    let (_, mut fine) = apply(&[&usual]).unwrap();
    assert!(comes_back(&usual, &mut fine));
    assert!(loads(&mut fine));
    for (form, raw) in others {
        assert!(ChangeHeader::read(&raw.chunk()).is_err(), "{form}");
        match apply(&[&raw]) {
            None => {} // an unknown replica: panics at once
            Some((result, mut ben)) => {
                result.unwrap();
                assert!(!comes_back(&raw, &mut ben), "{form}");
                assert!(!loads(&mut ben), "{form}");
            }
        }
    }
}

/// Beyond a reader's reach, hence the shell's duty: `catch_unwind`, and a look whether the change comes back.
#[test]
fn ops_that_make_no_sense_pass_the_reader_and_hurt_automerge() {
    let list = one(1, 1, vec![]).with(ACTION, &[0x7f, 2]);
    let behind_the_list = Raw { actor: replica(BEN).0.to_vec(), ..one(1, 2, vec![list.hash()]) }
        .inserts_into(replica(ADA), 1)
        .behind(1);
    assert!(ChangeHeader::read(&behind_the_list.chunk()).is_ok());
    assert!(apply(&[&list, &behind_the_list]).is_none(), "panics");

    let another_field = Raw::replaces_another_field(replica(ADA));
    assert!(ChangeHeader::read(&another_field.chunk()).is_ok());
    let (result, mut ben) = apply(&[&another_field]).unwrap();
    assert!(result.is_ok());
    assert!(!comes_back(&another_field, &mut ben), "is not what was signed any more");
    assert!(!loads(&mut ben), "spoils the saved document");
}

#[test]
fn damage_in_an_increment_is_swallowed() {
    let mut ben = document(BEN);
    ben.put(ROOT, "a", 1).unwrap();
    ben.commit();
    let mut damaged = one(1, 1, vec![]).chunk();
    damaged[4] ^= 1;

    #[allow(clippy::disallowed_methods, reason = "shown to be unfit")]
    let loaded = ben.load_incremental(&damaged);

    assert_eq!(loaded.ok(), Some(0));
    assert_eq!(ben.keys(ROOT).count(), 1);
}
