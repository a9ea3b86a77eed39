//! Checks that the op columns of a chunk describe the same ops.

use super::columns::{
    ACTION, Columns, EXPAND, INSERT, KEY_COUNTER, KEY_REPLICA, KEY_TEXT, MARK_NAME, OBJECT_COUNTER,
    OBJECT_REPLICA, VALUE, VALUE_META,
};
use super::{ChangeError, Fault};
use crate::limits::EXPANDED_TEXT_BYTES_MAX;

/// The totals of all ops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ops {
    pub(super) count: u64,
    /// Ops that make an object.
    pub(super) objects: u64,
    /// Bytes of keys and mark names, once their runs are expanded.
    pub(super) key_bytes: u64,
}

/// Counts the ops and insists that every column has a row for each of them, or none at all.
pub(super) fn count(columns: &Columns<'_>) -> Result<Ops, ChangeError> {
    let ops = columns.of(ACTION).rows;
    let makes = columns.full(ACTION, ops)?.sum;
    columns.all_rows(INSERT, ops)?;

    let lengths = columns.full(VALUE_META, ops)?.sum;
    columns.all_rows(VALUE, lengths)?;

    let objects = columns.some_rows(OBJECT_COUNTER, ops)?.values;
    columns.some_rows(OBJECT_REPLICA, ops)?;
    columns.values(OBJECT_REPLICA, objects)?;

    let texts = columns.some_rows(KEY_TEXT, ops)?;
    columns.some_rows(KEY_COUNTER, ops)?;
    columns.values(KEY_COUNTER, ops - texts.values)?; // a column never has more values than rows
    let replicas = columns.some_rows(KEY_REPLICA, ops)?.values;
    let elements = columns.of(KEY_COUNTER).values;
    if replicas > elements {
        let fault = Fault::Rows { got: replicas, expected: elements };
        return Err(ChangeError::Column { column: KEY_REPLICA, fault });
    }

    columns.some_rows(EXPAND, ops)?;
    let names = columns.some_rows(MARK_NAME, ops)?;

    let key_bytes = texts.sum.saturating_add(names.sum);
    if key_bytes > EXPANDED_TEXT_BYTES_MAX {
        let (got, max) = (key_bytes, EXPANDED_TEXT_BYTES_MAX);
        return Err(ChangeError::TooMany { what: "bytes of keys", got, max });
    }
    Ok(Ops { count: ops, objects: makes, key_bytes })
}

/// Counts the members of a group column (predecessors, successors, dependencies) and insists that its parts
/// agree.
pub(super) fn group(columns: &Columns<'_>, count: u32, parts: &[u32], rows: u64) -> Result<u64, ChangeError> {
    let members = columns.full(count, rows)?.sum;
    for &part in parts {
        columns.full(part, members)?;
    }
    Ok(members)
}
