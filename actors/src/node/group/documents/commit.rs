//! Writing rows as this device: all of a commit or none of it.

use schema::change::ChangeHeader;
use schema::document::{EncodedChange, Merge, Refusal};
use schema::tip::Author;
use schema::{ChangeHash, DocumentId};

use super::{Document, Documents, Outcome, RowName};
use crate::edit::{EditError, RowEdit};
use crate::node::group::replica::ReadError;
use crate::node::store::StoreError;

/// One row to write.
#[derive(Clone, Debug)]
pub struct RowWrite {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The edit.
    pub edit: RowEdit,
    /// Refuse unless the row still has these heads, none of them for a row that must not exist. `None`:
    /// whatever it is.
    pub expect: Option<Vec<ChangeHash>>,
}

/// The reason for which a commit was refused; nothing of it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The row has other heads than expected, or its newest batch is not stored yet: read it again.
    #[error("row {key:?} of {table:?} changed since it was read")]
    Moved {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// The edit does not fit the row as it is.
    #[error("edit does not fit row {key:?} of {table:?}")]
    Edit {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// The part that does not fit.
        #[source]
        cause: EditError,
    },
    /// The change passes no check of admission, so that every peer would refuse it.
    #[error("change to row {key:?} of {table:?} is not accepted")]
    Refused {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// The check.
        #[source]
        cause: Box<Refusal>,
    },
    /// The row cannot be read after the edit.
    #[error("row {key:?} of {table:?} cannot be read after the edit")]
    Unreadable {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// The cause.
        #[source]
        cause: ReadError,
    },
    /// This user may not write here.
    #[error("not allowed to write to this group")]
    NotAllowed,
    /// The document is damaged on disk and waits for a peer that has it.
    #[error("row {key:?} of {table:?} is damaged on disk; it is fetched again from the next peer")]
    Quarantined {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Documents {
    /// Writes rows as this device, all or none.
    pub(crate) fn commit(&mut self, writes: &[RowWrite], time_ms: i64) -> Result<Outcome, CommitError> {
        let author = self.authority.author(self.incarnation).ok_or(CommitError::NotAllowed)?;
        for write in writes {
            self.expect(write)?;
        }
        let (mut outcome, authors) = (Outcome::default(), self.authors.len());
        for write in writes {
            if let Err(error) = self.commit_row(write, author, time_ms, &mut outcome) {
                self.roll_back(write, outcome, authors);
                return Err(error);
            }
        }
        Ok(outcome)
    }

    /// A commit was refused half way: memory returns to what the store has.
    fn roll_back(&mut self, refused: &RowWrite, outcome: Outcome, authors: usize) {
        self.authors.truncate(authors);
        for moved in outcome.moved {
            self.digest.set(moved.document, &moved.have);
            self.forget(moved.document);
        }
        let id = DocumentId::of(self.authority.group, &refused.table, &refused.key);
        if self
            .cache
            .get(&id)
            .is_some_and(|document| document.index.is_empty() || document.replica.is_broken())
        {
            self.forget(id);
        }
    }

    fn expect(&mut self, write: &RowWrite) -> Result<(), CommitError> {
        let id = DocumentId::of(self.authority.group, &write.table, &write.key);
        let (table, key) = (write.table.clone(), write.key.clone());
        // Memory is read again once the store has the newest batch: the caller tries again behind it.
        if self.spoiled.contains(&id) {
            return Err(CommitError::Moved { table, key });
        }
        // Loading may find damage, and what is damaged must not be taken for a row that was never written.
        self.load(id)?;
        if self.quarantined.contains_key(&id) {
            return Err(CommitError::Quarantined { table, key });
        }
        let Some(expected) = &write.expect else { return Ok(()) };
        let mut heads: Vec<_> = match self.load(id)? {
            Some(document) => document.index.heads().iter().copied().collect(),
            None => Vec::new(),
        };
        let mut expected = expected.clone();
        heads.sort_unstable();
        expected.sort_unstable();
        if heads == expected {
            Ok(())
        } else {
            Err(CommitError::Moved { table: write.table.clone(), key: write.key.clone() })
        }
    }

    pub(super) fn commit_row(
        &mut self,
        write: &RowWrite,
        author: Author,
        time_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<(), CommitError> {
        let name = RowName { table: write.table.clone(), key: write.key.clone() };
        let id = DocumentId::of(self.authority.group, &name.table, &name.key);
        let replica = self.authority.document(id).replica(&author);
        if self.load(id)?.is_none() {
            self.cache.put(id, Document::new(&name), 0);
        }
        self.merge_heads(id, &name, author, time_ms, outcome)?;
        let document = self.cache.get(&id).expect("just loaded");
        let change = match document.replica.commit(replica, time_ms, &write.edit) {
            Ok(change) => change,
            Err(cause) => return Err(CommitError::Edit { table: name.table, key: name.key, cause }),
        };
        let Some(change) = change else {
            outcome.heads.push(document.index.heads().iter().copied().collect());
            return Ok(());
        };
        self.admit_own(id, &name, author, change, outcome)?;
        let index = self.cache.get(&id).map(|document| &document.index);
        outcome.heads.push(index.map_or_else(Vec::new, |index| index.heads().iter().copied().collect()));
        Ok(())
    }

    /// Merges heads by changes of this device, in steps, until its next change may name all of them.
    fn merge_heads(
        &mut self,
        id: DocumentId,
        name: &RowName,
        author: Author,
        time_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<(), CommitError> {
        let replica = self.authority.document(id).replica(&author);
        loop {
            let document = self.cache.get(&id).expect("just loaded");
            let Some(merging) = document.index.merging(replica) else { return Ok(()) };
            let bytes = merging.encode(time_ms);
            if let Err(error) = document.replica.apply(&[&bytes]) {
                let cause = EditError::Document { what: error.to_string() };
                return Err(CommitError::Edit { table: name.table.clone(), key: name.key.clone(), cause });
            }
            let header = ChangeHeader::read(&bytes).expect("it was just encoded");
            self.admit_own(id, name, author, EncodedChange { header, bytes }, outcome)?;
        }
    }

    /// Admits a change that this device has just made in the document.
    fn admit_own(
        &mut self,
        id: DocumentId,
        name: &RowName,
        author: Author,
        change: EncodedChange,
        outcome: &mut Outcome,
    ) -> Result<(), CommitError> {
        let document = self.cache.get(&id).expect("it was just changed");
        let RowName { table, key } = name.clone();
        let row = match document.replica.row() {
            Ok(row) => row,
            Err(cause) => {
                self.forget(id);
                return Err(CommitError::Unreadable { table, key, cause });
            }
        };
        let merge = Merge::own(change, author, &self.authority.judge(id));
        if let Err(cause) = self.merge(id, name, merge, Some(row), outcome)? {
            self.forget(id);
            return Err(match cause {
                Refusal::NotNow => CommitError::Moved { table, key },
                cause => CommitError::Refused { table, key, cause: Box::new(cause) },
            });
        }
        Ok(())
    }
}
