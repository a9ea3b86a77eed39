//! One group: its tables, its members, whether it is in sync.

mod explain;
pub(crate) mod members;
pub(crate) mod people;

use std::ops::Bound;
use std::time::Duration;

use actors::node::group::rows::{self, RowRecord};
use actors::node::group::{GroupHandle, GroupStatus};
use actors::node::membership::GroupState;
use actors::node::store::{StoreError, View};
use schema::ledger::Role;
use schema::{DeviceId, GroupId};

pub use self::explain::{Explanation, RowState};
use crate::GroupInfo;
use crate::error::{GroupError, ReadError, SyncError};
use crate::node::Node;
use crate::table::{Table, TableName};

/// Rows that a page of a count reads under the store's lock.
const PAGE_ROWS: usize = 256;

/// A database with members. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    node: Node,
    handle: GroupHandle,
}

/// Who was in sync when a wait for it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Synced {
    /// The devices, at least one.
    pub with: Vec<DeviceId>,
}

impl Group {
    pub(crate) fn new(node: Node, handle: GroupHandle) -> Self {
        Self { node, handle }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The group's id: the hash of its founding record.
    pub fn id(&self) -> GroupId {
        self.handle.id()
    }

    /// Name, state and this user's role.
    pub fn info(&self) -> GroupInfo {
        self.node.handle().membership().info(self.id()).unwrap_or(GroupInfo {
            id: self.id(),
            name: String::new(),
            state: GroupState::Removed,
            role: Role::None,
            offered_by: None,
        })
    }

    /// A named set of rows.
    pub fn table<T>(&self, name: TableName<T>) -> Table<T> {
        Table::new(self.node.clone(), self.handle.clone(), name.name())
    }

    /// A named set of rows whose name is known at run time: 1 to 64 bytes without NUL, not beginning with `$`.
    ///
    /// Rows of any shape are maps of JSON values:
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use peerbase::Node;
    /// # use serde_json::{Value, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let group = Node::in_memory().await?.create_group("Travellers").await?;
    /// let airports = group.table_named::<BTreeMap<String, Value>>("airports")?;
    /// let row = [("city".to_owned(), json!("Seattle")), ("runways".to_owned(), json!([16, 34]))];
    /// airports.put("SEA", &row.into()).await?;
    ///
    /// assert_eq!(group.tables()?, [("airports".to_owned(), 1)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReadError::Place`] for a name that cannot be one.
    pub fn table_named<T>(&self, name: &str) -> Result<Table<T>, ReadError> {
        rows::check_open_table(name)?;
        Ok(Table::new(self.node.clone(), self.handle.clone(), name))
    }

    /// The tables that have rows, by name, and how many each has; the database's own are left out.
    ///
    /// Counting reads every row, in pages: rows that are written meanwhile may be counted or not.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails.
    pub fn tables(&self) -> Result<Vec<(String, usize)>, ReadError> {
        let mut tables: Vec<(String, usize)> = Vec::new();
        let (mut from, to) = rows::tables_behind(None);
        loop {
            let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            let page = |view: &View<'_>| view.scan(bounds.0, bounds.1).take(PAGE_ROWS).collect::<Vec<_>>();
            let page = self.handle.space().read(page)?;
            let Some(last) = page.len().checked_sub(1) else { return Ok(tables) };
            for (at, entry) in page.into_iter().enumerate() {
                let (key, present) = match entry {
                    // Rows that cannot be read are there: whoever reads them hears why not.
                    Ok((key, row)) => (key, RowRecord::decode(&row).map_or(true, |row| !row.removed)),
                    Err(StoreError::Damaged { key, .. }) => (key, true),
                    Err(error) => return Err(error.into()),
                };
                let table = rows::decode_table(&key).map_err(ReadError::Damaged)?;
                if rows::is_reserved(&table) {
                    from = rows::tables_behind(Some(&table)).0;
                    break;
                }
                match tables.last_mut().filter(|(last, _)| *last == table) {
                    Some((_, count)) => *count += usize::from(present),
                    None if present => tables.push((table, 1)),
                    None => {}
                }
                if at == last {
                    from = Bound::Excluded(key);
                }
            }
        }
    }

    /// Stops taking part, on all devices of this user: nothing of the group is sent or received any more, and
    /// [`Node::group`] knows it no longer. Handles of the group go on reading what is there, and write nothing.
    ///
    /// What was received stays on the disk; the other members are told nothing, and still count this user as one of
    /// them: an Admin may remove it. [`Node::request_group`] or a ticket takes the user back in, to all that was there.
    ///
    /// # Errors
    /// [`GroupError::Personal`] for the personal group, [`GroupError::Unknown`] when it was left before,
    /// [`GroupError::Change`] when others are in it and nobody else is in charge: make one of them an Admin, or remove
    /// them.
    pub async fn leave(&self) -> Result<(), GroupError> {
        self.node.leave(self.id()).await
    }

    pub(crate) fn table_reserved<T>(&self, name: TableName<T>) -> Table<T> {
        self.table(name)
    }

    /// Waits until this device and every connected device of the group have equal rows.
    ///
    /// # Errors
    /// [`SyncError::NobodyConnected`], [`SyncError::Silent`] or [`SyncError::Behind`] at the deadline: never vacuously true.
    pub async fn synced(&self, timeout: Duration) -> Result<Synced, SyncError> {
        let mut peers = self.handle.peers();
        let all = self.node.clock().timeout(timeout, async {
            loop {
                let now = peers.borrow_and_update().clone();
                if !now.is_empty() && now.iter().all(|peer| peer.synced) {
                    return now;
                }
                if peers.changed().await.is_err() {
                    return Vec::new();
                }
            }
        });
        match all.await {
            Ok(peers) if !peers.is_empty() => {
                Ok(Synced { with: peers.into_iter().map(|peer| peer.device).collect() })
            }
            _ => Err(self.behind().await),
        }
    }

    async fn behind(&self) -> SyncError {
        let peers = self.handle.peers().borrow().clone();
        if peers.is_empty() {
            let silent = self.node.handle().membership().silent(self.id()).await.unwrap_or_default();
            let with: Vec<_> = silent.into_iter().map(|silent| silent.device).collect();
            return if with.is_empty() { SyncError::NobodyConnected } else { SyncError::Silent { with } };
        }
        let with = peers.iter().filter(|peer| !peer.synced).map(|peer| peer.device).collect();
        SyncError::Behind { with, connected: peers.len() }
    }

    /// What the group has and what is wrong with it.
    ///
    /// # Errors
    /// [`GroupError::Call`] when the group does not answer.
    pub async fn status(&self) -> Result<GroupStatus, GroupError> {
        Ok(self.handle.status().await?)
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.id().short())
    }
}
