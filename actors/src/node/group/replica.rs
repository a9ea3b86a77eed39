//! One Automerge document: load, apply, commit, read (pure).
//!
//! Holds what authority 3.6 asks of a writer: every local change names all heads and the replica's own
//! previous change (Automerge does so for ordinary transactions; `isolate` and `transaction_at` are never
//! used), remote changes are applied by one `apply_changes` under `catch_unwind`, nothing waits in
//! Automerge's queue, and heads are compared after a load. Automerge panics on some input that admission must
//! keep away; a panic leaves the replica *broken*: it must be dropped and loaded again.
//!
//! The layout of a row in its document: fields at the root; names that begin with `$` are ours and hidden.
//! `$removed: true` is the removal mark, and the row is removed as long as one such put stands. So a removal
//! wins over every concurrent edit and over a concurrent `put` that had not seen it; a `put` that has seen it
//! deletes the mark and brings the row back; of two devices that saw one removal, where one restores and the
//! other removes again, nothing was left to remove, and the row is back. The author's clock stands in
//! Automerge's time field, in milliseconds.

mod bundle;
mod chunk;
mod objects;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, AutomergeError, Change, ReadDoc, SaveOptions, TextEncoding};
use schema::change::{ChangeError, ChangeHeader, Merging};
use schema::document::EncodedChange;
use schema::limits::{CHANGE_BYTES_MAX, CHANGE_CHARGE_MAX, CHARGE_OF_OP, OP_COUNTER_MAX};
use schema::value::Value;
use schema::{ChangeHash, ReplicaId};

use self::bundle::BUNDLE_OPS_MAX;
use crate::edit::{EditError, RowEdit};

pub use chunk::ChunkError;
pub use read::ReadError;
pub(crate) use write::bytes as edit_bytes;

/// The reason for which stored chunks are not the document that the record promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are damaged.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A change is missing that another one builds on.
    #[error("change {missing} is missing")]
    Missing {
        /// The hash of the dependency.
        missing: ChangeHash,
    },
    /// Whole, but another state than the record's.
    #[error("loaded to {got} heads, {expected} expected")]
    Heads {
        /// Heads after loading.
        got: usize,
        /// Heads in the record.
        expected: usize,
    },
    /// Automerge refused or panicked.
    #[error("document failed: {what}")]
    Document {
        /// Automerge's reason.
        what: String,
    },
}

/// The reason for which changes were not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The bytes are no change. The replica is as it was.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A change is missing that another one builds on. The replica is as it was.
    #[error("change {missing} is missing")]
    Missing {
        /// The hash of the dependency.
        missing: ChangeHash,
    },
    /// Automerge refused or panicked: drop the replica and load it again.
    #[error("document failed: {what}")]
    Document {
        /// Automerge's reason.
        what: String,
    },
}

/// A row as its document has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The fields: always a map; a row type that is none lies under `value`.
    pub value: Value,
    /// The removal mark stands. The fields are still there.
    pub removed: bool,
    /// Something lies deeper than a row may nest and reads as [`Value::TooDeep`].
    pub too_deep: bool,
}

/// One change of a row's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The change; `row_at(&[hash])` is the row as its author saw it.
    pub hash: ChangeHash,
    /// The author of the change.
    pub author: ReplicaId,
    /// Its place in the author's chain, from 1.
    pub seq: u64,
    /// The author's clock, in ms since the Unix epoch; shown, never trusted.
    pub time_ms: i64,
}

/// One Automerge document in memory.
#[derive(Clone, Debug)]
pub struct Replica {
    doc: Automerge,
    /// Bytes of the chunks that it was made of.
    bytes: usize,
    broken: bool,
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

impl Replica {
    /// A document without changes.
    pub fn new() -> Self {
        Self { doc: Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint), bytes: 0, broken: false }
    }

