//! A document as its readers see it: Automerge with every accepted change that waits for nothing (pure).

use std::collections::{BTreeSet, VecDeque};

use schema::document::{Blocked, EncodedChange};
use schema::limits::{CHANGE_DEPS_MAX, UNIT_CHARGE_MAX};
use schema::{ChangeHash, ReplicaId};

use super::replica::{Replica, Row};
use crate::edit::{EditError, RowEdit};

/// A materialised document.
#[derive(Clone)]
pub(crate) struct Reading {
    /// In boxes, for a reading moves between the actor and its workers.
    replica: Box<Replica>,
    blocked: Box<Blocked<EncodedChange>>,
    /// Changes of whole bundles that wait for nothing and are not applied yet.
    ready: VecDeque<EncodedChange>,
}

/// The reason for which Automerge does not take changes that the checks of admission accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Fault {
    what: String,
}

impl Fault {
    fn new(error: impl ToString) -> Self {
        Self { what: error.to_string() }
    }
}

impl Reading {
    /// A document without changes; `unreadable` are those that Automerge is known not to apply.
    pub(crate) fn new(unreadable: BTreeSet<ChangeHash>) -> Self {
        Self {
            replica: Box::new(Replica::new()),
            blocked: Box::new(Blocked::new(unreadable)),
            ready: VecDeque::new(),
        }
    }

    /// Takes accepted changes in, dependencies first, and reads the row.
    ///
    /// # Errors
    /// [`Fault`]: the reading is spoiled, and has to be made again from the stored changes.
    pub(crate) fn accept(&mut self, changes: impl IntoIterator<Item = EncodedChange>) -> Result<Row, Fault> {
        self.add(changes);
        while !self.step()? {}
        self.row()
    }

    /// Adds accepted changes, dependencies first, for the next [steps](Self::step).
    pub(crate) fn add(&mut self, changes: impl IntoIterator<Item = EncodedChange>) {
        changes.into_iter().for_each(|change| self.blocked.add(change));
    }

    /// Applies the next changes that wait for nothing, at most the charge of a unit; returns true once all
    /// are applied. Before that the row is none that anybody may see: a part of a bundle may stand in it.
    ///
    /// # Errors
    /// [`Fault`], as for [`accept`](Self::accept).
    pub(crate) fn step(&mut self) -> Result<bool, Fault> {
        if self.ready.is_empty() {
            self.ready_next(usize::MAX);
        }
        self.apply_ready()?;
        Ok(self.ready.is_empty() && self.ready_next(usize::MAX).is_empty())
    }

    /// Makes the next bundles ready to be applied: at most so many, and none beyond the charge of a unit but
    /// the first. Returns their last pieces.
    pub(crate) fn ready_next(&mut self, count: usize) -> Vec<ChangeHash> {
        let (mut bundles, mut charge) = (Vec::new(), 0);
        while bundles.len() < count && charge < UNIT_CHARGE_MAX {
            let Some(bundle) = self.blocked.next_bundle() else { break };
            charge += bundle.iter().map(|change| change.header.charge).sum::<u64>();
            bundles.extend(bundle.last().map(|change| change.header.hash));
            self.ready.extend(bundle);
        }
        bundles
    }

    /// Applies ready changes, up to the charge of a unit, by one call of Automerge. Returns true if none is
    /// left.
    ///
    /// # Errors
    /// [`Fault`], as for [`accept`](Self::accept).
    pub(crate) fn apply_ready(&mut self) -> Result<bool, Fault> {
        let (mut part, mut charge) = (Vec::new(), 0);
        while let Some(change) = self.ready.front() {
            charge += change.header.charge;
            if charge > UNIT_CHARGE_MAX && !part.is_empty() {
                break;
            }
            part.extend(self.ready.pop_front());
        }
        if !part.is_empty() {
            let chunks: Vec<_> = part.iter().map(|change| change.bytes.as_slice()).collect();
            let needs_objects = part.iter().any(|change| change.header.needs_objects);
            self.replica.apply_read(&chunks, needs_objects).map_err(Fault::new)?;
        }
        Ok(self.ready.is_empty())
    }

    /// Remembers a change that Automerge does not take, before it is ready.
    pub(crate) fn leave_out(&mut self, change: ChangeHash) {
        self.blocked.leave_out(change);
    }

    /// The row.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) fn row(&self) -> Result<Row, Fault> {
        self.replica.row().map_err(Fault::new)
    }

    /// The newest changes that readers see, sorted.
    pub(crate) fn heads(&self) -> Vec<ChangeHash> {
        self.replica.heads()
    }

    /// Makes changes of an edit as a replica of this device, after changes that merge heads where there are
    /// too many; none where nothing differs. `newest` is the newest change of its chain, with its place.
    ///
    /// # Errors
    /// [`EditError`]: the reading is as it was, unless it [is broken](Self::is_broken) now.
    pub(crate) fn edit(
        &mut self,
        author: ReplicaId,
        newest: Option<(u64, ChangeHash)>,
        time_ms: i64,
        edit: &RowEdit,
    ) -> Result<Vec<EncodedChange>, EditError> {
        let changes = if self.heads().len() < CHANGE_DEPS_MAX {
            self.replica.commit(author, time_ms, edit)?
        } else {
            // A refused edit takes the changes that merge heads for it along.
            let mut trial = self.replica.clone();
            let mut changes = trial.merge_heads(author, newest, time_ms)?;
            changes.extend(trial.commit(author, time_ms, edit)?);
            self.replica = trial;
            changes
        };
        // A change waits for an op of this chain only once all its dependencies are read, and names no op as
        // large as its own: so it waits for none of those that the edit makes, which are larger.
        let ready: usize = changes.iter().map(|change| self.blocked.accept(change.clone()).len()).sum();
        debug_assert!(ready == changes.len(), "an edit readies its own changes alone");
        Ok(changes)
    }

    /// The accepted changes that Automerge is known not to apply.
    pub(crate) fn unreadable(&self) -> &BTreeSet<ChangeHash> {
        self.blocked.unreadable()
    }

    /// Returns true if Automerge failed in the middle.
    pub(crate) fn is_broken(&self) -> bool {
        self.replica.is_broken()
    }

    /// Returns true if an accepted change of this chain waits.
    pub(crate) fn has_waiting_of(&self, replica: ReplicaId) -> bool {
        self.blocked.has_waiting_of(replica)
    }

    /// Its size in memory, roughly, in bytes.
    pub(crate) fn approximate_bytes(&self) -> usize {
        let waiting = usize::try_from(self.blocked.charge()).unwrap_or(usize::MAX);
        self.replica.approximate_bytes().saturating_add(waiting)
    }
}
