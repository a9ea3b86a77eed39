//! Iterates over the rows of a table; a row that does not decode is an error of that row alone.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use actors::node::group::rows::RowRecord;
use schema::ChangeHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Table, row};
use crate::error::ReadError;

/// Rows of one page of an iteration, which is read under one hold of the store's lock.
pub(crate) const PAGE_ROWS: usize = 256;

/// A stored row, which [`value`](Row::value) decodes. That may fail, since other devices write rows too.
#[derive(Clone, Debug)]
pub struct Row<T> {
    table: Arc<str>,
    key: String,
    record: RowRecord,
    rows: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Row<T> {
    pub(crate) fn new(table: Arc<str>, key: String, record: RowRecord) -> Self {
        Self { table, key, record, rows: PhantomData }
    }

    /// Returns the row's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the heads of the row's document, sorted: the version that [`Table::update_if`] compares.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.record.heads
    }

    /// Decodes the row.
    ///
    /// # Errors
    /// [`ReadError::Row`] if it does not decode into the row type.
    pub fn value(&self) -> Result<T, ReadError> {
        row::read(&self.record.value).map_err(|cause| ReadError::Row {
            table: self.table.as_ref().to_owned(),
            key: self.key.clone(),
            cause: Box::new(cause),
        })
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.record.removed
    }
}

/// An iterator over rows in key order, from [`Table::iter`].
pub struct Rows<T> {
    table: Table<T>,
    from: Bound<String>,
    to: Bound<String>,
    page: VecDeque<(String, Result<Row<T>, ReadError>)>,
    done: bool,
}

impl<T> Rows<T> {
    /// All rows of a table.
    pub(super) fn new(table: Table<T>) -> Self {
        Self { table, from: Bound::Unbounded, to: Bound::Unbounded, page: VecDeque::new(), done: false }
    }

    /// Restricts the iterator to keys in this range, in byte order.
    #[must_use]
    pub fn range<'k>(mut self, keys: impl RangeBounds<&'k str>) -> Self {
        let owned = |bound: Bound<&&'k str>| bound.map(|key| (*key).to_owned());
        self.from = owned(keys.start_bound());
        self.to = owned(keys.end_bound());
        self
    }
}

impl<T: Serialize + DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<Row<T>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.page.pop_front() {
                Some((_, Ok(row))) if row.is_removed() => {}
                Some((_, row)) => return Some(row),
                None if self.done => return None,
                None => {
                    let (from, to) =
                        (self.from.as_ref().map(String::as_str), self.to.as_ref().map(String::as_str));
                    match self.table.page(from, to, PAGE_ROWS) {
                        Ok(page) => {
                            self.done = page.len() < PAGE_ROWS;
                            if let Some((last, _)) = page.last() {
                                self.from = Bound::Excluded(last.clone());
                            }
                            self.page = page.into();
                        }
                        Err(error) => {
                            self.done = true;
                            return Some(Err(error));
                        }
                    }
                }
            }
        }
    }
}
