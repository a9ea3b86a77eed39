//! The current value of every row: its key in the store and its record (pure).
//!
//! Key: tag `r`, table, key; each part escapes 0x00 as 00 FF and ends with 00 00, so that the order of the
//! store is the order of (table, key).

use std::ops::Bound;

use bincode::{Decode, Encode};
pub use schema::document::{NameError, check_place, check_table};
use schema::value::Value;
use schema::{ChangeHash, codec};

use super::replica::Row;

/// The first byte of a row's key in the store.
pub(crate) const TAG: u8 = b'r';

/// A stored row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row record is damaged: {what}")]
pub struct RowRecordError {
    /// The fault.
    pub what: String,
}

/// A row as the store keeps it, so that reads never load Automerge.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct RowRecord {
    /// The fields.
    pub value: Value,
    /// The row is removed; its fields are still there.
    pub removed: bool,
    /// Something lies too deep to be read.
    pub too_deep: bool,
    /// The document's heads, sorted: what `update_if` compares.
    pub heads: Vec<ChangeHash>,
}

impl RowRecord {
    pub(crate) fn of(row: Row, heads: Vec<ChangeHash>) -> Self {
        Self { value: row.value, removed: row.removed, too_deep: row.too_deep, heads }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// [`RowRecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RowRecordError> {
        codec::decode_stored(bytes).map_err(|error| RowRecordError { what: error.to_string() })
    }
}

/// Checks that a table can be one of a program's own.
///
/// # Errors
/// [`NameError`].
pub fn check_open_table(table: &str) -> Result<(), NameError> {
    check_table(table)?;
    if is_reserved(table) { Err(NameError::Reserved) } else { Ok(()) }
}

/// Returns true if a table is the database's own.
pub fn is_reserved(table: &str) -> bool {
    table.starts_with('$')
}

/// Returns true if a store key is that of a row.
pub(crate) fn is_row(key: &[u8]) -> bool {
    key.first() == Some(&TAG)
}

/// The store key of a row.
pub fn row_key(table: &str, key: &str) -> Vec<u8> {
    let mut bytes = table_prefix(table);
    push(&mut bytes, key);
    bytes
}

/// The store key before the first row of a table.
pub fn table_prefix(table: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(table.len() + 64);
    bytes.push(TAG);
    push(&mut bytes, table);
    bytes
}

/// The stretch of the store that holds the rows of a table with keys in a range.
pub fn key_bounds(table: &str, from: Bound<&str>, to: Bound<&str>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = match from {
        Bound::Included(key) => Bound::Included(row_key(table, key)),
        Bound::Excluded(key) => Bound::Excluded(row_key(table, key)),
        Bound::Unbounded => Bound::Included(table_prefix(table)),
    };
    let to = match to {
        Bound::Included(key) => Bound::Included(row_key(table, key)),
        Bound::Excluded(key) => Bound::Excluded(row_key(table, key)),
        Bound::Unbounded => {
            // No part begins with FF, since that is no UTF-8.
            let mut end = table_prefix(table);
            end.push(0xff);
            Bound::Excluded(end)
        }
    };
    (from, to)
}

/// The stretch of the store that holds the rows of all tables behind this one, of all tables without one.
pub fn tables_behind(table: Option<&str>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = match table {
        None => Bound::Included(vec![TAG]),
        // Nothing lies at the end of a table itself.
        Some(table) => key_bounds(table, Bound::Unbounded, Bound::Unbounded).1,
    };
    (from, Bound::Excluded(vec![TAG + 1]))
}

/// The table of a store key of a row.
///
/// # Errors
/// [`RowRecordError`] when it is none.
pub fn decode_table(bytes: &[u8]) -> Result<String, RowRecordError> {
    pop(bytes.strip_prefix(&[TAG]).ok_or_else(|| wrong("no row"))?).map(|(table, _)| table)
}

/// The row key of a store key of `table`.
///
/// # Errors
/// [`RowRecordError`] when it is none.
pub fn decode_key(table: &str, bytes: &[u8]) -> Result<String, RowRecordError> {
    let rest = bytes.strip_prefix(table_prefix(table).as_slice()).ok_or_else(|| wrong("other table"))?;
    match pop(rest)? {
        (key, []) => Ok(key),
        _ => Err(wrong("key goes on")),
    }
}

/// A part and what follows it.
fn pop(mut rest: &[u8]) -> Result<(String, &[u8]), RowRecordError> {
    let mut part = Vec::with_capacity(rest.len());
    loop {
        match rest {
            [0, 0, rest @ ..] => {
                let part = String::from_utf8(part).map_err(|_| wrong("part is not UTF-8"))?;
                return Ok((part, rest));
            }
            [0, 0xff, tail @ ..] => {
                part.push(0);
                rest = tail;
            }
            [byte, tail @ ..] if *byte != 0 => {
                part.push(*byte);
                rest = tail;
            }
            _ => return Err(wrong("part does not end")),
        }
    }
}

fn wrong(what: &str) -> RowRecordError {
    RowRecordError { what: what.to_owned() }
}

fn push(bytes: &mut Vec<u8>, part: &str) {
    for byte in part.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend([0, 0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_store_keeps_the_order_of_keys(
            one in "\\PC{0,8}\0?[a-c\0]{0,4}",
            other in "\\PC{0,8}\0?[a-c\0]{0,4}",
        ) {
            prop_assert_eq!(row_key("t", &one).cmp(&row_key("t", &other)), one.cmp(&other));
            prop_assert_eq!(decode_table(&row_key(&one, &other)), Ok(one.clone()));
            prop_assert_eq!(decode_key(&other, &row_key(&other, &one)), Ok(one));
        }
    }

    #[test]
    fn a_row_record_and_its_key_keep_their_bytes() {
        let value = Value::Map([("a".to_owned(), Value::Bool(true))].into());
        let record = RowRecord { value, removed: false, too_deep: true, heads: vec![ChangeHash([1; 32])] };
        testkit::golden::check(vec![("row record", record, "0c 01 01 61 02 | 00 | 01 | 01 01*32")]);
        testkit::golden::check_bytes("key", &row_key("t", "a\0b"), "72 | 74 0000 | 61 00ff 62 0000");
    }

    #[test]
    fn a_table_ends_where_the_next_begins() {
        let (from, to) = key_bounds("t", Bound::Unbounded, Bound::Unbounded);
        let inside = |key: Vec<u8>| std::ops::RangeBounds::contains(&(from.clone(), to.clone()), &key);
        assert!(inside(row_key("t", "\u{10ffff}")) && inside(row_key("t", "\0")));
        assert!(!inside(row_key("t\0", "a")) && !inside(row_key("ta", "a")) && !inside(row_key("s", "z")));
    }
}
