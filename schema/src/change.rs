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
//!   request: a change in another form would come back under another hash and spoil the saved document;
//! * has ops that each make sense by themselves (`walk.rs`): an object with both halves or none; a key that
//!   is a text, the head or an element; canonical values; predecessors that ascend, for ops that may have
//!   them; names of earlier ops alone; of its own ops only objects and elements that they make.
//!
//! So `automerge::Change::from_bytes` takes it, in time and memory proportional to its ops, predecessors and
//! bytes. Not guaranteed: that ops of other changes are what it takes them for (an object, an element of that
//! object, a value of that key). The shell looks objects and elements up before it applies a change
//! ([`Objects`]); on the rest Automerge fails or panics, hence its `catch_unwind`.
//!
//! Reading takes time linear in the input, never recurses, and allocates at most a fixed multiple of the
//! input (for a document chunk: besides one inflated column, all columns together within
//! `INFLATED_BYTES_MAX`).

mod body;
pub(crate) mod bytes;
mod columns;
mod cost;
mod document;
mod error;
mod merging;
mod objects;
mod ops;
mod runs;
mod walk;

use sha2::{Digest, Sha256};

use crate::id::{ChangeHash, ReplicaId};
use crate::limits::CHANGE_BYTES_MAX;
use body::Body;
use bytes::{Bytes, write_uleb};

pub use document::{DocumentHeader, read_document};
pub use error::{ChangeError, Fault};
pub use merging::Merging;
pub use objects::{ElementUse, ObjectUse, Objects, OpOf};
pub use walk::{ObjectKind, ObjectShape};

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
    /// True if it is a piece of a bundle and another piece follows: its message is `+`.
    pub continues: bool,
    /// True if it works on objects of other changes or sets elements: [`Objects`] tells which, and a document
    /// is asked about them before it takes the change.
    pub needs_objects: bool,
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
        let body = Body::read(frame.data, length)?;
        let walked = walk::walk(&body)?;
        let needs_objects = !walked.objects.others.is_empty() || walk::Updates::is_any(&body)?;
        let references = walked.references;
        let Body { replica, seq, start_op, ops, deps, time, continues, charge, .. } = body;
        Ok(Self {
            hash: frame.hash,
            replica,
            seq,
            start_op,
            ops,
            deps,
            time,
            references,
            continues,
            needs_objects,
            charge,
        })
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

fn replica_id(bytes: &mut Bytes<'_>) -> Result<ReplicaId, ChangeError> {
    let id = bytes.prefixed()?;
    Ok(ReplicaId(id.try_into().map_err(|_| ChangeError::ReplicaId { got: id.len() })?))
}
