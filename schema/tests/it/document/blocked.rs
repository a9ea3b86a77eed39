//! The accepted changes that wait: for an op that they name, for the last piece of a bundle, for ever.

use std::collections::{BTreeMap, BTreeSet};

use peerbase_schema::change::ChangeHeader;
use peerbase_schema::document::Blocked;
use peerbase_schema::{ChangeHash, ReplicaId};
use proptest::prelude::*;

use crate::support::row::{Named, Row, names};

/// A document in which Automerge can apply each change but these.
fn blocked(unreadable: &[&Named]) -> Blocked<Named> {
    Blocked::new(unreadable.iter().map(|change| change.header.hash).collect())
}

/// Accepts a change, and compares the changes that are ready now, in their order.
#[track_caller]
fn accept(blocked: &mut Blocked<Named>, change: &Named, ready: &str) {
    let got = blocked.accept(change.clone());
    assert_eq!(names(got.iter()).join(" "), ready, "ready with {}", change.name);
}

/// Accepts a change, which waits.
#[track_caller]
fn accept_waiting(blocked: &mut Blocked<Named>, change: &Named) {
    accept(blocked, change, "");
}

/// The changes that wait, ascending.
fn waiting(blocked: &Blocked<Named>) -> String {
    names(blocked.waiting().values()).join(" ")
}

/// The change, of which an op names the last op of each of the `others`; its own ops are larger.
fn naming(mut change: Named, others: &[&Named]) -> Named {
    let named = others.iter().map(|other| (other.header.replica, other.header.max_op()));
    change.header.references = named.collect();
    change.header.references.sort();
    let largest = change.header.references.iter().map(|(_, op)| *op).max().unwrap_or_default();
    change.header.start_op = change.header.start_op.max(largest + 1);
    change
}

/// The change, as a piece of a bundle that another piece follows.
fn piece(change: &Named) -> Named {
    Named { header: ChangeHeader { continues: true, ..change.header.clone() }, ..*change }
}

#[test]
fn a_change_waits_for_an_op_of_another_chain_and_is_ready_with_it() {
    let row = Row::new();
    let [a1, a2] = row.chain(["a1", "a2"], &[]);
    let b1 = naming(row.change("b1", &[]), &[&a2]);
    let mut blocked = blocked(&[]);

    accept_waiting(&mut blocked, &b1);
    accept(&mut blocked, &a1, "a1");
    accept(&mut blocked, &a2, "a2 b1");
}

#[test]
fn a_change_waits_for_the_last_of_the_ops_that_it_names() {
    let row = Row::new();
    let ([a1], [c1]) = (row.chain(["a1"], &[]), row.chain(["c1"], &[]));
    let b1 = naming(row.change("b1", &[]), &[&a1, &c1]);

    for (first, last) in [(&a1, &c1), (&c1, &a1)] {
        let mut blocked = blocked(&[]);
        accept_waiting(&mut blocked, &b1);
        accept(&mut blocked, first, first.name);
        accept(&mut blocked, last, &format!("{} b1", last.name));
    }
}

#[test]
fn a_reference_to_a_later_op_of_a_dependency_waits_until_that_op_arrives() {
    let row = Row::new();
    let [a1, a2, a3] = row.chain(["a1", "a2", "a3"], &[]);
    let b1 = naming(row.change("b1", &[&a1]), &[&a3]);
    let mut blocked = blocked(&[]);

    accept(&mut blocked, &a1, "a1");
    accept_waiting(&mut blocked, &b1);
    accept(&mut blocked, &a2, "a2");
    accept(&mut blocked, &a3, "a3 b1");
}

#[test]
fn a_reference_to_an_earlier_op_of_the_same_chain_does_not_wait() {
    let row = Row::new();
    let [a1, a2, a3] = row.chain(["a1", "a2", "a3"], &[]);
    let a3 = naming(a3, &[&a1]);
    let mut blocked = blocked(&[]);

    accept(&mut blocked, &a1, "a1");
    accept(&mut blocked, &naming(a2, &[&a1]), "a2");
    accept(&mut blocked, &a3, "a3");
}

