//! Every bound, with its unit and its reason.

use std::time::Duration;

/// One change, bytes: a photo belongs into a file, a chapter fits.
pub const CHANGE_BYTES_MAX: usize = 4 << 20;
/// Ops of one change: an 80-byte change can claim any number (AUTHORITY 3.6).
pub const CHANGE_OPS_MAX: u64 = 1_000_000;
/// Dependencies of one change: honest changes name all heads, so a low bound would let one Writer freeze a row.
pub const CHANGE_DEPS_MAX: usize = 65_536;
/// Largest op counter; Automerge keeps counters in 32 bits.
pub const OP_COUNTER_MAX: u64 = 1 << 31;
/// What the deflated columns of one document chunk may inflate to, bytes.
pub const INFLATED_BYTES_MAX: usize = 256 << 20;
/// One Automerge sync message, bytes.
pub const SYNC_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Changes of one document that are sent, judged and kept together, as [charged](charge): whoever took them can always
/// send them on. Twice the largest change.
pub const UNIT_BYTES_MAX: usize = 8 << 20;
/// What a change may bring with it in a unit, bytes: its length, a tip, an author, a head.
const CHANGE_SURROUNDINGS: usize = 256;
const _: () = assert!(charge(CHANGE_BYTES_MAX) <= UNIT_BYTES_MAX, "or the largest change could not be sent");
const _: () = assert!(2 * UNIT_BYTES_MAX <= SYNC_MESSAGE_BYTES_MAX, "heads need room");

/// What a change of so many bytes counts for in a unit, with all that it may bring with it.
pub const fn charge(bytes: usize) -> usize {
    bytes + CHANGE_SURROUNDINGS
}

/// One frame on a link, bytes: bigger things are split over frames.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// One record on a link, bytes of ciphertext: Noise's own limit.
pub const RECORD_BYTES_MAX: usize = 65_535;
/// Records of one direction after which its key is replaced by the next.
pub const REKEY_RECORDS: u64 = 65_536;
/// Bytes that one direction of a link carries before the link is made anew with fresh keys.
pub const LINK_BYTES_MAX: u64 = 64 << 30;
/// How long a link lasts before it is made anew with fresh keys.
pub const LINK_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// What one peer may have waiting in our mailboxes, bytes.
pub const MAILBOX_BYTES_MAX: usize = 8 << 20;
/// Data that a session sends before it waits for an acknowledgement, bytes.
pub const WINDOW_BYTES: usize = 4 << 20;
const _: () = assert!(MAILBOX_BYTES_MAX >= FRAME_BYTES_MAX, "a larger frame would wait for ever");

/// Longest message of a handshake, bytes: an Auth with the longest certificate, sealed.
pub const HANDSHAKE_BYTES_MAX: usize = 1024;
/// One encoded session frame, bytes: it is sent in parts over many link frames.
pub const SESSION_FRAME_BYTES_MAX: usize = SYNC_MESSAGE_BYTES_MAX + (2 << 20);
/// Bytes of a session frame that one part carries.
pub const PART_BYTES: usize = FRAME_BYTES_MAX - 256;
/// Leaves of one page of a walk: 64 bytes each, half a link frame.
pub const PAGE_LEAVES: usize = 8_192;
const _: () = assert!(64 * PAGE_LEAVES <= FRAME_BYTES_MAX / 2, "a page of leaves fits half a link frame");
/// Documents and marks of one Vectors or Request frame before the next frame begins: about 72 bytes each.
pub const FRAME_MARKS: usize = 16_384;
/// Marks that are sent of one document. A longer vector is truncated; the peer then sends more than is
/// missing, never less.
pub const MARKS_MAX: usize = 65_536;
/// Documents of one Units frame, and refusals of one Ack.
pub const FRAME_DOCUMENTS: usize = 2_048;
/// Changes of one Units frame, bytes: small enough to be fair to other groups, large enough to be cheap.
pub const FRAME_UNITS_BYTES: usize = 512 << 10;
/// The largest charge of one Units frame, bytes: one of the largest units beside others, with its tips and
/// heads.
pub const UNITS_BYTES_MAX: usize = 2 * UNIT_BYTES_MAX + (1 << 20);
const _: () =
    assert!(UNIT_BYTES_MAX + FRAME_UNITS_BYTES <= UNITS_BYTES_MAX, "a correct frame is within its charge");
