//! A member whose session frames never end: a node holds their parts and waits for the last one.

use schema::limits::{SESSION_FRAME_BYTES_MAX, SESSION_PART_BYTES_MAX};
use schema::wire::group::Part;

/// Parts of one frame up to its bound, and never the last.
pub fn parts() -> impl Iterator<Item = Part> {
    let part = Part { more: true, bytes: vec![7; SESSION_PART_BYTES_MAX] };
    std::iter::repeat_n(part, SESSION_FRAME_BYTES_MAX / SESSION_PART_BYTES_MAX)
}
