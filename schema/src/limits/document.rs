//! Bounds on rows, values, changes and tips.

/// Row key, bytes of UTF-8, at least one.
pub const ROW_KEY_BYTES_MAX: usize = 512;
/// Table name, bytes of UTF-8 without NUL, at least one.
pub const TABLE_NAME_BYTES_MAX: usize = 64;
/// Group name, bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 256;
/// Containers on a path of a value; a deeper one reads as `Value::TooDeep`.
pub const VALUE_DEPTH_MAX: usize = 64;

/// One change, bytes: a chapter fits, a photo belongs into a file.
pub const CHANGE_BYTES_MAX: usize = 4 << 20;
/// Ops of one change: 80 bytes of a change can claim any number (authority 3.6).
pub const CHANGE_OPS_MAX: u64 = 1_000_000;
/// Dependencies of one change: honest changes name all heads, so a low bound would let one Writer freeze a
/// row.
pub const CHANGE_DEPS_MAX: usize = 65_536;
/// Largest op counter: Automerge stores counters in 32 bits.
pub const OP_COUNTER_MAX: u64 = 1 << 31;
/// Inflated size of all deflated columns of one document chunk, bytes.
pub const INFLATED_BYTES_MAX: usize = 256 << 20;
/// Keys and mark names of one chunk once their runs are expanded, bytes: Automerge copies them for every op.
pub const EXPANDED_TEXT_BYTES_MAX: u64 = 64 << 20;
/// Text of a peer's refusal that is stored, bytes.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// Changes of one document that are sent, judged and stored together, as [charged](charge), bytes: twice the
/// largest change. A device that accepted a unit can always send it on.
pub const UNIT_BYTES_MAX: usize = 8 << 20;
/// The part of a change's charge for its length, a tip, an author and a head, bytes.
const CHANGE_SURROUNDINGS_BYTES: usize = 256;
const _: () = assert!(charge(CHANGE_BYTES_MAX) <= UNIT_BYTES_MAX, "the largest change fits a unit");

/// The bytes with which a change of so many bytes is charged in a unit.
pub const fn charge(bytes: usize) -> usize {
    bytes + CHANGE_SURROUNDINGS_BYTES
}

/// Tips before the newest that are kept of each replica: a cut mostly ends a replica not far back (authority
/// 3.6, C1).
pub const RECENT_TIPS_MAX: usize = 16;
/// A tip is kept for good if its sequence number is a multiple of this, so that long replicas can be sent in
/// parts.
pub const CHECKPOINT_SEQ: u64 = 256;
/// A tip is kept for good if it closes this many bytes of its replica, or of all replicas together since the
/// last such tips.
pub const CHECKPOINT_BYTES: u64 = 1 << 20;
const _: () = assert!(
    CHECKPOINT_BYTES + charge(CHANGE_BYTES_MAX) as u64 <= UNIT_BYTES_MAX as u64,
    "the changes between two checkpoints fit a unit"
);
/// Tips below the newest that are verified in one unit: honest ones are 17 for each replica and few more.
pub const OLDER_TIPS_MAX: usize = 4_096;
/// Changes that a document cannot take that are searched for in one unit.
pub const INAPPLICABLE_MAX: usize = 4;
/// Documents that are judged again in one slice, in which no message is handled: it takes some milliseconds.
pub const REJUDGED_EXAMINED_MAX: usize = 128;
/// Documents that are rebuilt in one slice and stored as one batch.
pub const REJUDGED_CHANGED_MAX: usize = 32;
/// Refusals that `status` remembers, of this device and of its peers.
pub const REFUSALS_STORED_MAX: usize = 64;