    /// Loads a document from its stored chunks: change chunks (many to a slice) and document chunks, in any
    /// order.
    ///
    /// # Errors
    /// [`LoadError`]: quarantine the document.
    pub fn load(chunks: &[&[u8]], expected_heads: &[ChangeHash]) -> Result<Self, LoadError> {
        let doc = guarded(|| chunk::load(chunks)).unwrap_or_else(|what| Err(LoadError::Document { what }))?;
        let replica = Self { doc, bytes: chunks.iter().map(|chunk| chunk.len()).sum(), broken: false };
        let got: BTreeSet<_> = replica.heads().into_iter().collect();
        if got != expected_heads.iter().copied().collect() {
            return Err(LoadError::Heads { got: got.len(), expected: expected_heads.len() });
        }
        Ok(replica)
    }

    /// Makes one change of `edit`, or the pieces of a bundle if one would be too large; none when nothing
    /// differed.
    ///
    /// # Errors
    /// [`EditError`]: the document is unchanged, unless it [is broken](Self::is_broken) now.
    pub fn commit(
        &mut self,
        author: ReplicaId,
        time_ms: i64,
        edit: &RowEdit,
    ) -> Result<Vec<EncodedChange>, EditError> {
        self.usable().map_err(|what| EditError::Document { what })?;
        let is_short = write::bytes(edit) + 32 * self.doc.get_heads().len() < CHANGE_BYTES_MAX / 4;
        if is_short && self.doc.stats().num_ops < UNTRIED_DOCUMENT_OPS_MAX {
            match self.guard(|doc| commit(doc, author, time_ms, edit, UNTRIED_OPS_MAX))? {
                Committed::Change(change) => {
                    let change = change.map(|change| read(change.raw_bytes().to_vec())).transpose();
                    let change = change.inspect_err(|_| self.broken = true)?;
                    self.bytes += change.as_ref().map_or(0, |change| change.bytes.len());
                    return Ok(change.into_iter().collect());
                }
                Committed::TooManyOps(_) => {}
            }
        }
        // Only the encoded change tells its charge, and a commit cannot be undone: try on a copy.
        let mut trial = self.clone();
        let change = match trial.guard(|doc| commit(doc, author, time_ms, edit, BUNDLE_OPS_MAX))? {
            Committed::Change(change) => change,
            Committed::TooManyOps(got) => {
                return Err(EditError::TooLarge { got, max: small(BUNDLE_OPS_MAX), unit: "operations" });
            }
        };
        let Some(change) = change else { return Ok(Vec::new()) };
        drop(trial);
        let pieces = guarded(|| bundle::split(&change));
        let pieces = pieces.unwrap_or_else(|what| Err(EditError::Document { what }))?;
        let bytes: Vec<&[u8]> = pieces.iter().map(|piece| piece.bytes.as_slice()).collect();
        self.apply_read(&bytes, false).map_err(|error| EditError::Document { what: error.to_string() })?;
        Ok(pieces)
    }

    /// Merges heads by changes of this device, in steps, until its next change may name all of them. `newest`
    /// is the newest change of its chain, with its place there.
    ///
    /// # Errors
    /// [`EditError`]: Automerge failed.
    pub fn merge_heads(
        &mut self,
        author: ReplicaId,
        mut newest: Option<(u64, ChangeHash)>,
        time_ms: i64,
    ) -> Result<Vec<EncodedChange>, EditError> {
        let mut changes = Vec::new();
        loop {
            let heads = self.heads().into_iter().collect();
            let max_op = |head: &ChangeHash| Some(self.doc.get_change_meta_by_hash(&theirs(head))?.max_op);
            let Some(merging) = Merging::next(author, newest, &heads, max_op) else { return Ok(changes) };
            let bytes = merging.encode(time_ms);
            self.apply(&[&bytes]).map_err(|error| EditError::Document { what: error.to_string() })?;
            let header = ChangeHeader::read(&bytes).expect("it was just encoded");
            newest = Some((header.seq, header.hash));
            changes.push(EncodedChange { header, bytes });
        }
    }

