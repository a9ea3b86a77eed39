//! Changes that pass every check and still hurt Automerge: the replica says so, and nothing of them is kept.

use peerbase_actors::node::group::replica::{ApplyError, Replica};
use schema::change::ChangeHeader;
use testkit::raw::*;
use testkit::{ADA, BEN, replica};

fn one() -> Raw {
    one_of(ADA)
}

fn one_of(person: u8) -> Raw {
    Raw::puts(replica(person), 1, 1, Vec::new(), 1)
        .with(KEY_TEXT, &[0x7f, 1, b'k'])
        .with(ACTION, &[0x7f, 1])
        .with(VALUE_META, &[0x7f, 0])
        .with(PREDECESSORS, &[0x7f, 0])
}

#[test]
fn a_usual_change_is_applied() {
    let mut ben = Replica::new();
    ben.apply(&[one().chunk()]).unwrap();
    assert!(!ben.is_broken());
}

#[test]
fn a_change_that_would_not_come_back_as_it_went_breaks_the_replica() {
    let odd = Raw::replaces_another_field(replica(ADA));
    assert!(ChangeHeader::read(&odd.chunk()).is_ok(), "the reader does not see it");
    let mut ben = Replica::new();

    let applied = ben.apply(&[odd.chunk()]);

    assert!(matches!(applied, Err(ApplyError::Document { .. })), "{applied:?}");
    assert!(ben.is_broken());
}

/// Automerge would apply it, and spoil the next change that replaces the last field of the map.
#[test]
fn a_change_that_takes_a_map_for_a_list_is_not_applied() {
    let map = one().with(ACTION, &[0x7f, 0]);
    let list = one().with(ACTION, &[0x7f, 2]);
    let insert = |into: &Raw| {
        Raw { start_op: 2, deps: vec![into.hash()], ..one_of(BEN) }.inserts_into(replica(ADA), 1)
    };

    for in_one_batch in [false, true] {
        let mut ben = Replica::new();
        let applied = match in_one_batch {
            true => ben.apply(&[insert(&map).chunk(), map.chunk()]),
            false => ben.apply(&[map.chunk()]).and_then(|()| ben.apply(&[insert(&map).chunk()])),
        };
        assert!(matches!(applied, Err(ApplyError::Document { .. })), "{applied:?}");
        assert!(!ben.is_broken());
        let mut ben = Replica::new();
        match in_one_batch {
            true => ben.apply(&[insert(&list).chunk(), list.chunk()]).unwrap(),
            false => {
                ben.apply(&[list.chunk()]).unwrap();
                ben.apply(&[insert(&list).chunk()]).unwrap();
            }
        }
    }
}

#[test]
fn a_change_that_makes_automerge_panic_breaks_the_replica_alone() {
    let list = one().with(ACTION, &[0x7f, 2]);
    let odd = Raw { start_op: 2, deps: vec![list.hash()], ..one_of(BEN) };
    let odd = odd.inserts_into(replica(ADA), 1).behind(1); // behind the op that made the list
    assert!(ChangeHeader::read(&odd.chunk()).is_ok(), "the reader does not see it");
    let mut ben = Replica::new();
    ben.apply(&[list.chunk()]).unwrap();

    let applied = ben.apply(&[odd.chunk()]);

    assert!(matches!(applied, Err(ApplyError::Document { .. })), "{applied:?}");
    assert!(ben.is_broken());
}
