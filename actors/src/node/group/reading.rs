//! A document as its readers see it: Automerge with every accepted change that waits for nothing (pure).

use std::collections::BTreeSet;

use schema::document::{Blocked, EncodedChange};
use schema::limits::{CHANGE_DEPS_MAX, UNIT_CHARGE_MAX};
use schema::{ChangeHash, ReplicaId};

use super::replica::{Replica, Row};
use crate::edit::{EditError, RowEdit};

/// A materialised document.
#[derive(Clone)]
pub(crate) struct Reading {
    /// In a box, for a reading moves between the actor and its workers.
    replica: Box<Replica>,
    blocked: Blocked<EncodedChange>,
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
        Self { replica: Box::new(Replica::new()), blocked: Blocked::new(unreadable) }
    }

    /// Takes accepted changes in, dependencies first, and reads the row.
    ///
    /// # Errors
    /// [`Fault`]: the reading is spoiled, and has to be made again from the stored changes.
    pub(crate) fn accept(&mut self, changes: impl IntoIterator<Item = EncodedChange>) -> Result<Row, Fault> {
        self.take(changes)?;
        self.row()
    }

    /// Takes accepted changes in, dependencies first.
    ///
    /// # Errors
    /// [`Fault`], as for [`accept`](Self::accept).
    pub(crate) fn take(&mut self, changes: impl IntoIterator<Item = EncodedChange>) -> Result<(), Fault> {
        let mut ready = self.unblock(changes).into_iter().peekable();
        // The last piece of a bundle readies any number of changes.
        while ready.peek().is_some() {
            let mut charge = 0;
            let part: Vec<_> = std::iter::from_fn(|| {
                ready.next_if(|change| {
                    charge += change.header.charge;
                    charge <= UNIT_CHARGE_MAX
                })
            })
            .collect();
            self.replica.apply(&chunks(&part)).map_err(Fault::new)?;
        }
        Ok(())
    }

    /// Takes changes in by halves, those that the reading can take as a whole together.
    ///
    /// # Errors
    /// The first change that Automerge does not take; the reading is spoiled.
    pub(crate) fn take_by_halves(
        &mut self,
        changes: impl IntoIterator<Item = EncodedChange>,
    ) -> Result<(), ChangeHash> {
        let ready = self.unblock(changes);
        take_by_halves(&mut self.replica, &ready)
    }

    /// Remembers a change that Automerge does not take, before it is accepted.
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
        let ready = self.unblock(changes.iter().cloned());
        debug_assert!(ready.len() == changes.len(), "an edit readies its own changes alone");
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

    fn unblock(&mut self, changes: impl IntoIterator<Item = EncodedChange>) -> Vec<EncodedChange> {
        changes.into_iter().flat_map(|change| self.blocked.accept(change)).collect()
    }
}

fn take_by_halves(replica: &mut Replica, changes: &[EncodedChange]) -> Result<(), ChangeHash> {
    let mut trial = replica.clone();
    if trial.apply(&chunks(changes)).is_ok() {
        *replica = trial;
        return Ok(());
    }
    if let [change] = changes {
        return Err(change.header.hash);
    }
    let (first, second) = changes.split_at(changes.len() / 2);
    take_by_halves(replica, first)?;
    take_by_halves(replica, second)
}

fn chunks(changes: &[EncodedChange]) -> Vec<&[u8]> {
    changes.iter().map(|change| change.bytes.as_slice()).collect()
}
