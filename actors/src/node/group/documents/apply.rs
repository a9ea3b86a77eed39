//! Units that peers send: judged, taken into the record, left in a batch for the store.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use schema::document::{
    self, Admitted, ChangeSet, DocumentRef, EncodedChange, Index, Intake, Judge, Merged, Refusal, Rules,
    Standing,
};
use schema::key::SigningKey;
use schema::ledger::manifest::Entry;
use schema::ledger::{ManifestRef, Roster};
use schema::tip::Author;
use schema::wire::session::Unit;
use schema::{DeviceId, DocumentId, GroupId, OpId};

use super::authority::Authority;
use super::backlog::Writer;
use super::materialise::SHORT_TURN_CHARGE;
use super::set_aside::SetAside;
use super::{Document, Documents, Grown, Outcome, RowName, put_author};
use crate::node::group::record::{Authors, NewChange, NewChunk, Weight};
use crate::node::keys;
use crate::node::store::StoreError;

/// Chains of the documents that peers write in one turn of the actor, with one document beyond: what a turn
/// writes and hashes grows with them, about 1 µs each.
pub(super) const TURN_CHAINS: usize = 16_384;

/// Reads units, away from the runtime: what a unit costs to read is not told by its bytes.
#[derive(Clone)]
pub(crate) struct UnitReader {
    group: GroupId,
    device: SigningKey,
    roster: Arc<Roster>,
    rules: Rules,
}

/// A unit with verified tips, to be judged.
pub(crate) struct ReadUnit {
    document: DocumentId,
    row: RowName,
    received: Result<ChangeSet<EncodedChange>, Refusal>,
}

impl UnitReader {
    pub(crate) fn read(&self, unit: Unit, authors: &[(DeviceId, OpId)]) -> ReadUnit {
        let received = self.changes(&unit, authors);
        let row = RowName { table: unit.table, key: unit.key };
        ReadUnit { document: unit.document, row, received }
    }

    fn changes(
        &self,
        unit: &Unit,
        authors: &[(DeviceId, OpId)],
    ) -> Result<ChangeSet<EncodedChange>, Refusal> {
        unit.check_place(self.group)?;
        let mut received = ChangeSet::read(&unit.message)?;
        let judge = Judge {
            rules: self.rules,
            document: DocumentRef { group: self.group, document: unit.document },
            roster: &self.roster,
            manifests: &mut NoManifests,
            signer: &self.device,
        };
        received.add_unit_tips(&unit.tips, authors, &judge)?;
        Ok(received)
    }
}

/// No manifest: signatures are verified without them.
struct NoManifests;

impl document::Manifests for NoManifests {
    type Error = Infallible;

    fn entry(&mut self, _: &ManifestRef, _: &Author, _: DocumentId) -> Result<Option<Entry>, Infallible> {
        Ok(None)
    }
}

impl Documents {
    /// Reads units by the roster of now.
    pub(crate) fn unit_reader(&self) -> UnitReader {
        let Authority { group, device, roster, rules, .. } = &self.authority;
        UnitReader { group: *group, device: device.clone(), roster: roster.clone(), rules: *rules }
    }

    /// Begins a turn of the actor: what one may take is there again.
    pub(crate) fn begin_turn(&mut self) {
        (self.short_charge, self.turn_chains) = (SHORT_TURN_CHARGE, TURN_CHAINS);
    }

    /// Judges units of one frame in their order, and takes in what is accepted; those for which the turn has
    /// no room are left. [`end_turn`](Self::end_turn) follows.
    pub(crate) fn apply(
        &mut self,
        units: &mut VecDeque<ReadUnit>,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        while self.turn_chains > 0
            && let Some(unit) = units.pop_front()
        {
            let id = unit.document;
            if let Err(refusal) = self.apply_unit(unit, outcome)? {
                outcome.refused.push((id, refusal));
            }
        }
        Ok(())
    }

    /// Leaves the documents that grew in the batch: each once, however many frames of the turn named it.
    pub(crate) fn end_turn(&mut self, outcome: &mut Outcome) -> Result<(), StoreError> {
        while let Some((id, _)) = outcome.grown.first_key_value() {
            self.finish_grown(*id, outcome)?;
        }
        Ok(())
    }

    fn finish_grown(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        let Some(Grown { before, changes, writers }) = outcome.grown.remove(&id) else { return Ok(()) };
        let row = self.materialise(id, changes, writers)?;
        self.finish(id, before, row, outcome)
    }

