//! Materialises documents: takes what is accepted to Automerge and reads the row, here where that is short,
//! by a worker where it is long.

use std::collections::BTreeSet;

use schema::DocumentId;
use schema::document::EncodedChange;

use super::backlog::Writer;
use super::commit::CommitEnd;
use super::unmaterialised::UnmaterialisedReason;
use super::work::{Done, Job, Load, LoadError, Loaded, RunsError, Work, Worked};
use super::{Documents, Outcome};
use crate::node::group::reading::Reading;
use crate::node::group::replica::Row;
use crate::node::store::StoreError;

/// Charge of changes that are applied at once: about 2 ms.
pub(super) const SHORT_CHARGE: u64 = 64 << 10;
/// Charge of a document that is loaded or written at once: Automerge walks a part of it for each change.
pub(super) const SHORT_DOCUMENT_CHARGE: u64 = 512 << 10;

/// Charge that is applied in one turn of the actor: at most 70 ms, and 600 small rows of a first
/// replication. The rest is left for workers.
pub(super) const SHORT_TURN_CHARGE: u64 = 2 << 20;

/// The reading of a loaded document.
pub(super) enum Materialised {
    /// Here, up to the last accepted change but [later](super::Document::later) ones.
    Here(Reading),
    /// A worker has it.
    Working,
    /// Not made from the stored changes yet, or not to be made on this device.
    Absent,
}

/// Changes that were accepted and are not in the reading yet, and who wrote them.
#[derive(Default)]
pub(super) struct Later {
    pub(super) changes: Vec<EncodedChange>,
    pub(super) charge: u64,
    writers: BTreeSet<Writer>,
}

impl Documents {
    /// Takes changes of these writers, which were just accepted, into the reading of their document. Returns
    /// the row; `None`: it follows, or this device does not materialise the document.
    pub(super) fn materialise(
        &mut self,
        id: DocumentId,
        changes: Vec<EncodedChange>,
        writers: BTreeSet<Writer>,
    ) -> Result<Option<Row>, StoreError> {
        if !self.gives_up(id) {
            let document = self.cache.get(&id).expect("it is loaded");
            document.later.charge += changes.iter().map(|change| change.header.charge).sum::<u64>();
            document.later.changes.extend(changes);
            document.later.writers.extend(writers);
        }
        self.read_row(id, false)
    }

    /// Brings the reading of a loaded document up to date: here where that is short, else by a worker, in
    /// its turn or, if a commit waits for it, at once. Returns the row, as
    /// [`materialise`](Self::materialise) does.
    pub(super) fn read_row(&mut self, id: DocumentId, is_awaited: bool) -> Result<Option<Row>, StoreError> {
        if self.gives_up(id) {
            return Ok(None);
        }
        let is_given_up = self.unmaterialised.contains_key(&id);
        let document = self.cache.get(&id).expect("it is loaded");
        let charge = match &document.materialised {
            Materialised::Working => return Ok(None),
            Materialised::Here(_) => document.later.charge,
            // What is later is among the stored changes.
            Materialised::Absent => document.record.charge,
        };
        let is_here = matches!(document.materialised, Materialised::Here(_));
        if is_given_up && !is_here {
            document.later = Later::default();
            return Ok(None);
        }
        let max = if is_here { SHORT_CHARGE } else { SHORT_DOCUMENT_CHARGE };
        let is_short =
            charge <= max.min(self.short_charge) && document.record.charge <= SHORT_DOCUMENT_CHARGE;
        if !is_short {
            return self.leave(id, is_awaited);
        }
        self.short_charge = self.short_charge.saturating_sub(charge);
        let later = std::mem::take(&mut document.later);
        match std::mem::replace(&mut document.materialised, Materialised::Absent) {
            Materialised::Here(mut reading) => match reading.accept(later.changes) {
                Ok(row) => {
                    document.materialised = Materialised::Here(reading);
                    self.backlog.remove(id);
                    Ok(Some(row))
                }
                Err(_) => {
                    document.later.writers = later.writers;
                    self.leave(id, is_awaited)
                }
            },
            _ => {
                document.later.writers = later.writers;
                let loaded = self.new_load(id).run();
                self.take_reading(id, loaded, is_awaited)
            }
        }
    }

    fn new_load(&mut self, id: DocumentId) -> Load {
        let runs = self.runs(id);
        let document = self.cache.get(&id).expect("it is loaded");
        Load::new(runs, document.record.unreadable.iter().copied().collect())
    }

    /// Leaves a document for a worker.
    fn leave(&mut self, id: DocumentId, is_awaited: bool) -> Result<Option<Row>, StoreError> {
        if is_awaited {
            self.begin(id, None);
        } else {
            let writers = &self.cache.get(&id).expect("it is loaded").later.writers;
            let nobody_known = writers.is_empty().then_some(None);
            self.backlog.push(id, writers.iter().copied().chain(nobody_known));
        }
        Ok(None)
    }

