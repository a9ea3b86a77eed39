//! One batch, judged to its fixpoint in time linear in its dependencies, but for look-ups.
//!
//! First the verified tips mark the chains below them, so that a change which nobody signed cannot take the place of
//! one that somebody did. Then the marked changes are judged in topological order, and of
//! those that could be next as the caller ranks them. Last, each chain is cut back to its highest tip still standing;
//! what depends on what falls, falls.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bound, Index, Refusal, Verdict};
use crate::change::ChangeHeader;
use crate::id::{ChangeHash, OpId, ReplicaId};
use crate::limits::{CHANGE_DEPS_MAX, OP_COUNTER_MAX};
use crate::tip::{Author, VerifiedTip};

pub(super) struct Batch<'a> {
    index: &'a Index,
    changes: &'a [ChangeHeader],
    /// New changes by hash; the first of equal ones.
    new: BTreeMap<ChangeHash, usize>,
    duplicates: usize,
    /// For each change the tip over itself.
    tips: BTreeMap<usize, &'a VerifiedTip>,
    /// Changes that any chain may end in.
    own: &'a BTreeMap<ChangeHash, Author>,
    /// What each author may write; within the lowest of their bounds, if there is any.
    limits: BTreeMap<Author, Result<Option<Limit>, Refusal>>,
    /// For each change its author, once a tip above it is found.
    authors: Vec<Option<Author>>,
    /// For each change what depends on it.
    dependents: Vec<Vec<usize>>,
    refusals: BTreeMap<ChangeHash, Refusal>,
    decided: BTreeSet<ReplicaId>,
}

/// A bound, as far as what is known resolves it.
struct Limit {
    revocation: OpId,
    /// The last place in the chain that stays; 0: nothing stays.
    seq: u64,
    /// The change that must be there, where it is not known: another one cannot be below it.
    change: Option<ChangeHash>,
    /// Where the bound's change is in the batch: it and what is below it in its chain, nothing else.
    branch: Option<BTreeSet<usize>>,
}

