//! This device's open database: its identity, groups and links.
//!
//! [`Node::builder`] opens a database in a folder, [`Node::in_memory`] one without a disk. A node belongs to
//! one user and is one device of theirs; the first open makes both keys and the user's *personal group*,
//! which holds what the user decides on all their devices: the groups they take part in, the users they
//! block, their recovery key.
//!
//! | to | call |
//! |---|---|
//! | found a group, or find one again | [`Node::create_group`], [`Node::group`], [`Node::groups`] |
//! | join a group | [`Node::join`] with a ticket, [`Node::request_group`] with an id |
//! | be reached, reach others | [`Node::listen`], [`Node::connect`], [`NodeBuilder::advertise`] |
//! | follow events, notice the end | [`Node::events`], [`Node::closed`] |
//! | watch over the node | [`Node::status`] |
//! | revoke a lost device, block a user | [`Node::revoke_device`], [`Node::block`] |
//! | recover from stolen keys | [`Node::make_recovery`], [`NodeBuilder::restore_user`] |
//! | copy the database | [`Node::backup`] |

mod backup;
mod builder;
mod contacts;
mod devices;
mod recovery;
mod status;

use std::path::Path;
use std::sync::Arc;

use actors::clock::Clock;
use actors::identity::Identity;
#[doc(inline)]
pub use actors::meter::{MeterKind, MeterReading};
#[doc(inline)]
pub use actors::node::Branch;
use actors::node::NodeHandle;
#[doc(inline)]
pub use actors::node::connection_manager::{LinkEnd, LinkStatus};
#[doc(inline)]
pub use actors::node::end::{NodeEnd, Remedy};
#[doc(inline)]
pub use actors::node::event::Event;
use actors::node::group::INTENTS_TABLE;
#[doc(inline)]
pub use actors::node::membership::Device;
use actors::node::membership::{ChangeError, ChangeRefusal};
#[doc(inline)]
pub use actors::node::store::Durability;
use actors::node::store::OpenEngine;
#[doc(inline)]
pub use actors::transport::memory::MemoryNetwork;
use schema::limits::{GROUP_NAME_BYTES_MAX, GROUPS_MAX};
#[doc(inline)]
pub use schema::mnemonic::Mnemonic;
#[doc(inline)]
pub use schema::wire::link::ByeReason;
use schema::{DeviceId, GroupId, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use self::backup::Backup;
pub use self::builder::NodeBuilder;
pub use self::status::{EndedLink, GroupReport, NodeStatus, StuckActor};
use crate::error::{ConnectError, GroupError, OpenError};
use crate::group::{Group, GroupInfo, GroupState};
use crate::table::{Table, TableName};

/// The database, within a node's folder.
const DATABASE_FOLDER: &str = "db";
/// The device's secret keys, within a node's folder.
const IDENTITY_FILE: &str = "identity.key";

/// This device's open database: identity, groups, links. Cheap to clone.
///
/// Dropping the last clone loses no acknowledged write; [`Node::close`] also ends links and flushes.
///
/// ```
/// # use peerbase::Node;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path().join("ada");
/// let node = Node::builder(&folder).name("Ada's laptop").open().await?; // the first open makes the identity
/// let user = node.user_id();
/// node.close().await;
///
/// let node = Node::builder(&folder).open().await?;
/// assert_eq!(node.user_id(), user);
/// # node.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Node {
    handle: NodeHandle,
    device: DeviceId,
    name: Arc<str>,
    identity: Arc<Identity>,
    clock: Clock,
    /// Opens the databases of backups.
    engine: Arc<dyn OpenEngine>,
}

/// A row of the personal group: this user decided to take part in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    name: String,
    /// Milliseconds since the Unix epoch, by this device's clock.
    joined_ms: u64,
}

const INTENTS: TableName<Intent> = TableName::reserved(INTENTS_TABLE);

impl Node {
    /// Returns a builder for a database in a folder, which need not exist.
    pub fn builder(path: impl AsRef<Path>) -> NodeBuilder {
        NodeBuilder::new(Some(path.as_ref().to_owned()))
    }