    /// Applies change chunks that were accepted, all at once; known ones change nothing.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub fn apply<B: AsRef<[u8]>>(&mut self, chunks: &[B]) -> Result<(), ApplyError> {
        self.apply_read(chunks, true)
    }

    /// Applies change chunks as [`apply`](Self::apply) does. `needs_objects`: one of their headers says so.
    pub(crate) fn apply_read<B: AsRef<[u8]>>(
        &mut self,
        chunks: &[B],
        needs_objects: bool,
    ) -> Result<(), ApplyError> {
        self.usable().map_err(|what| ApplyError::Document { what })?;
        let changes = guarded(|| {
            chunks.iter().map(|bytes| chunk::change(bytes.as_ref())).collect::<Result<Vec<_>, _>>()
        })
        .unwrap_or_else(|what| Err(ChunkError { at: 0, what }))?;
        if let Some(missing) = chunk::missing(&self.doc, &changes) {
            return Err(ApplyError::Missing { missing });
        }
        if needs_objects && !matches!(guarded(|| objects::fit(&self.doc, chunks)), Ok(Ok(true))) {
            let what = "an object or an element is not what a change takes it for".to_owned();
            return Err(ApplyError::Document { what });
        }
        let hashes: Vec<_> = changes.iter().map(Change::hash).collect();
        let is_new = |hash: &&automerge::ChangeHash| !self.knows(hash);
        let new: BTreeSet<_> = hashes.iter().filter(is_new).copied().collect();
        let before = self.doc.get_heads();
        let applied = guarded(|| {
            self.doc.apply_changes(changes)?;
            if !self.doc.get_missing_deps(&hashes).is_empty() {
                return Err(AutomergeError::MissingDeps);
            }
            // Automerge keeps ops, not bytes: a change that it would give back under another hash spoils what
            // it saves.
            Ok(self.doc.get_changes(&before).iter().map(Change::hash).collect::<BTreeSet<_>>() == new)
        });
        let what = match applied {
            Ok(Ok(true)) => {
                self.bytes += chunks.iter().map(|bytes| bytes.as_ref().len()).sum::<usize>();
                return Ok(());
            }
            Ok(Ok(false)) => "a change would not be given back as it came".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        self.broken = true;
        Err(ApplyError::Document { what })
    }

    /// Returns true if Automerge failed in the middle: drop the replica and load it again.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The changes that no other change builds on, sorted; none for a document without changes.
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.doc.get_heads().iter().map(ours).collect()
    }

    /// The change chunks that somebody who has `have` (and all below) lacks, in topological order.
    pub fn changes_since(&self, have: &[ChangeHash]) -> Vec<Vec<u8>> {
        let have: Vec<_> = have.iter().map(theirs).filter(|hash| self.knows(hash)).collect();
        self.doc.get_changes(&have).iter().map(|change| change.raw_bytes().to_vec()).collect()
    }

    /// The whole history as one document chunk.
    pub fn save(&self) -> Vec<u8> {
        self.doc.save_with_options(SaveOptions { retain_orphans: false, ..SaveOptions::default() })
    }

    /// Its size in memory, roughly, in bytes.
    pub fn approximate_bytes(&self) -> usize {
        let stats = self.doc.stats();
        let history = stats
            .num_ops
            .saturating_mul(OP_BYTES)
            .saturating_add(stats.num_changes.saturating_mul(CHANGE_BYTES));
        small(history).saturating_add(DOCUMENT_BYTES).saturating_add(self.bytes)
    }

    /// Every change, in topological order.
    pub fn history(&self) -> Vec<Revision> {
        let revision = |meta: &automerge::ChangeMetadata<'_>| Revision {
            hash: ours(&meta.hash),
            author: ReplicaId(meta.actor.to_bytes().try_into().expect("changes with other ids are refused")),
            seq: meta.seq,
            time_ms: meta.timestamp,
        };
        self.doc.get_changes_meta(&[]).iter().map(revision).collect()
    }

    fn knows(&self, hash: &automerge::ChangeHash) -> bool {
        self.doc.get_change_meta_by_hash(hash).is_some()
    }

    fn usable(&self) -> Result<(), String> {
        match self.broken {
            true => Err("an earlier failure broke it".to_owned()),
            false => Ok(()),
        }
    }

    fn guard<T>(
        &mut self,
        work: impl FnOnce(&mut Automerge) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        guarded(|| work(&mut self.doc)).unwrap_or_else(|what| {
            self.broken = true;
            Err(EditError::Document { what })
        })
    }
}

