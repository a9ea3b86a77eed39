//! Bounds on ops, certificates, manifests and ledger sessions.

use super::link::FRAME_BYTES_MAX;

/// One membership op, bytes.
pub const OP_BYTES_MAX: usize = 64 << 10;
/// Parents of one op; with more heads its author first signs merging ops.
pub const OP_PARENTS_MAX: usize = 256;
const _: () =
    assert!(OP_PARENTS_MAX * 32 <= OP_BYTES_MAX / 2, "an op with all parents has room for its body");
/// Ops of one peer that wait for a manifest; more are dropped and pulled again later.
pub const PENDING_OPS_MAX: usize = 256;
/// The same ops, bytes.
pub const PENDING_OPS_BYTES_MAX: usize = 4 << 20;
const _: () = assert!(PENDING_OPS_BYTES_MAX >= OP_BYTES_MAX, "the largest op may wait");
/// Founders of a group.
pub const FOUNDERS_MAX: usize = 4;
/// Device label, bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// One device certificate, bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 256;
const _: () = assert!(2 + 3 * 32 + 3 + LABEL_BYTES_MAX <= CERTIFICATE_BYTES_MAX, "the longest label fits");
/// One device revocation by a user, bytes.
pub const DEVICE_REVOCATION_BYTES_MAX: usize = 128;
/// Certificates of one user that a ledger holds beside those that its ops carry.
pub const DEVICES_MAX: usize = 64;
/// Device revocations of one user that a ledger holds: a lifetime of lost phones.
pub const DEVICE_REVOCATIONS_MAX: usize = 256;
/// Key of a group's description, bytes of UTF-8.
pub const META_KEY_BYTES_MAX: usize = 64;
/// Value of a group's description, bytes.
pub const META_VALUE_BYTES_MAX: usize = 4 << 10;
const _: () = assert!(META_KEY_BYTES_MAX + META_VALUE_BYTES_MAX <= OP_BYTES_MAX / 2, "a SetMeta fits an op");

/// Ops that a ledger names in a pull.
pub const LEDGER_IDS_MAX: usize = 4_096;
/// Heads of all ops among them: the strongest, if a peer floods the ledger with heads.
pub const LANDMARK_HEADS_MAX: usize = LEDGER_IDS_MAX / 4 * 3;
/// Heads among them of each smaller prefix of the ledger.
pub const EARLIER_LANDMARK_HEADS_MAX: usize = 64;
const _: () = assert!(LANDMARK_HEADS_MAX + EARLIER_LANDMARK_HEADS_MAX <= LEDGER_IDS_MAX);
/// Envelopes of one Push frame, bytes: half a link frame.
pub const LEDGER_PUSH_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(LEDGER_PUSH_BYTES_MAX + OP_BYTES_MAX <= FRAME_BYTES_MAX, "a Push fits a link frame");
/// Envelopes of one answer to a Pull, bytes. The peer pulls again only after it has handled the answer, so no
/// more waits to be sent, however long the ledger is.
pub const LEDGER_ANSWER_BYTES_MAX: usize = 2 << 20;
const _: () =
    assert!(LEDGER_ANSWER_BYTES_MAX >= LEDGER_PUSH_BYTES_MAX, "an answer has at least one full Push");

/// One page of a manifest, bytes.
pub const MANIFEST_PAGE_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(MANIFEST_PAGE_BYTES_MAX < FRAME_BYTES_MAX, "a page fits a link frame");
/// All pages of one manifest, bytes: entries for seven million rows, so that a removal never fails for size.
pub const MANIFEST_BYTES_MAX: usize = 1 << 30;
/// Pages of one manifest.
pub const MANIFEST_PAGES_MAX: usize = MANIFEST_BYTES_MAX / MANIFEST_PAGE_BYTES_MAX;
const _: () = assert!(MANIFEST_PAGES_MAX * 32 < FRAME_BYTES_MAX, "the list of pages fits a link frame");
/// Pages that are requested and not answered: one on its way while the other is stored.
pub const MANIFEST_PAGES_IN_FLIGHT_MAX: usize = 2;
/// Pages that one step reads from our own store.
pub const MANIFEST_READS_MAX: usize = 16;
/// Pages that no op names (orphans), bytes: of a group between links and starts, so that an interrupted fetch
/// continues; and of one peer that names them to no purpose. A fetch in progress is not counted.
pub const ORPHAN_PAGES_BYTES_MAX: u64 = 64 << 20;
const _: () = assert!(ORPHAN_PAGES_BYTES_MAX >= MANIFEST_PAGE_BYTES_MAX as u64, "a page may be an orphan");
