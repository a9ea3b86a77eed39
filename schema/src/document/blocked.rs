//! The accepted changes of a document that wait, so that no reader sees them.
//!
//! A change waits for whatever its ops name: its dependencies, and each op of another chain up to the largest
//! that it names. A piece of a bundle waits until the last piece is accepted. A change that Automerge cannot
//! apply waits for ever, and with it all that depends on it. Which changes wait is therefore a function of
//! what is accepted, the same on every device and in every order of arrival; and a device writes on top of
//! what it reads, so that no honest change waits for a faulty one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::Change;
use crate::change::ChangeHeader;
use crate::id::{ChangeHash, ReplicaId};

/// The accepted changes of one document that wait, and what is known of those that do not.
#[derive(Clone, Debug)]
pub struct Blocked<C> {
    waiting: BTreeMap<ChangeHash, C>,
    /// The waiting changes by the first thing that each of them waits for.
    by: BTreeMap<Blocker, BTreeSet<ChangeHash>>,
    chains: BTreeMap<ReplicaId, Chain>,
    unreadable: BTreeSet<ChangeHash>,
    /// Of a waiting change, how many of its dependencies and references wait no longer: none of them waits
    /// again.
    passed: BTreeMap<ChangeHash, usize>,
    charge: u64,
}

/// One chain of accepted changes.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    /// The largest op of its changes that are not waiting.
    max_op: u64,
    /// The newest accepted change that ends a bundle, or is none of a bundle.
    complete: u64,
    /// The number of its changes that wait.
    waiting: usize,
}

/// The thing that a change waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blocker {
    Change(ChangeHash),
    /// The last piece of a bundle of this chain.
    Bundle(ReplicaId),
    /// An op of this chain.
    Op(ReplicaId, u64),
    /// Nothing: it is not readable.
    Fault,
}

impl<C: Change> Blocked<C> {
    /// A document without changes; `unreadable` are those that Automerge is known not to apply.
    pub fn new(unreadable: BTreeSet<ChangeHash>) -> Self {
        let (waiting, by, chains, passed) = Default::default();
        Self { waiting, by, chains, unreadable, passed, charge: 0 }
    }

    /// Adds an accepted change, after its dependencies. Returns the changes that wait no longer, dependencies
    /// first.
    pub fn accept(&mut self, change: C) -> Vec<C> {
        let ChangeHeader { hash, replica, seq, continues, charge, .. } = *change.header();
        self.waiting.insert(hash, change);
        self.charge += charge;
        // A change stays among the waiting ones until it is ready, so that what depends on it waits too.
        let mut due = vec![hash];
        self.chains.entry(replica).or_default().waiting += 1;
        if !continues {
            self.chains.entry(replica).or_default().complete = seq;
            due.extend(self.wake(Blocker::Bundle(replica)..=Blocker::Bundle(replica)));
        }
        let mut ready = Vec::new();
        while let Some(hash) = due.pop() {
            let passed = self.passed.get(&hash).copied().unwrap_or_default();
            let (passed, blocker) = self.blocker(self.waiting[&hash].header(), passed);
            if let Some(blocker) = blocker {
                self.passed.insert(hash, passed);
                self.by.entry(blocker).or_default().insert(hash);
                continue;
            }
            let Some(change) = self.waiting.remove(&hash) else { continue };
            let (replica, max_op) = (change.header().replica, change.header().max_op());
            self.charge -= change.header().charge;
            self.passed.remove(&hash);
            let chain = self.chains.entry(replica).or_default();
            (chain.max_op, chain.waiting) = (max_op, chain.waiting - 1);
            ready.push(change);
            due.extend(self.wake(Blocker::Change(hash)..=Blocker::Change(hash)));
            due.extend(self.wake(Blocker::Op(replica, 0)..=Blocker::Op(replica, max_op)));
        }
        ready
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

    /// Remembers a change that Automerge cannot apply, before it is accepted.
    pub fn leave_out(&mut self, change: ChangeHash) {
        self.unreadable.insert(change);
    }

    /// The first thing that a change waits for, behind so many of its dependencies and references; and the
    /// number of those that it waits for no longer.
    fn blocker(&self, header: &ChangeHeader, passed: usize) -> (usize, Option<Blocker>) {
        if self.unreadable.contains(&header.hash) {
            return (passed, Some(Blocker::Fault));
        }
        let chain = |replica: &ReplicaId| self.chains.get(replica).copied().unwrap_or_default();
        let dependencies =
            header.deps.iter().map(|dep| self.waiting.contains_key(dep).then_some(Blocker::Change(*dep)));
        let references = header
            .references
            .iter()
            .map(|(replica, op)| (chain(replica).max_op < *op).then_some(Blocker::Op(*replica, *op)));
        let mut all = dependencies.chain(references).enumerate().skip(passed);
        if let Some((at, blocker)) = all.find_map(|(at, blocker)| Some((at, blocker?))) {
            return (at, Some(blocker));
        }
        let is_open = header.continues && chain(&header.replica).complete <= header.seq;
        let count = header.deps.len() + header.references.len();
        (count, is_open.then_some(Blocker::Bundle(header.replica)))
    }

    /// Ends the wait for these blockers; the changes that waited for them may wait for others.
    fn wake(&mut self, blockers: RangeInclusive<Blocker>) -> Vec<ChangeHash> {
        let gone: Vec<Blocker> = self.by.range(blockers).map(|(blocker, _)| *blocker).collect();
        gone.iter().filter_map(|blocker| self.by.remove(blocker)).flatten().collect()
    }
}
