//! The names of rows: a table and a key.

use crate::limits::{ROW_KEY_BYTES_MAX, TABLE_NAME_BYTES_MAX};

/// A table name or row key that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Table names have 1 to 64 bytes of UTF-8.
    #[error("table name of {bytes} bytes, 1 to {TABLE_NAME_BYTES_MAX} are allowed")]
    Table {
        /// The name's length, bytes.
        bytes: usize,
    },
    /// Table names have no NUL.
    #[error("table name with a NUL")]
    TableNul,
    /// Names that begin with `$` are the database's own.
    #[error("table names that begin with $ are reserved")]
    Reserved,
    /// Row keys have 1 to 512 bytes of UTF-8.
    #[error("row key of {bytes} bytes, 1 to {ROW_KEY_BYTES_MAX} are allowed")]
    Key {
        /// The key's length, bytes.
        bytes: usize,
    },
}

/// Checks that a table and a key can be ones.
///
/// # Errors
/// [`NameError`].
pub fn check_place(table: &str, key: &str) -> Result<(), NameError> {
    check_table(table)?;
    match key.len() {
        1..=ROW_KEY_BYTES_MAX => Ok(()),
        bytes => Err(NameError::Key { bytes }),
    }
}

/// Checks that a table can be one.
///
/// # Errors
/// [`NameError`].
pub fn check_table(table: &str) -> Result<(), NameError> {
    match table.len() {
        1..=TABLE_NAME_BYTES_MAX if table.contains('\0') => Err(NameError::TableNul),
        1..=TABLE_NAME_BYTES_MAX => Ok(()),
        bytes => Err(NameError::Table { bytes }),
    }
}
