//! The reasons for which bytes are not a chunk that may reach Automerge.

use super::CONTINUES;
use crate::limits::INFLATED_BYTES_MAX;

/// The fault of a field or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It claims more bytes than there are.
    #[error("the bytes end early")]
    Truncated,
    /// A number is too large or not in its shortest form.
    #[error("a number is not canonical LEB128")]
    Leb128,
    /// Columns, dependencies, heads or replicas are not strictly ascending.
    #[error("out of order or twice")]
    OutOfOrder,
    /// No such column is known.
    #[error("unknown column")]
    Unknown,
    /// A column of a change is deflated.
    #[error("deflated")]
    Compressed,
    /// A column without a byte is listed.
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
    #[error("a number exceeds its range")]
    OutOfRange,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// Rows, values or bytes do not match the other columns.
    #[error("{got} rows where {expected} are expected")]
    Rows {
        /// Rows that were found.
        got: u64,
        /// Rows that the other columns ask for.
        expected: u64,
    },
    /// A replica is listed that no op names.
    #[error("listed, but not used")]
    Unused,
    /// An object's or element's replica stands without its counter, or a counter without its replica.
    #[error("a replica without its counter, or a counter without its replica")]
    Unpaired,
    /// A key is not exactly one of text, head and element, or names an element of the root, which is a map.
    #[error("a key is neither a text, nor the head, nor an element")]
    Key,
    /// An op is named that is not earlier than the op that names it.
    #[error("names an op that is not earlier")]
    NotEarlier,
    /// An op works on an op of the same change that makes no such object.
    #[error("works on an op that makes no such object")]
    Object,
    /// An op names an op of the same change as an element that inserts none into its object.
    #[error("names an op that inserts no element of its object")]
    Element,
    /// A deletion with a value, or an increment whose value is not an integer.
    #[error("a value that its op cannot have")]
    Value,
    /// A deletion or a field inserts, or an op at the head does not.
    #[error("inserts where its op cannot, or does not where it must")]
    Insert,
    /// An op that inserts has predecessors, or a deletion has none.
    #[error("an insert with predecessors, or a deletion without")]
    Predecessors,
    /// A deflated column does not inflate.
    #[error("does not inflate")]
    Inflate,
    /// The deflated columns inflate to more than `INFLATED_BYTES_MAX`.
    #[error("inflates to more than {INFLATED_BYTES_MAX} bytes")]
    Budget,
}

/// The reason for which bytes are not a chunk that may reach Automerge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The chunk is longer than allowed.
    #[error("{got} bytes where at most {max} are allowed")]
    TooLong {
        /// Bytes that were found.
        got: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The bytes do not begin like a chunk.
    #[error("not an Automerge chunk")]
    Magic,
    /// Another type of chunk was expected.
    #[error("chunk of type {got} where {expected} is expected")]
    ChunkType {
        /// The type that was found.
        got: u8,
        /// Type expected.
        expected: u8,
    },
    /// The bytes were damaged.
    #[error("checksum does not match")]
    Checksum,
    /// Bytes follow the chunk, or the columns within it. (Automerge keeps author names behind the columns and
    /// fails to apply a second one of a replica, so we have none.)
    #[error("{extra} bytes after the end")]
    TrailingBytes {
        /// Bytes left over.
        extra: usize,
    },
    /// A field before the columns is malformed.
    #[error("malformed chunk: {0}")]
    Malformed(#[from] Fault),
    /// The commit message is neither empty nor `+`.
    #[error("the commit message is neither empty nor \"{CONTINUES}\"")]
    Message,
    /// A replica id is not 32 bytes long.
    #[error("replica id of {got} bytes")]
    ReplicaId {
        /// Bytes of the id.
        got: usize,
    },
    /// Sequence numbers and op counters begin at one.
    #[error("{what} is zero")]
    Zero {
        /// The number.
        what: &'static str,
    },
    /// A limit is exceeded.
    #[error("{got} {what} where at most {max} are allowed")]
    TooMany {
        /// The kind of thing.
        what: &'static str,
        /// The number that was found.
        got: u64,
        /// The number that is allowed.
        max: u64,
    },
    /// The change would cost every device too much.
    #[error("it counts as {got} bytes where at most {max} are allowed: its ops cost more than its length")]
    TooCostly {
        /// The charge of the change, bytes.
        got: u64,
        /// The charge that is allowed, bytes.
        max: u64,
    },
    /// A column is malformed or contradicts another.
    #[error("column {column:#04x}: {fault}")]
    Column {
        /// Number of the column, `id << 4 | type`.
        column: u32,
        /// The fault.
        fault: Fault,
    },
}
