//! The accepted changes of a document that wait, so that no reader sees them.
//!
//! A change waits for whatever its ops name: its dependencies, and the largest op of each chain that it
//! names. The pieces of a bundle wait for each other: until the last is accepted, and none of them waits for
//! anything else. A change that Automerge cannot apply waits for ever, and with it all that depends on it.
//! Which changes wait is therefore a function of what is accepted, the same on every device and in every
//! order of arrival; and a device writes on top of what it reads, so that no honest change waits for a
//! faulty one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use super::Change;
use crate::change::ChangeHeader;
use crate::id::{ChangeHash, ReplicaId};

/// The accepted changes of one document that wait, and what is known of those that do not.
#[derive(Clone, Debug)]
pub struct Blocked<C> {
    waiting: BTreeMap<ChangeHash, C>,
    /// The bundles that wait, by their last pieces, which are accepted.
    bundles: BTreeMap<ChangeHash, Bundle>,
    /// The same, by the first thing that each of them waits for.
    by: BTreeMap<Blocker, BTreeSet<ChangeHash>>,
    /// Bundles that were added and not looked at yet, in their order.
    added: VecDeque<ChangeHash>,
    /// Bundles of which one blocker is gone; the last one is looked at first.
    due: Vec<ChangeHash>,
    chains: BTreeMap<ReplicaId, Chain>,
    unreadable: BTreeSet<ChangeHash>,
    charge: u64,
}

/// Changes of one chain that are ready together. Most bundles have one piece.
#[derive(Clone, Debug)]
struct Bundle {
    pieces: Vec<ChangeHash>,
    /// The number of first pieces that wait for nothing outside of the bundle: none of them waits again.
    passed: usize,
    /// The same of the dependencies and references of the next piece.
    passed_of_next: usize,
}

/// One chain of accepted changes.
#[derive(Clone, Debug, Default)]
struct Chain {
    /// The ops of its changes that do not wait, from the first to the last of each part without a gap.
    ops: Vec<(u64, u64)>,
    /// The pieces of its newest bundle, while the last is missing.
    open: Vec<ChangeHash>,
    /// The number of its changes that wait.
    waiting: usize,
}

/// The thing that a bundle waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blocker {
    Change(ChangeHash),
    /// An op of this chain.
    Op(ReplicaId, u64),
    /// Nothing: a piece is not readable.
    Fault,
}

impl<C: Change> Blocked<C> {
    /// A document without changes; `unreadable` are those that Automerge is known not to apply.
    pub fn new(unreadable: BTreeSet<ChangeHash>) -> Self {
        let (waiting, bundles, by, added, due, chains) = Default::default();
        Self { waiting, bundles, by, added, due, chains, unreadable, charge: 0 }
    }

    /// Adds an accepted change, after its dependencies. Returns the changes that wait no longer,
    /// dependencies first.
    pub fn accept(&mut self, change: C) -> Vec<C> {
        self.add(change);
        std::iter::from_fn(|| self.next_bundle()).flatten().collect()
    }

    /// Adds an accepted change, after its dependencies; [`next_bundle`](Self::next_bundle) tells what is
    /// ready.
    pub fn add(&mut self, change: C) {
        let ChangeHeader { hash, replica, continues, charge, .. } = *change.header();
        self.waiting.insert(hash, change);
        self.charge += charge;
        let chain = self.chains.entry(replica).or_default();
        chain.waiting += 1;
        chain.open.push(hash);
        if !continues {
            let pieces = std::mem::take(&mut chain.open);
            self.bundles.insert(hash, Bundle { pieces, passed: 0, passed_of_next: 0 });
            self.added.push_back(hash);
        }
    }

    /// The next bundle that waits no longer, in the order of its pieces, after what they depend on.
    pub fn next_bundle(&mut self) -> Option<Vec<C>> {
        loop {
            let last = self.due.pop().or_else(|| self.added.pop_front())?;
            let Some(mut bundle) = self.bundles.remove(&last) else { continue };
            if let Some(blocker) = self.blocker(&mut bundle) {
                self.by.entry(blocker).or_default().insert(last);
                self.bundles.insert(last, bundle);
                continue;
            }
            let mut ready = Vec::with_capacity(bundle.pieces.len());
            for piece in bundle.pieces {
                let Some(change) = self.waiting.remove(&piece) else { continue };
                let woken = self.release(change.header());
                self.due.extend(woken);
                ready.push(change);
            }
            return Some(ready);
        }
    }

