//! Tables of a rebuild: the document judged by what it has, what is set aside, and what was received.

use peerbase_schema::document::Everything;

use crate::support::row::{Row, Unit, everything, with_tips};

#[test]
fn a_document_of_which_the_same_is_accepted_is_left_alone() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let stored = row.stored(&[&a1, &a2], &[&a2]);

    let known = everything(stored, Unit::default(), Unit::default());
    row.rebuild(known, "unchanged");
}

#[test]
fn what_lies_beyond_a_cut_is_set_aside() {
    let mut row = Row::new();
    let ([a1], [b1, b2, b3]) = (row.chain(["a1"], &[]), row.chain(["b1", "b2", "b3"], &[]));
    let stored = row.stored(&[&a1, &b1, &b2, &b3], &[&a1, &b3]);
    row.remove("removal", "ben", Some(&b1));

    let known = everything(stored, Unit::default(), Unit::default());
    let replacement = row.replacement(known, "now a1 b1, aside b2 b3, lost by BeyondCut");

    assert!(with_tips(&replacement.admitted).contains("b1"), "the writer's own signature, from the manifest");
    assert_eq!(replacement.set_aside.replicas, [b1.header.replica]);
}

#[test]
fn a_change_on_top_of_one_beyond_a_cut_is_set_aside_with_it() {
    let mut row = Row::new();
    let [b1] = row.chain(["b1"], &[]);
    let [a1] = row.chain(["a1"], &[&b1]);
    let [c1] = row.chain(["c1"], &[]);
    let stored = row.stored(&[&b1, &a1, &c1], &[&b1, &a1, &c1]);
    row.remove("removal", "ben", None);

    let known = everything(stored, Unit::default(), Unit::default());
    // Ada's own chain was cut short, so she must not continue it.
    row.replacement(known, "now c1, aside b1 a1, lost by BeyondCut, new incarnation");
}

#[test]
fn a_document_without_an_accepted_change_is_emptied() {
    let mut row = Row::new();
    let [b1] = row.chain(["b1"], &[]);
    let stored = row.stored(&[&b1], &[&b1]);
    row.remove("removal", "ben", None);

    let known = everything(stored, Unit::default(), Unit::default());
    row.replacement(known, "now nothing, aside b1, lost by BeyondCut");
}

#[test]
fn what_was_set_aside_is_restored_once_no_cut_ends_it() {
    let mut row = Row::new();
    let ([a1], [b1, b2]) = (row.chain(["a1"], &[]), row.chain(["b1", "b2"], &[]));
    let (stored, aside) = (row.stored(&[&a1, &b1], &[&a1, &b1]), row.stored(&[&b2], &[&b2]));

    let known = everything(stored, aside, Unit::default());
    row.replacement(known, "now a1 b1 b2");
}

#[test]
fn what_is_set_aside_stays_so_while_it_is_not_accepted() {
    let mut row = Row::new();
    let ([a1, a2], [b1, b2]) = (row.chain(["a1", "a2"], &[]), row.chain(["b1", "b2"], &[]));
    row.remove("removal", "ben", Some(&b1));
    let (stored, aside) = (row.stored(&[&a1, &b1], &[&a1, &b1]), row.stored(&[&b2], &[&b2]));
    let received = row.stored(&[&a2], &[&a2]);

    let known = everything(stored, aside, received);
    row.replacement(known, "now a1 b1 a2, aside b2");
}

#[test]
fn everything_accepted_had_and_set_aside_is_judged_with_what_a_peer_sends() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let ([b1], [c1]) = (row.chain(["b1"], &[&a2]), row.chain(["c1"], &[]));
    let (stored, aside) = (row.stored(&[&a1], &[&a1]), row.stored(&[&b1], &[&b1]));
    let received = row.stored(&[&a2, &c1], &[&a2]);

    let known = everything(stored, aside, received);
    // Nobody vouches for Cid's change: it is refused, and not set aside, for it was never accepted here.
    row.replacement(known, "now a1 a2 b1, refused by Unvouched");
}

#[test]
fn an_orphan_waits_aside_until_the_dependency_that_it_lacks_arrives() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let [b1] = row.chain(["b1"], &[&a1, &a2]);
    let known = Everything {
        is_damaged: true,
        ..everything(row.stored(&[&a1, &b1], &[&a1, &b1]), Unit::default(), Unit::default())
    };
    let replacement = row.replacement(known, "now a1, aside b1, lost by damage, new incarnation");
    assert_eq!(replacement.set_aside.lacks, [a2.header.hash]);
    assert!(replacement.set_aside.awaited().contains(&a2.header));

    let (stored, received) = (row.stored(&[&a1], &[&a1]), row.stored(&[&a2], &[&a2]));
    let known = everything(stored, replacement.set_aside.into(), received);
    row.replacement(known, "now a1 a2 b1");
}