    /// Returns a builder for a database in memory.
    pub fn in_memory_builder() -> NodeBuilder {
        NodeBuilder::new(None)
    }

    /// Opens a database in memory, which needs no disk and ends with the node.
    ///
    /// # Errors
    /// [`OpenError::Start`].
    pub async fn in_memory() -> Result<Self, OpenError> {
        Self::in_memory_builder().open().await
    }

    /// Returns the id of the user whose device this is.
    pub fn user_id(&self) -> UserId {
        self.handle.user()
    }

    /// Returns the id of this device.
    pub fn device_id(&self) -> DeviceId {
        self.device
    }

    /// Creates a group with this user as its founder, beneath the user's [recovery key](Self::make_recovery)
    /// if there is one. The name has at most 256 bytes of UTF-8; two groups may have the same.
    ///
    /// # Errors
    /// [`GroupError::Name`], [`GroupError::Full`]; [`GroupError::Recovery`] and [`GroupError::RecoveryUser`]
    /// if the recovery key cannot be read.
    pub async fn create_group(&self, name: &str) -> Result<Group, GroupError> {
        if name.len() > GROUP_NAME_BYTES_MAX {
            return Err(GroupError::Name { bytes: name.len(), max: GROUP_NAME_BYTES_MAX });
        }
        self.check_room()?;
        let recovery = self.recovery()?;
        let id = self.handle.membership().create(name.to_owned(), recovery).await?;
        self.intend(id, name).await
    }

    /// Asks to take part in a group by its id, and accepts one that is [offered](GroupState::Offered).
    ///
    /// The group is [pending](GroupState::Pending) until an Admin has [added](Group::add_member) this user
    /// and a device of a member is linked to this one, in either order. [`Event::Joined`] follows.
    ///
    /// # Errors
    /// [`GroupError::Full`], [`GroupError::Intent`].
    pub async fn request_group(&self, id: GroupId) -> Result<Group, GroupError> {
        if let Ok(group) = self.group(id) {
            return Ok(group);
        }
        self.check_room()?;
        self.intend(id, "").await
    }

    pub(crate) fn check_room(&self) -> Result<(), GroupError> {
        if self.handle.membership().groups().len() > GROUPS_MAX {
            return Err(GroupError::Full { max: GROUPS_MAX });
        }
        Ok(())
    }

    /// Writes the intent to take part, which starts the group on every device of this user.
    pub(crate) async fn intend(&self, id: GroupId, name: &str) -> Result<Group, GroupError> {
        let intent = Intent { name: name.to_owned(), joined_ms: self.clock.now().as_millis() };
        let intents = self.personal_table()?;
        intents.put(&id.to_string(), &intent).await?;
        self.handle.membership().intent_changed(id).await?;
        let handle = self.handle.start_group(id).await?;
        Ok(Group::new(self.clone(), handle))
    }

    /// Removes the intent to take part, which stops the group on every device of this user.
    pub(crate) async fn intend_no_more(&self, id: GroupId) -> Result<(), GroupError> {
        self.personal_table()?.remove(&id.to_string()).await?;
        self.handle.membership().intent_changed(id).await?;
        Ok(self.handle.stop_group(id).await?)
    }

    pub(crate) async fn leave(&self, id: GroupId) -> Result<(), GroupError> {
        if id == self.handle.personal() {
            return Err(GroupError::Personal);
        }
        let membership = self.handle.membership();
        membership.info(id).ok_or(GroupError::Unknown(id))?;
        if membership.is_alone_in_charge(id, self.user_id()) {
            return Err(ChangeError::from(ChangeRefusal::NobodyInCharge).into());
        }
        self.intend_no_more(id).await
    }

    fn personal_table(&self) -> Result<Table<Intent>, GroupError> {
        Ok(self.personal()?.table_reserved(INTENTS))
    }

    /// Returns a group that this user takes part in or asked for.
    ///
    /// # Errors
    /// [`GroupError::Unknown`] for any other group, [`GroupError::Failed`] for one that failed.
    pub fn group(&self, id: GroupId) -> Result<Group, GroupError> {
        let info = self.handle.membership().info(id).ok_or(GroupError::Unknown(id))?;
        if info.state == GroupState::Failed {
            return Err(GroupError::Failed(id));
        }
        let handle = self.handle.group(id).ok_or(GroupError::Failed(id))?;
        Ok(Group::new(self.clone(), handle))
    }

