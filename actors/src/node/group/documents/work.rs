//! Long work on one document, away from the runtime, in slices of one call of Automerge each, which apply at
//! most the charge of a unit (pure but for reads of the store).
//!
//! A piece of work owns everything that it needs. It judges nothing and stores nothing: what is accepted was
//! judged before it began, and its result counts only if the document still has the changes for which it was
//! begun.

use std::collections::BTreeSet;

use schema::change;
use schema::document::EncodedChange;
use schema::limits::UNIT_CHARGE_MAX;
use schema::{ChangeHash, DocumentId};

use super::edit::{Edited, Editing};
use super::fresh::FreshChunks;
use crate::node::group::reading::Reading;
use crate::node::group::replica::Row;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// A piece of long work.
pub(crate) struct Work {
    pub(super) number: u64,
    /// A commit of this device waits for it.
    pub(super) is_awaited: bool,
    pub(super) job: Job,
}

pub(super) enum Job {
    /// Take the accepted changes in that were added to a reading.
    Grow { document: DocumentId, reading: Reading },
    /// Materialise a document from its stored changes.
    Load { document: DocumentId, load: Box<Load> },
    /// Make the changes of a commit.
    Edit(Box<Editing>),
}

/// The end of a slice of work.
pub(crate) enum Slice {
    /// The work is done.
    Done(Worked),
    /// The rest of it.
    More(Work),
}

/// The result of a piece of work.
pub(crate) struct Worked {
    pub(super) number: u64,
    pub(super) done: Done,
}

pub(super) enum Done {
    /// The document is materialised, or why it is not.
    Materialised { document: DocumentId, result: Result<Box<Loaded>, LoadError> },
    /// A commit's changes are made.
    Edited(Box<Edited>),
}

/// A materialised document.
pub(super) struct Loaded {
    pub(super) reading: Reading,
    pub(super) row: Row,
    /// The changes of it that Automerge does not take.
    pub(super) unreadable: BTreeSet<ChangeHash>,
}

/// The reason for which a document is not materialised.
#[derive(Debug)]
pub(super) enum LoadError {
    /// Automerge does not take all of the changes: they have to be loaded with care.
    Spoiled,
    /// The row cannot be read.
    Faulty { what: String },
    /// The stored changes cannot be read.
    Runs(RunsError),
}

impl From<RunsError> for LoadError {
    fn from(error: RunsError) -> Self {
        Self::Runs(error)
    }
}

/// The reason for which stored changes cannot be read.
#[derive(Debug)]
pub(super) enum RunsError {
    /// They are damaged.
    Damaged { what: String },
    /// The store failed.
    Store(StoreError),
}

/// A document on its way out of the store.
pub(super) struct Load {
    runs: Runs,
    reading: Reading,
    /// Everything that was read is taken in.
    is_drained: bool,
    /// Automerge failed before: changes are tried on a copy.
    care: Option<Care>,
    /// The number of runs that were read.
    done: usize,
}

/// The care for changes of which Automerge does not take all.
struct Care {
    /// Bundles that are tried together.
    count: usize,
    trial: Option<Trial>,
}

/// A copy of the reading that takes further bundles.
struct Trial {
    reading: Reading,
    /// The last pieces of these bundles.
    bundles: Vec<ChangeHash>,
}

/// The stored changes of one document, in the order in which they were accepted.
#[derive(Clone)]
pub(super) struct Runs {
    space: SpaceHandle,
    document: DocumentId,
    numbers: Vec<u32>,
    fresh: FreshChunks,
    inline: Vec<u8>,
}

impl Work {
    /// Returns true if somebody here waits for it: it makes the changes of a commit, or readies a row for
    /// one.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited || matches!(self.job, Job::Edit(_))
    }

    /// The activity of its slices, for the watchdog.
    pub(crate) fn doing(&self) -> String {
        match &self.job {
            Job::Grow { document, .. } => format!("apply changes to document {}", document.short()),
            Job::Load { document, .. } => format!("load document {}", document.short()),
            Job::Edit(editing) => match &editing.ids[..] {
                [document] => format!("edit document {}", document.short()),
                documents => format!("edit {} documents", documents.len()),
            },
        }
    }

    /// Does one slice.
    pub(crate) fn slice(self) -> Slice {
        let Self { number, is_awaited, job } = self;
        let more = |job| Slice::More(Self { number, is_awaited, job });
        let done = match job {
            Job::Grow { document, mut reading } => match reading.step() {
                Ok(false) => return more(Job::Grow { document, reading }),
                Ok(true) => Done::Materialised { document, result: Loaded::of(reading).map(Box::new) },
                Err(_) => Done::Materialised { document, result: Err(LoadError::Spoiled) },
            },
            Job::Load { document, mut load } => match load.slice() {
                Ok(false) => return more(Job::Load { document, load }),
                Ok(true) => Done::Materialised { document, result: Loaded::of(load.reading).map(Box::new) },
                Err(error) => Done::Materialised { document, result: Err(error) },
            },
            Job::Edit(editing) => Done::Edited(Box::new(editing.run())),
        };
        Slice::Done(Worked { number, done })
    }
}