    fn apply_unit(
        &mut self,
        ReadUnit { document: id, row, received }: ReadUnit,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let received = match received {
            Ok(received) => received,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.is_rejudging() {
            self.finish_grown(id, outcome)?;
            self.settle(id, outcome)?;
        }
        let is_cold = !self.cache.contains(&id);
        let is_damaged = !self.load_or_create(id, &row)?;
        if is_cold {
            // Its changes were read.
            self.spend_turn(id, |document| document.index.len());
        }
        let empty = Index::new();
        let index = self.cache.get(&id).map_or(&empty, |document| &document.index);
        let intake = Intake::new(received, index, self.authority.device(), self.incarnation);
        if intake.needs_incarnation {
            self.renew_incarnation(outcome);
        }
        if is_damaged {
            return self.rebuild(id, Some(row), intake.received, outcome);
        }
        let answer = self.merge(id, intake.received, outcome)?;
        if !outcome.moved_ids.contains(&id) {
            self.drop_if_empty(id);
        }
        Ok(answer)
    }

    /// Judges the changes of a unit on top of a loaded document.
    fn merge(
        &mut self,
        id: DocumentId,
        received: ChangeSet<EncodedChange>,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let document = self.cache.get(&id).expect("it was loaded or created");
        let awaited = self.set_aside.get(&id).map(SetAside::awaited);
        let standing = Standing { index: &document.index, awaited };
        match self.authority.judge(id).merge(received, standing)? {
            Merged::Unchanged { answer } => Ok(answer),
            Merged::Rebuild(received) => {
                self.finish_grown(id, outcome)?;
                // It reads and writes the whole document.
                self.turn_chains = 0;
                self.rebuild(id, None, received, outcome)
            }
            Merged::Grown { admitted, answer } => {
                let is_new = !outcome.grown.contains_key(&id);
                let before = if is_new { document.marks() } else { Vec::new() };
                let writers = self.writers(&admitted);
                let changes = self.append(id, admitted, outcome);
                if is_new {
                    self.spend_turn(id, |document| document.record.replicas.len());
                }
                let grown = outcome.grown.entry(id).or_insert_with(|| Grown { before, ..Grown::default() });
                grown.changes.extend(changes);
                grown.writers.extend(writers);
                Ok(answer)
            }
        }
    }

    /// Takes what a document costs from the room of the turn.
    fn spend_turn(&mut self, id: DocumentId, chains: impl FnOnce(&Document) -> usize) {
        let chains = self.cache.get(&id).map_or(0, |document| chains(document));
        self.turn_chains = self.turn_chains.saturating_sub(chains);
    }

    /// The users who wrote these changes.
    pub(super) fn writers(&self, admitted: &[Admitted<EncodedChange>]) -> BTreeSet<Writer> {
        let authors: BTreeSet<_> =
            admitted.iter().map(|Admitted { author, .. }| (author.device, author.grant)).collect();
        authors.into_iter().map(|(device, grant)| self.authority.user_of(device, grant)).collect()
    }

    /// Adds accepted changes to index and record, and returns them.
    pub(super) fn append(
        &mut self,
        id: DocumentId,
        admitted: Vec<Admitted<EncodedChange>>,
        outcome: &mut Outcome,
    ) -> Vec<EncodedChange> {
        let document = self.cache.get(&id).expect("it was loaded or created");
        document.append(id, &admitted, &mut self.authors, &self.authority, outcome);
        admitted.into_iter().map(|admitted| admitted.change).collect()
    }

    /// Loads a document, or creates an empty one; returns false if it is damaged.
    fn load_or_create(&mut self, id: DocumentId, name: &RowName) -> Result<bool, StoreError> {
        if self.load(id)?.is_none() && !self.quarantined.contains_key(&id) {
            self.cache.put(id, Document::new(name), 0);
        }
        Ok(!self.quarantined.contains_key(&id))
    }

    /// Drops a document from memory that has no changes after all. Until its removal is stored, the store has
    /// an older one; and a worker may be about to write it.
    pub(super) fn drop_if_empty(&mut self, id: DocumentId) {
        let is_pinned = self.unstored.contains_key(&id) || self.working.contains_key(&id);
        if !is_pinned && self.cache.get(&id).is_some_and(|document| document.index.is_empty()) {
            self.cache.remove(&id);
        }
    }

    /// Draws a new incarnation for this device's further writes, so that no sequence number is used twice.
    pub(super) fn renew_incarnation(&mut self, outcome: &mut Outcome) {
        self.incarnation = self.clock.random_u64();
        outcome.batch.put(keys::INCARNATION, keys::incarnation(self.losses, self.incarnation));
    }
}

impl Document {
    /// Adds accepted changes to index and record.
    pub(super) fn append(
        &mut self,
        id: DocumentId,
        admitted: &[Admitted<EncodedChange>],
        authors: &mut Authors,
        authority: &Authority,
        outcome: &mut Outcome,
    ) {
        let mut appended = Vec::with_capacity(admitted.len());
        for Admitted { change: EncodedChange { header, bytes }, author, tip } in admitted {
            let number = put_author(authors, authority, *author, &mut outcome.batch);
            if header.seq == 1 {
                outcome.batch.put(keys::written(number, author.incarnation, id), []);
            }
            self.index.accept(header);
            appended.push(NewChange {
                position: self.index.position(&header.replica).expect("it has an accepted change"),
                author: number,
                incarnation: author.incarnation,
                seq: header.seq,
                change: header.hash,
                bytes,
                charge: header.charge,
                weight: Weight::of(header, bytes.len()),
                tip: tip.as_ref().map(Into::into),
            });
        }
        for NewChunk { number, bytes } in self.record.extend(&appended) {
            outcome.batch.put(keys::chunk(id, number), bytes.clone());
            self.fresh.add(number, bytes);
        }
        self.update_heads(admitted);
    }

    /// Marks the heads among the chains that these changes end or name: no other chain's end moved.
    fn update_heads(&mut self, admitted: &[Admitted<EncodedChange>]) {
        let Self { index, record, .. } = self;
        let mut moved = BTreeSet::new();
        for Admitted { change: EncodedChange { header, .. }, .. } in admitted {
            let below = header.deps.iter().filter_map(|dep| index.place(dep)).map(|(replica, _)| replica);
            moved.extend(below.chain([header.replica]).filter_map(|replica| index.position(&replica)));
        }
        for position in moved {
            record.set_head(position, |change| index.heads().contains(change));
        }
    }
}
