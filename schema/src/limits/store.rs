//! Bounds on what is stored.

use std::time::Duration;

use super::document::{ROW_KEY_BYTES_MAX, TABLE_NAME_BYTES_MAX, UNIT_BYTES_MAX};

/// One key, bytes: table, row key and index value escape to about 2 KiB, and an engine's index page of 256
/// keys stays within 1 MiB.
pub const KEY_BYTES_MAX: usize = 4 << 10;
const _: () =
    assert!(2 * (TABLE_NAME_BYTES_MAX + ROW_KEY_BYTES_MAX) + 8 <= KEY_BYTES_MAX, "an escaped row key fits");
/// One value, bytes: well above the largest unit; a batch is held in memory whole.
pub const VALUE_BYTES_MAX: usize = 128 << 20;
const _: () = assert!(VALUE_BYTES_MAX >= 8 * UNIT_BYTES_MAX);
/// Memory that decoding one record of our own store may claim, bytes.
pub const STORED_CLAIM_BYTES_MAX: usize = 256 << 20;
const _: () = assert!(STORED_CLAIM_BYTES_MAX >= VALUE_BYTES_MAX, "every stored value decodes");

/// Changes of a group that are set aside, bytes.
pub const SET_ASIDE_BYTES_MAX: u64 = 1 << 30;
/// Age at which changes that are set aside are deleted.
pub const SET_ASIDE_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
