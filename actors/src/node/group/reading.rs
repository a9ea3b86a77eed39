//! A document as its readers see it: Automerge with every accepted change that waits for nothing (pure).

use std::collections::BTreeSet;

use schema::document::{Blocked, EncodedChange};
use schema::limits::CHANGE_DEPS_MAX;
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
        let ready = self.unblock(changes);
        self.replica.apply(&chunks(&ready)).map_err(Fault::new)?;
        self.row()
    }

    /// Takes in changes that a document of this store had taken in before; as far as is known.
    ///
    /// # Errors
    /// [`Fault`], as for [`accept`](Self::accept).
    pub(crate) fn restore(&mut self, changes: impl IntoIterator<Item = EncodedChange>) -> Result<(), Fault> {
        let ready = self.unblock(changes);
        self.replica.restore(&chunks(&ready)).map_err(Fault::new)
    }

    /// Finds the first of these changes, which were accepted after those of this reading, that Automerge does
    /// not take; this reading stays as it is.
    pub(crate) fn find_fault(
        &self,
        changes: impl IntoIterator<Item = EncodedChange>,
    ) -> Option<(ChangeHash, Fault)> {
        let mut trial = self.clone();
        let ready = trial.unblock(changes);
        find_fault(&mut trial.replica, &ready)
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
        self.unblock(changes.iter().cloned());
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

/// Applies changes until one of them fails, by halves: those before it are applied then.
fn find_fault(replica: &mut Replica, changes: &[EncodedChange]) -> Option<(ChangeHash, Fault)> {
    let mut trial = replica.clone();
    let applied = trial.apply(&chunks(changes)).map_err(Fault::new);
    let fault = match applied.and_then(|()| trial.row().map_err(Fault::new)) {
        Ok(_) => {
            *replica = trial;
            return None;
        }
        Err(fault) => fault,
    };
    if let [change] = changes {
        return Some((change.header.hash, fault));
    }
    let (first, second) = changes.split_at(changes.len() / 2);
    find_fault(replica, first).or_else(|| find_fault(replica, second))
}

fn chunks(changes: &[EncodedChange]) -> Vec<&[u8]> {
    changes.iter().map(|change| change.bytes.as_slice()).collect()
}
