//! A Writer whose chains are without number: each has one change of one put.

use schema::wire::session::Units;

use super::{Writer, one_change_each};
use crate::dear::{Op, PUT};

/// Frames with `count` chains of one row.
pub fn frames(writer: &Writer, key: &str, count: usize) -> Vec<Units> {
    one_change_each(writer, key, count, &[Op::field("k", PUT).int(1)])
}
