//! The revisions of a row, read from its stored changes away from the runtime.

use std::collections::BTreeMap;

use schema::document::EncodedChange;
use schema::limits::UNIT_CHARGE_MAX;
use schema::{ChangeHash, DeviceId, DocumentId, OpId, ReplicaId};

use super::Documents;
use super::work::{Runs, RunsError};
use crate::node::group::record::ReplicaRecord;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// One revision of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The change that made it.
    pub change: ChangeHash,
    /// On which device, and by which grant of a role; `None`: that is no longer known.
    pub author: Option<(DeviceId, OpId)>,
    /// The author's clock, ms since the Unix epoch: shown, never trusted.
    pub time_ms: i64,
}

/// The changes of a row, to be read away from the runtime, in slices.
pub(crate) struct History {
    space: SpaceHandle,
    document: DocumentId,
    runs: Runs,
    authors: BTreeMap<ReplicaId, Option<(DeviceId, OpId)>>,
    /// The number of runs that were read.
    done: usize,
    revisions: Vec<Revision>,
}

impl History {
    /// Reads the next revisions, up to the charge of a unit.
    pub(crate) fn slice(&mut self) -> Result<(), StoreError> {
        let mut charge = 0;
        while charge < UNIT_CHARGE_MAX && !self.is_done() {
            let changes = self.runs.read(self.done).map_err(|error| match error {
                RunsError::Store(error) => error,
                // The next use of the document finds the damage too, and heals it.
                RunsError::Damaged { .. } => keys::damaged(&self.space, &keys::document(self.document)),
            })?;
            for EncodedChange { header, .. } in changes {
                charge += header.charge;
                let author = self.authors.get(&header.replica).copied().flatten();
                self.revisions.push(Revision { change: header.hash, author, time_ms: header.time });
            }
            self.done += 1;
        }
        Ok(())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.runs.len()
    }

    /// The revisions, oldest first.
    pub(crate) fn into_revisions(self) -> Vec<Revision> {
        self.revisions
    }
}

impl Documents {
    /// The stored changes of a row and their authors, from which its revisions can be read.
    pub(crate) fn history(&mut self, table: &str, key: &str) -> Result<Option<History>, StoreError> {
        let id = DocumentId::of(self.authority.group, table, key);
        let Some(document) = self.load(id)? else { return Ok(None) };
        let record = document.record.clone();
        let runs = self.runs(id);
        let ids = record.replica_ids(self.authority.group, id, &self.authors).unwrap_or_default();
        let author = |replica: &ReplicaRecord| self.authors.get(replica.author);
        let authors = ids.into_iter().zip(record.replicas.iter().map(author)).collect();
        let (space, done, revisions) = (self.space.clone(), 0, Vec::new());
        Ok(Some(History { space, document: id, runs, authors, done, revisions }))
    }
}
