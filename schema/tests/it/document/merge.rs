//! Step tables of a merge: a unit that a peer sent, on top of what is accepted.

use peerbase_schema::document::{Awaited, Index, Input, Merge, Merged, Refusal, Standing};

use crate::support::row::{Row, forged, index, no_object, with_tips};

use Input::{Applied, Start};

#[test]
fn a_vouched_chain_is_applied_and_admitted_in_order() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let unit = row.unit(&Index::new(), &[&a2, &a1], &[&a2]);

    row.merge(&Index::new(), unit, &[(Start, "apply a1 a2"), (Applied, "grown by a1 a2")]);
}

#[test]
fn an_accepted_change_of_this_device_leaves_nothing_to_apply() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let (have, author) = (index(&[&a1]), row.author("a2"));
    let mut merge = row.with_judge(|judge| Merge::own(a2, author, judge));

    let standing = Standing { index: &have, awaited: None };
    let merged = row.step_merge(&mut merge, standing, &[(Start, "grown by a2")]);

    let Some(Merged::Grown { admitted, .. }) = merged else { panic!("it is accepted") };
    assert!(admitted[0].author == author && admitted[0].tip.is_some(), "signed as peers will ask for it");
}

#[test]
fn a_change_of_this_device_that_peers_would_refuse_is_refused() {
    let mut row = Row::new().judged_by_ben();
    let ([b1], author) = (row.chain(["b1"], &[]), row.author("b1"));
    row.remove("removal", "ben", None);
    let mut merge = row.with_judge(|judge| Merge::own(b1, author, judge));

    let standing = Standing { index: &Index::new(), awaited: None };
    row.step_merge(&mut merge, standing, &[(Start, "unchanged, refused by BeyondCut")]);
}

#[test]
fn a_unit_that_is_known_already_changes_nothing() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let have = index(&[&a1, &a2]);
    let unit = row.unit(&have, &[&a1, &a2], &[&a2]);

    row.merge(&have, unit, &[(Start, "unchanged")]);
}

#[test]
fn a_tip_counts_only_beside_its_change() {
    let mut row = Row::new();
    let [a1] = row.chain(["a1"], &[]);
    let have = Index::new();

    let tip_before = row.unit(&have, &[], &[&a1]);
    row.merge(&have, tip_before, &[(Start, "unchanged")]);
    let change_alone = row.unit(&have, &[&a1], &[]);
    row.merge(&have, change_alone, &[(Start, "unchanged, refused by Unvouched")]);
    let both = row.unit(&have, &[&a1], &[&a1]);
    row.merge(&have, both, &[(Start, "apply a1"), (Applied, "grown by a1")]);
}

#[test]
fn changes_beyond_the_newest_tip_wait_for_their_own() {
    let mut row = Row::new();
    let [a1, a2, a3] = row.chain(["a1", "a2", "a3"], &[]);
    let unit = row.unit(&Index::new(), &[&a1, &a2, &a3], &[&a2]);
    let table = [(Start, "apply a1 a2"), (Applied, "grown by a1 a2, refused by Unvouched")];
    row.merge(&Index::new(), unit, &table);

    let have = index(&[&a1, &a2]);
    let unit = row.unit(&have, &[&a3], &[&a3]);
    row.merge(&have, unit, &[(Start, "apply a3"), (Applied, "grown by a3")]);
}

#[test]
fn an_older_tip_holds_the_part_of_a_chain_that_the_newest_loses() {
    let mut row = Row::new();
    let [a1, a2, mut a3] = row.chain(["a1", "a2", "a3"], &[]);
    a3.header.start_op = 9;
    let changes = [&a1, &a2, &a3];

    let alone = row.unit(&Index::new(), &changes, &[&a3]);
    row.merge(&Index::new(), alone, &[(Start, "unchanged, refused by Unvouched")]);
    let with_older = row.unit(&Index::new(), &changes, &[&a2, &a3]);
    let table = [(Start, "apply a1 a2"), (Applied, "grown by a1 a2, refused by StartOp")];
    row.merge(&Index::new(), with_older, &table);
}

#[test]
fn an_older_tip_is_kept_only_if_its_signature_verifies() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    for (older, kept) in [(row.tip(&a1), vec!["a1", "a2"]), (forged(row.tip(&a1)), vec!["a2"])] {
        let tips = [older, row.tip(&a2)];
        let unit = row.unit_with(&Index::new(), &[&a1, &a2], &tips).unwrap();

        let end = row.merge(&Index::new(), unit, &[(Start, "apply a1 a2"), (Applied, "grown by a1 a2")]);

        let Some(Merged::Grown { admitted, .. }) = end else { panic!("it has grown") };
        assert_eq!(with_tips(&admitted).into_iter().collect::<Vec<_>>(), kept);
    }
}

