//! Steps a [`Rebuild`]: one document, judged by everything that the store and a peer have of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::DocumentId;
use schema::digest::Mark;
use schema::document::{
    ChangeSet, Effect, EncodedChange, Everything, Input, Rebuild, Rebuilt, Refusal, Replacement,
};
use schema::session::Wanted;
use schema::value::Value;

use super::apply::{apply, outcome_of};
use super::set_aside::Loss;
use super::{Document, Documents, Outcome, RowEvent, RowName};
use crate::node::group::record::DocumentRecord;
use crate::node::group::replica::{Replica, Row};
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
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
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
        let mut rebuild = Rebuild::new(document, self.authority.device(), everything);
        let (mut document, mut row, mut input) = (Document::new(&name), None, Input::Start);
        let replacement = loop {
            input = match rebuild.step(input, &mut self.authority.judge(id))? {
                Effect::Apply => {
                    document.replica = Replica::new();
                    match apply(&mut document.replica, rebuild.to_apply()) {
                        Ok(applied) => {
                            row = Some(applied);
                            Input::Applied
                        }
                        Err(what) => Input::Inapplicable { what },
                    }
                }
                Effect::Try => outcome_of(apply(&mut Replica::new(), rebuild.to_apply())),
                Effect::Done(Rebuilt::Unchanged { answer }) => return Ok(answer),
                Effect::Done(Rebuilt::Changed(replacement)) => break *replacement,
            }
        };
        let rebuilt = RebuiltDocument { id, name, before, old, document, row };
        self.replace(rebuilt, replacement, outcome)
    }

    /// Puts the rebuilt document in the place of the old one: in memory, and in the batch for the store.
    fn replace(
        &mut self,
        rebuilt: RebuiltDocument,
        replacement: Replacement<EncodedChange>,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let RebuiltDocument { id, name, before, old, mut document, row } = rebuilt;
        let Replacement { admitted, set_aside, is_loss, cause, needs_incarnation, answer } = replacement;
        self.rejudging.count_changed();
        let spilled = document.append(id, &admitted, &mut self.authors, &self.authority, outcome);
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
        let Some(row) = row.filter(|_| !admitted.is_empty()) else {
            self.remove_row(id, name, before, outcome);
            return Ok(answer);
        };
        let bytes = document.replica.approximate_bytes();
        self.cache.put(id, document, bytes);
        self.finish(id, before, row, spilled, outcome)?;
        Ok(answer)
    }

    /// Reads the stored changes and tips of a document; of a damaged one, those that are intact.
    fn everything_stored(&mut self, id: DocumentId) -> Result<Stored, StoreError> {
        let mut changes = ChangeSet::default();
        let record = if let Some(document) = self.load(id)? {
            changes.add_run(&document.replica.changes_since(&[]).concat());
            document.record.clone()
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
        outcome.batch.remove(rows::row_key(&name.table, &name.key));
        // The store has the old document until the batch is durable.
        self.cache.remove(&id);
        self.spoiled.insert(id);
        self.digest.set(id, &[]);
        let value = Value::Map(BTreeMap::new());
        let row = RowRecord { value, removed: true, too_deep: false, heads: Vec::new() };
        outcome.push_row(id, RowEvent { table: name.table, key: name.key, row: Arc::new(row) });
        outcome.push_moved(Wanted { document: id, have: before });
    }
}

/// A document that was rebuilt, and the facts about the old one that its replacement needs.
struct RebuiltDocument {
    id: DocumentId,
    name: RowName,
    /// The marks of the old document.
    before: Vec<Mark>,
    old: Option<DocumentRecord>,
    document: Document,
    row: Option<Row>,
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
