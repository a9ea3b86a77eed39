//! One batch, judged to its fixpoint in time linear in its dependencies, but for look-ups.
//!
//! First, the verified tips mark the chains below them, so that an unsigned change cannot take the place of a
//! signed one. Then the marked changes are judged in topological order, those that could be next by the
//! caller's rank. Last, each chain is cut back to its highest tip over an accepted change; every change that
//! depends on a refused one is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bound, Case, Verdict};
use crate::change::ChangeHeader;
use crate::document::Refusal;
use crate::id::{ChangeHash, OpId, ReplicaId};
use crate::limits::{CHANGE_DEPS_MAX, OP_COUNTER_MAX};
use crate::tip::{Author, VerifiedTip};

pub(super) struct Batch<'a> {
    case: Case<'a>,
    changes: Vec<&'a ChangeHeader>,
    /// The new changes, by hash; of equal ones the first.
    new: BTreeMap<ChangeHash, usize>,
    duplicates: usize,
    /// The tip over each change, where there is one.
    tips: BTreeMap<usize, &'a VerifiedTip>,
    /// The lowest bound of each author who may write, if there is one.
    limits: BTreeMap<Author, Result<Option<Limit>, Refusal>>,
    /// The author of each change, once a tip above it is found.
    authors: Vec<Option<Author>>,
    /// The changes that depend on each change.
    dependents: Vec<Vec<usize>>,
    refusals: BTreeMap<ChangeHash, Refusal>,
    decided: BTreeSet<ReplicaId>,
}

/// A bound, resolved as far as the known changes allow.
struct Limit {
    revocation: OpId,
    /// The sequence number of the last change that stays accepted; 0: none does.
    seq: u64,
    /// The change that the bound names, if it is not known: no other change with that sequence number is
    /// below it.
    change: Option<ChangeHash>,
    /// The change that the bound names and the chain below it, if it is in the batch: nothing else is within.
    branch: Option<BTreeSet<usize>>,
}

