//! Changes that are no longer accepted: set apart, because a removal that took them may itself turn out void.

use std::collections::BTreeSet;

use super::Change;
use crate::change::ChangeHeader;
use crate::id::{ChangeHash, ReplicaId};
use crate::tip::VerifiedTip;

/// Changes of one document that are set aside, with the tips of their chains.
#[derive(Clone, Debug)]
pub struct SetAside<C> {
    /// The changes.
    pub changes: Vec<C>,
    /// The tips of their chains.
    pub tips: Vec<VerifiedTip>,
    /// Their chains, ascending.
    pub replicas: Vec<ReplicaId>,
    /// Dependencies that are neither set aside nor accepted, ascending: with one of them, something may be
    /// restored.
    pub lacks: Vec<ChangeHash>,
}

impl<C: Change> SetAside<C> {
    pub(super) fn new(changes: Vec<C>, mut tips: Vec<VerifiedTip>, accepted: &BTreeSet<ChangeHash>) -> Self {
        let hashes: BTreeSet<ChangeHash> = changes.iter().map(|change| change.header().hash).collect();
        let replicas: BTreeSet<ReplicaId> = changes.iter().map(|change| change.header().replica).collect();
        let deps: BTreeSet<ChangeHash> =
            changes.iter().flat_map(|change| &change.header().deps).copied().collect();
        let lacks = deps.into_iter().filter(|dep| !hashes.contains(dep) && !accepted.contains(dep)).collect();
        tips.retain(|tip| replicas.contains(&tip.replica()));
        Self { changes, tips, replicas: replicas.into_iter().collect(), lacks }
    }

    /// The changes that could bring something of this back.
    pub fn awaited(&self) -> Awaited<'_> {
        Awaited { replicas: &self.replicas, lacks: &self.lacks }
    }
}

/// The changes that could bring back something that is set aside: those of its chains, and the dependencies
/// it lacks.
#[derive(Clone, Copy, Debug)]
pub struct Awaited<'a> {
    /// The chains, ascending.
    pub replicas: &'a [ReplicaId],
    /// The dependencies, ascending.
    pub lacks: &'a [ChangeHash],
}

impl Awaited<'_> {
    /// Returns true if this change could bring something back.
    pub fn contains(&self, change: &ChangeHeader) -> bool {
        self.replicas.binary_search(&change.replica).is_ok() || self.lacks.binary_search(&change.hash).is_ok()
    }
}
