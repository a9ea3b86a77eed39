//! Typed rows of one group: read, insert, put, update, remove, watch.

pub(crate) mod counter;
pub(crate) mod history;
#[doc(hidden)] // for the fuzz targets
pub mod row;
pub(crate) mod text;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

#[doc(inline)]
pub use actors::edit::RowEdit;
use actors::node::group::GroupHandle;
use actors::node::group::documents::{CommitError, RowWrite};
use actors::node::group::rows::{self, RowRecord};
use actors::node::store::StoreError;
use schema::ChangeHash;
use schema::limits::TABLE_NAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::counter::Counter;
pub use self::history::Revision;
pub use self::text::Text;
pub use self::watch::{RowChange, Watch};
use crate::error::{ReadError, WriteError};
use crate::node::Node;

/// Rows that one page of an iteration reads under the store's lock.
const PAGE_ROWS: usize = 256;
/// How often a write is tried again because another device's change moved the row meanwhile.
const RETRIES_MAX: usize = 64;

/// The name of a table and the type of its rows.
#[derive(Debug)]
pub struct TableName<T> {
    name: &'static str,
    rows: PhantomData<fn() -> T>,
}

impl<T> TableName<T> {
    /// Names a table: 1 to 64 bytes without NUL, not beginning with `$`.
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

    /// The name as text.
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

/// A named set of rows of one group. Cheap to clone.
///
/// Reads are local and synchronous and never load a document; they may touch the disk, so long scans belong on a
/// blocking thread. Writes answer once they are durable.
pub struct Table<T> {
    node: Node,
    group: GroupHandle,
    name: Arc<str>,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            group: self.group.clone(),
            name: self.name.clone(),
            rows: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({:?} of {})", self.name(), self.group.id().short())
    }
}

impl<T> Table<T> {
    pub(crate) fn new(node: Node, group: GroupHandle, name: &str) -> Self {
        Self { node, group, name: name.into(), rows: PhantomData }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn stored(&self, key: &str) -> Result<Option<RowRecord>, ReadError> {
        rows::check_place(self.name(), key)?;
        let Some(bytes) = self.group.space().get(&rows::row_key(self.name(), key))? else { return Ok(None) };
        RowRecord::decode(&bytes).map(Some).map_err(ReadError::Damaged)
    }

    /// Removes a row: it stays in the history and wins over concurrent edits. `false` when there was none.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn remove(&self, key: &str) -> Result<bool, WriteError> {
        if self.stored(key)?.is_none_or(|row| row.removed) {
            return Ok(false);
        }
        self.commit(vec![self.write(key, RowEdit::remove(), None)]).await?;
        Ok(true)
    }

