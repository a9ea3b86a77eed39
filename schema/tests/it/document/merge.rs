//! Tables of a merge: a unit that a peer sent, or changes of this device, on top of what is accepted.

use peerbase_schema::document::{Awaited, Index, Merged, Refusal, Standing};

use crate::support::row::{Row, admitted_names, forged, index, kind, with_tips};

#[test]
fn a_vouched_chain_is_admitted_in_order() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let unit = row.unit(&Index::new(), &[&a2, &a1], &[&a2]);

    row.merge(&Index::new(), unit, "grown by a1 a2");
}

#[test]
fn an_accepted_change_of_this_device_is_signed_as_peers_will_ask_for_it() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let (have, author) = (index(&[&a1]), row.author("a2"));

    let admitted = row.merge_own(&have, &[&a2]).expect("it is accepted");

    assert_eq!(admitted_names(&admitted), "a2");
    assert_eq!((admitted[0].author, admitted[0].tip), (author, Some(row.tip(&a2))));
}

#[test]
fn a_change_of_this_device_that_peers_would_refuse_is_refused() {
    let mut row = Row::new().judged_by_ben();
    let [b1] = row.chain(["b1"], &[]);
    row.remove("removal", "ben", None);

    let refusal = row.merge_own(&Index::new(), &[&b1]).unwrap_err();

    assert_eq!(kind(&refusal), "BeyondCut");
}

#[test]
fn changes_that_this_device_makes_at_once_are_accepted_together_or_not_at_all() {
    let mut row = Row::new().judged_by_ben();
    let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);
    let have = index(&[&b1]);

    let admitted = row.merge_own(&have, &[&b2, &b3]).expect("they are accepted");
    assert_eq!(admitted_names(&admitted), "b2 b3");

    row.remove("removal", "ben", Some(&b2));
    let refusal = row.merge_own(&have, &[&b2, &b3]).unwrap_err();
    assert_eq!(kind(&refusal), "BeyondCut");
    let admitted = row.merge_own(&have, &[&b2]).expect("the cut leaves it");
    assert_eq!(admitted_names(&admitted), "b2");
}

#[test]
fn a_unit_that_is_known_already_changes_nothing() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let have = index(&[&a1, &a2]);
    let unit = row.unit(&have, &[&a1, &a2], &[&a2]);

    row.merge(&have, unit, "unchanged");
}

#[test]
fn a_tip_counts_only_beside_its_change() {
    let mut row = Row::new();
    let [a1] = row.chain(["a1"], &[]);
    let have = Index::new();

    let tip_before = row.unit(&have, &[], &[&a1]);
    row.merge(&have, tip_before, "unchanged");
    let change_alone = row.unit(&have, &[&a1], &[]);
    row.merge(&have, change_alone, "unchanged, refused by Unvouched");
    let both = row.unit(&have, &[&a1], &[&a1]);
    row.merge(&have, both, "grown by a1");
}

#[test]
fn changes_beyond_the_newest_tip_wait_for_their_own() {
    let mut row = Row::new();
    let [a1, a2, a3] = row.chain(["a1", "a2", "a3"], &[]);
    let unit = row.unit(&Index::new(), &[&a1, &a2, &a3], &[&a2]);
    row.merge(&Index::new(), unit, "grown by a1 a2, refused by Unvouched");

    let have = index(&[&a1, &a2]);
    let unit = row.unit(&have, &[&a3], &[&a3]);
    row.merge(&have, unit, "grown by a3");
}

#[test]
fn an_older_tip_holds_the_part_of_a_chain_that_the_newest_loses() {
    let mut row = Row::new();
    let [a1, a2, mut a3] = row.chain(["a1", "a2", "a3"], &[]);
    a3.header.start_op = 9;
    let changes = [&a1, &a2, &a3];

    let alone = row.unit(&Index::new(), &changes, &[&a3]);
    row.merge(&Index::new(), alone, "unchanged, refused by Unvouched");
    let with_older = row.unit(&Index::new(), &changes, &[&a2, &a3]);
    row.merge(&Index::new(), with_older, "grown by a1 a2, refused by StartOp");
}

#[test]
fn an_older_tip_is_kept() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let unit = row.unit(&Index::new(), &[&a1, &a2], &[&a1, &a2]);

    let end = row.merge(&Index::new(), unit, "grown by a1 a2");

    let Merged::Grown { admitted, .. } = end else { panic!("it has grown") };
    assert_eq!(with_tips(&admitted).into_iter().collect::<Vec<_>>(), ["a1", "a2"]);
}

/// Thousands of them were once verified while the unit was judged, and nobody was at fault.
#[test]
fn a_forged_older_tip_refuses_its_unit() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let tips = [forged(row.tip(&a1)), row.tip(&a2)];

    let refusal = row.unit_with(&Index::new(), &[&a1, &a2], &tips).unwrap_err();

    assert_eq!(refusal, Refusal::BadTip { device: row.author("a1").device });
    assert!(refusal.is_fault(false));
}