    /// The changes that wait, by their hashes.
    pub fn waiting(&self) -> &BTreeMap<ChangeHash, C> {
        &self.waiting
    }

    /// The changes that wait for ever, because Automerge cannot apply them.
    pub fn unreadable(&self) -> &BTreeSet<ChangeHash> {
        &self.unreadable
    }

    /// Returns true if a change of this chain waits.
    pub fn has_waiting_of(&self, replica: ReplicaId) -> bool {
        self.chains.get(&replica).is_some_and(|chain| chain.waiting > 0)
    }

    /// The sum of the charges of the waiting changes.
    pub fn charge(&self) -> u64 {
        self.charge
    }

    /// Remembers a change that Automerge cannot apply, before it is ready.
    pub fn leave_out(&mut self, change: ChangeHash) {
        self.unreadable.insert(change);
    }

    /// The first thing outside of a bundle that it waits for, behind those that it waits for no longer.
    fn blocker(&self, bundle: &mut Bundle) -> Option<Blocker> {
        let first = self.waiting[&bundle.pieces[0]].header();
        let is_of_bundle = |change: &ChangeHeader| change.replica == first.replica && change.seq >= first.seq;
        while let Some(piece) = bundle.pieces.get(bundle.passed) {
            let header = self.waiting[piece].header();
            if bundle.passed_of_next == 0 && self.unreadable.contains(&header.hash) {
                return Some(Blocker::Fault);
            }
            let dependencies = header.deps.iter().map(|dep| {
                let is_waiting = self.waiting.get(dep).is_some_and(|change| !is_of_bundle(change.header()));
                is_waiting.then_some(Blocker::Change(*dep))
            });
            let earlier = &bundle.pieces[..bundle.passed];
            let references = header.references.iter().map(|(replica, op)| {
                let is_known = self.chains.get(replica).is_some_and(|chain| chain.has(*op))
                    || *replica == header.replica && self.make(earlier, *op);
                (!is_known).then_some(Blocker::Op(*replica, *op))
            });
            let mut all = dependencies.chain(references).enumerate().skip(bundle.passed_of_next);
            if let Some((at, blocker)) = all.find_map(|(at, blocker)| Some((at, blocker?))) {
                bundle.passed_of_next = at;
                return Some(blocker);
            }
            (bundle.passed, bundle.passed_of_next) = (bundle.passed + 1, 0);
        }
        None
    }

    /// Returns true if one of these pieces of a bundle makes the op.
    fn make(&self, pieces: &[ChangeHash], op: u64) -> bool {
        let header = |piece: &ChangeHash| self.waiting[piece].header();
        let until = pieces.partition_point(|piece| header(piece).start_op <= op);
        pieces[..until].last().is_some_and(|piece| op <= header(piece).max_op())
    }

    /// Counts a change among those that do not wait. Returns the bundles that may wait no longer.
    fn release(&mut self, header: &ChangeHeader) -> Vec<ChangeHash> {
        let (hash, replica) = (header.hash, header.replica);
        self.charge -= header.charge;
        let mut woken = self.wake(Blocker::Change(hash)..=Blocker::Change(hash));
        let chain = self.chains.entry(replica).or_default();
        chain.waiting -= 1;
        if header.ops > 0 {
            let (start, end) = (header.start_op, header.max_op());
            chain.add(start, end);
            woken.extend(self.wake(Blocker::Op(replica, start)..=Blocker::Op(replica, end)));
        }
        woken
    }

    /// Ends the wait for these blockers; the bundles that waited for them may wait for others.
    fn wake(&mut self, blockers: RangeInclusive<Blocker>) -> Vec<ChangeHash> {
        let gone: Vec<Blocker> = self.by.range(blockers).map(|(blocker, _)| *blocker).collect();
        gone.iter().filter_map(|blocker| self.by.remove(blocker)).flatten().collect()
    }
}

impl Chain {
    fn add(&mut self, start: u64, end: u64) {
        match self.ops.last_mut() {
            Some((_, last)) if *last + 1 == start => *last = end,
            _ => self.ops.push((start, end)),
        }
    }

    fn has(&self, op: u64) -> bool {
        let until = self.ops.partition_point(|(start, _)| *start <= op);
        self.ops[..until].last().is_some_and(|(_, end)| op <= *end)
    }
}
