//! A bounded reader of Automerge's chunk format: it checks header and columns and counts ops without
//! expanding runs.
//!
//! Source: <https://automerge.org/automerge-binary-format-spec/>, checked against automerge 0.12 by tests. A
//! peer's bytes reach Automerge only after this reader has accepted them (authority 3.6).
//!
//! An accepted change chunk
//! * is one uncompressed chunk of at most `CHANGE_BYTES_MAX` with a correct checksum and no trailing bytes;
//! * has canonical (shortest) LEB128, sorted distinct dependencies, and a sorted table of distinct 32-byte
//!   replica ids; its columns are known, strictly ascending, not empty and not deflated;
//! * has at most `CHANGE_OPS_MAX` ops and at most as many predecessors; every column has a row for each op, or
//!   is absent where absent means null; values, keys and predecessors match the bytes and rows that are present;
//!   keys and mark names, with all repetitions, fill at most 64 MiB;
//! * refers to every replica of its own table and to no other, and to counters up to `OP_COUNTER_MAX`, those of
//!   its own ops included;
//! * has maximal runs. Automerge stores ops, not bytes, and encodes a change again on request: a change in
//!   another form would get another hash and make the saved document unreadable.
//!
//! `automerge::Change::from_bytes` therefore needs time and memory proportional to its ops, predecessors and
//! bytes. Not guaranteed: that its ops are meaningful in a document (that an object or list element exists,
//! that both halves of a pair are null together). Automerge may refuse them or panic when it applies them, so
//! the shell uses `catch_unwind`.
//!
//! Reading takes time linear in the input, does not recurse, and allocates at most a fixed multiple of the
//! input. For a document chunk it also holds one inflated column; all columns together stay within
//! `INFLATED_BYTES_MAX`.

pub(crate) mod bytes;
mod columns;
mod document;
mod ops;
mod runs;

use sha2::{Digest, Sha256};

use crate::id::{ChangeHash, ReplicaId};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, INFLATED_BYTES_MAX, OP_COUNTER_MAX};
use bytes::{Bytes, write_uleb};
use columns::{Layout, PREDECESSOR_COUNTER, PREDECESSOR_REPLICA, PREDECESSORS, Table};
use runs::Bounds;

pub use document::{DocumentHeader, read_document};

/// First bytes of every chunk.
pub(crate) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Chunk type of a document.
pub(crate) const DOCUMENT: u8 = 0;
/// Chunk type of an uncompressed change.
pub(crate) const CHANGE: u8 = 1;
/// Chunk type of a deflated change.
pub(crate) const COMPRESSED: u8 = 2;

/// A defect of a field or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A length exceeds the bytes that are left.
    #[error("the bytes end early")]
    Truncated,
    /// A number is too large or not in its shortest form.
    #[error("a number is not canonical LEB128")]
    Leb128,
    /// Columns, dependencies, heads or replicas are not strictly ascending.
    #[error("out of order or twice")]
    OutOfOrder,
    /// The column is unknown.
    #[error("unknown column")]
    Unknown,
    /// A column of a change is deflated.
    #[error("deflated")]
    Compressed,
    /// The table lists a column without bytes.
    #[error("empty")]
    Empty,
    /// A run of zero rows, or of more rows than are allowed.
    #[error("a run is empty or too long")]
    Run,
    /// Two runs could be one.
    #[error("runs are not in normal form")]
    NotNormal,
    /// A null where a value must be.
    #[error("a null where a value must be")]
    Null,
    /// A number, an index or a value's length is not allowed here.
    #[error("number out of range")]
    OutOfRange,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// Rows, values or bytes do not match the other columns.
    #[error("{got} rows where {expected} are expected")]
    Rows {
        /// Rows of this column.
        got: u64,
        /// Rows according to the other columns.
        expected: u64,
    },
    /// No op refers to a replica of the table.
    #[error("listed, but not used")]
    Unused,
    /// A deflated column does not inflate.
    #[error("does not inflate")]
    Inflate,
    /// The deflated columns inflate to more than `INFLATED_BYTES_MAX`.
    #[error("inflates to more than {INFLATED_BYTES_MAX} bytes")]
    Budget,
}

/// A chunk that must not reach Automerge, with the first defect found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The chunk is longer than allowed.
    #[error("{got} bytes where at most {max} are allowed")]
    TooLong {
        /// Length of the chunk in bytes.
        got: u64,
        /// Allowed length in bytes.
        max: u64,
    },
    /// The bytes do not begin with the magic number of a chunk.
    #[error("not an Automerge chunk")]
    Magic,
    /// Another type of chunk was expected.
    #[error("chunk of type {got} where {expected} is expected")]
    ChunkType {
        /// Type of this chunk.
        got: u8,
        /// Type expected.
        expected: u8,
    },
    /// The checksum does not match the bytes.
    #[error("checksum does not match")]
    Checksum,
    /// Bytes follow the chunk, or the columns within it. (Automerge stores author names behind the columns
    /// and cannot apply a second one of a replica, so they are not allowed.)
    #[error("{extra} bytes after the end")]
    TrailingBytes {
        /// Bytes left over.
        extra: usize,
    },
    /// A field before the columns is malformed.
    #[error("malformed chunk: {0}")]
    Malformed(#[from] Fault),
    /// A replica id is not 32 bytes long.
    #[error("replica id of {got} bytes")]
    ReplicaId {
        /// Bytes of the id.
        got: usize,
    },
    /// Sequence numbers and op counters begin at one.
    #[error("{what} is zero")]
    Zero {
        /// Name of the number.
        what: &'static str,
    },
    /// A limit is exceeded.
    #[error("{got} {what} where at most {max} are allowed")]
    TooMany {
        /// Name of the counted items.
        what: &'static str,
        /// Their number.
        got: u64,
        /// The number allowed.
        max: u64,
    },
    /// A column is malformed or contradicts another.
    #[error("column {column:#04x}: {fault}")]
    Column {
        /// Number of the column, `id << 4 | type`.
        column: u32,
        /// Its defect.
        fault: Fault,
    },
}

