//! Our own bounded reader of Automerge's chunk format: header, columns, op count, nothing expanded.
//!
//! Source: <https://automerge.org/automerge-binary-format-spec/>, checked against automerge 0.12 by tests.
//! Nothing of Automerge runs on a peer's bytes before this reader has accepted them (authority 3.6).
//!
//! An accepted change chunk
//! * is one uncompressed chunk of at most `CHANGE_BYTES_MAX` with its right checksum and nothing behind it;
//! * has 1-byte-shortest LEB128 everywhere, sorted distinct dependencies, a sorted table of distinct 32-byte
//!   replica ids, known columns only, strictly ascending, none empty, none deflated;
//! * has an empty commit message, or that of a piece of a bundle (`CONTINUES`);
//! * is charged with at most `CHANGE_CHARGE_MAX` for its length, ops, objects, predecessors, keys and
//!   dependencies (`cost.rs`); has no tables and no marks, which no row has;
//! * claims at most `CHANGE_OPS_MAX` ops and as many predecessors in all; every column has a row for each
//!   op or is absent where absent means null; values, keys and predecessors add up to exactly the bytes and
//!   rows that are there; keys and mark names, repeated as often as their runs say, fill at most 64 MiB;
//! * names only replicas of its own table, each of them, and counters up to `OP_COUNTER_MAX`, those of its
//!   own ops included;
//! * has runs that are as long as they can be. Automerge keeps ops, not bytes, and encodes a change again on
//!   request: a change in another form would come back under another hash and spoil the saved document.
//!
//! So `automerge::Change::from_bytes` on it takes time and memory proportional to its ops, predecessors and
//! bytes. Not guaranteed: that its ops make sense in a document (an object or list element that exists, a
//! null in both halves of a pair). Automerge may still refuse or even panic when it applies them, hence
//! `catch_unwind` in the shell.
//!
//! Reading takes time linear in the input, never recurses, and allocates at most a fixed multiple of the
//! input (for a document chunk: besides one inflated column, all columns together within
//! `INFLATED_BYTES_MAX`).

pub(crate) mod bytes;
mod columns;
mod cost;
mod document;
mod error;
mod merging;
mod ops;
mod runs;
mod walk;

use sha2::{Digest, Sha256};

use crate::id::{ChangeHash, ReplicaId};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_CHARGE_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, OP_COUNTER_MAX};
use bytes::{Bytes, write_uleb};
use columns::{Layout, PREDECESSOR_COUNTER, PREDECESSOR_REPLICA, PREDECESSORS, Table};
use runs::Bounds;

pub use document::{DocumentHeader, read_document};
pub use error::{ChangeError, Fault};
pub use merging::Merging;

/// First bytes of every chunk.
pub(crate) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Chunk type of a document.
pub(crate) const DOCUMENT: u8 = 0;
/// Chunk type of an uncompressed change.
pub(crate) const CHANGE: u8 = 1;
/// Chunk type of a deflated change.
pub(crate) const COMPRESSED: u8 = 2;

/// The commit message of a change that is a piece of a bundle which another piece follows.
pub const CONTINUES: &str = "+";

/// The header of a change. Automerge's actor id is the replica id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeHeader {
    /// SHA-256 of the chunk's type, length and data.
    pub hash: ChangeHash,
    /// The chain that it belongs to.
    pub replica: ReplicaId,
    /// Its place in the chain, from one.
    pub seq: u64,
    /// Counter of its first op, from one.
    pub start_op: u64,
    /// The number of its ops.
    pub ops: u64,
    /// The changes that it follows, ascending.
    pub deps: Vec<ChangeHash>,
    /// Milliseconds since the Unix epoch by the author's clock; shown, never trusted.
    pub time: i64,
    /// The largest op counter that its ops name of each replica, as object, element or predecessor, other
    /// than its own ops; ascending by replica. The author's are below `start_op`.
    pub references: Vec<(ReplicaId, u64)>,
    /// True if it is a piece of a bundle and another piece follows: its message is [`CONTINUES`].
    pub continues: bool,
    /// The number of bytes that it counts as: its length, and what applying it costs. A pure function of its
    /// bytes, so that every device counts alike.
    pub charge: u64,
}

impl ChangeHeader {
    /// Reads exactly one uncompressed change chunk; the [module](self) says what is then certain.
    ///
    /// # Errors
    /// [`ChangeError`]: the chunk must not reach Automerge.
    pub fn read(chunk: &[u8]) -> Result<Self, ChangeError> {
        let (frame, rest) = Frame::read(chunk, CHANGE, CHANGE_BYTES_MAX)?;
        no_more(rest)?;
        Self::read_frame(&frame, chunk.len())
    }

