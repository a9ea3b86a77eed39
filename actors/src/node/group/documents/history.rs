//! The revisions of a row, read from its stored changes away from the runtime.

use std::collections::BTreeMap;

use schema::change::ChangeHeader;
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

/// The changes of a row, to be read away from the runtime.
pub(crate) struct History {
    space: SpaceHandle,
    document: DocumentId,
    runs: Runs,
    authors: BTreeMap<ReplicaId, Option<(DeviceId, OpId)>>,
}

impl History {
    /// Reads the revisions, oldest first.
    pub(crate) fn read(self) -> Result<Vec<Revision>, StoreError> {
        let revision = |header: &ChangeHeader| Revision {
            change: header.hash,
            author: self.authors.get(&header.replica).copied().flatten(),
            time_ms: header.time,
        };
        match self.runs.read_all() {
            Ok(changes) => Ok(changes.iter().map(|change| revision(&change.header)).collect()),
            Err(RunsError::Store(error)) => Err(error),
            // The next use of the document finds the damage too, and heals it.
            Err(RunsError::Damaged { .. }) => Err(keys::damaged(&self.space, &keys::document(self.document))),
        }
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
        Ok(Some(History { space: self.space.clone(), document: id, runs, authors }))
    }
}