/// Heap of a small document, of one more operation and of one more change, as measured with Automerge 0.12.
const DOCUMENT_BYTES: usize = 17 << 10;
const OP_BYTES: u64 = 16;
const CHANGE_BYTES: u64 = 150;

/// Reads a change of this device as peers will: the reader has the last word on what they accept.
fn read(bytes: Vec<u8>) -> Result<EncodedChange, EditError> {
    let too_large = |got, max, unit| EditError::TooLarge { got: small(got), max: small(max), unit };
    match ChangeHeader::read(&bytes) {
        Ok(header) => Ok(EncodedChange { header, bytes }),
        Err(ChangeError::TooCostly { got, max }) => {
            Err(too_large(got, max, "bytes, as its operations count"))
        }
        Err(ChangeError::TooLong { got, max }) => Err(too_large(got, max, "bytes")),
        Err(fault) => Err(EditError::Document { what: fault.to_string() }),
    }
}

/// Ops of an edit that is committed without a trial: their charge is far below the largest.
const UNTRIED_OPS_MAX: u64 = CHANGE_CHARGE_MAX / CHARGE_OF_OP / 5;

/// Ops of a document in which an edit of few ops is committed without a trial: it cannot replace so many
/// values that its change is too large.
const UNTRIED_DOCUMENT_OPS_MAX: u64 = 200_000;

/// The end of a transaction.
enum Committed {
    /// It was committed; `None`: nothing differed.
    Change(Option<Box<Change>>),
    /// It has so many operations, more than allowed, and was rolled back.
    TooManyOps(usize),
}

fn commit(
    doc: &mut Automerge,
    author: ReplicaId,
    time_ms: i64,
    edit: &RowEdit,
    ops_max: u64,
) -> Result<Committed, EditError> {
    let heads = doc.get_heads();
    let written = heads.is_empty();
    let max_op =
        heads.iter().filter_map(|hash| Some(doc.get_change_meta_by_hash(hash)?.max_op)).max().unwrap_or(0);
    doc.set_actor(ActorId::from(author.0));
    let mut tx = doc.transaction();
    if let Err(error) = edit.ops.iter().try_for_each(|op| write::write(&mut tx, op, !written)) {
        tx.rollback();
        return Err(error);
    }
    let (got, counters) = (tx.pending_ops(), OP_COUNTER_MAX - max_op.min(OP_COUNTER_MAX));
    if got as u64 > counters {
        tx.rollback();
        return Err(EditError::TooLarge { got, max: small(counters), unit: "operations" });
    }
    if got as u64 > ops_max {
        tx.rollback();
        return Ok(Committed::TooManyOps(got));
    }
    if tx.commit_with(CommitOptions::default().with_time(time_ms)).0.is_none() {
        return Ok(Committed::Change(None));
    }
    let change = doc.get_last_local_change().expect("the transaction has just made one");
    Ok(Committed::Change(Some(Box::new(change))))
}

fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Runs what may panic on hostile input. Every caller drops or refuses to use what a panic left behind.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()
    })
}

fn ours(hash: &automerge::ChangeHash) -> ChangeHash {
    ChangeHash(hash.0)
}

fn theirs(hash: &ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(hash.0)
}
