//! Long work on one document, away from the runtime, in slices of one call of Automerge each (pure but for
//! reads of the store).
//!
//! A piece of work owns everything that it needs. It judges nothing and stores nothing: what is accepted was
//! judged before it began, and its result counts only if the document still has the changes for which it was
//! begun.

use std::collections::{BTreeMap, BTreeSet};

use schema::change;
use schema::document::EncodedChange;
use schema::limits::UNIT_CHARGE_MAX;
use schema::{ChangeHash, DocumentId};

use super::edit::{Edited, Editing};
use crate::node::group::reading::Reading;
use crate::node::group::replica::Row;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// A piece of long work.
pub(crate) struct Work {
    pub(super) number: u64,
    pub(super) job: Job,
}

pub(super) enum Job {
    /// Take accepted changes into a reading.
    Grow { document: DocumentId, reading: Reading, changes: Vec<EncodedChange> },
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
    unreadable: BTreeSet<ChangeHash>,
    /// Automerge failed before: each slice is tried on a copy.
    is_careful: bool,
    /// The number of runs that are taken in.
    done: usize,
}

/// The stored changes of one document, in the order in which they were accepted.
#[derive(Clone)]
pub(super) struct Runs {
    space: SpaceHandle,
    document: DocumentId,
    numbers: Vec<u32>,
    /// Chunks that the store may not have yet.
    fresh: BTreeMap<u32, Vec<u8>>,
    inline: Vec<u8>,
}

impl Work {
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
        let Self { number, job } = self;
        let done = match job {
            Job::Grow { document, mut reading, changes } => {
                let result = match reading.accept(changes) {
                    Ok(row) => Ok(Loaded { unreadable: reading.unreadable().clone(), reading, row }),
                    Err(_) => Err(LoadError::Spoiled),
                };
                Done::Materialised { document, result: result.map(Box::new) }
            }
            Job::Load { document, mut load } => match load.slice() {
                Ok(false) => return Slice::More(Self { number, job: Job::Load { document, load } }),
                Ok(true) => Done::Materialised { document, result: load.finish().map(Box::new) },
                Err(error) => Done::Materialised { document, result: Err(error) },
            },
            Job::Edit(editing) => Done::Edited(Box::new(editing.run())),
        };
        Slice::Done(Worked { number, done })
    }
}

impl Load {
    pub(super) fn new(runs: Runs, unreadable: BTreeSet<ChangeHash>, is_careful: bool) -> Self {
        Self { runs, reading: Reading::new(unreadable.clone()), unreadable, is_careful, done: 0 }
    }

    /// Does all of it here.
    pub(super) fn run(mut self) -> Result<Loaded, LoadError> {
        while !self.slice()? {}
        self.finish()
    }

    /// Takes the next changes in, up to the charge of a unit; returns true at the end.
    fn slice(&mut self) -> Result<bool, LoadError> {
        let (mut changes, mut charge, begun) = (Vec::new(), 0, self.done);
        while charge < UNIT_CHARGE_MAX && self.done < self.runs.len() {
            for change in self.runs.read(self.done)? {
                charge += change.header.charge;
                changes.push(change);
            }
            self.done += 1;
        }
        if self.is_careful {
            self.take_carefully(changes, begun);
        } else if self.reading.take(changes).is_err() {
            (self.is_careful, self.done) = (true, 0);
            self.reading = Reading::new(self.unreadable.clone());
        }
        Ok(self.done == self.runs.len())
    }

    /// Takes the changes of a slice in; one that Automerge does not take is left out, and the slice begins
    /// again.
    fn take_carefully(&mut self, changes: Vec<EncodedChange>, begun: usize) {
        let mut trial = self.reading.clone();
        match trial.take_by_halves(changes) {
            Ok(()) => self.reading = trial,
            Err(change) => {
                self.unreadable.insert(change);
                self.reading.leave_out(change);
                self.done = begun;
            }
        }
    }

    fn finish(self) -> Result<Loaded, LoadError> {
        let Self { reading, unreadable, .. } = self;
        let row = reading.row().map_err(|fault| LoadError::Faulty { what: fault.to_string() })?;
        Ok(Loaded { reading, row, unreadable })
    }
}

impl Runs {
    pub(super) fn new(
        space: SpaceHandle,
        document: DocumentId,
        numbers: Vec<u32>,
        fresh: BTreeMap<u32, Vec<u8>>,
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
        if let Some(bytes) = self.fresh.get(number) {
            return parse(bytes);
        }
        match self.space.get(&keys::chunk(self.document, *number)) {
            Ok(Some(bytes)) => parse(&bytes),
            Ok(None) => Err(damaged(format!("chunk {number} is missing"))),
            Err(StoreError::Damaged { .. }) => Err(damaged(format!("chunk {number} is damaged"))),
            Err(error) => Err(RunsError::Store(error)),
        }
    }

    /// Reads all changes.
    pub(super) fn read_all(&self) -> Result<Vec<EncodedChange>, RunsError> {
        let runs: Vec<_> = (0..self.len()).map(|at| self.read(at)).collect::<Result<_, _>>()?;
        Ok(runs.into_iter().flatten().collect())
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