#[test]
fn a_forged_older_tip_holds_nothing() {
    let mut row = Row::new();
    let [a1, mut a2] = row.chain(["a1", "a2"], &[]);
    a2.header.start_op = 9;
    let tips = [forged(row.tip(&a1)), row.tip(&a2)];
    let unit = row.unit_with(&Index::new(), &[&a1, &a2], &tips).unwrap();

    row.merge(&Index::new(), unit, &[(Start, "unchanged, refused by Unvouched")]);
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

    let table = [(Start, "apply b1 b2"), (Applied, "grown by b1 b2, refused by BeyondCut")];
    let end = row.merge(&Index::new(), unit, &table);

    let Some(Merged::Grown { admitted, .. }) = end else { panic!("it has grown") };
    assert!(with_tips(&admitted).contains("b2"), "the writer's own signature, from the manifest");
}

#[test]
fn a_cut_that_leaves_nothing_refuses_the_whole_chain_and_nobody_elses() {
    let mut row = Row::new();
    let ([a1], [b1]) = (row.chain(["a1"], &[]), row.chain(["b1"], &[]));
    row.remove("removal", "ben", None);
    let unit = row.unit(&Index::new(), &[&a1, &b1], &[&a1, &b1]);

    row.merge(&Index::new(), unit, &[(Start, "apply a1"), (Applied, "grown by a1, refused by BeyondCut")]);
}

#[test]
fn an_inapplicable_change_is_found_by_halving_and_only_its_author_is_left_out() {
    let mut row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let ([b1], [c1]) = (row.chain(["b1"], &[]), row.chain(["c1"], &[&a1]));
    let unit = row.unit(&Index::new(), &[&a1, &a2, &b1, &c1], &[&a2, &b1, &c1]);

    let table = [
        (Start, "apply a1 a2 b1 c1"),
        (no_object(), "try a1 a2"),
        (Applied, "try a1 a2 b1"),
        (no_object(), "apply a1 a2 c1"),
        (Applied, "grown by a1 a2 c1, refused by Inapplicable"),
    ];
    row.merge(&Index::new(), unit, &table);
}

#[test]
fn halving_goes_into_the_half_that_cannot_be_applied() {
    let mut row = Row::new();
    let [b1] = row.chain(["b1"], &[]);
    let [c1, c2, c3] = row.chain(["c1", "c2", "c3"], &[]);
    let unit = row.unit(&Index::new(), &[&b1, &c1, &c2, &c3], &[&b1, &c3]);

    let table = [
        (Start, "apply b1 c1 c2 c3"),
        (no_object(), "try b1 c1"),
        (no_object(), "try b1"),
        (no_object(), "apply c1 c2 c3"),
        (Applied, "grown by c1 c2 c3, refused by Inapplicable"),
    ];
    row.merge(&Index::new(), unit, &table);
}

#[test]
fn a_change_on_top_of_an_inapplicable_one_is_left_out_with_it() {
    let mut row = Row::new();
    let ([a1], [b1]) = (row.chain(["a1"], &[]), row.chain(["b1"], &[]));
    let [c1] = row.chain(["c1"], &[&b1]);
    let unit = row.unit(&Index::new(), &[&a1, &b1, &c1], &[&a1, &b1, &c1]);

    let table = [
        (Start, "apply a1 b1 c1"),
        (no_object(), "try a1"),
        (Applied, "try a1 b1"),
        (no_object(), "apply a1"),
        (Applied, "grown by a1, refused by Inapplicable"),
    ];
    row.merge(&Index::new(), unit, &table);
}

#[test]
fn a_single_inapplicable_change_is_refused_without_a_search() {
    let mut row = Row::new();
    let [a1] = row.chain(["a1"], &[]);
    let unit = row.unit(&Index::new(), &[&a1], &[&a1]);

    let table = [(Start, "apply a1"), (no_object(), "unchanged, refused by Inapplicable")];
    row.merge(&Index::new(), unit, &table);
}

#[test]
fn the_fourth_inapplicable_author_refuses_the_whole_unit() {
    let mut row = Row::new();
    let names = ["A1", "B1", "C1", "a1", "b1"];
    let changes = names.map(|name| row.change(name, &[]));
    let unit = row.unit(&Index::new(), &changes.each_ref(), &changes.each_ref());

    let table = [
        (Start, "apply A1 B1 C1 a1 b1"),
        (no_object(), "try A1 B1"),
        (no_object(), "try A1"),
        (no_object(), "apply B1 C1 a1 b1"),
        (no_object(), "try B1 C1"),
        (no_object(), "try B1"),
        (no_object(), "apply C1 a1 b1"),
        (no_object(), "try C1"),
        (no_object(), "apply a1 b1"),
        (no_object(), "try a1"),
        (no_object(), "unchanged, refused by Inapplicable"),
    ];
    row.merge(&Index::new(), unit, &table);
}

