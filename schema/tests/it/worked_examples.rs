//! The worked examples of authority 3.4, by name, over signed ops. F is a founder, O an Owner; A is senior to
//! B, B to C.

use std::collections::BTreeSet;

use peerbase_schema::ledger::OpStatus::{Counts, Superseded, Void};
use peerbase_schema::ledger::Role::{Admin, Founder, None, Owner, Reader, Writer};
use peerbase_schema::ledger::{Body, By, Role};
use peerbase_schema::signed::Signed;

use crate::support::world::{CUT, World, key, set_role, user};

impl World {
    fn op(&mut self, name: &'static str, author: &str, target: &str, role: Role, parents: &[&str]) {
        self.admit_on(name, author, set_role(target, role), parents).expect("valid in its own past");
    }

    fn refused(&mut self, author: &str, target: &str, role: Role, parents: &[&str]) -> u8 {
        match self.admit_on("refused", author, set_role(target, role), parents) {
            Err(peerbase_schema::ledger::Refusal::Invalid { why, .. }) => why.clause(),
            other => panic!("{other:?}"),
        }
    }

    fn roles<const N: usize>(&self, names: [&str; N]) -> [Role; N] {
        names.map(|name| self.role(name))
    }

    fn statuses<const N: usize>(&self, names: [&str; N]) -> [peerbase_schema::ledger::OpStatus; N] {
        names.map(|name| self.status(name))
    }
}

#[test]
fn w1_of_two_equals_who_remove_each_other_the_senior_stays() {
    let mut world = World::with(&["F"], &[("A", Admin), ("B", Admin)]);

    world.op("a removes b", "A", "B", None, &["base"]);
    world.op("b removes a", "B", "A", None, &["base"]);

    assert_eq!(world.roles(["A", "B"]), [Admin, None]);
    assert_eq!(world.statuses(["a removes b", "b removes a"]), [Counts, Void]);
}

#[test]
fn w2_of_a_cycle_only_the_one_removed_by_a_removed_stays() {
    let mut world = World::with(&["F"], &[("A", Admin), ("B", Admin), ("C", Admin)]);

    world.op("a removes b", "A", "B", None, &["base"]);
    world.op("b removes c", "B", "C", None, &["base"]);
    world.op("c removes a", "C", "A", None, &["base"]);

    assert_eq!(world.roles(["A", "B", "C"]), [None, None, Admin]);
    assert_eq!(world.statuses(["a removes b", "b removes c", "c removes a"]), [Counts, Void, Counts]);
}

#[test]
fn w3_members_that_a_demoted_admin_adds_concurrently_are_none() {
    let mut world = World::with(&["F"], &[("O", Owner), ("A", Admin)]);

    world.op("demote", "O", "A", Writer, &["base"]);
    world.op("a adds q", "A", "Q", Admin, &["base"]);
    world.op("q adds p", "Q", "P", Writer, &["a adds q"]);

    assert_eq!(world.roles(["A", "Q", "P"]), [Writer, None, None]);
    assert_eq!(world.statuses(["demote", "a adds q", "q adds p"]), [Counts, Void, Void]);
}

#[test]
fn w3b_a_demotion_leaves_the_ops_that_its_author_had_seen() {
    let mut world = World::with(&["F"], &[("O", Owner), ("A", Admin)]);

    world.op("a adds q", "A", "Q", Admin, &["base"]);
    world.op("demote", "O", "A", Writer, &["a adds q"]);
    world.op("q adds p", "Q", "P", Writer, &["a adds q"]);

    assert_eq!(world.roles(["A", "Q", "P"]), [Writer, Admin, Writer]);
}

#[test]
fn w4_the_op_of_the_higher_role_supersedes() {
    let mut world = World::with(&["F"], &[("A", Admin), ("Z", Writer)]);

    world.op("promote", "F", "Z", Owner, &["base"]);
    world.op("remove", "A", "Z", None, &["base"]);

    assert_eq!(world.roles(["A", "Z"]), [Admin, Owner]);
    assert_eq!(world.statuses(["promote", "remove"]), [Counts, Superseded]);
}

#[test]
fn w4b_at_equal_role_the_lowest_result_wins() {
    let mut world = World::with(&["F"], &[("A", Admin), ("B", Admin), ("Z", Writer)]);

    world.op("promote", "A", "Z", Admin, &["base"]);
    world.op("remove", "B", "Z", None, &["base"]);

    assert_eq!(world.role("Z"), None);
    assert_eq!(world.statuses(["promote", "remove"]), [Counts, Counts]);
}

#[test]
fn w5_a_contested_removal_is_final_once_confirmed() {
    let mut world = World::with(&["F"], &[("O", Owner), ("A", Admin), ("B", Admin)]);

    world.op("b removes a", "B", "A", None, &["base"]);
    assert_eq!(world.roles(["A", "B"]), [None, Admin]);

    world.op("a contests", "A", "B", None, &["base"]);
    assert_eq!(world.roles(["A", "B"]), [Admin, None]);
    assert_eq!(world.status("b removes a"), Void);

    world.op("confirm", "O", "A", None, &["b removes a"]);
    assert_eq!(world.roles(["A", "B"]), [None, Admin]);
    assert_eq!(world.statuses(["b removes a", "a contests", "confirm"]), [Counts, Void, Counts]);
}