/// The end of a replica's chain while the batch is judged.
struct Chain {
    length: u64,
    newest: ChangeHash,
    /// Changes of the batch, ascending.
    new: Vec<usize>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        index: &'a Index,
        changes: &'a [ChangeHeader],
        tips: &'a [VerifiedTip],
        own: &'a BTreeMap<ChangeHash, Author>,
        accept: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
    ) -> Self {
        let mut new = BTreeMap::new();
        let mut duplicates = 0;
        for (at, change) in changes.iter().enumerate() {
            if index.contains(&change.hash) || new.contains_key(&change.hash) {
                duplicates += 1;
            } else {
                new.insert(change.hash, at);
            }
        }
        let mut batch = Self {
            index,
            changes,
            new,
            duplicates,
            tips: BTreeMap::new(),
            own,
            limits: BTreeMap::new(),
            authors: vec![None; changes.len()],
            dependents: vec![Vec::new(); changes.len()],
            refusals: BTreeMap::new(),
            decided: BTreeSet::new(),
        };
        batch.mark(tips);
        batch.limit(tips, accept);
        batch
    }

    /// Walks from each tip down the chain, from direct dependency to direct dependency (C4).
    fn mark(&mut self, tips: &'a [VerifiedTip]) {
        for tip in tips {
            let Some(&at) = self.new.get(&tip.tip().change) else { continue };
            let change = &self.changes[at];
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
            if let Some(author) = self.own.get(&change.hash) {
                self.authors[at].get_or_insert(*author);
            }
        }
    }

    /// Asks what each author may write.
    fn limit(
        &mut self,
        tips: &[VerifiedTip],
        mut accept: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
    ) {
        let of_tip = |tip: &VerifiedTip| (tip.replica(), tip.tip().author);
        let of_own = |change: &ChangeHeader| Some((change.replica, *self.own.get(&change.hash)?));
        let own: BTreeSet<_> = self.changes.iter().filter_map(of_own).collect();
        for (replica, author) in tips.iter().map(of_tip).chain(own) {
            if self.limits.contains_key(&author) {
                continue;
            }
            // Of bounds in one chain the lowest is what all leave. Of two that name different branches, what both leave
            // would depend on who knows the change that the other names, which nobody accepts and nobody hands on.
            let lowest = |bounds: Vec<Bound>| bounds.into_iter().min_by_key(|b| (b.end, b.revocation));
            let limit = accept(&author).map(|bounds| Some(self.resolve(replica, &lowest(bounds)?)));
            self.limits.insert(author, limit);
        }
    }

    fn resolve(&mut self, replica: ReplicaId, bound: &Bound) -> Limit {
        let revocation = bound.revocation;
        let limit = |seq, branch| Limit { revocation, seq, change: None, branch };
        let Some((seq, change)) = bound.end else { return limit(0, None) };
        // A change that is known at another place than the bound says is not the one that it means: then the bound holds
        // as if it were not known, also for those who do not know it.
        let elsewhere = Limit { revocation, seq, change: Some(change), branch: None };
        if let Some(place) = self.index.place(&change) {
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
        // A chain of the index that this branch does not go on from is another branch.
        if self.changes[lowest].seq <= self.index.length(&replica) {
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
        inside.find(|&at| before(&self.changes[at]))
    }

    /// Of changes that could be judged next, the one with the least `rank` is.
    pub(super) fn judge<R: Ord>(mut self, rank: impl Fn(usize, ChangeHash) -> R) -> Verdict {
        let mut chains: BTreeMap<ReplicaId, Chain> = BTreeMap::new();
        let order = self.topological(rank);
        for &at in &order {
            let change = &self.changes[at];
            let chain = chains.entry(change.replica).or_insert_with(|| Chain {
                length: self.index.length(&change.replica),
                newest: self.index.newest(&change.replica).unwrap_or(ChangeHash([0; 32])),
                new: Vec::new(),
            });
            match self.check(at, chain) {
                Ok(()) => {
                    chain.length = change.seq;
                    chain.newest = change.hash;
                    chain.new.push(at);
                }
                Err(refusal) => {
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
                None => open.push((end, self.own[&self.changes[end].hash])),
            }
        }
        Verdict { accepted, duplicates: self.duplicates, refused, tips, open, decided: self.decided }
    }

    fn stands(&self, at: usize) -> bool {
        !self.refusals.contains_key(&self.changes[at].hash)
    }

    /// Orders the batch by dependencies, then by rank, and notes what depends on what.
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

    /// The largest op of all dependencies, if each is accepted.
    fn dependencies(&self, change: &ChangeHeader) -> Result<u64, Refusal> {
        let mut max_op = 0;
        let mut refusal = None;
        for &dependency in &change.deps {
            let known = match self.new.get(&dependency) {
                Some(&at) if self.stands(at) => Some(self.changes[at].max_op()),
                Some(_) => None,
                None => self.index.max_op(&dependency),
            };
            match known {
                Some(op) => max_op = max_op.max(op),
                // What can never heal counts more than what may.
                None => refusal = refusal.max(Some(self.fallen(dependency))),
            }
        }
        refusal.map_or(Ok(max_op), Err)
    }

    /// What becomes of a change whose dependency is not accepted: for a missing change, the root of it all.
    fn fallen(&self, dependency: ChangeHash) -> Refusal {
        match self.refusals.get(&dependency) {
            Some(missing @ Refusal::MissingDependency { .. }) => missing.clone(),
            Some(Refusal::Unvouched | Refusal::UnvouchedDependency { .. }) => {
                Refusal::UnvouchedDependency { dependency }
            }
            Some(_) => Refusal::RefusedDependency { dependency },
            None => Refusal::MissingDependency { dependency },
        }
    }

    /// Headers that depend on each other in a circle have no order. No hash allows it, but headers can be made up.
    fn refuse_unordered(&mut self, order: &[usize]) {
        let ordered: BTreeSet<usize> = order.iter().copied().collect();
        for (&hash, &at) in self.new.iter().filter(|(_, at)| !ordered.contains(at)) {
            let inside = self.changes[at].deps.iter().find(|dep| self.new.contains_key(dep));
            let dependency = *inside.expect("without a dependency inside the batch it had been ready");
            self.refusals.insert(hash, Refusal::RefusedDependency { dependency });
        }
    }

    /// Takes off each chain what lies above its highest standing tip, and what depends on it, until nothing changes.
    fn cut_back(&mut self, chains: &mut BTreeMap<ReplicaId, Chain>) {
        let mut replicas: BTreeSet<ReplicaId> = chains.keys().copied().collect();
        while let Some(replica) = replicas.pop_first() {
            let Some(chain) = chains.get_mut(&replica) else { continue };
            while let Some(&end) = chain.new.last() {
                let stands = self.stands(end);
                if stands && (self.tips.contains_key(&end) || self.own.contains_key(&self.changes[end].hash))
                {
                    break;
                }
                chain.new.pop();
                if stands {
                    self.refusals.insert(self.changes[end].hash, Refusal::Unvouched);
                    self.fell(end, &mut replicas);
                }
            }
        }
    }

    /// Refuses all that depends on a change which fell because nothing vouches for it any more.
    fn fell(&mut self, at: usize, replicas: &mut BTreeSet<ReplicaId>) {
        let mut fallen = vec![at];
        while let Some(at) = fallen.pop() {
            let dependency = self.changes[at].hash;
            for dependent in std::mem::take(&mut self.dependents[at]) {
                if self.stands(dependent) {
                    let change = &self.changes[dependent];
                    self.refusals.insert(change.hash, Refusal::UnvouchedDependency { dependency });
                    replicas.insert(change.replica);
                    fallen.push(dependent);
                }
            }
        }
    }
}