#[test]
fn of_a_fork_that_no_cut_decides_the_branch_that_was_seen_first_stays() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);

    for (first, second) in [(&b2, &other), (&other, &b2)] {
        let stored = row.stored(&[&b1, first], &[first]);
        let received = row.stored(&[second], &[second]);
        let known = everything(stored, Unit::default(), received);
        row.rebuild(known, "unchanged, refused by Fork");
    }
    let (stored, aside) = (row.stored(&[&b1], &[&b1]), row.stored(&[&other], &[&other]));
    let received = row.stored(&[&b2], &[&b2]);
    let known = everything(stored, aside, received);
    row.replacement(known, "now b1 b2x, refused by Fork");
}

#[test]
fn of_a_fork_the_branch_that_a_cut_names_replaces_the_other() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&other));
    let stored = row.stored(&[&b1, &b2], &[&b2]);
    let received = row.stored(&[&other], &[&other]);

    let known = everything(stored, Unit::default(), received);
    row.replacement(known, "now b1 b2x, aside b2, lost by BeyondCut");
}

#[test]
fn a_chain_without_a_tip_below_its_cut_is_kept_and_signed_only_by_the_device_that_wrote_it() {
    let table = [
        (Row::new().judged_by_ben(), "now b1 b2, aside b3, lost by BeyondCut, new incarnation"),
        (Row::new(), "now nothing, aside b1 b2 b3, lost by Unvouched"),
    ];
    for (mut row, expected) in table {
        let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);
        let other = row.change("b3x", &[&b2]);
        let stored = row.stored(&[&b1, &b2, &b3], &[&b3]);
        // The cut names a branch that is not here, so its tip vouches for nothing that is.
        row.remove("removal", "ben", Some(&other));
        let known = everything(stored, Unit::default(), Unit::default());

        if expected.starts_with("now nothing") {
            row.replacement(known, expected);
        } else {
            let replacement = row.replacement(known, expected);
            assert_eq!(with_tips(&replacement.admitted).into_iter().collect::<Vec<_>>(), ["b2"]);
            let tip = replacement.admitted[1].tip.unwrap();
            let document = row.document();
            assert!(tip.verify(document.group, document.document).is_ok(), "Ben's device signed it now");
        }
    }
}

#[test]
fn a_device_whose_chain_of_another_incarnation_is_cut_short_goes_on_under_its_own() {
    let mut row = Row::new().judged_by_ben();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    row.remove("removal", "ben", Some(&b1));
    let stored = row.stored(&[&b1, &b2], &[&b2]);

    let known = Everything { incarnation: 5, ..everything(stored, Unit::default(), Unit::default()) };
    row.replacement(known, "now b1, aside b2, lost by BeyondCut");
}

#[test]
fn a_damaged_document_is_replaced_by_what_is_intact_and_what_a_peer_has() {
    let mut row = Row::new();
    let [a1, a2, a3] = row.chain(["a1", "a2", "a3"], &[]);
    let (stored, received) = (row.stored(&[&a3], &[&a3]), row.stored(&[&a1, &a2], &[&a2]));

    let known = Everything { is_damaged: true, ..everything(stored, Unit::default(), received) };
    row.replacement(known, "now a1 a2 a3, lost by damage, new incarnation");
}

#[test]
fn a_damaged_document_is_not_emptied_for_a_unit_of_which_nothing_is_accepted() {
    let mut row = Row::new();
    let [_, a2] = row.chain(["a1", "a2"], &[]);
    let damaged = |row: &Row, received| Everything {
        is_damaged: true,
        ..everything(row.stored(&[&a2], &[&a2]), Unit::default(), received)
    };

    let unvouched = row.stored(&[&row.change("c1", &[])], &[]);
    let known = damaged(&row, unvouched);
    row.rebuild(known, "unchanged, refused by Unvouched");

    let known = damaged(&row, Unit::default());
    row.replacement(known, "now nothing, aside a2, lost by damage, new incarnation");
}

#[test]
fn a_roster_that_arrives_while_changes_are_applied_decides_the_next_rebuild() {
    let mut row = Row::new();
    let ([a1], [b1], [c1]) = (row.chain(["a1"], &[]), row.chain(["b1"], &[]), row.chain(["c1"], &[]));
    let (stored, received) = (row.stored(&[&a1, &b1], &[&a1, &b1]), row.stored(&[&c1], &[&c1]));
    let known = everything(stored, Unit::default(), received);

    row.replacement(known, "now a1 b1 c1");

    row.remove("removal", "ben", None);
    let stored = row.stored(&[&a1, &b1, &c1], &[&a1, &b1, &c1]);
    let known = everything(stored, Unit::default(), Unit::default());
    row.replacement(known, "now a1 c1, aside b1, lost by BeyondCut");
}

#[test]
fn a_change_by_an_unknown_author_is_set_aside_until_the_roster_arrives() {
    let admitted = Row::new();
    let [c1] = admitted.chain(["c1"], &[]);
    let mut row = Row::without_cid();
    let [a1] = row.chain(["a1"], &[]);
    let stored = admitted.stored(&[&a1, &c1], &[&a1, &c1]);
    let known = everything(stored, Unit::default(), Unit::default());
    let replacement = row.replacement(known, "now a1, aside c1, lost by UnknownAuthor");

    row.admit_cid();
    let stored = row.stored(&[&a1], &[&a1]);
    let known = everything(stored, replacement.set_aside.into(), Unit::default());
    row.replacement(known, "now a1 c1");
}
