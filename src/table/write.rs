//! Writes rows: each write is an edit of the stored row, made again while another device moves that row.

use std::collections::BTreeMap;

use actors::edit::RowEdit as Edit;
use actors::node::group::documents::{CommitError, RowWrite};
use actors::node::group::rows::{self, RowRecord};
use schema::ChangeHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RowEdit, Table, row};
use crate::error::{ReadError, WriteError};

/// Retries of a write whose row another device's change moved meanwhile.
const RETRIES_MAX: usize = 64;

/// The result of [`Table::put_many`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct PutMany {
    /// Number of rows created or changed.
    pub written: usize,
    /// Number of rows that were equal already.
    pub unchanged: usize,
}

impl<T> Table<T> {
    /// Removes a row; returns false if there was none. The removal wins over concurrent writes, and the row's
    /// history stays.
    ///
    /// # Errors
    /// [`WriteError::Commit`] if this user may not write.
    pub async fn remove(&self, key: &str) -> Result<bool, WriteError> {
        if self.stored(key)?.is_none_or(|row| row.removed) {
            return Ok(false);
        }
        self.commit(vec![self.write(key, Edit::remove(), None)]).await?;
        Ok(true)
    }

    fn write(&self, key: &str, edit: Edit, expect: Option<Vec<ChangeHash>>) -> RowWrite {
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
    /// Adds a row under a new key and returns the key: a UUIDv7 as text, which sorts by time of creation.
    ///
    /// # Errors
    /// [`WriteError::Value`] if the row cannot be stored, [`WriteError::Commit`] if this user may not write.
    pub async fn insert(&self, row: &T) -> Result<String, WriteError> {
        let key = self.node.clock().uuid_v7();
        self.put(&key, row).await?;
        Ok(key)
    }

    /// Adds rows under new keys and returns the keys. This device commits all of them or none; other devices
    /// may receive them one by one.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
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

    /// Creates or replaces a row. Only the fields that differ are written, so that concurrent changes of
    /// other fields merge.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); [`WriteError::Read`] for an invalid key.
    pub async fn put(&self, key: &str, row: &T) -> Result<(), WriteError> {
        self.retry(key, |stored| {
            let (value, removed) = stored.map_or((None, false), |row| (Some(&row.value), row.removed));
            row::put(value, removed, row).map(Some).map_err(|cause| self.value_error(key, cause))
        })
        .await
        .map(drop)
    }

    /// Creates or replaces rows in one commit: all or none on this device. As with [`put`](Self::put) only
    /// the fields that differ are written, and equal rows cost nothing, so that an import may be repeated. If
    /// a key occurs twice, the later row counts.
    ///
    /// The rows are in memory together, and other writers of the group wait meanwhile: write thousands in
    /// parts of some hundreds.
    ///
    /// ```
    /// # use peerbase::{Node, TableName, table::PutMany};
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
    /// As [`put`](Self::put).
    pub async fn put_many(&self, rows: &[(String, T)]) -> Result<PutMany, WriteError> {
        let rows: BTreeMap<&str, &T> = rows.iter().map(|(key, row)| (key.as_str(), row)).collect();
        let mut locks = Vec::with_capacity(rows.len());
        // In key order, or two writers of the same rows could wait for each other.
        for key in rows.keys() {
            rows::check_place(self.name(), key).map_err(ReadError::from)?;
            locks.push(self.group.lock_row(self.name(), key).await);
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

    /// Creates a row unless there is one under the key already; returns false if there is.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_if_absent(&self, key: &str, row: &T) -> Result<bool, WriteError> {
        self.retry(key, |stored| match stored {
            Some(stored) if !stored.removed => Ok(None),
            stored => row::put(stored.map(|row| &row.value), stored.is_some(), row)
                .map(Some)
                .map_err(|cause| self.value_error(key, cause)),
        })
        .await
    }

    /// Reads a row, lets `change` change it, and writes the fields that differ. `change` runs in this task,
    /// and again each time that the row has moved meanwhile.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if there is no such row; else as [`put`](Self::put).
    pub async fn update(&self, key: &str, mut change: impl FnMut(&mut T)) -> Result<(), WriteError> {
        self.retry(key, |stored| self.changed(key, stored, &mut change).map(Some)).await.map(drop)
    }

    /// Changes a row if it still has the given heads.
    ///
    /// ```
    /// # use peerbase::{Node, TableName, WriteError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let group = Node::in_memory().await?.create_group("Garden club").await?;
    /// # let notes = group.table(TableName::<String>::new("notes"));
    /// # notes.put("a", &"basil".to_owned()).await?;
    /// let row = notes.get_row("a")?.expect("there is a row");
    /// notes.update("a", |note| note.push('!')).await?; // somebody else
    /// let refused = notes.update_if("a", row.heads(), |note| note.push('?')).await;
    /// assert!(matches!(refused, Err(WriteError::Moved { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`WriteError::Moved`] if it has other heads; else as [`update`](Self::update).
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

    /// Edits a row below its fields: splices of texts, increments of counters, operations on list elements.
    /// `record` runs in this task, and again each time that the row has moved meanwhile.
    ///
    /// The edited row must still be one of type `T`.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if there is no such row, [`WriteError::Value`] if the edit does not fit it.
    pub async fn edit(&self, key: &str, mut record: impl FnMut(&mut RowEdit)) -> Result<(), WriteError> {
        self.retry(key, |stored| {
            let stored = self.present(key, stored)?;
            let mut recorded = RowEdit::default();
            record(&mut recorded);
            let edit = recorded.finish().and_then(|edit| row::checked::<T>(&stored.value, edit));
            edit.map(Some).map_err(|cause| self.value_error(key, cause))
        })
        .await
        .map(drop)
    }

    /// Reads the row, makes an edit of it, and commits the edit; starts over while the row has moved
    /// meanwhile. Without an edit it returns false.
    async fn retry(
        &self,
        key: &str,
        mut edit: impl FnMut(Option<&RowRecord>) -> Result<Option<Edit>, WriteError>,
    ) -> Result<bool, WriteError> {
        let _lock = self.group.lock_row(self.name(), key).await;
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
    ) -> Result<Edit, WriteError> {
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
}
