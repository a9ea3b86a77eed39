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
/// Ops of one change, and predecessors of all its ops: 80 bytes of a change can claim any number (authority
/// 3.6). Far above what its charge allows: this bound ends the reading of columns early.
pub const CHANGE_OPS_MAX: u64 = 1_000_000;
/// Dependencies of one change. More heads are merged in steps before the next write, so that no number of
/// heads freezes a row.
pub const CHANGE_DEPS_MAX: usize = 4_096;
/// Largest op counter: Automerge stores counters in 32 bits.
pub const OP_COUNTER_MAX: u64 = 1 << 31;
/// Inflated size of all deflated columns of one document chunk, bytes.
pub const INFLATED_BYTES_MAX: usize = 256 << 20;
/// Keys and mark names of one chunk once their runs are expanded, bytes: Automerge copies them for every op.
pub const EXPANDED_TEXT_BYTES_MAX: u64 = 64 << 20;
/// Text of a peer's refusal that is stored, bytes.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// The [charge](crate::change::ChangeHeader::charge) of a change for its own sake, with a tip, an author and
/// a head, bytes: 16 µs.
pub const CHARGE_OF_CHANGE: u64 = 576;
/// The charge of one op, bytes: 2.8 µs and 450 bytes while it is applied.
pub const CHARGE_OF_OP: u64 = 96;
/// The charge of an op that makes an object, beside that of an op, bytes: 1.4 µs.
pub const CHARGE_OF_OBJECT: u64 = 48;
/// The charge of one predecessor, bytes: 0.24 µs, 53 bytes while it is applied.
pub const CHARGE_OF_PREDECESSOR: u64 = 12;
/// The charge of the first change of a chain, bytes: 97 µs with the signature of its tip, and four bytes in
/// each cached clock.
pub const CHARGE_OF_CHAIN: u64 = 2_496;
/// The charge of another replica that a change names, bytes: a lookup by its id.
pub const CHARGE_OF_REPLICA: u64 = 96;
/// The charge of one dependency, bytes: 5 µs with its edge in the graph of changes.
pub const CHARGE_OF_DEPENDENCY: u64 = 192;
/// The square of the number of dependencies is divided by this, for one byte of charge: 1.3 ns each.
pub const DEPENDENCIES_PER_BYTE: u64 = 21;
/// Bytes of keys, once their runs are expanded, for one byte of charge: 1.2 µs a KiB.
pub const KEY_BYTES_PER_BYTE: u64 = 5;

/// The charge of one change, bytes: 64 KiB of text beside 2 000 objects of five fields.
pub const CHANGE_CHARGE_MAX: u64 = (15 << 20) / 2;
const _: () = assert!(
    CHANGE_BYTES_MAX as u64 + CHARGE_OF_CHANGE + CHARGE_OF_OP + CHARGE_OF_CHAIN <= CHANGE_CHARGE_MAX,
    "the longest value fits a change"
);
const _: () = assert!(
    (64 << 10) * (CHARGE_OF_OP + 1) + 2_000 * (6 * CHARGE_OF_OP + CHARGE_OF_OBJECT + 128)
        <= CHANGE_CHARGE_MAX,
    "an ordinary row fits a change"
);
const _: () = assert!(
    (CHANGE_DEPS_MAX as u64) * (32 + CHARGE_OF_DEPENDENCY + CHANGE_DEPS_MAX as u64 / DEPENDENCIES_PER_BYTE)
        <= CHANGE_CHARGE_MAX / 2,
    "a change that merges the most heads has room for ops"
);

/// Changes of one document that are sent, judged and stored together, as charged, bytes: 250 ms of work. A
/// device that accepted a unit can always send it on.
pub const UNIT_CHARGE_MAX: u64 = UNIT_BYTES_MAX as u64;
/// The changes of one unit, bytes: each is charged with more than its length.
pub const UNIT_BYTES_MAX: usize = 8 << 20;

/// Tips before the newest that are kept of each replica: a cut mostly ends a replica not far back (authority
/// 3.6, C1).
pub const RECENT_TIPS_MAX: usize = 16;
/// A tip is kept for good if its sequence number is a multiple of this, so that long replicas can be sent in
/// parts.
pub const CHECKPOINT_SEQ: u64 = 256;
/// A tip is kept for good if it closes this much charge of its replica, or of all replicas together since the
/// last such tips, bytes.
pub const CHECKPOINT_CHARGE: u64 = 256 << 10;
const _: () = assert!(
    2 * CHECKPOINT_CHARGE + CHANGE_CHARGE_MAX <= UNIT_CHARGE_MAX,
    "two steps and the largest change fit a unit"
);
/// Tips below the newest that are verified in one unit: honest ones are 17 for each replica and few more.
pub const OLDER_TIPS_MAX: usize = 4_096;
/// Documents that are re-judged in one slice, in which no message is handled: it takes some milliseconds.
pub const REJUDGED_EXAMINED_MAX: usize = 128;
/// Documents that are rebuilt in one slice and stored as one batch.
pub const REJUDGED_CHANGED_MAX: usize = 32;
/// Refusals that `status` remembers, of this device and of its peers.
pub const REFUSALS_STORED_MAX: usize = 64;