    fn read_frame(frame: &Frame<'_>, length: usize) -> Result<Self, ChangeError> {
        let mut bytes = Bytes(frame.data);
        let deps = hashes(&mut bytes, "dependencies", CHANGE_DEPS_MAX)?;
        let replica = replica_id(&mut bytes)?;
        let seq = nonzero(&mut bytes, "seq")?;
        let start_op = nonzero(&mut bytes, "start op")?;
        let time = bytes.sleb()?;
        let continues = continues(&mut bytes)?;
        let others = others(&mut bytes, replica)?;

        let table = Table::read(&mut bytes, Layout::ChangeOps)?;
        let replicas = others.len() as u64 + 1;
        let bounds = Bounds { rows_max: CHANGE_OPS_MAX, replicas, normal: true };
        let columns = table.measure(&mut bytes, &bounds, &mut 0)?;
        no_more(bytes.0)?;

        let ops = ops::count(&columns)?;
        let parts = [PREDECESSOR_REPLICA, PREDECESSOR_COUNTER];
        // Its parts are bounded by `rows_max`.
        let predecessors = ops::group(&columns, PREDECESSORS, &parts, ops.count)?;

        let parts = cost::Parts {
            bytes: length as u64,
            begins_chain: seq == 1,
            others: others.len() as u64,
            dependencies: deps.len() as u64,
            ops: ops.count,
            objects: ops.objects,
            predecessors,
            key_bytes: ops.key_bytes,
        };
        let charge = parts.charge();
        if charge > CHANGE_CHARGE_MAX {
            return Err(ChangeError::TooCostly { got: charge, max: CHANGE_CHARGE_MAX });
        }
        let ops = ops.count;
        let max_op = start_op.max(start_op.saturating_add(ops) - 1);
        if max_op > OP_COUNTER_MAX {
            return Err(ChangeError::TooMany { what: "as largest op", got: max_op, max: OP_COUNTER_MAX });
        }
        let known =
            walk::Known { columns: &columns, author: replica, others: &others, start_op, ops, predecessors };
        let references = walk::walk(&known)?;
        Ok(Self { hash: frame.hash, replica, seq, start_op, ops, deps, time, references, continues, charge })
    }

    /// Counter of its last op; of an empty change the counter before its first.
    pub fn max_op(&self) -> u64 {
        self.start_op.saturating_add(self.ops).saturating_sub(1)
    }
}

/// Reads concatenated change chunks, as a document record keeps them; ends after the first error.
pub fn split(bytes: &[u8]) -> impl Iterator<Item = Result<(ChangeHeader, &[u8]), ChangeError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let chunks = std::mem::take(&mut rest);
        Some(Frame::read(chunks, CHANGE, CHANGE_BYTES_MAX).and_then(|(frame, behind)| {
            let length = chunks.len() - behind.len();
            let header = ChangeHeader::read_frame(&frame, length)?;
            rest = behind;
            Ok((header, &chunks[..length]))
        }))
    })
}

/// Magic, checksum, type, length, data.
struct Frame<'a> {
    data: &'a [u8],
    hash: ChangeHash,
}

impl<'a> Frame<'a> {
    /// Reads the frame of the first chunk and returns what lies behind it.
    fn read(chunks: &'a [u8], expected: u8, max: usize) -> Result<(Self, &'a [u8]), ChangeError> {
        let mut bytes = Bytes(chunks);
        if bytes.take(4)? != MAGIC {
            return Err(ChangeError::Magic);
        }
        let checksum = bytes.take(4)?;
        let got = bytes.byte()?;
        if got != expected {
            return Err(ChangeError::ChunkType { got, expected });
        }
        let length = bytes.uleb()?;
        let before = (chunks.len() - bytes.0.len()) as u64;
        let total = length.saturating_add(before);
        if total > max as u64 {
            return Err(ChangeError::TooLong { got: total, max: max as u64 });
        }
        let data = bytes.take(length)?;

        let hash = Self::hash(got, data);
        if hash.0[..4] != *checksum {
            return Err(ChangeError::Checksum);
        }
        Ok((Self { data, hash }, bytes.0))
    }

    /// SHA-256 of type, length and data.
    fn hash(kind: u8, data: &[u8]) -> ChangeHash {
        let mut before = Vec::with_capacity(11);
        before.push(kind);
        write_uleb(&mut before, data.len() as u64);
        let mut sha = Sha256::new();
        sha.update(&before);
        sha.update(data);
        ChangeHash(sha.finalize().into())
    }
}

fn no_more(rest: &[u8]) -> Result<(), ChangeError> {
    if rest.is_empty() { Ok(()) } else { Err(ChangeError::TrailingBytes { extra: rest.len() }) }
}

/// Reads strictly ascending hashes.
fn hashes(bytes: &mut Bytes<'_>, what: &'static str, max: usize) -> Result<Vec<ChangeHash>, ChangeError> {
    let count = bytes.count(32)?;
    if count > max {
        return Err(ChangeError::TooMany { what, got: count as u64, max: max as u64 });
    }
    let mut hashes = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = ChangeHash(bytes.hash()?);
        if hashes.last() >= Some(&hash) {
            return Err(Fault::OutOfOrder.into());
        }
        hashes.push(hash);
    }
    Ok(hashes)
}

/// Reads the replicas of the table behind the author, who is number 0: strictly ascending.
fn others(bytes: &mut Bytes<'_>, author: ReplicaId) -> Result<Vec<ReplicaId>, ChangeError> {
    let count = bytes.count(33)?;
    let mut others = Vec::with_capacity(count);
    for _ in 0..count {
        let other = replica_id(bytes)?;
        if other == author || others.last() >= Some(&other) {
            return Err(Fault::OutOfOrder.into());
        }
        others.push(other);
    }
    Ok(others)
}

/// Reads the commit message.
fn continues(bytes: &mut Bytes<'_>) -> Result<bool, ChangeError> {
    match bytes.prefixed()? {
        [] => Ok(false),
        message if message == CONTINUES.as_bytes() => Ok(true),
        _ => Err(ChangeError::Message),
    }
}

fn replica_id(bytes: &mut Bytes<'_>) -> Result<ReplicaId, ChangeError> {
    let id = bytes.prefixed()?;
    Ok(ReplicaId(id.try_into().map_err(|_| ChangeError::ReplicaId { got: id.len() })?))
}

fn nonzero(bytes: &mut Bytes<'_>, what: &'static str) -> Result<u64, ChangeError> {
    match bytes.uleb()? {
        0 => Err(ChangeError::Zero { what }),
        number => Ok(number),
    }
}