/// The header of a change. Automerge's actor id is the replica id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeHeader {
    /// SHA-256 of the chunk's type, length and data.
    pub hash: ChangeHash,
    /// The replica whose chain contains this change.
    pub replica: ReplicaId,
    /// Sequence number in the chain, from one.
    pub seq: u64,
    /// Counter of its first op, from one.
    pub start_op: u64,
    /// Number of ops.
    pub ops: u64,
    /// Hashes of the changes that this one depends on, ascending.
    pub deps: Vec<ChangeHash>,
    /// Milliseconds since the Unix epoch by the author's clock; shown, never trusted.
    pub time: i64,
}

impl ChangeHeader {
    /// Reads exactly one uncompressed change chunk; the [module](self) lists what an accepted chunk
    /// guarantees.
    ///
    /// # Errors
    /// [`ChangeError`]: the chunk must not reach Automerge.
    pub fn read(chunk: &[u8]) -> Result<Self, ChangeError> {
        let (frame, rest) = Frame::read(chunk, CHANGE, CHANGE_BYTES_MAX)?;
        no_more(rest)?;
        Self::read_frame(&frame)
    }

    fn read_frame(frame: &Frame<'_>) -> Result<Self, ChangeError> {
        let mut bytes = Bytes(frame.data);
        let deps = hashes(&mut bytes, "dependencies", CHANGE_DEPS_MAX)?;
        let replica = replica_id(&mut bytes)?;
        let seq = nonzero(&mut bytes, "seq")?;
        let start_op = nonzero(&mut bytes, "start op")?;
        let time = bytes.sleb()?;
        std::str::from_utf8(bytes.prefixed()?).map_err(|_| Fault::Utf8)?;

        // The author is number 0 of the table, the others follow in order.
        let others = bytes.count(33)?;
        let mut last = None;
        for _ in 0..others {
            let other = replica_id(&mut bytes)?;
            if other == replica || last >= Some(other) {
                return Err(Fault::OutOfOrder.into());
            }
            last = Some(other);
        }

        let table = Table::read(&mut bytes, Layout::ChangeOps)?;
        let mut named = vec![false; others + 1];
        named[0] = true;
        let mut bounds = Bounds { rows_max: CHANGE_OPS_MAX, named: &mut named, normal: true };
        let columns = table.measure(&mut bytes, &mut bounds, &mut 0)?;
        no_more(bytes.0)?;
        if !named.iter().all(|named| *named) {
            return Err(Fault::Unused.into());
        }

        let ops = ops::count(&columns)?;
        let parts = [PREDECESSOR_REPLICA, PREDECESSOR_COUNTER];
        ops::group(&columns, PREDECESSORS, &parts, ops)?; // its parts are bounded by `rows_max`
        columns.no_flags_all_false()?;

        let header = Self { hash: frame.hash, replica, seq, start_op, ops, deps, time };
        if header.max_op() > OP_COUNTER_MAX || start_op > OP_COUNTER_MAX {
            let got = header.max_op().max(start_op);
            return Err(ChangeError::TooMany { what: "as largest op", got, max: OP_COUNTER_MAX });
        }
        Ok(header)
    }

    /// Counter of its last op; of an empty change the counter before its first.
    pub fn max_op(&self) -> u64 {
        self.start_op.saturating_add(self.ops).saturating_sub(1)
    }
}

/// Reads concatenated change chunks, the form of a stored document record; ends after the first error.
pub fn split(bytes: &[u8]) -> impl Iterator<Item = Result<(ChangeHeader, &[u8]), ChangeError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let chunks = std::mem::take(&mut rest);
        Some(Frame::read(chunks, CHANGE, CHANGE_BYTES_MAX).and_then(|(frame, behind)| {
            let header = ChangeHeader::read_frame(&frame)?;
            rest = behind;
            Ok((header, &chunks[..chunks.len() - behind.len()]))
        }))
    })
}

/// Magic, checksum, type, length, data.
struct Frame<'a> {
    data: &'a [u8],
    hash: ChangeHash,
}

impl<'a> Frame<'a> {
    /// Reads the frame of the first chunk; returns it with the bytes behind it.
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

        let mut hashed = vec![got];
        write_uleb(&mut hashed, length);
        let mut sha = Sha256::new();
        sha.update(&hashed);
        sha.update(data);
        let hash: [u8; 32] = sha.finalize().into();
        if hash[..4] != *checksum {
            return Err(ChangeError::Checksum);
        }
        Ok((Self { data, hash: ChangeHash(hash) }, bytes.0))
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

fn nonzero(bytes: &mut Bytes<'_>, what: &'static str) -> Result<u64, ChangeError> {
    match bytes.uleb()? {
        0 => Err(ChangeError::Zero { what }),
        number => Ok(number),
    }
}
