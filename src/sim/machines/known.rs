//! Changes of one document of the machine world, and the tips that vouch for them.

use std::collections::{BTreeMap, BTreeSet};

use schema::change::ChangeHeader;
use schema::tip::Tip;
use schema::{ChangeHash, ReplicaId};

/// A tip whose place is a multiple of this stays beside the newest; a node's checkpoints are 256 apart.
pub(super) const CHECKPOINT: u64 = 4;

/// Changes of one document, and what vouches for them.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) headers: Vec<ChangeHeader>,
    pub(super) tips: BTreeMap<ReplicaId, BTreeMap<u64, Vec<Tip>>>,
}

impl Known {
    pub(super) fn all_tips(&self) -> impl Iterator<Item = &Tip> {
        self.tips.values().flat_map(BTreeMap::values).flatten()
    }

    /// Whether a change that was just accepted may bring something of this back, or is part of it.
    pub(super) fn may_need(&self, change: &ChangeHeader) -> bool {
        self.headers.iter().any(|kept| kept.replica == change.replica || kept.deps.contains(&change.hash))
    }

    /// The tip over a change itself.
    pub(super) fn tip_over(&self, header: &ChangeHeader) -> Option<Tip> {
        let of_place = self.tips.get(&header.replica)?.get(&header.seq)?;
        of_place.iter().find(|tip| tip.change == header.hash).copied()
    }

    pub(super) fn put_tip(&mut self, replica: ReplicaId, tip: Tip) {
        let of_place = self.tips.entry(replica).or_default().entry(tip.seq).or_default();
        if !of_place.contains(&tip) {
            of_place.push(tip);
        }
    }

    /// Keeps the newest tip of a chain and its checkpoints, as a node's records do.
    pub(super) fn keep_tip(&mut self, replica: ReplicaId, tip: Tip) {
        let of_replica = self.tips.entry(replica).or_default();
        of_replica.retain(|seq, _| seq.is_multiple_of(CHECKPOINT));
        of_replica.insert(tip.seq, vec![tip]);
    }

    /// Adds others; the hashes of those that are new.
    pub(super) fn add(&mut self, others: Known) -> Vec<ChangeHash> {
        let have: BTreeSet<ChangeHash> = self.headers.iter().map(|header| header.hash).collect();
        for (replica, tips) in others.tips {
            tips.into_values().flatten().for_each(|tip| self.put_tip(replica, tip));
        }
        let new = others.headers.into_iter().filter(|header| !have.contains(&header.hash));
        let new: Vec<_> = new.collect();
        let hashes = new.iter().map(|header| header.hash).collect();
        self.headers.extend(new);
        hashes
    }

    /// Of what was here, what is not accepted.
    pub(super) fn without(self, accepted: &BTreeSet<ChangeHash>, ours: &BTreeSet<ChangeHash>) -> Self {
        let Self { mut headers, mut tips } = self;
        headers.retain(|header| ours.contains(&header.hash) && !accepted.contains(&header.hash));
        tips.retain(|replica, _| headers.iter().any(|header| header.replica == *replica));
        Self { headers, tips }
    }
}