    /// Lists every group that this user takes part in or asked for, by id, without the personal group; then
    /// the groups that are [offered](GroupState::Offered), which [`Node::request_group`] accepts.
    ///
    /// Offers are not stored: they last until the node closes, and return when the member who made them is
    /// linked again.
    pub fn groups(&self) -> Vec<GroupInfo> {
        let (personal, membership) = (self.handle.personal(), self.handle.membership());
        let groups = membership.groups().into_iter().filter(|info| info.id != personal);
        groups.chain(membership.offered()).collect()
    }

    /// Returns the personal group, whose members are this user's own devices.
    ///
    /// # Errors
    /// [`GroupError::Failed`] if it failed.
    pub fn personal(&self) -> Result<Group, GroupError> {
        self.group(self.handle.personal())
    }

    /// Follows the events of this node from now on. A receiver that falls 1 024 events behind gets an error
    /// that counts the lost ones, and goes on. It ends with the node: see [`closed`](Self::closed).
    ///
    /// ```
    /// # use peerbase::{Event, Node};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::in_memory().await?;
    /// let mut events = node.events();
    /// node.create_group("Garden club").await?;
    /// while !matches!(events.recv().await?, Event::Joined { .. }) {}
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.handle.events()
    }

    /// Accepts links at `HOST:PORT`, where port 0 means any free port; returns the address to dial,
    /// `ws://HOST:PORT`.
    ///
    /// # Errors
    /// [`ConnectError::Listen`] if the address is invalid or in use.
    pub async fn listen(&self, address: &str) -> Result<String, ConnectError> {
        Ok(self.handle.listen(address).await?)
    }

    /// Dials `ws://HOST:PORT`, and dials again whenever the link is lost; returns the peer's device once it
    /// has proven its keys.
    ///
    /// # Errors
    /// [`ConnectError::Connect`] if the first attempt fails; the address is dialled again all the same, until
    /// [`disconnect`](Self::disconnect).
    pub async fn connect(&self, address: &str) -> Result<DeviceId, ConnectError> {
        Ok(self.handle.connections().connect(address).await?)
    }

    /// Stops dialling an address and ends the link that was dialled there; an unknown address is no error.
    ///
    /// # Errors
    /// [`ConnectError::Connect`] if the node is closed.
    pub async fn disconnect(&self, address: &str) -> Result<(), ConnectError> {
        let forgotten = self.handle.connections().disconnect(address).await;
        Ok(forgotten.map_err(actors::node::connection_manager::ConnectError::from)?)
    }

    /// Returns the tree of running actors, for tests and for people who debug.
    ///
    /// # Errors
    /// [`GroupError::Call`] if the node is closed.
    pub async fn tree(&self) -> Result<Branch, GroupError> {
        Ok(self.handle.tree().await?)
    }

    /// Closes the node: when this returns, nothing is sent any more, and [`closed`](Self::closed) tells if
    /// all acknowledged writes are on the disk. Later calls return errors of kind
    /// [`Closed`](crate::ErrorKind::Closed); a second `close` returns at once.
    pub async fn close(&self) {
        self.handle.close().await;
    }

    /// Waits for the end of the node, by [`close`](Self::close) or by a failure; tells its cause and the
    /// remedy. Its folder can then be opened again. Once it has ended, this returns at once.
    ///
    /// ```
    /// # use peerbase::{Node, NodeEnd};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::in_memory().await?;
    /// node.close().await;
    /// assert_eq!(node.closed().await, NodeEnd::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn closed(&self) -> NodeEnd {
        self.handle.closed().await
    }

    pub(crate) fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.device.short())
    }
}

const _: () = {
    const fn is_shared<T: Clone + Send + Sync + 'static>() {}
    is_shared::<Node>();
    is_shared::<Group>();
    is_shared::<Table<Intent>>();
};