/// So this device, which writes on top of all that it reads, readies nothing but its own changes.
#[test]
fn an_op_that_a_chain_leaves_out_is_waited_for_for_ever_in_every_order() {
    let row = Row::new();
    let ([c1], [a1, mut a2]) = (row.chain(["c1"], &[]), row.chain(["a1", "a2"], &[]));
    a2.header.start_op = 9;
    let mut b1 = row.change("b1", &[]);
    (b1.header.references, b1.header.start_op) = (vec![(a1.header.replica, 5)], 8);

    for order in [[&c1, &a1, &a2, &b1], [&b1, &c1, &a1, &a2]] {
        let mut blocked = blocked(&[]);
        let ready: Vec<_> = order.iter().flat_map(|change| blocked.accept((*change).clone())).collect();
        assert_eq!((names(ready.iter()).join(" "), waiting(&blocked)), ("c1 a1 a2".into(), "b1".into()));
    }
}

#[test]
fn an_op_of_a_change_that_waits_is_not_here_yet() {
    let row = Row::new();
    let ([a1], [b1]) = (row.chain(["a1"], &[]), row.chain(["b1"], &[]));
    let b1 = naming(b1, &[&a1]);
    let c1 = naming(row.change("c1", &[]), &[&b1]);
    let mut blocked = blocked(&[]);

    accept_waiting(&mut blocked, &b1);
    accept_waiting(&mut blocked, &c1);
    accept(&mut blocked, &a1, "a1 b1 c1");
}

#[test]
fn a_change_waits_with_its_dependency_and_comes_after_it() {
    let row = Row::new();
    let ([a1], [b1, b2]) = (row.chain(["a1"], &[]), row.chain(["b1", "b2"], &[]));
    let b1 = naming(b1, &[&a1]);
    let c1 = row.change("c1", &[&b2]);
    let mut blocked = blocked(&[]);

    for change in [&b1, &b2, &c1] {
        accept_waiting(&mut blocked, change);
    }
    accept(&mut blocked, &a1, "a1 b1 b2 c1");
}

/// One change brings the ops for which both dependencies of Cid's change wait.
#[test]
fn a_change_comes_after_all_its_dependencies_though_they_are_ready_at_once() {
    let row = Row::new();
    let [a1, mut a2] = row.chain(["a1", "a2"], &[]);
    a2.header.ops = 2;
    let named = |op: u64| vec![(a2.header.replica, op)];
    let ([mut b1], [mut other]) = (row.chain(["b1"], &[]), row.chain(["B1"], &[]));
    (b1.header.start_op, other.header.start_op) = (4, 4);

    for (of_b1, of_other) in [(2, 3), (3, 2), (2, 2)] {
        (b1.header.references, other.header.references) = (named(of_b1), named(of_other));
        let c1 = row.change("c1", &[&b1, &other]);
        let mut blocked = blocked(&[]);

        accept(&mut blocked, &a1, "a1");
        for change in [&b1, &other, &c1] {
            accept_waiting(&mut blocked, change);
        }
        let ready = blocked.accept(a2.clone());
        assert_eq!((ready.len(), ready[3].name), (4, "c1"), "ops {of_b1} and {of_other}");
    }
}

#[test]
fn a_piece_of_a_bundle_waits_for_the_last_and_then_all_are_ready_in_order() {
    let row = Row::new();
    let [b1, b2, b3] = row.chain(["b1", "b2", "b3"], &[]);

    let mut of_two = blocked(&[]);
    accept_waiting(&mut of_two, &piece(&b1));
    accept(&mut of_two, &b2, "b1 b2");

    let mut of_three = blocked(&[]);
    accept_waiting(&mut of_three, &piece(&b1));
    accept_waiting(&mut of_three, &piece(&b2));
    accept(&mut of_three, &b3, "b1 b2 b3");
}

#[test]
fn a_bundle_waits_for_its_own_last_piece_alone() {
    let row = Row::new();
    let [b1, b2, b3, b4] = row.chain(["b1", "b2", "b3", "b4"], &[]);
    let [c1, c2] = row.chain(["c1", "c2"], &[]);
    let mut blocked = blocked(&[]);

    accept_waiting(&mut blocked, &piece(&c1));
    accept_waiting(&mut blocked, &piece(&b1));
    accept(&mut blocked, &b2, "b1 b2");
    accept_waiting(&mut blocked, &piece(&b3));
    accept(&mut blocked, &c2, "c1 c2");
    accept(&mut blocked, &b4, "b3 b4");
}

