//! Groups, their members and invitations.
//!
//! A [`Group`] is a database with members. Its *ledger* is a log of signed ops; from it every device derives
//! the same *roster*: the members and their roles. [`Role`] lists what each role may do.
//!
//! | to | call |
//! |---|---|
//! | admit somebody with a ticket | [`Group::invite`], [`Node::join`] on their device |
//! | admit a user whose id is known | [`Group::add_member`]; [`Node::request_group`] on their device |
//! | change a role, remove somebody | [`Group::set_role`], [`Group::remove_member`] |
//! | revoke a lost device | [`Node::revoke_device`]; as an Admin, [`Group::revoke_device`] |
//! | see and follow the members | [`Group::members`], [`Group::members_table`] |
//! | undo an insider | [`RoleChange::as_of`], [`Group::voided`], [`Group::reissue`], [`Group::confirm`] |
//! | find out why a row is not there | [`Group::explain`], [`Group::status`] |

mod explain;
pub(crate) mod members;
mod members_table;
mod membership;

use std::ops::Bound;
use std::time::Duration;

use actors::node::group::GroupHandle;
#[doc(inline)]
pub use actors::node::group::cut::{DamagedDocument, DamagedRow};
#[doc(inline)]
pub use actors::node::group::documents::{
    Rejudged, SetAside, SetAsideTotal, Unmaterialised, UnmaterialisedReason,
};
use actors::node::group::rows::{self, RowRecord};
#[doc(inline)]
pub use actors::node::group::{GroupStatus, PeerStatus};
#[doc(inline)]
pub use actors::node::membership::{
    Declined, Flood, GroupInfo, GroupState, Invitation, MemberDevice, MemberOp, Silent,
};
use actors::node::store::{StoreError, View};
use schema::DeviceId;
use schema::GroupId;
#[doc(inline)]
pub use schema::document::Refusal;
#[doc(inline)]
pub use schema::gate::CutTarget;
#[doc(inline)]
pub use schema::ledger::{Contestable, InviteStatus, ManifestRef, OpAction, OpStatus, Role};
#[doc(inline)]
pub use schema::tip::Author;
#[doc(inline)]
pub use schema::wire::link::DeclineReason;
#[doc(inline)]
pub use schema::wire::ticket::Ticket;

pub use self::explain::{Explanation, RowState};
pub use self::members::Member;
pub use self::members_table::{MemberChange, MembersTable, MembersWatch};
pub use self::membership::{DeviceRevocation, Receipt, RoleChange};
use crate::error::{GroupError, ReadError, SyncError};
pub use crate::invite::InviteOptions;
use crate::node::Node;
use crate::table::{PAGE_ROWS, Table, TableName};

/// A database with members. Cheap to clone.
///
/// [`Node::create_group`], [`Node::join`] and [`Node::request_group`] make one; [`Node::group`] finds it
/// again by id.
#[derive(Clone)]
pub struct Group {
    node: Node,
    handle: GroupHandle,
}

/// The devices that were in sync when [`Group::synced`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Synced {
    /// The devices, at least one.
    pub with: Vec<DeviceId>,
    /// Rows that are equal on all sides, and whose newest changes this device does not show.
    pub unmaterialised: Vec<Unmaterialised>,
}

impl Group {
    pub(crate) fn new(node: Node, handle: GroupHandle) -> Self {
        Self { node, handle }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the group's id: the hash of its founding op, 32 bytes.
    pub fn id(&self) -> GroupId {
        self.handle.id()
    }

    /// Returns the group's name, its state, and this user's role.
    pub fn info(&self) -> GroupInfo {
        self.node.handle().membership().info(self.id()).unwrap_or(GroupInfo {
            id: self.id(),
            name: String::new(),
            state: GroupState::Removed,
            role: Role::None,
            offered_by: None,
        })
    }

    /// Returns a table, whether or not it has rows yet: tables need not be created.
    ///
    /// ```
    /// # use peerbase::{Node, TableName};
    /// const NOTES: TableName<String> = TableName::new("notes");
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let group = Node::in_memory().await?.create_group("Travellers").await?;
    /// let notes = group.table(NOTES);
    /// notes.put("today", &"pack the tent".to_owned()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn table<T>(&self, name: TableName<T>) -> Table<T> {
        Table::new(self.node.clone(), self.handle.clone(), name.name())
    }