#[test]
fn the_branch_of_a_fork_that_no_cut_names_is_refused() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    let have = index(&[&b1, &b2]);
    let unit = row.unit(&have, &[&other], &[&other]);

    row.merge(&have, unit, &[(Start, "unchanged, refused by Fork")]);
}

#[test]
fn the_branch_that_a_cut_names_has_the_document_rebuilt() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&other));
    let have = index(&[&b1, &b2]);
    let unit = row.unit(&have, &[&other], &[&other]);

    row.merge(&have, unit, &[(Start, "rebuild with b2x")]);
}

#[test]
fn the_branch_that_a_cut_does_not_name_is_refused() {
    let mut row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&b2));
    let have = index(&[&b1, &b2]);
    let unit = row.unit(&have, &[&other], &[&other]);

    row.merge(&have, unit, &[(Start, "unchanged, refused by Fork")]);
}

#[test]
fn a_change_whose_dependency_is_missing_is_admitted_once_that_arrives() {
    let mut row = Row::new();
    let [a1] = row.chain(["a1"], &[]);
    let [b1] = row.chain(["b1"], &[&a1]);

    let unit = row.unit(&Index::new(), &[&b1], &[&b1]);
    row.merge(&Index::new(), unit, &[(Start, "unchanged, refused by MissingDependency")]);
    let unit = row.unit(&Index::new(), &[&b1, &a1], &[&a1, &b1]);
    row.merge(&Index::new(), unit, &[(Start, "apply a1 b1"), (Applied, "grown by a1 b1")]);
    let have = index(&[&a1]);
    let unit = row.unit(&have, &[&b1], &[&b1]);
    row.merge(&have, unit, &[(Start, "apply b1"), (Applied, "grown by b1")]);
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
        let end = row.merge_awaiting(standing, unit, &[(Start, &format!("rebuild with {}", change.name))]);
        assert!(matches!(end, Some(Merged::Rebuild(_))), "{name}");
    }
    let unit = row.unit(&have, &[&c1], &[&c1]);
    row.merge_awaiting(standing, unit, &[(Start, "apply c1"), (Applied, "grown by c1")]);
}

#[test]
fn a_refused_change_brings_back_nothing() {
    let mut row = Row::new();
    let [b1] = row.chain(["b1"], &[]);
    let replicas = [b1.header.replica];
    let awaited = Some(Awaited { replicas: &replicas, lacks: &[] });
    let have = Index::new();
    let unit = row.unit(&have, &[&b1], &[]);

    row.merge_awaiting(
        Standing { index: &have, awaited },
        unit,
        &[(Start, "unchanged, refused by Unvouched")],
    );
}

#[test]
fn a_writer_whose_admission_is_unknown_is_refused_until_the_roster_arrives() {
    let mut row = Row::without_cid();
    let admitted = Row::new();
    let c1 = admitted.change("c1", &[]);
    let tip = admitted.tip(&c1);

    let unit = row.unit_with(&Index::new(), &[&c1], &[tip]).unwrap();
    row.merge(&Index::new(), unit, &[(Start, "unchanged, refused by UnknownAuthor")]);
    row.admit_cid();
    let unit = row.unit_with(&Index::new(), &[&c1], &[tip]).unwrap();
    row.merge(&Index::new(), unit, &[(Start, "apply c1"), (Applied, "grown by c1")]);
}

#[test]
fn a_roster_that_arrives_during_a_search_decides_the_next_judgement() {
    let mut row = Row::new();
    let ([a1], [b1], [c1]) = (row.chain(["a1"], &[]), row.chain(["b1"], &[]), row.chain(["c1"], &[]));
    let unit = row.unit(&Index::new(), &[&a1, &b1, &c1], &[&a1, &b1, &c1]);
    let have = Index::new();
    let (mut merge, standing) = (Merge::new(unit), Standing { index: &have, awaited: None });

    row.step_merge(&mut merge, standing, &[(Start, "apply a1 b1 c1"), (no_object(), "try a1")]);
    row.remove("removal", "ben", None);
    let table = [(no_object(), "apply c1"), (Applied, "grown by c1, refused by Inapplicable")];
    row.step_merge(&mut merge, standing, &table);
}
