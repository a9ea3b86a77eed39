//! Typed rows of one group, and how they merge.
//!
//! A [`Table`] reads, writes and follows rows of one type, which needs serde alone. The fields of a struct
//! are the fields of the row, by their serde names. A write stores only what differs from the stored row, so
//! that writes of several devices to one row merge.
//!
//! # Merging by type
//!
//! | field | two devices change it at the same time |
//! |---|---|
//! | `String`, numbers, `bool`, `Vec<u8>` | a *register*: one value stays, on every device the same one |
//! | [`Text`] | both edits stay; insertions at one position stand one after the other |
//! | [`Counter`] | both increments count |
//! | struct; `BTreeMap` and other maps | field by field and entry by entry, each as its own type merges |
//! | `Vec<T>` | insertions and removals of both stay; a changed element merges as its own type |
//! | `BTreeSet<T>` | a list in order: insertions and removals of both stay |
//! | tuple, array; enum; `serde_json::Value` | a register, whole: parts of two values are never mixed |
//! | `Option<T>` | `None` against `Some` is a register; two values `Some` merge as `T` does |
//!
//! - A write that changes elements of a list and its length replaces all elements from the first to the last
//!   difference.
//! - A field or entry that is deleted by one device and changed inside by another is gone; one that is
//!   deleted by one and put by another stays.
//! - [`Table::remove`] wins over concurrent writes to the row. A later [`put`](Table::put) creates the row
//!   again.
//! - Two devices that create one key offline make one row. Its registers merge field by field; of two texts,
//!   counters, lists or maps created for one field, one stays whole. Keys from [`Table::insert`] never meet.
//! - Rows whose type is no struct or map (`String`, an enum, a list) merge as a field of that type does.
//! - Fields that a newer version of the program wrote stay when an older version updates the row.
//! - **No merge of valid rows yields a row that does not decode.** Three cases remain to the programmer: a
//!   type whose fields constrain each other, `#[serde(alias)]` while programs write both names, and flattened
//!   enums. A `HashSet` is written in another order each time, so use `BTreeSet`.
//!
//! ```
//! # use peerbase::{Counter, TableName, Text, sim::Net};
//! #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct Note { title: String, body: Text, likes: Counter, tags: Vec<String> }
//! const NOTES: TableName<Note> = TableName::new("notes");
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! # let mut net = Net::seeded(1);
//! # let [ada, ben] = net.nodes(["ada", "ben"]).await;
//! # let group = net.group("Garden club", &[&ada, &ben]).await;
//! # let notes = |peer: &peerbase::sim::Peer| peer.node().group(group).unwrap().table(NOTES);
//! # let (ada_notes, ben_notes) = (notes(&ada), notes(&ben));
//! # let note = Note { title: "basil".into(), body: "water it".into(), likes: 0.into(), tags: vec![] };
//! # ada_notes.put("a", &note).await.unwrap();
//! # net.settle().await;
//! # net.partition(&[&[&ada], &[&ben]]);
//! // Both are offline.
//! ada_notes.update("a", |note| { note.body.push_str(" daily"); note.likes.increment(1); }).await.unwrap();
//! ben_notes.update("a", |note| { note.title = "Basil".into(); note.likes.increment(1); }).await.unwrap();
//! # net.heal();
//! # net.settle().await;
//! // They met again.
//! let merged = Note { title: "Basil".into(), body: "water it daily".into(), likes: 2.into(), tags: vec![] };
//! assert_eq!(ada_notes.get("a").unwrap(), Some(merged));
//! # }
//! ```

pub(crate) mod counter;
mod edit;
pub(crate) mod history;
mod iter;
mod name;
#[doc(hidden)] // for the fuzz targets
pub mod row;
pub(crate) mod text;
mod watch;
mod write;

use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

#[doc(inline)]
pub use actors::edit::{Part, Path};
use actors::node::group::GroupHandle;
use actors::node::group::rows::{self, RowRecord};
use actors::node::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::counter::Counter;
pub use self::edit::RowEdit;
pub use self::history::Revision;
pub(crate) use self::iter::PAGE_ROWS;
pub use self::iter::{Row, Rows};
pub use self::name::TableName;
pub use self::text::Text;
pub use self::watch::{RowChange, Watch};
pub use self::write::PutMany;
use crate::error::ReadError;
use crate::node::Node;

