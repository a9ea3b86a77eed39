//! Writing rows as this device: all of a commit or none of it.

use std::collections::{BTreeMap, BTreeSet};

use schema::document::{Admitted, EncodedChange, Refusal};
use schema::tip::Author;
use schema::{ChangeHash, DocumentId};

use super::edit::{Edited, EditedDocument, Editing};
use super::materialise::{Materialised, SHORT_DOCUMENT_CHARGE};
use super::unmaterialised::{Unmaterialised, UnmaterialisedReason};
use super::work::{Job, Work};
use super::{Document, Documents, Outcome, RowName};
use crate::edit::{EditError, RowEdit};
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
    #[error("row {key:?} of {table:?} cannot be read after the edit: {what}")]
    Unreadable {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// The reason that Automerge gave.
        what: String,
    },
    /// This device does not materialise the row: it can be read as it last was, and not written here.
    #[error("row {key:?} of {table:?} is not materialised on this device: {why}")]
    Unmaterialised {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// The reason.
        why: UnmaterialisedReason,
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

/// The state of a commit.
pub(crate) enum Committing {
    /// It is done.
    Done,
    /// A worker makes its changes, under this number.
    Working(u64),
    /// A worker has one of its documents: it has to be tried again once that is back.
    Waits(Vec<RowWrite>),
}

/// The end of a commit that a worker had.
pub(crate) struct CommitEnd {
    pub(crate) number: u64,
    pub(crate) result: Result<Committing, CommitError>,
}

/// Bytes of edits, about, that are made at once: 16 000 characters of a text, 1 ms. Longer ones are left for
/// a worker.
const SHORT_EDITS: usize = 64 << 10;

impl Documents {
    /// Writes rows as this device, all or none.
    pub(crate) fn commit(
        &mut self,
        writes: Vec<RowWrite>,
        time_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<Committing, CommitError> {
        let author = self.authority.author(self.incarnation).ok_or(CommitError::NotAllowed)?;
        let id = |write: &RowWrite| DocumentId::of(self.authority.group, &write.table, &write.key);
        let ids: Vec<DocumentId> = writes.iter().map(id).collect();
        let prepared = writes.iter().zip(&ids).try_fold(true, |is_ready, (write, id)| {
            Ok::<_, CommitError>(self.prepare(*id, write, outcome)? && is_ready)
        });
        let prepared = match prepared {
            Ok(false) => {
                self.awaited.extend(ids);
                return Ok(Committing::Waits(writes));
            }
            Ok(true) => writes.iter().zip(&ids).try_for_each(|(write, id)| self.expect(*id, write)),
            Err(error) => Err(error),
        };
        if let Err(error) = prepared {
            ids.iter().for_each(|id| self.drop_if_empty(*id));
            return Err(error);
        }
        let author = self.unblocked_author(&ids, author, outcome).ok_or(CommitError::NotAllowed)?;
        let number = self.next_number();
        let editing = self.editing(writes, ids, author, time_ms, number);
        if editing.bytes() > SHORT_EDITS || self.is_long(&editing) {
            self.work.push(Work { number, is_awaited: true, job: Job::Edit(Box::new(editing)) });
            return Ok(Committing::Working(number));
        }
        self.accept_own(editing.run(), outcome)
    }

    /// The author of a commit: under a new incarnation if changes of this device wait in one of its
    /// documents, for no change can follow them there.
    fn unblocked_author(
        &mut self,
        ids: &[DocumentId],
        author: Author,
        outcome: &mut Outcome,
    ) -> Option<Author> {
        let is_blocked = ids.iter().any(|id| {
            let replica = self.authority.document(*id).replica(&author);
            let Some(document) = self.cache.get(id) else { return false };
            let is_waiting = match &document.materialised {
                Materialised::Here(reading) => reading.has_waiting_of(replica),
                Materialised::Working | Materialised::Absent => false,
            };
            is_waiting || document.later.changes.iter().any(|change| change.header.replica == replica)
        });
        if is_blocked {
            self.renew_incarnation(outcome);
        }
        self.authority.author(self.incarnation)
    }

    /// Makes a row ready to be written; returns false if a worker has its document.
    pub(super) fn prepare(
        &mut self,
        id: DocumentId,
        write: &RowWrite,
        outcome: &mut Outcome,
    ) -> Result<bool, CommitError> {
        let (table, key) = (write.table.clone(), write.key.clone());
        // Loading may find damage, and what is damaged must not be taken for a row that was never written.
        if self.load(id)?.is_none() && !self.quarantined.contains_key(&id) {
            self.cache.put(id, Document::new(&RowName { table, key }), 0);
        }
        let (table, key) = (write.table.clone(), write.key.clone());
        let document = self.cache.get(&id).filter(|_| !self.quarantined.contains_key(&id));
        // What is here is as readers see it: later changes follow.
        if let Some(Document { materialised: Materialised::Absent, record, .. }) = document
            && !self.unmaterialised.contains_key(&id)
        {
            let is_behind = record.is_behind;
            if let Some(row) = self.read_row(id, true)?
                && is_behind
            {
                self.show(id, Some(row), outcome);
            }
        }
        if self.quarantined.contains_key(&id) {
            return Err(CommitError::Quarantined { table, key });
        }
        if let Some(Unmaterialised { why, .. }) = self.unmaterialised.get(&id) {
            return Err(CommitError::Unmaterialised { table, key, why: why.clone() });
        }
        Ok(!self.working.contains_key(&id))
    }

    fn expect(&mut self, id: DocumentId, write: &RowWrite) -> Result<(), CommitError> {
        let Some(mut expected) = write.expect.clone() else { return Ok(()) };
        expected.sort_unstable();
        match self.cache.get(&id).map(|document| &document.materialised) {
            Some(Materialised::Here(reading)) if reading.heads() == expected => Ok(()),
            _ => Err(CommitError::Moved { table: write.table.clone(), key: write.key.clone() }),
        }
    }

    /// Takes the documents of a commit out, to be edited.
    pub(super) fn editing(
        &mut self,
        writes: Vec<RowWrite>,
        ids: Vec<DocumentId>,
        author: Author,
        time_ms: i64,
        number: u64,
    ) -> Editing {
        let mut documents = BTreeMap::new();
        for id in &ids {
            if documents.contains_key(id) {
                continue;
            }
            let replica = self.authority.document(*id).replica(&author);
            let document = self.cache.get(id).expect("just prepared");
            let taken = std::mem::replace(&mut document.materialised, Materialised::Absent);
            let Materialised::Here(reading) = taken else { continue };
            let newest = document.index.end(&replica);
            self.lend(*id, number);
            documents
                .insert(*id, EditedDocument { reading, replica, newest, changes: Vec::new(), row: None });
        }
        Editing { writes, time_ms, author, ids, documents }
    }

    /// The commits that waited for these documents are tried again.
    pub(crate) fn take_awaited(&mut self) -> BTreeSet<DocumentId> {
        std::mem::take(&mut self.awaited)
    }

    fn is_long(&mut self, editing: &Editing) -> bool {
        let mut charges = editing.documents.keys().filter_map(|id| Some(self.cache.get(id)?.record.charge));
        charges.any(|charge| charge > SHORT_DOCUMENT_CHARGE)
    }

    /// Ends a commit whose changes a worker has made.
    pub(super) fn finish_commit(
        &mut self,
        number: u64,
        edited: Edited,
        outcome: &mut Outcome,
    ) -> Result<CommitEnd, StoreError> {
        for id in &edited.editing.ids {
            // A roster that arrived meanwhile voids what nobody has seen yet.
            self.settle(*id, outcome)?;
        }
        let documents = edited.editing.documents.keys();
        let is_current = documents.copied().all(|id| self.is_current(id, number));
        let is_author = self.authority.author(self.incarnation) == Some(edited.editing.author);
        if !is_current || !is_author {
            let writes = edited.editing.writes;
            for (id, document) in edited.editing.documents {
                if self.is_current(id, number) {
                    self.put_back(id, document, outcome)?;
                }
            }
            return Ok(CommitEnd { number, result: Ok(Committing::Waits(writes)) });
        }
        match self.accept_own(edited, outcome) {
            Err(CommitError::Store(error)) => Err(error),
            result => Ok(CommitEnd { number, result }),
        }
    }

    /// Judges the changes of a commit, and takes them in: all, or none.
    pub(super) fn accept_own(
        &mut self,
        edited: Edited,
        outcome: &mut Outcome,
    ) -> Result<Committing, CommitError> {
        let Edited { mut editing, result } = edited;
        let judged = match result {
            Ok(heads) => self.judge_own(&mut editing).map(|admitted| (heads, admitted)),
            Err(error) => Err(error),
        };
        let (heads, mut admitted) = match judged {
            Ok(judged) => judged,
            Err(error) => {
                for (id, document) in editing.documents {
                    self.put_back(id, document, outcome)?;
                    self.drop_if_empty(id);
                }
                return Err(error);
            }
        };
        for (id, document) in editing.documents {
            let EditedDocument { reading, row, .. } = document;
            let before = self.marks_of(id)?;
            self.give_back(id, reading);
            let admitted = admitted.remove(&id).unwrap_or_default();
            if !admitted.is_empty() {
                self.append(id, admitted, outcome);
                self.finish(id, before, row, outcome)?;
            }
            self.take_later(id, outcome)?;
            self.drop_if_empty(id);
        }
        outcome.heads = heads;
        Ok(Committing::Done)
    }

    /// Judges the changes of each document of a commit as peers will judge them.
    fn judge_own(
        &mut self,
        editing: &mut Editing,
    ) -> Result<BTreeMap<DocumentId, Vec<Admitted<EncodedChange>>>, CommitError> {
        let mut admitted = BTreeMap::new();
        for (id, document) in &mut editing.documents {
            let changes = document.changes.clone();
            let Document { index, record, .. } = self.cache.get(id).expect("it is pinned");
            match self.authority.judge(*id).merge_own(changes, editing.author, index)? {
                Ok(changes) => admitted.insert(*id, changes),
                Err(cause) => {
                    let (table, key) = (record.table.clone(), record.key.clone());
                    return Err(CommitError::Refused { table, key, cause: Box::new(cause) });
                }
            };
        }
        Ok(admitted)
    }

    /// Takes a document of a refused commit back.
    fn put_back(
        &mut self,
        id: DocumentId,
        document: EditedDocument,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let EditedDocument { reading, changes, .. } = document;
        let is_as_before = changes.is_empty() && !reading.is_broken();
        self.give_back(id, reading);
        if is_as_before {
            return self.take_later(id, outcome);
        }
        // It has changes that are not accepted.
        if let Some(document) = self.cache.get(&id) {
            document.materialised = Materialised::Absent;
        }
        let row = self.read_row(id, false)?;
        if !self.cache.get(&id).is_some_and(|document| document.index.is_empty()) {
            self.show(id, row, outcome);
        }
        Ok(())
    }
}