    /// Returns a table whose name is known only at run time: 1 to 64 bytes of UTF-8 without NUL, not
    /// beginning with `$`.
    ///
    /// Rows of any shape can be read and written as maps of JSON values:
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
    /// [`ReadError::Name`] for an invalid name.
    pub fn table_named<T>(&self, name: &str) -> Result<Table<T>, ReadError> {
        rows::check_open_table(name)?;
        Ok(Table::new(self.node.clone(), self.handle.clone(), name))
    }

    /// Counts the rows of each table, in the order of the tables' names; the database's own tables are left
    /// out.
    ///
    /// This reads every row of the group, in pages, and so belongs on a blocking thread in a large group.
    /// Rows that are written meanwhile may be counted or not.
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
                    // A row that cannot be read exists all the same: reading it returns the reason.
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

    /// Ends taking part, on all devices of this user: nothing of the group is sent or received any more, and
    /// [`Node::group`] no longer finds it. Existing handles of the group still read, and write nothing.
    ///
    /// The rows stay on the disk. The other members are not notified and still list this user; an Admin may
    /// remove them. [`Node::request_group`] or a ticket brings the group back, with all of its rows.
    ///
    /// # Errors
    /// [`GroupError::Personal`] for the personal group, [`GroupError::Unknown`] after it was left,
    /// [`GroupError::Change`] if it has other members and none of them is an Admin: make one of them an
    /// Admin, or remove them.
    pub async fn leave(&self) -> Result<(), GroupError> {
        self.node.leave(self.id()).await
    }

    pub(crate) fn table_reserved<T>(&self, name: TableName<T>) -> Table<T> {
        self.table(name)
    }

    /// Waits until this device and every connected device of the group have equal rows; returns these
    /// devices.
    ///
    /// It succeeds only if at least one device is connected.
    ///
    /// # Errors
    /// After `timeout`: [`SyncError::NobodyConnected`], [`SyncError::Silent`],
    /// [`SyncError::Behind`] or [`SyncError::Materialising`].
    pub async fn synced(&self, timeout: Duration) -> Result<Synced, SyncError> {
        let mut peers = self.handle.peers();
        let all = self.node.clock().timeout(timeout, async {
            loop {
                let now = peers.borrow_and_update().clone();
                if !now.is_empty() && now.iter().all(|peer| peer.synced) {
                    // A group that starts again publishes its peers.
                    if let Ok(status) = self.handle.status().await
                        && status.materialising == 0
                    {
                        let with = now.into_iter().map(|peer| peer.device).collect();
                        return Some(Synced { with, unmaterialised: status.unmaterialised });
                    }
                }
                peers.changed().await.ok()?;
            }
        });
        match all.await {
            Ok(Some(synced)) => Ok(synced),
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
        let materialising = self.handle.status().await.map_or(0, |status| status.materialising);
        if materialising > 0 && peers.iter().all(|peer| peer.synced) {
            return SyncError::Materialising { rows: materialising };
        }
        let with = peers.iter().filter(|peer| !peer.synced).map(|peer| peer.device).collect();
        SyncError::Behind { with, connected: peers.len() }
    }

    /// Reports the number of rows, damaged documents, recent refusals, and changes set aside.
    ///
    /// # Errors
    /// [`GroupError::Call`] if the group does not answer.
    pub async fn status(&self) -> Result<GroupStatus, GroupError> {
        Ok(self.handle.status().await?)
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.id().short())
    }
}