    /// Takes the result of a load over.
    fn take_reading(
        &mut self,
        id: DocumentId,
        loaded: Result<Loaded, LoadError>,
        is_awaited: bool,
    ) -> Result<Option<Row>, StoreError> {
        let document = self.cache.get(&id).expect("it is loaded");
        match loaded {
            Ok(Loaded { reading, row, unreadable }) => {
                document.record.unreadable = unreadable.into_iter().collect();
                document.materialised = Materialised::Here(reading);
                if document.later.changes.is_empty() {
                    document.later = Later::default();
                    self.backlog.remove(id);
                }
                self.unmaterialised.remove(&id);
                Ok(Some(row))
            }
            Err(LoadError::Faulty { what }) => {
                document.materialised = Materialised::Absent;
                self.give_up(id, UnmaterialisedReason::Faulty { what });
                Ok(None)
            }
            Err(LoadError::Spoiled) => {
                document.materialised = Materialised::Absent;
                self.leave(id, is_awaited)
            }
            Err(LoadError::Runs(RunsError::Damaged { what })) => {
                document.materialised = Materialised::Absent;
                self.quarantine(id, &what);
                Ok(None)
            }
            Err(LoadError::Runs(RunsError::Store(error))) => Err(error),
        }
    }

    /// Begins to bring a loaded document up to date by a worker, in the turn of a writer; `None`: at once,
    /// for a commit.
    fn begin(&mut self, id: DocumentId, turn: Option<Writer>) {
        let number = self.next_number();
        let load = |documents: &mut Self| Job::Load { document: id, load: Box::new(documents.new_load(id)) };
        let document = self.cache.get(&id).expect("it is loaded");
        let later = std::mem::take(&mut document.later);
        let job = match std::mem::replace(&mut document.materialised, Materialised::Working) {
            Materialised::Here(mut reading) => {
                reading.add(later.changes);
                Job::Grow { document: id, reading }
            }
            _ => load(self),
        };
        // The work may turn out to need another turn.
        self.cache.get(&id).expect("it is loaded").later.writers = later.writers;
        self.backlog.remove(id);
        if let Some(writer) = turn {
            self.backlog.begin(number, writer);
        }
        self.lend(id, number);
        self.work.push(Work { number, is_awaited: turn.is_none(), job });
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_work += 1;
        self.next_work
    }

    /// A document is in the hands of a worker from now on.
    pub(super) fn lend(&mut self, id: DocumentId, number: u64) {
        self.working.insert(id, number);
        if let Some(document) = self.cache.get(&id) {
            document.materialised = Materialised::Working;
        }
    }

    /// A document is in the hands of a worker no longer.
    pub(super) fn give_back(&mut self, id: DocumentId, reading: Reading) {
        self.working.remove(&id);
        if let Some(document) = self.cache.get(&id) {
            document.materialised = Materialised::Here(reading);
        }
    }

    /// Takes the changes into a reading that were accepted while a worker had it.
    pub(crate) fn take_later(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        let Some(document) = self.cache.get(&id) else { return Ok(()) };
        if matches!(document.materialised, Materialised::Here(_)) && !document.later.changes.is_empty() {
            let row = self.read_row(id, false)?;
            self.show(id, row, outcome);
        }
        Ok(())
    }

    /// Returns true if the document still has the changes for which this work was begun.
    pub(super) fn is_current(&self, id: DocumentId, number: u64) -> bool {
        self.working.get(&id) == Some(&number)
    }

    /// The number of documents whose newest accepted changes a worker has, or is to have.
    pub(crate) fn materialising(&self) -> usize {
        self.working.len() + self.backlog.len()
    }

    /// The work to begin.
    pub(crate) fn take_work(&mut self) -> Result<Vec<Work>, StoreError> {
        while let Some((id, writer)) = self.backlog.next() {
            // It may have gone meanwhile; what a worker has goes on with what is later.
            if self.working.contains_key(&id) || self.load(id)?.is_none() || self.gives_up(id) {
                continue;
            }
            let document = self.cache.get(&id).expect("it is loaded");
            let is_current = match document.materialised {
                Materialised::Here(_) => document.later.changes.is_empty(),
                Materialised::Absent | Materialised::Working => self.unmaterialised.contains_key(&id),
            };
            if !is_current {
                self.begin(id, Some(writer));
            }
        }
        Ok(std::mem::take(&mut self.work))
    }

    /// Takes the result of a worker over; returns the end of a commit, if it is that of one.
    pub(crate) fn integrate(
        &mut self,
        Worked { number, done }: Worked,
        outcome: &mut Outcome,
    ) -> Result<Option<CommitEnd>, StoreError> {
        self.backlog.end(number);
        match done {
            Done::Edited(edited) => self.finish_commit(number, *edited, outcome).map(Some),
            Done::Materialised { document, result } => {
                // A roster that arrived meanwhile voids what nobody has seen yet.
                self.settle(document, outcome)?;
                if self.is_current(document, number) {
                    self.on_materialised(document, result.map(|loaded| *loaded), outcome)?;
                }
                Ok(None)
            }
        }
    }

    fn on_materialised(
        &mut self,
        id: DocumentId,
        result: Result<Loaded, LoadError>,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        self.working.remove(&id);
        let is_awaited = self.awaited.contains(&id);
        let row = self.take_reading(id, result, is_awaited)?;
        self.show(id, row, outcome);
        // A commit that waits comes first: else a row that peers write without pause is never written here.
        if is_awaited { Ok(()) } else { self.take_later(id, outcome) }
    }
}