const _: () = assert!(UNITS_BYTES_MAX <= SESSION_FRAME_BYTES_MAX, "what may be charged may be sent");
/// Envelopes of one Push frame, bytes: half a link frame.
pub const PUSH_BYTES: usize = 512 << 10;
const _: () = assert!(PUSH_BYTES + OP_BYTES_MAX < FRAME_BYTES_MAX, "a Push fits a link frame");
/// Envelopes of one reply to a Pull, bytes. The peer pulls again only after it has handled the reply, so no
/// more waits to be sent, however long the ledger is.
pub const PULL_REPLY_BYTES: usize = 2 << 20;
/// Memory that decoding one frame or record of a peer may claim, bytes: the largest unit beside others, or a
/// full frame of the densest entries.
pub const WIRE_CLAIM_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(
    UNIT_BYTES_MAX + FRAME_UNITS_BYTES + (1 << 20) <= WIRE_CLAIM_BYTES_MAX,
    "the largest frame of units can be decoded"
);
const _: () = assert!(
    (FRAME_MARKS + MARKS_MAX) * 72 + FRAME_MARKS * 56 <= WIRE_CLAIM_BYTES_MAX,
    "the largest frame of marks can be decoded: 72 bytes a mark, 56 a document"
);
/// Memory that decoding one record of our own store may claim, bytes.
pub const STORED_CLAIM_BYTES_MAX: usize = 256 << 20;

/// One membership op, bytes.
pub const OP_BYTES_MAX: usize = 64 << 10;
/// Parents of one op; above that its author first signs merging ops.
pub const OP_PARENTS_MAX: usize = 256;
/// Ops of one peer that wait for their parents or manifests; more are dropped and asked for again.
pub const PENDING_OPS_MAX: usize = 256;
/// The same in bytes.
pub const PENDING_OPS_BYTES_MAX: usize = 4 << 20;
/// Founders of a group.
pub const FOUNDERS_MAX: usize = 4;
/// Ops that a ledger names as what it has when it asks for more.
pub const LEDGER_IDS_MAX: usize = 4096;
/// Device label, bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Certificates of one user that a ledger keeps beside those that its ops carry.
pub const DEVICES_MAX: usize = 64;
/// Device revocations of one user that a ledger keeps: a lifetime of lost phones.
pub const DEVICE_REVOCATIONS_MAX: usize = 256;
/// Key of a group's description, bytes of UTF-8.
pub const META_KEY_BYTES_MAX: usize = 64;
/// Value of a group's description, bytes.
pub const META_VALUE_BYTES_MAX: usize = 4 << 10;
/// One page of a manifest, bytes: it fits a frame.
pub const MANIFEST_PAGE_BYTES_MAX: usize = 512 << 10;
/// All pages of one manifest, bytes: entries for seven million rows, so that a removal never fails for size.
pub const MANIFEST_BYTES_MAX: usize = 1 << 30;
/// Pages of manifests that no op names, bytes: of a group kept from one link and one start to the next, so that what was
/// interrupted goes on, and of one peer taken in vain. What is being fetched over a link comes on top.
pub const MANIFESTS_LOOSE_BYTES_MAX: u64 = 64 << 20;

/// Changes of a group that are kept though they are not accepted any more, bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
/// How long they are kept.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Row key, bytes of UTF-8, at least one.
pub const ROW_KEY_BYTES_MAX: usize = 512;
/// Table name, bytes of UTF-8 without NUL, at least one.
pub const TABLE_NAME_BYTES_MAX: usize = 64;
/// Group name, bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 256;
/// Nesting of a value; what lies deeper reads as `Value::TooDeep`.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Address of a node, bytes of UTF-8: a host name has at most 253.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// Addresses in a ticket: two families on a few networks, and a text that still fits a message.
pub const TICKET_ADDRESSES_MAX: usize = 8;
/// Addresses in a device's record: as many as its tickets carry.
pub const DEVICE_ADDRESSES_MAX: usize = TICKET_ADDRESSES_MAX;

/// Groups of a node.
pub const GROUPS_MAX: usize = 1_000;
/// Members of a group: whoever would let in one more is refused at home.
pub const MEMBERS_MAX: usize = 10_000;
/// Links of a node.
pub const LINKS_MAX: usize = 30;
/// Links with which a node is content: with so many it dials nobody of whom only a record tells, and who comes finds room.
pub const LINKS_CONTENT: usize = 15;
/// Links that have not proven who they are yet.
pub const HALF_OPEN_MAX: usize = 64;
/// Of these, from one place.
pub const HALF_OPEN_PER_PEER_MAX: usize = 4;
/// What one link may have waiting to be sent, bytes; above that it closes, since sync converges anyway.
pub const OUTBOUND_BYTES_MAX: usize = 64 << 20;
/// The same in frames: small ones cost more than their bytes.
pub const OUTBOUND_FRAMES_MAX: usize = 65_536;

/// How long an actor may take to answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one branch may take to stop before it is killed.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long dialling may take before the handshake begins.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a link may last over which no group is shared: time to present oneself, or to redeem a ticket.
pub const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a link is pinged; three missed pings end it.
pub const PING_EVERY: Duration = Duration::from_secs(15);