/// The author alone can write such a bundle: an honest device writes all pieces on top of what it reads.
#[test]
fn no_piece_of_a_bundle_is_ready_before_every_piece_is() {
    let row = Row::new();
    let ([a1, a2], [b1, b2, b3]) = (row.chain(["a1", "a2"], &[]), row.chain(["b1", "b2", "b3"], &[]));
    let c1 = row.change("c1", &[&b1]);
    let of_three = |second: &Named| {
        let mut blocked = blocked(&[]);
        for change in [&piece(&b1), &piece(second), &b3] {
            accept_waiting(&mut blocked, change);
        }
        blocked
    };

    let mut named = of_three(&naming(b2.clone(), &[&a2]));
    accept_waiting(&mut named, &c1);
    accept(&mut named, &a1, "a1");
    accept(&mut named, &a2, "a2 b1 b2 b3 c1");

    let mut unreadable = blocked(&[&b3]);
    for change in [&piece(&b1), &piece(&b2), &b3] {
        accept_waiting(&mut unreadable, change);
    }
    assert_eq!(waiting(&unreadable), "b1 b2 b3");
}

#[test]
fn a_piece_may_name_an_op_of_an_earlier_piece() {
    let row = Row::new();
    let [b1, b2] = row.chain(["b1", "b2"], &[]);
    let mut blocked = blocked(&[]);

    accept_waiting(&mut blocked, &piece(&b1));
    accept(&mut blocked, &naming(b2, &[&b1]), "b1 b2");
}

/// Such pieces wait for each other for ever: no honest device writes on top of a bundle that it cannot read.
#[test]
fn a_bundle_that_depends_on_what_depends_on_it_waits_for_ever() {
    let row = Row::new();
    let [b1, mut b2] = row.chain(["b1", "b2"], &[]);
    let a1 = row.change("a1", &[&b1]);
    b2.header.deps.push(a1.header.hash);
    let mut blocked = blocked(&[]);

    for change in [&piece(&b1), &a1, &b2] {
        accept_waiting(&mut blocked, change);
    }
}

#[test]
fn a_bundle_that_is_cut_short_waits_for_ever_and_holds_back_only_what_depends_on_it() {
    let row = Row::new();
    let ([a1, a2], [b1, b2, b3]) = (row.chain(["a1", "a2"], &[]), row.chain(["b1", "b2", "b3"], &[]));
    let (c1, later) = (row.change("c1", &[&b3]), row.change("B1", &[&a2]));
    let mut blocked = blocked(&[]);

    accept(&mut blocked, &b1, "b1");
    accept(&mut blocked, &a1, "a1");
    for change in [&piece(&b2), &piece(&b3), &c1] {
        accept_waiting(&mut blocked, change);
    }
    accept(&mut blocked, &a2, "a2");
    accept(&mut blocked, &later, "B1");

    assert_eq!(waiting(&blocked), "b2 b3 c1");
}

#[test]
fn what_depends_on_an_unreadable_change_waits_and_nothing_else_does() {
    let row = Row::new();
    let ([a1, a2], [b1, b2, b3]) = (row.chain(["a1", "a2"], &[]), row.chain(["b1", "b2", "b3"], &[]));
    let c1 = row.change("c1", &[&a1, &b3]);
    let by_name = naming(row.change("C1", &[&a1]), &[&b2]);
    let mut blocked = blocked(&[&b2]);

    accept(&mut blocked, &a1, "a1");
    accept(&mut blocked, &b1, "b1");
    for change in [&b2, &b3, &c1, &by_name] {
        accept_waiting(&mut blocked, change);
    }
    accept(&mut blocked, &a2, "a2");

    assert_eq!(waiting(&blocked), "C1 b2 b3 c1");
    assert_eq!(blocked.unreadable(), &BTreeSet::from([b2.header.hash]));
}

