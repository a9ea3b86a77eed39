//! The current value of every row, as it lies in the group's tree (pure).
//!
//! Key: tag `r`, table, row key; each part escapes 0x00 as 00 FF and ends with 00 00, so that keys sort as their parts
//! do and no part runs into the next. Record: one byte of flags (1 removed, 2 too deep), the heads that the value was
//! read at (32 bytes each), the value.

use std::ops::{Bound, RangeBounds};

use schema::ChangeHash;
use schema::codec::{self, DecodeError};
use schema::limits::{ROW_KEY_BYTES_MAX, TABLE_NAME_BYTES_MAX};
use schema::value::Value;

use super::replica::Row;

const TAG: u8 = b'r';
const REMOVED: u8 = 1;
const TOO_DEEP: u8 = 2;

/// Why a text is no name of a table or key of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no bytes.
    #[error("{what} is empty")]
    Empty {
        /// `table name` or `row key`.
        what: &'static str,
    },
    /// It has too many bytes.
    #[error("{what} of {got} bytes where at most {max} are allowed")]
    TooLong {
        /// `table name` or `row key`.
        what: &'static str,
        /// Bytes of UTF-8.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A table name holds a NUL.
    #[error("table name holds a NUL")]
    Nul,
    /// Table names that begin with `$` are the database's own.
    #[error("table names that begin with $ are reserved")]
    Reserved,
}

/// Checks the name of a table that an application uses.
///
/// # Errors
/// [`NameError`].
pub fn check_table(name: &str) -> Result<(), NameError> {
    if name.starts_with('$') {
        return Err(NameError::Reserved);
    }
    check_any_table(name)
}

/// Checks the name of a table, the database's own included: what a peer may send.
///
/// # Errors
/// [`NameError`], never [`NameError::Reserved`].
pub fn check_any_table(name: &str) -> Result<(), NameError> {
    check("table name", name, TABLE_NAME_BYTES_MAX)?;
    match name.contains('\0') {
        true => Err(NameError::Nul),
        false => Ok(()),
    }
}

/// Checks the key of a row.
///
/// # Errors
/// [`NameError`].
pub fn check_key(key: &str) -> Result<(), NameError> {
    check("row key", key, ROW_KEY_BYTES_MAX)
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        got if got > max => Err(NameError::TooLong { what, got, max }),
        _ => Ok(()),
    }
}

/// The store key of a row.
pub fn row_key(table: &str, key: &str) -> Vec<u8> {
    let mut bytes = table_prefix(table);
    push(&mut bytes, key);
    bytes
}

/// The table and key behind a store key; `None` for keys of other records.
pub fn parse_row_key(bytes: &[u8]) -> Option<(String, String)> {
    let rest = bytes.strip_prefix(&[TAG])?;
    let (table, rest) = pop(rest)?;
    let (key, rest) = pop(rest)?;
    rest.is_empty().then_some((table, key))
}

/// From the first store key of a table to the first behind it.
pub fn table_bounds(table: &str) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    key_bounds(table, &..)
}

/// The store keys of the rows whose keys lie in a range.
pub fn key_bounds<'k>(table: &str, range: &impl RangeBounds<&'k str>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let bound = |bound: Bound<&&str>, open: Bound<Vec<u8>>| match bound {
        Bound::Included(key) => Bound::Included(row_key(table, key)),
        Bound::Excluded(key) => Bound::Excluded(row_key(table, key)),
        Bound::Unbounded => open,
    };
    let first = table_prefix(table);
    let mut behind = first.clone();
    *behind.last_mut().expect("a prefix ends with 00 00") = 1;
    (bound(range.start_bound(), Bound::Included(first)), bound(range.end_bound(), Bound::Excluded(behind)))
}

fn table_prefix(table: &str) -> Vec<u8> {
    let mut bytes = vec![TAG];
    push(&mut bytes, table);
    bytes
}

/// Appends a part of a store key.
pub(crate) fn push(bytes: &mut Vec<u8>, part: &str) {
    for byte in part.bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend([0, 0]);
}

/// Takes a part off a store key.
pub(crate) fn pop(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut part = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [0, 0, rest @ ..] => return Some((String::from_utf8(part).ok()?, rest)),
            [0, 0xff, after @ ..] => {
                part.push(0);
                rest = after;
            }
            [0, ..] | [] => return None,
            [byte, after @ ..] => {
                part.push(*byte);
                rest = after;
            }
        }
    }
}

/// The value of a row as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The row.
    pub row: Row,
    /// The heads of its document when it was read, sorted: whether it moved since.
    pub heads: Vec<ChangeHash>,
}

impl StoredRow {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let removed = if self.row.removed { REMOVED } else { 0 };
        let too_deep = if self.row.too_deep { TOO_DEEP } else { 0 };
        codec::encode(&(removed | too_deep, &self.heads, &self.row.value))
    }

    /// Out of its bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when the record is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (flags, heads, value): (u8, Vec<ChangeHash>, Value) = codec::decode_stored(bytes)?;
        if flags & !(REMOVED | TOO_DEEP) != 0 || !matches!(value, Value::Map(_)) {
            return Err(DecodeError::Malformed { what: "no row".to_owned() });
        }
        let row = Row { value, removed: flags & REMOVED != 0, too_deep: flags & TOO_DEEP != 0 };
        Ok(Self { row, heads })
    }
}

#[cfg(test)]
mod tests;