/// A named set of rows of one group, from [`Group::table`](crate::Group::table). Cheap to clone.
///
/// Keys are 1 to 512 bytes of UTF-8. Reads are local and synchronous; they may touch the disk, so long scans
/// belong on a blocking thread. Writes return once they are on the disk, unless the node has another
/// [`Durability`](crate::Durability).
///
/// ```
/// # use peerbase::{Node, TableName};
/// # #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// # struct Task { title: String, done: bool }
/// # const TASKS: TableName<Task> = TableName::new("tasks");
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let group = Node::in_memory().await?.create_group("Garden club").await?;
/// let tasks = group.table(TASKS);
/// let key = tasks.insert(&Task { title: "water the basil".into(), done: false }).await?;
/// tasks.update(&key, |task| task.done = true).await?;
/// for row in tasks.iter() {
///     let row = row?;
///     println!("{}: {}", row.key(), row.value()?.title);
/// }
/// assert!(tasks.remove(&key).await?);
/// # Ok(())
/// # }
/// ```
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

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn stored(&self, key: &str) -> Result<Option<RowRecord>, ReadError> {
        rows::check_place(self.name(), key)?;
        let Some(bytes) = self.group.space().get(&rows::row_key(self.name(), key))? else { return Ok(None) };
        RowRecord::decode(&bytes).map(Some).map_err(ReadError::Damaged)
    }

    /// Lists the changes of a row with author and time, oldest first; empty if there is no such row.
    ///
    /// It loads the row's document and so takes longer than a read.
    ///
    /// # Errors
    /// [`ReadError::Name`] for an invalid key, [`ReadError::Call`] if the group does not answer.
    pub async fn history(&self, key: &str) -> Result<Vec<Revision>, ReadError> {
        rows::check_place(self.name(), key)?;
        let revisions = self.group.history(self.name().to_owned(), key.to_owned()).await??;
        let roster = self.node.handle().membership().roster(self.group.id());
        Ok(revisions.into_iter().map(|revision| Revision::of(revision, roster.as_deref())).collect())
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// Reads the row under a key; none if there is no such row.
    ///
    /// # Errors
    /// [`ReadError::Row`] if it does not decode into the row type.
    pub fn get(&self, key: &str) -> Result<Option<T>, ReadError> {
        match self.stored(key)? {
            Some(row) if !row.removed => {
                Row::<T>::new(self.name.clone(), key.to_owned(), row).value().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Reads the row under a key with its heads, for [`Table::update_if`].
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read; decoding follows in [`Row::value`].
    pub fn get_row(&self, key: &str) -> Result<Option<Row<T>>, ReadError> {
        let row = self.stored(key)?.filter(|row| !row.removed);
        Ok(row.map(|row| Row::new(self.name.clone(), key.to_owned(), row)))
    }

    /// Iterates over the rows in key order, page by page: a row that changes meanwhile may appear as before
    /// or after.
    ///
    /// ```
    /// # use peerbase::{Node, TableName};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let group = Node::in_memory().await?.create_group("Diary").await?;
    /// # let diary = group.table(TableName::<String>::new("days"));
    /// # diary.put("2026-11-22", &"rain".to_owned()).await?;
    /// for row in diary.iter().range("2026-".."2027-") {
    ///     let row = row?; // a row that cannot be read is an error of that row alone
    ///     println!("{}: {}", row.key(), row.value()?);
    /// }
    /// # assert_eq!(diary.iter().range("2026-".."2027-").count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> Rows<T> {
        Rows::new(self.clone())
    }

    /// Reads all rows that decode, in key order, as of one moment. [`Table::unreadable`] lists the rest.
    ///
    /// # Errors
    /// [`ReadError::Store`] if the store fails; a row that does not decode is no error here.
    pub fn list(&self) -> Result<Vec<(String, T)>, ReadError> {
        let rows = self.page(Bound::Unbounded, Bound::Unbounded, usize::MAX)?;
        let present = rows.into_iter().filter_map(|(_, row)| row.ok().filter(|row| !row.is_removed()));
        Ok(present.filter_map(|row| Some((row.key().to_owned(), row.value().ok()?))).collect())
    }

    /// Lists the errors of the rows that do not decode into the row type.
    ///
    /// # Errors
    /// [`ReadError::Store`] if the store fails.
    pub fn unreadable(&self) -> Result<Vec<ReadError>, ReadError> {
        let rows = self.page(Bound::Unbounded, Bound::Unbounded, usize::MAX)?;
        let present = rows
            .into_iter()
            .map(|(_, row)| row)
            .filter(|row| row.as_ref().map_or(true, |row| !row.is_removed()));
        Ok(present.filter_map(|row| row.and_then(|row| row.value().map(drop)).err()).collect())
    }

    /// Follows the changes of the table, local and remote, from now on.
    pub fn watch(&self) -> Watch<T> {
        Watch::new(self.clone(), self.group.rows())
    }

    /// Reads up to `count` rows between two keys as of one moment, removed ones included.
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

/// Rows by key; each can be read or is an error.
type Page<T> = Vec<(String, Result<Row<T>, ReadError>)>;
