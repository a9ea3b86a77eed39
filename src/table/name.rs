//! Table names, checked when they are compiled.

use std::marker::PhantomData;

use schema::limits::TABLE_NAME_BYTES_MAX;

/// The name of a table with the type of its rows, usually a constant.
///
/// ```
/// # use peerbase::TableName;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Task { title: String, done: bool }
///
/// const TASKS: TableName<Task> = TableName::new("tasks");
/// ```
#[derive(Debug)]
pub struct TableName<T> {
    name: &'static str,
    rows: PhantomData<fn() -> T>,
}

impl<T> TableName<T> {
    /// Makes a name of 1 to 64 bytes of UTF-8 without NUL, not beginning with `$`.
    ///
    /// # Panics
    /// For any other name; in a constant that is a compile error.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= TABLE_NAME_BYTES_MAX, "table names have 1 to 64 bytes");
        assert!(bytes[0] != b'$', "table names that begin with $ are reserved");
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at] != 0, "table names have no NUL");
            at += 1;
        }
        Self { name, rows: PhantomData }
    }

    /// Returns the name as text.
    pub const fn name(self) -> &'static str {
        self.name
    }

    pub(crate) const fn reserved(name: &'static str) -> Self {
        Self { name, rows: PhantomData }
    }
}

impl<T> Clone for TableName<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for TableName<T> {}