    /// Who changed a row and when, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(&self, key: &str) -> Result<Vec<Revision>, ReadError> {
        rows::check_place(self.name(), key)?;
        let revisions = self.group.history(self.name().to_owned(), key.to_owned()).await??;
        let roster = self.node.handle().membership().roster(self.group.id());
        Ok(revisions.into_iter().map(|revision| Revision::of(revision, roster.as_deref())).collect())
    }

    fn write(&self, key: &str, edit: RowEdit, expect: Option<Vec<ChangeHash>>) -> RowWrite {
        RowWrite { table: self.name().to_owned(), key: key.to_owned(), edit, expect }
    }

    async fn commit(&self, writes: Vec<RowWrite>) -> Result<Vec<Vec<ChangeHash>>, WriteError> {
        self.group.commit(writes).await?.map_err(|error| match error {
            CommitError::Moved { table, key } => WriteError::Moved { table, key },
            other => WriteError::Commit(other),
        })
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// The row under a key.
    ///
    /// # Errors
    /// [`ReadError::Row`] when it does not decode into the row type.
    pub fn get(&self, key: &str) -> Result<Option<T>, ReadError> {
        match self.stored(key)? {
            Some(row) if !row.removed => {
                Row::<T>::new(self.name.clone(), key.to_owned(), row).value().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The row under a key with its heads, for [`Table::update_if`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get_row(&self, key: &str) -> Result<Option<Row<T>>, ReadError> {
        let row = self.stored(key)?.filter(|row| !row.removed);
        Ok(row.map(|row| Row::new(self.name.clone(), key.to_owned(), row)))
    }

    /// All rows in key order, read in pages: rows that change meanwhile may be seen as they were or as they are.
    pub fn iter(&self) -> Rows<T> {
        Rows {
            table: self.clone(),
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            page: VecDeque::new(),
            done: false,
        }
    }

    /// All rows that decode, in key order, as of one moment. [`Table::unreadable`] names the rest.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails; a row that does not decode is no error here.
    pub fn list(&self) -> Result<Vec<(String, T)>, ReadError> {
        let rows = self.page(Bound::Unbounded, Bound::Unbounded, usize::MAX)?;
        let present = rows.into_iter().filter_map(|(_, row)| row.ok().filter(|row| !row.is_removed()));
        Ok(present.filter_map(|row| Some((row.key().to_owned(), row.value().ok()?))).collect())
    }

    /// The rows that do not decode into the row type, and why.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails.
    pub fn unreadable(&self) -> Result<Vec<ReadError>, ReadError> {
        let rows = self.page(Bound::Unbounded, Bound::Unbounded, usize::MAX)?;
        let present = rows
            .into_iter()
            .map(|(_, row)| row)
            .filter(|row| row.as_ref().map_or(true, |row| !row.is_removed()));
        Ok(present.filter_map(|row| row.and_then(|row| row.value().map(drop)).err()).collect())
    }

    /// Adds a row under a new key, which sorts by time (UUIDv7).
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn insert(&self, row: &T) -> Result<String, WriteError> {
        let key = self.node.clock().uuid_v7();
        self.put(&key, row).await?;
        Ok(key)
    }

    /// Adds rows under new keys in one commit: all or none on this device.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn insert_many(&self, new: &[T]) -> Result<Vec<String>, WriteError> {
        let mut keys = Vec::with_capacity(new.len());
        let mut writes = Vec::with_capacity(new.len());
        for value in new {
            let key = self.node.clock().uuid_v7();
            let edit = row::put(None, false, value).map_err(|cause| self.value_error(&key, cause))?;
            writes.push(self.write(&key, edit, None));
            keys.push(key);
        }
        self.commit(writes).await?;
        Ok(keys)
    }

    /// Writes a row, new or not: only the fields that differ, so that concurrent changes of other fields merge.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put(&self, key: &str, row: &T) -> Result<(), WriteError> {
        self.retry(key, |stored| {
            let (value, removed) = stored.map_or((None, false), |row| (Some(&row.value), row.removed));
            row::put(value, removed, row).map(Some).map_err(|cause| self.value_error(key, cause))
        })
        .await
        .map(drop)
    }

    /// Writes rows, new or not, in one commit: all or none on this device. As with [`put`](Self::put) only what differs
    /// is written, and rows that are equal already cost nothing: the same import may be repeated. Of a key that
    /// occurs twice the later row counts.
    ///
    /// The rows lie in memory together, and others who write to the group wait meanwhile: bring thousands in parts of
    /// some hundreds.
    ///
    /// ```
    /// # use peerbase::{Node, PutMany, TableName};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let garden = Node::in_memory().await?.create_group("Garden club").await?;
    /// let plants = garden.table(TableName::<String>::new("plants"));
    /// let rows = [("a".to_owned(), "basil".to_owned()), ("b".to_owned(), "thyme".to_owned())];
    ///
    /// assert_eq!(plants.put_many(&rows).await?, PutMany { written: 2, unchanged: 0 });
    /// assert_eq!(plants.put_many(&rows).await?, PutMany { written: 0, unchanged: 2 });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written unless it is [`WriteError::Call`].
    pub async fn put_many(&self, rows: &[(String, T)]) -> Result<PutMany, WriteError> {
        let rows: BTreeMap<&str, &T> = rows.iter().map(|(key, row)| (key.as_str(), row)).collect();
        let mut turns = Vec::with_capacity(rows.len());
        // In the order of the keys: two who write the same rows must not wait for each other.
        for key in rows.keys() {
            rows::check_place(self.name(), key).map_err(ReadError::from)?;
            turns.push(self.group.turn(self.name(), key).await);
        }
        let mut retries = 0..RETRIES_MAX;
        loop {
            let mut writes = Vec::with_capacity(rows.len());
            for (key, row) in &rows {
                let stored = self.stored(key)?;
                let (value, removed) =
                    stored.as_ref().map_or((None, false), |row| (Some(&row.value), row.removed));
                let edit = row::put(value, removed, *row).map_err(|cause| self.value_error(key, cause))?;
                if !edit.is_empty() {
                    let heads = stored.map(|row| row.heads).unwrap_or_default();
                    writes.push(self.write(key, edit, Some(heads)));
                }
            }
            let done = PutMany { written: writes.len(), unchanged: rows.len() - writes.len() };
            if writes.is_empty() {
                return Ok(done);
            }
            match self.commit(writes).await {
                Ok(_) => return Ok(done),
                Err(WriteError::Moved { .. }) if retries.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes a row unless there is one; `false` when there is.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_if_absent(&self, key: &str, row: &T) -> Result<bool, WriteError> {
        self.retry(key, |stored| match stored {
            Some(stored) if !stored.removed => Ok(None),
            stored => row::put(stored.map(|row| &row.value), stored.is_some(), row)
                .map(Some)
                .map_err(|cause| self.value_error(key, cause)),
        })
        .await
    }

    /// Changes a row. `change` runs here, again when the row moved meanwhile.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] when there is no such row.
    pub async fn update(&self, key: &str, mut change: impl FnMut(&mut T)) -> Result<(), WriteError> {
        self.retry(key, |stored| self.changed(key, stored, &mut change).map(Some)).await.map(drop)
    }

    /// Changes a row that still has the given heads.
    ///
    /// # Errors
    /// [`WriteError::Moved`] when it has others.
    pub async fn update_if(
        &self,
        key: &str,
        heads: &[ChangeHash],
        change: impl FnOnce(&mut T),
    ) -> Result<(), WriteError> {
        let mut change = Some(change);
        let stored = self.stored(key)?;
        if stored.as_ref().is_some_and(|row| row.heads != heads) {
            return Err(self.moved(key));
        }
        let edit = self.changed(key, stored.as_ref(), &mut |row| {
            if let Some(change) = change.take() {
                change(row);
            }
        })?;
        self.commit(vec![self.write(key, edit, Some(heads.to_vec()))]).await.map(drop)
    }

    /// Records edits of a row below its fields: splices of texts, counters, list elements.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] when there is no such row, [`WriteError::Value`] when the edit does not fit it.
    pub async fn edit(&self, key: &str, mut record: impl FnMut(&mut RowEdit)) -> Result<(), WriteError> {
        self.retry(key, |stored| {
            let stored = self.present(key, stored)?;
            let mut edit = RowEdit::default();
            record(&mut edit);
            row::checked::<T>(&stored.value, edit).map(Some).map_err(|cause| self.value_error(key, cause))
        })
        .await
        .map(drop)
    }

    /// Follows the table from now on.
    pub fn watch(&self) -> Watch<T> {
        Watch::new(self.clone(), self.group.rows())
    }

    /// Reads the row, makes an edit of it and commits that, until the row stays put. `None` means: nothing to do.
    async fn retry(
        &self,
        key: &str,
        mut edit: impl FnMut(Option<&RowRecord>) -> Result<Option<RowEdit>, WriteError>,
    ) -> Result<bool, WriteError> {
        let _turn = self.group.turn(self.name(), key).await;
        for _ in 0..RETRIES_MAX {
            let stored = self.stored(key)?;
            let Some(edit) = edit(stored.as_ref())? else { return Ok(false) };
            let heads = stored.map(|row| row.heads).unwrap_or_default();
            match self.commit(vec![self.write(key, edit, Some(heads))]).await {
                Ok(_) => return Ok(true),
                Err(WriteError::Moved { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.moved(key))
    }

    fn changed(
        &self,
        key: &str,
        stored: Option<&RowRecord>,
        change: &mut impl FnMut(&mut T),
    ) -> Result<RowEdit, WriteError> {
        let stored = self.present(key, stored)?;
        let mut row: T = row::read(&stored.value).map_err(|cause| self.row_error(key, cause))?;
        change(&mut row);
        row::put(Some(&stored.value), false, &row).map_err(|cause| self.value_error(key, cause))
    }

    fn present<'r>(&self, key: &str, stored: Option<&'r RowRecord>) -> Result<&'r RowRecord, WriteError> {
        let not_found = || WriteError::NotFound { table: self.name().to_owned(), key: key.to_owned() };
        stored.filter(|row| !row.removed).ok_or_else(not_found)
    }

    fn moved(&self, key: &str) -> WriteError {
        WriteError::Moved { table: self.name().to_owned(), key: key.to_owned() }
    }

    fn value_error(&self, key: &str, cause: row::RowError) -> WriteError {
        WriteError::Value { table: self.name().to_owned(), key: key.to_owned(), cause: cause.into() }
    }

    fn row_error(&self, key: &str, cause: row::RowError) -> ReadError {
        ReadError::Row { table: self.name().to_owned(), key: key.to_owned(), cause: cause.into() }
    }

    /// Up to `count` rows between two keys, as of one moment, removed ones included.
    fn page(&self, from: Bound<&str>, to: Bound<&str>, count: usize) -> Result<Page<T>, ReadError> {
        let (from, to) = rows::key_bounds(self.name(), from, to);
        let (from, to) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        let entries = self.group.space().read(|view| view.scan(from, to).take(count).collect::<Vec<_>>())?;
        let mut page = Vec::new();
        for entry in entries {
            // One damaged row is an error of that row alone.
            let (at, row) = match entry {
                Ok((at, value)) => (at, RowRecord::decode(&value).map_err(ReadError::Damaged)),
                Err(StoreError::Damaged { space, key }) => {
                    (key.clone(), Err(StoreError::Damaged { space, key }.into()))
                }
                Err(error) => return Err(error.into()),
            };
            let key = rows::decode_key(self.name(), &at).map_err(ReadError::Damaged)?;
            page.push((key.clone(), row.map(|record| Row::new(self.name.clone(), key, record))));
        }
        Ok(page)
    }
}

/// What [`Table::put_many`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct PutMany {
    /// Rows that are new or have changed.
    pub written: usize,
    /// Rows that were equal already.
    pub unchanged: usize,
}

/// Rows by key, each readable or not.
type Page<T> = Vec<(String, Result<Row<T>, ReadError>)>;

/// A row as it is stored; decoding it may fail, since rows are remote input.
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

    /// The row's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The heads of the row's document, sorted: what [`Table::update_if`] compares.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.record.heads
    }

    /// The row, decoded.
    ///
    /// # Errors
    /// [`ReadError::Row`] when it does not decode into the row type.
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

/// Rows in key order; see [`Table::iter`].
pub struct Rows<T> {
    table: Table<T>,
    from: Bound<String>,
    to: Bound<String>,
    page: VecDeque<(String, Result<Row<T>, ReadError>)>,
    done: bool,
}

impl<T> Rows<T> {
    /// Only rows with keys in this range.
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