/// The end of a replica's chain while the batch is judged.
struct Chain {
    length: u64,
    newest: ChangeHash,
    /// The changes of the batch in the chain, ascending.
    new: Vec<usize>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        case: Case<'a>,
        changes: Vec<&'a ChangeHeader>,
        bounds: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
    ) -> Self {
        let mut new = BTreeMap::new();
        let mut duplicates = 0;
        for (at, change) in changes.iter().enumerate() {
            if case.index.contains(&change.hash) || new.contains_key(&change.hash) {
                duplicates += 1;
            } else {
                new.insert(change.hash, at);
            }
        }
        let mut batch = Self {
            case,
            new,
            duplicates,
            tips: BTreeMap::new(),
            limits: BTreeMap::new(),
            authors: vec![None; changes.len()],
            dependents: vec![Vec::new(); changes.len()],
            changes,
            refusals: BTreeMap::new(),
            decided: BTreeSet::new(),
        };
        batch.mark();
        batch.limit(bounds);
        batch
    }

    /// Walks from each tip down the chain, from direct dependency to direct dependency (C4).
    fn mark(&mut self) {
        for tip in self.case.tips {
            let Some(&at) = self.new.get(&tip.tip().change) else { continue };
            let change = self.changes[at];
            if change.replica != tip.replica() || change.seq != tip.tip().seq {
                continue;
            }
            let first = self.tips.entry(at).or_insert(tip);
            *first = (*first).min(tip);

            let mut next = Some(at);
            while let Some(at) = next
                && self.authors[at].is_none()
            {
                self.authors[at] = Some(tip.tip().author);
                next = self.previous(at);
            }
        }
        for (at, change) in self.changes.iter().enumerate() {
            if let Some(author) = self.case.own.get(&change.hash) {
                self.authors[at].get_or_insert(*author);
            }
        }
    }

    /// Notes for each author the last change that the lowest of their cuts leaves, or the reason why nothing
    /// of theirs is accepted.
    fn limit(&mut self, mut bounds: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>) {
        let of_tip = |tip: &VerifiedTip| (tip.replica(), tip.tip().author);
        let of_own = |change: &&ChangeHeader| Some((change.replica, *self.case.own.get(&change.hash)?));
        let own: BTreeSet<_> = self.changes.iter().filter_map(of_own).collect();
        for (replica, author) in self.case.tips.iter().map(of_tip).chain(own) {
            if self.limits.contains_key(&author) {
                continue;
            }
            // Bounds in one chain leave together what the lowest leaves. Bounds that name two branches would
            // leave different changes to peers that know different branches, for nobody sends on what nobody
            // accepts.
            let lowest = |bounds: Vec<Bound>| bounds.into_iter().min_by_key(|b| (b.end, b.revocation));
            let limit = bounds(&author).map(|bounds| Some(self.resolve(replica, &lowest(bounds)?)));
            self.limits.insert(author, limit);
        }
    }

    fn resolve(&mut self, replica: ReplicaId, bound: &Bound) -> Limit {
        let revocation = bound.revocation;
        let limit = |seq, branch| Limit { revocation, seq, change: None, branch };
        let Some((seq, change)) = bound.end else { return limit(0, None) };
        // A change that is known at another place than the bound names is treated as unknown, so that peers
        // that do not know it decide alike.
        let elsewhere = Limit { revocation, seq, change: Some(change), branch: None };
        if let Some(place) = self.case.index.place(&change) {
            return if place == (replica, seq) { limit(seq, None) } else { elsewhere };
        }
        let Some(&end) = self.new.get(&change) else { return elsewhere };
        if (self.changes[end].replica, self.changes[end].seq) != (replica, seq) {
            return elsewhere;
        }
        let (mut branch, mut next, mut lowest) = (BTreeSet::new(), Some(end), end);
        while let Some(at) = next {
            branch.insert(at);
            lowest = at;
            next = self.previous(at);
        }
        // A chain of the index that this branch does not extend is another branch.
        if self.changes[lowest].seq <= self.case.index.length(&replica) {
            self.decided.insert(replica);
        }
        limit(seq, Some(branch))
    }

    fn previous(&self, at: usize) -> Option<usize> {
        let change = &self.changes[at];
        let before = |other: &ChangeHeader| {
            other.replica == change.replica && other.seq.checked_add(1) == Some(change.seq)
        };
        let mut inside = change.deps.iter().filter_map(|dep| self.new.get(dep).copied());
        inside.find(|&at| before(self.changes[at]))
    }

    /// Judges the changes in topological order, those that could be next by the least `rank`.
    pub(super) fn judge<R: Ord>(mut self, rank: impl Fn(usize, ChangeHash) -> R) -> Verdict {
        let mut chains: BTreeMap<ReplicaId, Chain> = BTreeMap::new();
        let order = self.topological(rank);
        for &at in &order {
            let change = &self.changes[at];
            let chain = chains.entry(change.replica).or_insert_with(|| Chain {
                length: self.case.index.length(&change.replica),
                newest: self.case.index.newest(&change.replica).unwrap_or(ChangeHash([0; 32])),
                new: Vec::new(),
            });
            let refusal = self.check(at, chain).err().filter(|refusal| !self.case.rules.waives(refusal));
            match refusal {
                None => {
                    chain.length = change.seq;
                    chain.newest = change.hash;
                    chain.new.push(at);
                }
                Some(refusal) => {
                    self.refusals.insert(change.hash, refusal);
                }
            }
        }
        self.refuse_unordered(&order);
        self.cut_back(&mut chains);

        let accepted: Vec<usize> = order.into_iter().filter(|&at| self.stands(at)).collect();
        let refused = self.refusals.into_iter().map(|(hash, refusal)| (self.new[&hash], refusal)).collect();
        let (mut tips, mut open) = (Vec::new(), Vec::new());
        for end in chains.values().filter_map(|chain| chain.new.last().copied()) {
            match self.tips.get(&end) {
                Some(tip) => tips.push(**tip),
                None => open.push((end, self.case.own[&self.changes[end].hash])),
            }
        }
        Verdict { accepted, duplicates: self.duplicates, refused, tips, open, decided: self.decided }
    }

    fn stands(&self, at: usize) -> bool {
        !self.refusals.contains_key(&self.changes[at].hash)
    }

    /// Orders the batch by dependencies, then by rank, and records the dependents of each change.
    fn topological<R: Ord>(&mut self, rank: impl Fn(usize, ChangeHash) -> R) -> Vec<usize> {
        let mut waiting = vec![0_usize; self.changes.len()];
        let mut ready = BTreeSet::new();
        for (&hash, &at) in &self.new {
            let inside: BTreeSet<usize> =
                self.changes[at].deps.iter().filter_map(|dep| self.new.get(dep).copied()).collect();
            waiting[at] = inside.len();
            if inside.is_empty() {
                ready.insert((rank(at, hash), at));
            }
            for dep in inside {
                self.dependents[dep].push(at);
            }
        }
        let mut order = Vec::with_capacity(self.new.len());
        while let Some((_, at)) = ready.pop_first() {
            order.push(at);
            for &dependent in &self.dependents[at] {
                waiting[dependent] -= 1;
                if waiting[dependent] == 0 {
                    ready.insert((rank(dependent, self.changes[dependent].hash), dependent));
                }
            }
        }
        order
    }

    /// C2 to C8, and of C1 that some tip is above.
    fn check(&self, at: usize, chain: &Chain) -> Result<(), Refusal> {
        let change = &self.changes[at];
        if change.deps.len() > CHANGE_DEPS_MAX {
            let (got, max) = (change.deps.len() as u64, CHANGE_DEPS_MAX as u64);
            return Err(Refusal::Dependencies { got, max }); // C7
        }
        let Some(author) = &self.authors[at] else { return Err(Refusal::Unvouched) }; // C1
        let max_op = self.dependencies(change)?; // C2

        let expected = chain.length + 1;
        if change.seq == 0 || change.seq > expected {
            return Err(Refusal::SequenceGap { expected, got: change.seq }); // C3
        }
        if change.seq < expected {
            return Err(Refusal::Fork { replica: change.replica, seq: change.seq }); // C6
        }
        if change.seq > 1 && !change.deps.contains(&chain.newest) {
            return Err(Refusal::PreviousNotDirect); // C4
        }
        let (expected, got) = (max_op + 1, change.start_op);
        if got != expected || change.max_op() > OP_COUNTER_MAX {
            return Err(Refusal::StartOp { expected, got }); // C5
        }
        self.within(at, author) // C8
    }

    fn within(&self, at: usize, author: &Author) -> Result<(), Refusal> {
        let limit = self.limits[author].as_ref().map_err(Refusal::clone)?;
        let Some(limit) = limit else { return Ok(()) };
        let (seq, hash) = (self.changes[at].seq, self.changes[at].hash);
        let is_within = match &limit.branch {
            Some(branch) => branch.contains(&at),
            None => seq < limit.seq || seq == limit.seq && limit.change.is_none_or(|change| change == hash),
        };
        let (author, revocation, seq, got) = (*author, limit.revocation, limit.seq, seq);
        if is_within { Ok(()) } else { Err(Refusal::BeyondCut { author, revocation, seq, got }) }
    }

    /// The largest op of all dependencies, if all of them are accepted.
    fn dependencies(&self, change: &ChangeHeader) -> Result<u64, Refusal> {
        let mut max_op = 0;
        let mut refusal = None;
        for &dependency in &change.deps {
            let known = match self.new.get(&dependency) {
                Some(&at) if self.stands(at) => Some(self.changes[at].max_op()),
                Some(_) => None,
                None => self.case.index.max_op(&dependency),
            };
            match known {
                Some(op) => max_op = max_op.max(op),
                // A refusal that is final counts more than one that may be resolved.
                None => refusal = refusal.max(Some(self.refusal_of_dependent(dependency))),
            }
        }
        refusal.map_or(Ok(max_op), Err)
    }

    /// The refusal of a change whose dependency is not accepted; for a missing change, the first one that is
    /// missing.
    fn refusal_of_dependent(&self, dependency: ChangeHash) -> Refusal {
        match self.refusals.get(&dependency) {
            Some(missing @ Refusal::MissingDependency { .. }) => missing.clone(),
            Some(Refusal::Unvouched | Refusal::UnvouchedDependency { .. }) => {
                Refusal::UnvouchedDependency { dependency }
            }
            Some(_) => Refusal::RefusedDependency { dependency },
            None => Refusal::MissingDependency { dependency },
        }
    }

    /// Refuses headers that depend on each other in a circle: hashes prevent it, but tests can make such
    /// headers.
    fn refuse_unordered(&mut self, order: &[usize]) {
        let ordered: BTreeSet<usize> = order.iter().copied().collect();
        for (&hash, &at) in self.new.iter().filter(|(_, at)| !ordered.contains(at)) {
            let inside = self.changes[at].deps.iter().find(|dep| self.new.contains_key(dep));
            let dependency = *inside.expect("without a dependency inside the batch it had been ready");
            self.refusals.insert(hash, Refusal::RefusedDependency { dependency });
        }
    }

    /// Cuts each chain back to its highest tip over an accepted change, and refuses the dependents, until
    /// nothing changes.
    fn cut_back(&mut self, chains: &mut BTreeMap<ReplicaId, Chain>) {
        let mut replicas: BTreeSet<ReplicaId> = chains.keys().copied().collect();
        while let Some(replica) = replicas.pop_first() {
            let Some(chain) = chains.get_mut(&replica) else { continue };
            while let Some(&end) = chain.new.last() {
                let stands = self.stands(end);
                if stands
                    && (self.tips.contains_key(&end) || self.case.own.contains_key(&self.changes[end].hash))
                {
                    break;
                }
                chain.new.pop();
                if stands {
                    self.refusals.insert(self.changes[end].hash, Refusal::Unvouched);
                    self.refuse_dependents(end, &mut replicas);
                }
            }
        }
    }

    /// Refuses all dependents of a change that no tip vouches for any longer.
    fn refuse_dependents(&mut self, at: usize, replicas: &mut BTreeSet<ReplicaId>) {
        let mut refused = vec![at];
        while let Some(at) = refused.pop() {
            let dependency = self.changes[at].hash;
            for dependent in std::mem::take(&mut self.dependents[at]) {
                if self.stands(dependent) {
                    let change = &self.changes[dependent];
                    self.refusals.insert(change.hash, Refusal::UnvouchedDependency { dependency });
                    replicas.insert(change.replica);
                    refused.push(dependent);
                }
            }
        }
    }
}