impl Loaded {
    fn of(reading: Reading) -> Result<Self, LoadError> {
        let row = reading.row().map_err(|fault| LoadError::Faulty { what: fault.to_string() })?;
        Ok(Self { unreadable: reading.unreadable().clone(), reading, row })
    }
}

impl Load {
    pub(super) fn new(runs: Runs, unreadable: BTreeSet<ChangeHash>) -> Self {
        Self { runs, reading: Reading::new(unreadable), is_drained: true, care: None, done: 0 }
    }

    /// Does all of it here; what Automerge does not take all of is left for a worker.
    pub(super) fn run(mut self) -> Result<Loaded, LoadError> {
        while !self.slice()? {
            if self.care.is_some() {
                return Err(LoadError::Spoiled);
            }
        }
        Loaded::of(self.reading)
    }

    /// Takes the next changes in, up to the charge of a unit; returns true at the end.
    fn slice(&mut self) -> Result<bool, LoadError> {
        if self.is_drained {
            self.read()?;
        }
        self.is_drained = match &mut self.care {
            Some(care) => care.slice(&mut self.reading),
            None => self.reading.step().unwrap_or_else(|_| {
                (self.care, self.done) = (Some(Care { count: usize::MAX, trial: None }), 0);
                self.reading = Reading::new(self.reading.unreadable().clone());
                true
            }),
        };
        Ok(self.is_drained && self.done == self.runs.len())
    }

    /// Adds the next stored changes, up to the charge of a unit.
    fn read(&mut self) -> Result<(), LoadError> {
        let mut charge = 0;
        while charge < UNIT_CHARGE_MAX && self.done < self.runs.len() {
            let changes = self.runs.read(self.done)?;
            charge += changes.iter().map(|change| change.header.charge).sum::<u64>();
            self.reading.add(changes);
            self.done += 1;
        }
        Ok(())
    }
}

impl Care {
    /// Tries the next bundles, and keeps the good state before them: half as many after a failure, twice as
    /// many after a success. One that fails alone is left out. Returns true if none is left.
    fn slice(&mut self, good: &mut Reading) -> bool {
        let mut trial = self.trial.take().unwrap_or_else(|| {
            let mut reading = good.clone();
            let bundles = reading.ready_next(self.count);
            Trial { reading, bundles }
        });
        if trial.bundles.is_empty() {
            *good = trial.reading;
            return true;
        }
        match (trial.reading.apply_ready(), &trial.bundles[..]) {
            (Ok(false), _) => self.trial = Some(trial),
            (Ok(true), bundles) => {
                self.count = bundles.len() * 2;
                *good = trial.reading;
            }
            (Err(_), [bundle]) => good.leave_out(*bundle),
            (Err(_), bundles) => self.count = bundles.len() / 2,
        }
        false
    }
}

impl Runs {
    pub(super) fn new(
        space: SpaceHandle,
        document: DocumentId,
        numbers: Vec<u32>,
        fresh: FreshChunks,
        inline: Vec<u8>,
    ) -> Self {
        Self { space, document, numbers, fresh, inline }
    }

    /// The number of runs.
    pub(super) fn len(&self) -> usize {
        self.numbers.len() + 1
    }

    /// Reads one run, by its place.
    pub(super) fn read(&self, at: usize) -> Result<Vec<EncodedChange>, RunsError> {
        let damaged = |what: String| RunsError::Damaged { what };
        let Some(number) = self.numbers.get(at) else { return parse(&self.inline) };
        if let Some(bytes) = self.fresh.get(*number) {
            return parse(bytes);
        }
        match self.space.get(&keys::chunk(self.document, *number)) {
            Ok(Some(bytes)) => parse(&bytes),
            Ok(None) => Err(damaged(format!("chunk {number} is missing"))),
            Err(StoreError::Damaged { .. }) => Err(damaged(format!("chunk {number} is damaged"))),
            Err(error) => Err(RunsError::Store(error)),
        }
    }
}

fn parse(run: &[u8]) -> Result<Vec<EncodedChange>, RunsError> {
    let read = |change: Result<(change::ChangeHeader, &[u8]), change::ChangeError>| {
        let (header, bytes) =
            change.map_err(|error| RunsError::Damaged { what: format!("change is damaged: {error}") })?;
        Ok(EncodedChange { header, bytes: bytes.to_vec() })
    };
    change::split(run).map(read).collect()
}
