//! A Writer who leaves a row with more heads than one change may name: chains of one change without ops.

use schema::wire::session::Units;

use super::{Writer, one_change_each};

/// Frames with `count` heads of one row.
pub fn frames(writer: &Writer, key: &str, count: usize) -> Vec<Units> {
    one_change_each(writer, key, count, &[])
}
