//! Tables of the judge: which ends of chains a roster accepts, and which marks it shows to peers.

use peerbase_schema::document::Refusal;
use peerbase_schema::ledger::Role;

use crate::support::row::{Named, Row, kind};

/// Returns true if a chain that ends in this change stays accepted whole.
fn is_within(row: &mut Row, change: &Named) -> bool {
    let end = row.end(change);
    row.with_judge(|judge| judge.are_within_bounds([end])).unwrap()
}

/// Returns true if a chain that ends in this change is shown as undecided.
fn is_undecided(row: &mut Row, change: &Named) -> bool {
    let end = row.end(change);
    row.with_judge(|judge| judge.shown_mark(end)).unwrap().is_undecided()
}

/// The kind of refusal for an author, or the number of bounds.
fn bounds(row: &mut Row, name: &str) -> Result<usize, String> {
    let author = row.author(name);
    let bounds = row.with_judge(|judge| judge.bounds(&author)).unwrap();
    bounds.map(|bounds| bounds.len()).map_err(|refusal: Refusal| kind(&refusal))
}

#[test]
fn a_writer_without_a_cut_has_no_bounds() {
    let mut row = Row::new();
    for name in ["a1", "b1", "c1"] {
        assert_eq!(bounds(&mut row, name), Ok(0));
        let change = row.change(name, &[]);
        assert!(is_within(&mut row, &change) && !is_undecided(&mut row, &change));
    }
}

#[test]
fn an_author_is_unknown_until_its_admission_arrives_and_refused_as_a_reader() {
    let mut row = Row::without_cid();
    assert_eq!(bounds(&mut row, "c1"), Err("UnknownAuthor".into()));

    row.admit_cid();
    assert_eq!(bounds(&mut row, "c1"), Ok(0));

    let mut row = Row::without_cid();
    row.admit_cid_as(Role::Reader);
    assert_eq!(bounds(&mut row, "c1"), Err("NotAllowed".into()));
    let c1 = row.change("c1", &[]);
    assert!(!is_within(&mut row, &c1));
    assert!(!is_undecided(&mut row, &c1), "no branch of his is the right one");
}

#[test]
fn a_chain_is_within_a_cut_up_to_the_change_that_it_names() {
    let mut row = Row::new();
    let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&b2));

    let table = [(&b1, true), (&b2, true), (&other, false), (&b3, false)];

    for (end, expected) in table {
        assert_eq!(is_within(&mut row, end), expected, "{}", end.name);
    }
    assert_eq!(bounds(&mut row, "b1"), Ok(1));
}

#[test]
fn nothing_is_within_a_cut_of_nothing() {
    let mut row = Row::new();
    let (a1, b1) = (row.change("a1", &[]), row.change("b1", &[]));
    row.remove("removal", "ben", None);

    assert!(!is_within(&mut row, &b1));
    assert!(is_within(&mut row, &a1));
    let ends = [row.end(&a1), row.end(&b1)];
    assert!(!row.with_judge(|judge| judge.are_within_bounds(ends)).unwrap(), "one end of several is beyond");
}

#[test]
fn a_chain_is_shown_as_undecided_while_the_change_that_its_cut_names_is_not_its_end() {
    let mut row = Row::new();
    let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);
    let other = row.change("b2x", &[&b1]);
    row.remove("removal", "ben", Some(&b2));

    let table = [(&b1, true), (&b2, false), (&other, true), (&b3, true)];

    for (end, expected) in table {
        assert_eq!(is_undecided(&mut row, end), expected, "{}", end.name);
    }
}

#[test]
fn of_two_cuts_only_the_lower_one_decides_what_is_shown() {
    let mut row = Row::new();
    let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);
    row.revoke_device("revocation", "ben", Some(&b3));
    row.remove("removal", "ben", Some(&b2));
    assert_eq!(bounds(&mut row, "b1"), Ok(2), "two cuts count");

    assert!(is_within(&mut row, &b2) && !is_undecided(&mut row, &b2));
    assert!(!is_within(&mut row, &b3) && is_undecided(&mut row, &b3));
    assert!(is_within(&mut row, &b1) && is_undecided(&mut row, &b1));
}
