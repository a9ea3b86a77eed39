//! Bounds on the frames of group sessions.

use std::time::Duration;

use super::document::{ROW_KEY_BYTES_MAX, TABLE_NAME_BYTES_MAX, UNIT_BYTES_MAX};
use super::link::FRAME_BYTES_MAX;

/// One Automerge sync message, bytes: the changes of a unit with their heads.
pub const SYNC_MESSAGE_BYTES_MAX: usize = UNITS_BYTES_MAX;
/// One encoded session frame, bytes, over many link frames: a longer one would not decode.
pub const SESSION_FRAME_BYTES_MAX: usize = WIRE_CLAIM_BYTES_MAX;
/// Bytes of a session frame that one link frame carries.
pub const SESSION_PART_BYTES_MAX: usize = FRAME_BYTES_MAX - 256;
const _: () = assert!(SESSION_PART_BYTES_MAX < FRAME_BYTES_MAX, "a part fits a link frame with its header");
/// Bytes of unfinished session frames over all links and groups of a node. Beyond it links end, those of the
/// users with the most bytes first.
pub const ASSEMBLY_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(
    ASSEMBLY_BYTES_MAX >= 3 * SESSION_FRAME_BYTES_MAX,
    "three users send their longest frame at once"
);
/// Memory that decoding one record from the wire may claim, bytes: a full frame of the densest entries.
pub const WIRE_CLAIM_BYTES_MAX: usize = 16 << 20;
/// Data that a session sends before it waits for an acknowledgement, bytes.
pub const WINDOW_BYTES: usize = 4 << 20;
/// Time in which a peer must answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Leaves of one page: 64 bytes each, half a link frame.
pub const PAGE_LEAVES: usize = 8_192;
const _: () = assert!(PAGE_LEAVES * 64 <= FRAME_BYTES_MAX / 2);
/// Documents and marks of one Vectors or Request frame before the next frame begins: 72 bytes each, about a
/// link frame.
pub const FRAME_MARKS: usize = 16_384;
/// Marks of our own documents that are looked at in one step, with one document beyond: about 20 ms. What
/// else a frame names is compared in further steps.
pub const COMPARED_MARKS: usize = 16_384;
/// Marks that are sent of one document. A longer vector is truncated; the peer then sends more than is
/// missing, never less.
pub const MARKS_MAX: usize = 65_536;
const _: () =
    assert!((FRAME_MARKS + MARKS_MAX) * 72 <= SESSION_FRAME_BYTES_MAX, "the longest vector fits a frame");
/// Marks that are stored for one peer. Beyond it a document's marks are dropped, and the whole document is
/// sent.
pub const MARKS_STORED_MAX: usize = 4 * MARKS_MAX;
const _: () = assert!(MARKS_STORED_MAX >= MARKS_MAX + FRAME_MARKS, "one frame is stored whole");
/// Documents of one Units frame, and refusals of one Ack.
pub const FRAME_DOCUMENTS: usize = 2_048;
/// The largest charge of one Units frame, bytes: the largest unit, whose charge covers its tips; 2 MiB of
/// heads; and other units of 512 KiB, with 256 bytes beside each.
pub const UNITS_BYTES_MAX: usize = UNIT_BYTES_MAX + (4 << 20);
const _: () = assert!(UNITS_BYTES_MAX <= SESSION_FRAME_BYTES_MAX, "a Units frame fits a session frame");
/// Bytes beside the charge of a unit that decoding claims: its document, table and row key.
const UNIT_NAME_BYTES: usize = 128 + TABLE_NAME_BYTES_MAX + ROW_KEY_BYTES_MAX;
const _: () = assert!(
    UNITS_BYTES_MAX + FRAME_DOCUMENTS * UNIT_NAME_BYTES <= WIRE_CLAIM_BYTES_MAX,
    "every Units frame within its charge decodes"
);
/// Parts of frames that wait for a session that is not open yet: a peer sends its root before ours arrives.
pub const EARLY_PARTS_MAX: usize = 4;
/// Bytes of such parts: a root with its header.
pub const EARLY_BYTES_MAX: usize = 256;
/// Times that a document is requested again before the documents are equal.
pub const REQUEST_RETRIES_MAX: u32 = 3;
/// Documents that are requested again: a peer can invent any number.
pub const RETRIED_DOCUMENTS_MAX: usize = 4_096;