#[test]
fn the_waiting_changes_tell_their_charge_and_their_chains() {
    let row = Row::new();
    let ([a1], [b1, b2]) = (row.chain(["a1"], &[]), row.chain(["b1", "b2"], &[]));
    let chains = [a1.header.replica, b1.header.replica];
    let b1 = naming(b1, &[&a1]);
    let mut blocked = blocked(&[]);
    let told =
        |blocked: &Blocked<Named>| (blocked.charge(), chains.map(|replica| blocked.has_waiting_of(replica)));

    assert_eq!(told(&blocked), (0, [false, false]));
    accept_waiting(&mut blocked, &b1);
    accept_waiting(&mut blocked, &b2);
    assert_eq!(told(&blocked), (b1.header.charge + b2.header.charge, [false, true]));
    accept(&mut blocked, &a1, "a1 b1 b2");
    assert_eq!(told(&blocked), (0, [false, false]));
}

const CHAINS: u8 = 4;

/// A random change; positions are taken modulo the number of changes.
#[derive(Clone, Debug)]
struct Draft {
    chain: u8,
    /// The first byte of its hash, so that its place among others is random.
    hash: u8,
    ops: u64,
    /// The earlier changes that it depends on, beside the one before it in its chain.
    deps: Vec<usize>,
    /// The changes of which it names an op: earlier ones of its chain, any of other chains.
    names: Vec<usize>,
    continues: bool,
    is_unreadable: bool,
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let positions = |max| proptest::collection::vec(any::<usize>(), 0..max);
    let flags = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.05));
    let draft = (0..CHAINS, any::<u8>(), 0..4_u64, positions(3), positions(4), flags);
    let draft = draft.prop_map(|(chain, hash, ops, deps, names, (continues, is_unreadable))| Draft {
        chain,
        hash,
        ops,
        deps,
        names,
        continues,
        is_unreadable,
    });
    proptest::collection::vec(draft, 1..18)
}

/// The headers of the drafts, each after its dependencies.
fn history(drafts: &[Draft]) -> Vec<ChangeHeader> {
    let mut headers: Vec<ChangeHeader> = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        let replica = ReplicaId([draft.chain; 32]);
        let previous = headers.iter().rposition(|header| header.replica == replica);
        let seq = previous.map_or(1, |previous| headers[previous].seq + 1);
        let picked = draft.deps.iter().filter(|_| at > 0).map(|pick| pick % at.max(1));
        let deps: BTreeSet<usize> = picked.chain(previous).collect();
        let start_op = deps.iter().map(|dep| headers[*dep].max_op()).max().unwrap_or(0) + 1;
        let mut hash = [u8::try_from(at).unwrap(); 32];
        hash[0] = draft.hash;
        let mut deps: Vec<_> = deps.iter().map(|dep| headers[*dep].hash).collect();
        deps.sort();
        headers.push(ChangeHeader {
            hash: ChangeHash(hash),
            replica,
            seq,
            start_op,
            ops: draft.ops,
            deps,
            time: 0,
            references: Vec::new(),
            continues: draft.continues,
            needs_objects: false,
            charge: 700,
        });
    }
    for (at, draft) in drafts.iter().enumerate() {
        headers[at].references = references(&headers, at, &draft.names);
    }
    headers
}

/// The largest op of each chain that a change names.
fn references(headers: &[ChangeHeader], at: usize, names: &[usize]) -> Vec<(ReplicaId, u64)> {
    let mut largest = BTreeMap::new();
    for pick in names {
        let (named, place) = (&headers[pick % headers.len()], (pick / headers.len()) as u64);
        let is_earlier = headers[..at].contains(named);
        if named.ops > 0 && (is_earlier || named.replica != headers[at].replica) {
            // The op behind the last may be one that no change makes.
            let op = named.start_op + place % (named.ops + 1);
            let largest = largest.entry(named.replica).or_insert(op);
            *largest = op.max(*largest);
        }
    }
    largest.into_iter().collect()
}

