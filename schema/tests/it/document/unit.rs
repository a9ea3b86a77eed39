//! Step tables of a unit for a peer: what it takes of a document, and where it ends.

use peerbase_schema::change::ChangeHeader;
use peerbase_schema::digest::Mark;
use peerbase_schema::document::{Span, UnitBuilder, UnitChanges};
use peerbase_schema::limits::UNIT_CHARGE_MAX;

use crate::support::row::{Named, Row};

const MIB: u64 = 1 << 20;
/// The charge of a change about which only its place matters, bytes.
const SMALL: u64 = 700;

/// One change that is offered: its charge, and if a tip over it is kept.
struct Offer<'a>(&'a Named, u64, bool);

/// Offers changes until one is left for the next unit; the builder, and the number that it took.
fn offer(have: impl IntoIterator<Item = Mark>, offers: &[Offer<'_>]) -> (UnitBuilder<&'static str>, usize) {
    let mut unit = UnitBuilder::new(have);
    let taken = offers.iter().take_while(|Offer(change, charge, has_tip)| {
        let header = ChangeHeader { charge: *charge, ..change.header.clone() };
        unit.offer(&header, *has_tip, || change.name)
    });
    let count = taken.count();
    (unit, count)
}

fn mark(change: &Named) -> Mark {
    Mark { replica: change.header.replica, seq: change.header.seq, change: change.header.hash }
}

fn finish(unit: UnitBuilder<&'static str>) -> UnitChanges<&'static str> {
    unit.finish().expect("there is something to send")
}

#[test]
fn a_peer_without_changes_gets_every_vouched_one() {
    let row = Row::new();
    let ([a1, a2], [b1]) = (row.chain(["a1", "a2"], &[]), row.chain(["b1"], &[]));

    let (unit, _) = offer([], &[Offer(&a1, SMALL, false), Offer(&b1, SMALL, true), Offer(&a2, SMALL, true)]);

    let unit = finish(unit);
    assert_eq!(unit.changes, ["a1", "b1", "a2"]);
    assert_eq!(unit.spans[&a1.header.replica], Span { after: 0, through: 2 });
    assert_eq!(unit.spans[&b1.header.replica], Span { after: 0, through: 1 });
    assert_eq!(unit.rest, None);
}

#[test]
fn a_peer_gets_only_what_lies_beyond_its_marks() {
    let row = Row::new();
    let ([a1, a2, a3], [b1]) = (row.chain(["a1", "a2", "a3"], &[]), row.chain(["b1"], &[]));
    let offers =
        [Offer(&a1, SMALL, true), Offer(&b1, SMALL, true), Offer(&a2, SMALL, true), Offer(&a3, SMALL, true)];

    let (unit, _) = offer([mark(&a2), mark(&b1)], &offers);
    let unit = finish(unit);
    assert_eq!((unit.changes, unit.spans.len()), (vec!["a3"], 1));
    assert_eq!(unit.spans[&a3.header.replica], Span { after: 2, through: 3 });

    let (unit, _) = offer([mark(&a3), mark(&b1)], &offers);
    assert!(unit.finish().is_none(), "the peer has everything");
}

#[test]
fn an_undecided_mark_counts_as_none() {
    let row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);

    let (unit, _) = offer([mark(&b2).undecided()], &[Offer(&b1, SMALL, false), Offer(&b2, SMALL, true)]);

    assert_eq!(finish(unit).changes, ["b1", "b2"]);
}

#[test]
fn a_unit_ends_where_every_chain_ends_in_a_kept_tip() {
    let row = Row::new();
    let ([a1, a2], [b1]) = (row.chain(["a1", "a2"], &[]), row.chain(["b1"], &[]));

    let (unit, _) = offer([], &[Offer(&a1, SMALL, true), Offer(&a2, SMALL, false), Offer(&b1, SMALL, true)]);
    assert_eq!(finish(unit).changes, ["a1"], "behind Ada's second change no tip is kept");

    let (unit, _) = offer([], &[Offer(&a1, SMALL, false), Offer(&b1, SMALL, true)]);
    assert!(!unit.is_stuck());
    assert!(unit.finish().is_none());
}

#[test]
fn a_full_unit_leaves_the_rest_for_the_next_and_tells_what_the_peer_has_then() {
    let row = Row::new();
    let ([a1, a2, a3], [b1]) = (row.chain(["a1", "a2", "a3"], &[]), row.chain(["b1"], &[]));
    let offers = [Offer(&a1, 2 * MIB, true), Offer(&a2, MIB, true), Offer(&a3, 2 * MIB, true)];

    let (unit, taken) = offer([mark(&b1)], &offers);

    assert_eq!(taken, 2);
    assert!(!unit.is_stuck(), "a part of it can be sent");
    let unit = finish(unit);
    assert_eq!(unit.changes, ["a1", "a2"]);
    let mut rest = vec![mark(&a2), mark(&b1)];
    rest.sort();
    assert_eq!(unit.rest, Some(rest.clone()));
    let (next, _) = offer(rest, &offers);
    assert_eq!(finish(next).changes, ["a3"]);
}

#[test]
fn a_unit_without_a_place_to_end_grows_to_the_largest_that_is_allowed() {
    let row = Row::new();
    let [a1, a2, a3] = row.chain(["a1", "a2", "a3"], &[]);

    let (unit, taken) = offer([], &[Offer(&a1, 3 * MIB, false), Offer(&a2, 3 * MIB, true)]);
    assert_eq!((taken, finish(unit).changes), (2, vec!["a1", "a2"]));

    let unvouched = [
        Offer(&a1, 3 * MIB, false),
        Offer(&a2, 3 * MIB, false),
        Offer(&a3, UNIT_CHARGE_MAX - 6 * MIB + 1, true),
    ];
    let (unit, taken) = offer([], &unvouched);
    assert_eq!(taken, 2);
    assert!(unit.is_stuck(), "no tip vouches for a part that fits");
    assert!(unit.finish().is_none());
}
