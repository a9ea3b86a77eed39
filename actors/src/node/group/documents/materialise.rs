//! Materialises documents: takes what is accepted to Automerge and reads the row, here where that is short,
//! by a worker where it is long.

use schema::DocumentId;
use schema::document::EncodedChange;

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

/// Charge that is applied in one turn of the actor: at most 200 ms, and 1 800 small rows of a first
/// replication. The rest is left for workers.
pub(super) const SHORT_TURN_CHARGE: u64 = 6 << 20;

/// The reading of a loaded document.
pub(super) enum Materialised {
    /// Here, up to the last accepted change.
    Here(Reading),
    /// A worker has it; these changes were accepted since.
    Working { later: Vec<EncodedChange> },
    /// Not made from the stored changes yet, or not to be made on this device.
    Absent,
}

impl Documents {
    /// Takes changes, which were just accepted, into the reading of their document. Returns the row; `None`:
    /// it follows, or this device does not materialise the document.
    pub(super) fn materialise(
        &mut self,
        id: DocumentId,
        changes: Vec<EncodedChange>,
    ) -> Result<Option<Row>, StoreError> {
        if self.gives_up(id) {
            return Ok(None);
        }
        let document = self.cache.get(&id).expect("it is loaded");
        if let Materialised::Working { later } = &mut document.materialised {
            later.extend(changes);
            return Ok(None);
        }
        let document = self.cache.get(&id).expect("it is loaded");
        let charge: u64 = changes.iter().map(|change| change.header.charge).sum();
        let is_short =
            charge <= SHORT_CHARGE.min(self.short_charge) && document.record.charge <= SHORT_DOCUMENT_CHARGE;
        self.short_charge = self.short_charge.saturating_sub(charge);
        match std::mem::replace(&mut document.materialised, Materialised::Absent) {
            Materialised::Absent if self.unmaterialised.contains_key(&id) => Ok(None),
            Materialised::Here(mut reading) if is_short => match reading.accept(changes) {
                Ok(row) => {
                    document.materialised = Materialised::Here(reading);
                    Ok(Some(row))
                }
                Err(_) => self.load_reading(id, true),
            },
            Materialised::Here(reading) => {
                self.begin(id, Job::Grow { document: id, reading, changes });
                Ok(None)
            }
            _ => self.load_reading(id, false),
        }
    }

    /// Makes the reading of a document from its stored changes; `is_careful`: Automerge did not take some of
    /// them.
    pub(super) fn load_reading(
        &mut self,
        id: DocumentId,
        is_careful: bool,
    ) -> Result<Option<Row>, StoreError> {
        if self.gives_up(id) {
            return Ok(None);
        }
        let runs = self.runs(id);
        let document = self.cache.get(&id).expect("it is loaded");
        let unreadable = document.record.unreadable.iter().copied().collect();
        let load = Box::new(Load::new(runs, unreadable, is_careful));
        let charge = document.record.charge;
        let is_short = charge <= SHORT_DOCUMENT_CHARGE.min(self.short_charge);
        self.short_charge = self.short_charge.saturating_sub(charge);
        if !is_short {
            self.begin(id, Job::Load { document: id, load });
            return Ok(None);
        }
        let loaded = load.run();
        self.take_reading(id, loaded)
    }

    /// Takes the result of a load over.
    fn take_reading(
        &mut self,
        id: DocumentId,
        loaded: Result<Loaded, LoadError>,
    ) -> Result<Option<Row>, StoreError> {
        let document = self.cache.get(&id).expect("it is loaded");
        match loaded {
            Ok(Loaded { reading, row, unreadable }) => {
                document.record.unreadable = unreadable.into_iter().collect();
                document.materialised = Materialised::Here(reading);
                self.unmaterialised.remove(&id);
                Ok(Some(row))
            }
            Err(LoadError::Faulty { what }) => {
                document.materialised = Materialised::Absent;
                self.give_up(id, UnmaterialisedReason::Faulty { what });
                Ok(None)
            }
            Err(LoadError::Spoiled) => self.load_reading(id, true),
            Err(LoadError::Runs(RunsError::Damaged { what })) => {
                document.materialised = Materialised::Absent;
                self.quarantine(id, &what);
                Ok(None)
            }
            Err(LoadError::Runs(RunsError::Store(error))) => Err(error),
        }
    }

    /// Leaves work on a document for a worker.
    pub(super) fn begin(&mut self, id: DocumentId, job: Job) {
        let number = self.next_number();
        self.lend(id, number);
        self.work.push(Work { number, job });
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_work += 1;
        self.next_work
    }

    /// A document is in the hands of a worker from now on.
    pub(super) fn lend(&mut self, id: DocumentId, number: u64) {
        self.working.insert(id, number);
        if let Some(document) = self.cache.get(&id) {
            document.materialised = Materialised::Working { later: Vec::new() };
        }
    }

    /// A document is in the hands of a worker no longer. Returns the changes that were accepted meanwhile.
    pub(super) fn end_loan(&mut self, id: DocumentId) -> Vec<EncodedChange> {
        self.working.remove(&id);
        let Some(document) = self.cache.get(&id) else { return Vec::new() };
        match std::mem::replace(&mut document.materialised, Materialised::Absent) {
            Materialised::Working { later } => later,
            _ => Vec::new(),
        }
    }

    /// Returns true if the document still has the changes for which this work was begun.
    pub(super) fn is_current(&self, id: DocumentId, number: u64) -> bool {
        self.working.get(&id) == Some(&number)
    }

    /// The number of documents that workers have.
    pub(crate) fn materialising(&self) -> usize {
        self.working.len()
    }

    /// The work to begin.
    pub(crate) fn take_work(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.work)
    }

    /// Begins to materialise the rows that were behind when the store was opened.
    pub(crate) fn catch_up(&mut self, outcome: &mut Outcome) -> Result<(), StoreError> {
        for id in std::mem::take(&mut self.behind) {
            if self.working.contains_key(&id) || self.load(id)?.is_none() {
                continue;
            }
            if let Some(row) = self.load_reading(id, false)? {
                self.show(id, Some(row), outcome);
            }
        }
        Ok(())
    }

    /// Takes the result of a worker over; returns the end of a commit, if it is that of one.
    pub(crate) fn integrate(
        &mut self,
        Worked { number, done }: Worked,
        outcome: &mut Outcome,
    ) -> Result<Option<CommitEnd>, StoreError> {
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
        let later = self.end_loan(id);
        let row = self.take_reading(id, result)?;
        let is_here = row.is_some();
        self.show(id, row, outcome);
        if is_here && !later.is_empty() {
            let row = self.materialise(id, later)?;
            self.show(id, row, outcome);
        }
        Ok(())
    }
}
