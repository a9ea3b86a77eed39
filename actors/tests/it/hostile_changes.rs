//! Changes that pass every check and still hurt Automerge: the replica says so, and nothing of them is kept.

use peerbase_actors::node::group::replica::{ApplyError, Replica};
use schema::change::ChangeHeader;
use testkit::raw::*;
use testkit::{ADA, replica};

fn one() -> Raw {
    Raw::puts(replica(ADA), 1, 1, Vec::new(), 1)
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

#[test]
fn a_change_that_makes_automerge_panic_breaks_the_replica_alone() {
    let odd = Raw::puts_into_a_value(replica(ADA));
    assert!(ChangeHeader::read(&odd.chunk()).is_ok(), "the reader does not see it");
    let mut ben = Replica::new();

    let applied = ben.apply(&[odd.chunk()]);

    assert!(matches!(applied, Err(ApplyError::Document { .. })), "{applied:?}");
    assert!(ben.is_broken());
}
