//! One document, judged by everything that the store and a peer have of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::DocumentId;
use schema::digest::Mark;
use schema::document::{ChangeSet, EncodedChange, Everything, Rebuilt, Refusal, Replacement};
use schema::session::Wanted;
use schema::value::Value;

use super::materialise::Materialised;
use super::set_aside::Loss;
use super::work::RunsError;
use super::{Document, Documents, Outcome, RowEvent, RowName};
use crate::node::group::record::DocumentRecord;
use crate::node::group::rows::{self, RowRecord};
use crate::node::keys;
use crate::node::store::StoreError;

/// The intact changes that the store has of a document, and its record.
#[derive(Default)]
struct Stored {
    changes: ChangeSet<EncodedChange>,
    record: Option<DocumentRecord>,
}

impl Documents {
    /// Judges a document by everything that is known of it, changes that a peer sent just now included;
    /// returns the answer for that peer. `row` names a document that may not be stored here.
    pub(super) fn rebuild(
        &mut self,
        id: DocumentId,
        row: Option<RowName>,
        received: ChangeSet<EncodedChange>,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let before = self.marks_of(id)?;
        let Stored { changes: stored, record: old } = self.everything_stored(id)?;
        let of_record = old.as_ref().map(|old| RowName { table: old.table.clone(), key: old.key.clone() });
        let Some(name) = of_record.or_else(|| self.set_aside.row_of(&id)).or(row) else {
            // Not even its name is left. Peers that have the document send it.
            return Ok(Ok(()));
        };
        let document = self.authority.document(id);
        let everything = Everything {
            stored,
            set_aside: self.set_aside.load(&self.space, document, &self.authors)?,
            received,
            is_damaged: self.quarantined.contains_key(&id),
            incarnation: self.incarnation,
        };
        match self.authority.judge(id).rebuild(everything)? {
            Rebuilt::Unchanged { answer } => Ok(answer),
            Rebuilt::Changed(replacement) => {
                self.replace(OldDocument { id, name, before, record: old }, *replacement, outcome)
            }
        }
    }

    /// Puts what is accepted now in the place of the old document: in memory, and in the batch for the store.
    fn replace(
        &mut self,
        old: OldDocument,
        replacement: Replacement<EncodedChange>,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let OldDocument { id, name, before, record: old } = old;
        let Replacement { admitted, set_aside, is_loss, cause, needs_incarnation, answer } = replacement;
        self.rejudging.count_changed();
        // A worker may have the old one: its result is void.
        self.working.remove(&id);
        let mut document = Document::new(&name);
        document.record.unreadable = old.iter().flat_map(|old| &old.unreadable).copied().collect();
        document.materialised = Materialised::Absent;
        let writers = self.writers(&admitted);
        document.append(id, &admitted, &mut self.authors, &self.authority, outcome);
        let Document { record, index, .. } = &mut document;
        let is_shown =
            old.as_ref().is_some_and(|old| record.take_read_ends(old, |change| index.contains(change)));
        outcome.lost.extend(cause.clone().map(|refusal| (id, refusal)));
        let loss = is_loss.then(|| Loss { at: self.clock.now(), cause });
        self.set_aside.replace(id, &name, &set_aside, &self.authors, loss, &mut outcome.batch);
        self.expire(outcome);
        if let Some(old) = &old {
            remove_outdated(id, old, &document.record, outcome);
        }
        self.quarantined.remove(&id);
        if needs_incarnation {
            self.renew_incarnation(outcome);
        }
        let bytes = document.approximate_bytes().unwrap_or_default();
        self.cache.put(id, document, bytes);
        if admitted.is_empty() {
            self.remove_row(id, name, before, outcome);
            return Ok(answer);
        }
        if !self.gives_up(id) {
            // What is left of it may be readable.
            self.unmaterialised.remove(&id);
        }
        let row = self.materialise(id, Vec::new(), writers)?;
        if row.is_none() && is_loss && !is_shown {
            // Until it is materialised, no reader sees what is purged. A row that has nothing of it stays.
            self.hide_row(id, &name, outcome);
        }
        self.finish(id, before, row, outcome)?;
        Ok(answer)
    }

    /// Reads the stored changes and tips of a document; of a damaged one, those that are intact.
    fn everything_stored(&mut self, id: DocumentId) -> Result<Stored, StoreError> {
        let mut changes = ChangeSet::default();
        let record = if let Some(document) = self.load(id)? {
            let record = document.record.clone();
            let runs = self.runs(id);
            for at in 0..runs.len() {
                match runs.read(at) {
                    Ok(run) => drop(changes.add_changes(run)),
                    Err(RunsError::Store(error)) => return Err(error),
                    // The other runs are whole; some of them may not be stored yet.
                    Err(RunsError::Damaged { what }) => self.quarantine(id, &what),
                }
            }
            record
        } else {
            if !self.quarantined.contains_key(&id) {
                return Ok(Stored::default());
            }
            let record = match self.stored(id) {
                Ok(Some(record)) => record,
                Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(Stored::default()),
                Err(error) => return Err(error),
            };
            for chunk in &record.chunks {
                match self.space.get(&keys::chunk(id, chunk.number)) {
                    Ok(bytes) => changes.add_run(&bytes.unwrap_or_default()),
                    Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            changes.add_run(&record.inline);
            record
        };
        let chains = record.replicas.iter().filter_map(|replica| {
            Some((self.authors.author(replica.author, replica.incarnation)?, &replica.tips))
        });
        changes.add_stored_tips(self.authority.document(id), chains);
        Ok(Stored { changes, record: Some(record) })
    }

    /// Removes a document without accepted changes: its row is as if it had never been written.
    fn remove_row(&mut self, id: DocumentId, name: RowName, before: Vec<Mark>, outcome: &mut Outcome) {
        outcome.batch.remove(keys::document(id));
        // An empty document stays in memory until the batch is durable: the store has the old one until then.
        self.unmaterialised.remove(&id);
        self.digest.set(id, &[]);
        self.hide_row(id, &name, outcome);
        outcome.push_moved(Wanted { document: id, have: before });
    }

    /// Leaves no row for readers.
    fn hide_row(&mut self, id: DocumentId, name: &RowName, outcome: &mut Outcome) {
        outcome.batch.remove(rows::row_key(&name.table, &name.key));
        let value = Value::Map(BTreeMap::new());
        let row = RowRecord { value, removed: true, too_deep: false, heads: Vec::new() };
        let (table, key) = (name.table.clone(), name.key.clone());
        outcome.push_row(id, RowEvent { table, key, row: Arc::new(row) });
    }
}

/// A document that is to be replaced.
struct OldDocument {
    id: DocumentId,
    name: RowName,
    /// Its marks.
    before: Vec<Mark>,
    record: Option<DocumentRecord>,
}

/// Removes the chunks and index entries of the old record that the new one does not have.
fn remove_outdated(id: DocumentId, old: &DocumentRecord, new: &DocumentRecord, outcome: &mut Outcome) {
    let present: BTreeSet<u32> = new.chunks.iter().map(|chunk| chunk.number).collect();
    for chunk in old.chunks.iter().filter(|chunk| !present.contains(&chunk.number)) {
        outcome.batch.remove(keys::chunk(id, chunk.number));
    }
    let present: BTreeSet<_> =
        new.replicas.iter().map(|replica| (replica.author, replica.incarnation)).collect();
    let outdated = old.replicas.iter().map(|replica| (replica.author, replica.incarnation));
    for (author, incarnation) in outdated.filter(|chain| !present.contains(chain)) {
        outcome.batch.remove(keys::written(author, incarnation, id));
    }
}