/// The changes that do not wait, once these are accepted: the least set that the rules allow.
fn ready<'a>(
    accepted: &[&'a ChangeHeader],
    unreadable: &BTreeSet<ChangeHash>,
) -> BTreeMap<ChangeHash, &'a ChangeHeader> {
    let mut ready: BTreeMap<ChangeHash, &ChangeHeader> = BTreeMap::new();
    loop {
        // All the changes of a bundle that are not ready; the bundle of none that is cut short.
        let bundle = |last: &ChangeHeader| -> Vec<&'a ChangeHeader> {
            let of_chain = accepted.iter().filter(|change| change.replica == last.replica);
            let before = of_chain.clone().filter(|change| change.seq < last.seq && !change.continues);
            let begin = before.map(|change| change.seq).max().unwrap_or(0);
            of_chain.filter(|change| change.seq > begin && change.seq <= last.seq).copied().collect()
        };
        let is_ready = |bundle: &Vec<&ChangeHeader>| {
            bundle.iter().all(|change| {
                let earlier = || bundle.iter().filter(|other| other.seq < change.seq).chain(ready.values());
                let has = |dep: &ChangeHash| earlier().any(|other| other.hash == *dep);
                let has_op = |(replica, op): &(ReplicaId, u64)| {
                    let makes = |other: &&ChangeHeader| (other.start_op..=other.max_op()).contains(op);
                    earlier().filter(|other| other.replica == *replica).any(makes)
                };
                !unreadable.contains(&change.hash)
                    && change.deps.iter().all(has)
                    && change.references.iter().all(has_op)
            })
        };
        let last = accepted.iter().filter(|change| !change.continues && !ready.contains_key(&change.hash));
        let Some(next) = last.map(|last| bundle(last)).find(is_ready) else { return ready };
        ready.extend(next.into_iter().map(|change| (change.hash, change)));
    }
}

/// The changes in the order of their ranks, as far as dependencies allow.
fn causal<'a>(headers: &'a [ChangeHeader], ranks: &[u16]) -> Vec<&'a ChangeHeader> {
    let mut rest: Vec<_> = ranks.iter().zip(headers).collect();
    let mut order: Vec<&ChangeHeader> = Vec::new();
    while !rest.is_empty() {
        let is_next =
            |header: &ChangeHeader| header.deps.iter().all(|dep| order.iter().any(|done| done.hash == *dep));
        let next = (0..rest.len()).filter(|at| is_next(rest[*at].1)).min_by_key(|at| rest[*at].0);
        order.push(rest.remove(next.expect("dependencies have no circle")).1);
    }
    order
}

fn histories() -> impl Strategy<Value = (Vec<Draft>, [Vec<u16>; 2])> {
    drafts().prop_flat_map(|drafts| {
        let ranks = || proptest::collection::vec(any::<u16>(), drafts.len());
        (Just(drafts.clone()), [ranks(), ranks()])
    })
}

proptest! {
    #[test]
    fn in_every_order_of_arrival_the_same_changes_wait_and_ready_ones_come_dependencies_first(
        (drafts, orders) in histories()
    ) {
        let headers = history(&drafts);
        let faults = headers.iter().zip(&drafts).filter(|(_, draft)| draft.is_unreadable);
        let unreadable: BTreeSet<ChangeHash> = faults.map(|(header, _)| header.hash).collect();

        let mut ends = Vec::new();
        for ranks in &orders {
            let order = causal(&headers, ranks);
            let mut blocked = Blocked::new(unreadable.clone());
            let mut read: BTreeMap<ChangeHash, ChangeHeader> = BTreeMap::new();
            for count in 1..=order.len() {
                for change in blocked.accept(order[count - 1].clone()) {
                    prop_assert!(change.deps.iter().all(|dep| read.contains_key(dep)), "dependencies first");
                    prop_assert!(read.insert(change.hash, change).is_none(), "ready once");
                }
                let expected = ready(&order[..count], &unreadable);
                prop_assert!(read.keys().eq(expected.keys()), "{read:#?} {expected:#?}");
                prop_assert!(blocked.waiting().keys().all(|change| !read.contains_key(change)));
                prop_assert_eq!(blocked.waiting().len() + read.len(), count);
                prop_assert_eq!(blocked.charge(), 700 * blocked.waiting().len() as u64);
            }
            ends.push(blocked.waiting().clone());
        }

        prop_assert_eq!(&ends[0], &ends[1]);
    }
}