#[test]
fn w6_backdated_ops_of_a_removed_admin_are_void_or_refused() {
    let mut world = World::founded(&["F"]);
    world.op("o", "F", "O", Owner, &["G"]);
    world.op("m", "F", "M", Admin, &["o"]);
    world.op("b", "F", "B", Admin, &["m"]);
    world.op("z", "F", "Z", Writer, &["b"]);

    world.op("removal", "O", "M", None, &["z"]);
    assert_eq!(world.refused("M", "B", None, &["m"]), 3);
    assert_eq!(world.refused("M", "O", None, &["z"]), 3);
    assert_eq!(world.refused("M", "B", None, &["removal"]), 2);
    world.op("m removes b", "M", "B", None, &["b"]);
    world.op("puppet", "M", "S", Admin, &["m"]);
    world.op("puppet removes z", "S", "Z", None, &["puppet", "z"]);

    assert_eq!(world.roles(["O", "M", "B", "Z", "S"]), [Owner, None, Admin, Writer, None]);
    assert_eq!(world.statuses(["m removes b", "puppet", "puppet removes z"]), [Void, Void, Void]);
}

#[test]
fn w7_a_removal_backdated_to_before_a_promotion_has_no_effect() {
    let mut world = World::founded(&["F"]);
    world.op("m", "F", "M", Admin, &["G"]);
    world.op("z", "F", "Z", Writer, &["m"]);
    world.op("promote", "F", "Z", Owner, &["z"]);

    world.op("backdated", "M", "Z", None, &["z"]);

    assert_eq!(world.role("Z"), Owner);
    assert_eq!(world.status("backdated"), Superseded);
}

#[test]
fn w8_a_recovery_founder_takes_the_group_back_from_a_thief() {
    let mut world = World::with(&["R", "F"], &[("A", Admin)]);

    world.op("thief removes a", "F", "A", None, &["base"]);
    world.op("recovery", "R", "F", None, &["base"]);
    world.op("thief adds x", "F", "X", Owner, &["base"]);
    assert_eq!(world.refused("F", "R", None, &["base"]), 3);

    assert_eq!(world.roles(["R", "F", "A", "X"]), [Founder, None, Admin, None]);
    assert_eq!(world.statuses(["thief removes a", "recovery", "thief adds x"]), [Void, Counts, Void]);
}

#[test]
fn w9_an_old_grant_stays_void_beside_a_new_one() {
    let mut world = World::with(&["F"], &[("A", Admin), ("M", Admin)]);

    world.op("remove", "F", "M", None, &["base"]);
    world.op("add again", "F", "M", Admin, &["remove"]);
    world.op("under the old grant", "M", "Q", Writer, &["base"]);
    world.op("under the new grant", "M", "P", Writer, &["add again"]);

    assert_eq!(world.roles(["M", "Q", "P"]), [Admin, None, Writer]);
    assert_eq!(world.statuses(["under the old grant", "under the new grant"]), [Void, Counts]);
}

#[test]
fn w10_a_removal_by_somebody_removed_meanwhile_is_void() {
    let mut world = World::with(&["F"], &[("A", Admin), ("Z", Writer)]);

    world.op("a removes z", "A", "Z", None, &["base"]);
    world.op("f removes a", "F", "A", None, &["base"]);

    assert_eq!(world.roles(["A", "Z"]), [None, Writer]);
    assert_eq!(world.statuses(["a removes z", "f removes a"]), [Void, Counts]);
}

/// O is an Owner, M is senior to A, A adds P; M backdates the removal of A.
fn vandalised() -> World {
    let mut world = World::with(&["F"], &[("O", Owner), ("M", Admin), ("A", Admin)]);
    world.op("a adds p", "A", "P", Reader, &["base"]);
    world.op("vandal", "M", "A", None, &["base"]);
    assert_eq!(world.roles(["A", "P"]), [None, None]);
    world
}

#[test]
fn w11_a_removal_leaves_the_vandalism_that_its_author_has_seen() {
    let mut world = vandalised();

    world.op("plain", "O", "M", None, &["a adds p", "vandal"]);

    assert_eq!(world.roles(["M", "A", "P"]), [None, None, None]);
    assert_eq!(world.statuses(["a adds p", "vandal", "plain"]), [Void, Counts, Counts]);
}

#[test]
fn w11b_a_removal_as_of_before_the_vandalism_undoes_it() {
    let mut world = vandalised();
    let rejected = BTreeSet::from([world.names["vandal"]]);

    let removal = Body::SetRole { user: user("M"), role: None, cut: Some(CUT), via: Option::None };
    let draft = world.ledger.draft_without(&rejected, user("O"), By::User, removal).unwrap();
    world.ledger.admit(Signed::sign(draft, &key("O")).envelope().clone()).unwrap();

    assert_eq!(world.roles(["M", "A", "P"]), [None, Admin, Reader]);
    assert_eq!(world.statuses(["a adds p", "vandal"]), [Counts, Void]);
}
