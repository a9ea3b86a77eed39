//! Units that peers send, and changes of this device: judged by [`Merge`], applied to Automerge, left in a
//! batch for the store.

use schema::document::{
    Admitted, ChangeSet, Effect, EncodedChange, Index, Input, Intake, Merge, Merged, Refusal, Standing,
};
use schema::wire::session::{Unit, Units};
use schema::{DeviceId, DocumentId, OpId};

use super::authority::Authority;
use super::set_aside::SetAside;
use super::{Document, Documents, Outcome, RowName, put_author};
use crate::node::group::record::{Authors, NewChange, NewChunk};
use crate::node::group::replica::{Replica, Row};
use crate::node::keys;
use crate::node::store::StoreError;

impl Documents {
    /// Judges and applies the units of one frame.
    pub(crate) fn apply(&mut self, units: Units) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        for unit in units.units {
            let id = unit.document;
            if let Err(refusal) = self.apply_unit(&unit, &units.authors, &mut outcome)? {
                outcome.refused.push((id, refusal));
            }
        }
        Ok(outcome)
    }

    fn apply_unit(
        &mut self,
        unit: &Unit,
        authors: &[(DeviceId, OpId)],
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let id = unit.document;
        let row = RowName { table: unit.table.clone(), key: unit.key.clone() };
        if let Err(refusal) = unit.check_place(self.authority.group) {
            return Ok(Err(refusal));
        }
        let received = match ChangeSet::read(&unit.message) {
            Ok(received) => received,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.settle(id, outcome)?;
        // Until the store has the newest batch, what it has of the document is outdated.
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        let is_damaged = !self.load_or_create(id, &row)?;
        let empty = Index::new();
        let index = self.cache.get(&id).map_or(&empty, |document| &document.index);
        let judge = self.authority.judge(id);
        let intake = match Intake::new(received, unit, authors, index, self.incarnation, &judge) {
            Ok(intake) => intake,
            Err(refusal) => {
                self.drop_if_empty(id);
                return Ok(Err(refusal));
            }
        };
        if intake.needs_incarnation {
            self.renew_incarnation(outcome);
        }
        if is_damaged {
            return self.rebuild(id, Some(row), intake.received, outcome);
        }
        let answer = self.merge(id, &row, Merge::new(intake.received), None, outcome)?;
        self.drop_if_empty(id);
        Ok(answer)
    }

    /// Steps a [`Merge`] over a loaded document. `written` is the row after a change of this device, which
    /// Automerge has already.
    pub(super) fn merge(
        &mut self,
        id: DocumentId,
        name: &RowName,
        mut merge: Merge<EncodedChange>,
        written: Option<Row>,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let before = self.marks_of(id)?;
        let (mut input, mut row) = (Input::Start, written);
        loop {
            let document = self.cache.get(&id).expect("it was loaded or created");
            let awaited = self.set_aside.get(&id).map(SetAside::awaited);
            let standing = Standing { index: &document.index, awaited };
            let effect = merge.step(input, standing, &mut self.authority.judge(id))?;
            input = match effect {
                Effect::Apply => match apply(&mut document.replica, merge.to_apply()) {
                    Ok(applied) => {
                        row = Some(applied);
                        Input::Applied
                    }
                    Err(what) => {
                        // The state of Automerge after a failure is unknown; the store has the last good one.
                        self.forget(id);
                        if self.spoiled.contains(&id) || !self.load_or_create(id, name)? {
                            return Ok(Err(Refusal::NotNow));
                        }
                        Input::Inapplicable { what }
                    }
                },
                Effect::Try => outcome_of(apply(&mut document.replica.clone(), merge.to_apply())),
                Effect::Done(Merged::Unchanged { answer }) => return Ok(answer),
                Effect::Done(Merged::Rebuild(received)) => return self.rebuild(id, None, received, outcome),
                Effect::Done(Merged::Grown { admitted, answer }) => {
                    let spilled = document.append(id, &admitted, &mut self.authors, &self.authority, outcome);
                    let row = row.expect("changes were applied");
                    self.finish(id, before, row, spilled, outcome)?;
                    return Ok(answer);
                }
            }
        }
    }

    /// Loads a document, or creates an empty one; returns false if it is damaged.
    fn load_or_create(&mut self, id: DocumentId, name: &RowName) -> Result<bool, StoreError> {
        if self.load(id)?.is_none() && !self.quarantined.contains_key(&id) {
            self.cache.put(id, Document::new(name), 0);
        }
        Ok(!self.quarantined.contains_key(&id))
    }

    /// Drops a document from memory that has no changes after all.
    fn drop_if_empty(&mut self, id: DocumentId) {
        if self.cache.get(&id).is_some_and(|document| document.index.is_empty()) {
            self.cache.remove(&id);
        }
    }

    /// Draws a new incarnation for this device's further writes, so that no sequence number is used twice.
    pub(super) fn renew_incarnation(&mut self, outcome: &mut Outcome) {
        self.incarnation = self.clock.random_u64();
        outcome.batch.put(keys::INCARNATION, keys::incarnation(self.crashes, self.incarnation));
    }
}

/// Applies changes and reads the row. After an error the replica must be dropped.
pub(super) fn apply<'a>(
    replica: &mut Replica,
    changes: impl Iterator<Item = &'a EncodedChange>,
) -> Result<Row, String> {
    let changes: Vec<&[u8]> = changes.map(|change| change.bytes.as_slice()).collect();
    replica.apply(&changes).map_err(|error| error.to_string())?;
    replica.row().map_err(|error| error.to_string())
}

/// The outcome of a try, as an input.
pub(super) fn outcome_of(applied: Result<Row, String>) -> Input {
    match applied {
        Ok(_) => Input::Applied,
        Err(what) => Input::Inapplicable { what },
    }
}

impl Document {
    /// Adds accepted changes, which Automerge has already, to index and record.
    pub(super) fn append(
        &mut self,
        id: DocumentId,
        admitted: &[Admitted<EncodedChange>],
        authors: &mut Authors,
        authority: &Authority,
        outcome: &mut Outcome,
    ) -> Vec<NewChunk> {
        let mut appended = Vec::with_capacity(admitted.len());
        for Admitted { change: EncodedChange { header, bytes }, author, tip } in admitted {
            let number = put_author(authors, authority, *author, &mut outcome.batch);
            if header.seq == 1 {
                outcome.batch.put(keys::written(number, author.incarnation, id), []);
            }
            self.index.accept(header);
            appended.push(NewChange {
                author: number,
                incarnation: author.incarnation,
                seq: header.seq,
                change: header.hash,
                bytes,
                charge: header.charge,
                tip: tip.as_ref().map(Into::into),
            });
        }
        self.record.extend(&appended)
    }
}