#[test]
fn a_forged_newest_tip_refuses_its_unit() {
    let mut row = Row::new();
    let [b1] = row.chain(["b1"], &[]);
    let tip = forged(row.tip(&b1));

    let refusal = row.unit_with(&Index::new(), &[&b1], &[tip]).unwrap_err();

    assert_eq!(refusal, Refusal::BadTip { device: row.author("b1").device });
}

#[test]
fn a_cut_ends_a_chain_in_the_middle_by_the_tip_of_its_manifest() {
    let mut row = Row::new();
    let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);
    row.remove("removal", "ben", Some(&b2));
    let unit = row.unit(&Index::new(), &[&b1, &b2, &b3], &[&b3]);

    let end = row.merge(&Index::new(), unit, "grown by b1 b2, refused by BeyondCut");

    let Merged::Grown { admitted, .. } = end else { panic!("it has grown") };
    assert!(with_tips(&admitted).contains("b2"), "the writer's own signature, from the manifest");
}

#[test]
fn a_cut_that_leaves_nothing_refuses_the_whole_chain_and_nobody_elses() {
    let mut row = Row::new();
    let ([a1], [b1]) = (row.chain(["a1"], &[]), row.chain(["b1"], &[]));
    row.remove("removal", "ben", None);
    let unit = row.unit(&Index::new(), &[&a1, &b1], &[&a1, &b1]);

    row.merge(&Index::new(), unit, "grown by a1, refused by BeyondCut");
}

#[test]
fn the_branch_of_a_fork_that_no_cut_names_is_refused() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    let have = index(&[&b1, &b2]);
    let unit = row.unit(&have, &[&other], &[&other]);

    row.merge(&have, unit, "unchanged, refused by Fork");
}

#[test]
fn the_branch_that_a_cut_names_has_the_document_rebuilt() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&other));
    let have = index(&[&b1, &b2]);
    let unit = row.unit(&have, &[&other], &[&other]);

    row.merge(&have, unit, "rebuild with b2x");
}

#[test]
fn the_branch_that_a_cut_does_not_name_is_refused() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&b2));
    let have = index(&[&b1, &b2]);
    let unit = row.unit(&have, &[&other], &[&other]);

    row.merge(&have, unit, "unchanged, refused by Fork");
}

#[test]
fn a_change_whose_dependency_is_missing_is_admitted_once_that_arrives() {
    let mut row = Row::new();
    let [a1] = row.chain(["a1"], &[]);
    let [b1] = row.chain(["b1"], &[&a1]);

    let unit = row.unit(&Index::new(), &[&b1], &[&b1]);
    row.merge(&Index::new(), unit, "unchanged, refused by MissingDependency");
    let unit = row.unit(&Index::new(), &[&b1, &a1], &[&a1, &b1]);
    row.merge(&Index::new(), unit, "grown by a1 b1");
    let have = index(&[&a1]);
    let unit = row.unit(&have, &[&b1], &[&b1]);
    row.merge(&have, unit, "grown by b1");
}

#[test]
fn a_change_that_could_bring_back_what_is_set_aside_has_the_document_rebuilt() {
    let mut row = Row::new();
    let ([a1], [b1, b2]) = (row.chain(["a1"], &[]), row.chain(["b1", "b2"], &[]));
    let [c1] = row.chain(["c1"], &[]);
    let have = index(&[&b1]);
    let (replicas, lacks) = ([b1.header.replica], [a1.header.hash]);
    let awaited = Some(Awaited { replicas: &replicas, lacks: &lacks });
    let standing = Standing { index: &have, awaited };

    for (name, change) in [("of its chain", &b2), ("a dependency that it lacks", &a1)] {
        let unit = row.unit(&have, &[change], &[change]);
        let end = row.merge_awaiting(standing, unit, &format!("rebuild with {}", change.name));
        assert!(matches!(end, Merged::Rebuild(_)), "{name}");
    }
    let unit = row.unit(&have, &[&c1], &[&c1]);
    row.merge_awaiting(standing, unit, "grown by c1");
}

#[test]
fn a_refused_change_brings_back_nothing() {
    let mut row = Row::new();
    let [b1] = row.chain(["b1"], &[]);
    let replicas = [b1.header.replica];
    let awaited = Some(Awaited { replicas: &replicas, lacks: &[] });
    let have = Index::new();
    let unit = row.unit(&have, &[&b1], &[]);

    row.merge_awaiting(Standing { index: &have, awaited }, unit, "unchanged, refused by Unvouched");
}

#[test]
fn a_writer_whose_admission_is_unknown_is_refused_until_the_roster_arrives() {
    let mut row = Row::without_cid();
    let admitted = Row::new();
    let c1 = admitted.change("c1", &[]);
    let tip = admitted.tip(&c1);

    let unit = row.unit_with(&Index::new(), &[&c1], &[tip]).unwrap();
    row.merge(&Index::new(), unit, "unchanged, refused by UnknownAuthor");
    row.admit_cid();
    let unit = row.unit_with(&Index::new(), &[&c1], &[tip]).unwrap();
    row.merge(&Index::new(), unit, "grown by c1");
}
