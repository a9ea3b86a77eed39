//! The changes of a commit, made in Automerge and not yet judged (pure): all of them or none.

use std::collections::BTreeMap;

use schema::document::EncodedChange;
use schema::tip::Author;
use schema::{ChangeHash, DocumentId, ReplicaId};

use super::commit::{CommitError, RowWrite};
use crate::edit::EditError;
use crate::node::group::reading::Reading;
use crate::node::group::replica::{Row, edit_bytes};

/// A commit, and the documents that it writes.
pub(super) struct Editing {
    pub(super) writes: Vec<RowWrite>,
    pub(super) time_ms: i64,
    /// This device, as it writes.
    pub(super) author: Author,
    /// The document of each write.
    pub(super) ids: Vec<DocumentId>,
    pub(super) documents: BTreeMap<DocumentId, EditedDocument>,
}

/// A document under a commit.
pub(super) struct EditedDocument {
    pub(super) reading: Reading,
    pub(super) replica: ReplicaId,
    /// The newest change of the replica, with its place.
    pub(super) newest: Option<(u64, ChangeHash)>,
    /// The changes that the commit made so far.
    pub(super) changes: Vec<EncodedChange>,
    /// The row after them; `None`: nothing differs.
    pub(super) row: Option<Row>,
}

/// A commit whose changes were made, or why not.
pub(super) struct Edited {
    pub(super) editing: Editing,
    /// The heads of the row after each write.
    pub(super) result: Result<Vec<Vec<ChangeHash>>, CommitError>,
}

impl Editing {
    /// Bytes of its edits.
    pub(super) fn bytes(&self) -> usize {
        self.writes.iter().map(|write| edit_bytes(&write.edit)).sum()
    }

    /// Makes the changes.
    pub(super) fn run(mut self) -> Edited {
        let result = self.edit();
        Edited { editing: self, result }
    }

    fn edit(&mut self) -> Result<Vec<Vec<ChangeHash>>, CommitError> {
        let mut heads = Vec::with_capacity(self.writes.len());
        for (write, id) in self.writes.iter().zip(&self.ids) {
            let document = self.documents.get_mut(id).expect("the documents of all writes are here");
            let result = document.edit(write, self.time_ms);
            result.map_err(|cause| CommitError::Edit {
                table: write.table.clone(),
                key: write.key.clone(),
                cause,
            })?;
            heads.push(document.reading.heads());
        }
        for (write, id) in self.writes.iter().zip(&self.ids) {
            let document = self.documents.get_mut(id).expect("the documents of all writes are here");
            if document.row.is_none() && !document.changes.is_empty() {
                let row = document.reading.row();
                document.row = Some(row.map_err(|cause| CommitError::Unreadable {
                    table: write.table.clone(),
                    key: write.key.clone(),
                    what: cause.to_string(),
                })?);
            }
        }
        Ok(heads)
    }
}

impl EditedDocument {
    fn edit(&mut self, write: &RowWrite, time_ms: i64) -> Result<(), EditError> {
        let changes = self.reading.edit(self.replica, self.newest, time_ms, &write.edit)?;
        if let Some(last) = changes.last() {
            self.newest = Some((last.header.seq, last.header.hash));
        }
        self.changes.extend(changes);
        Ok(())
    }
}
