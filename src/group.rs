//! One group: its tables, its members, whether it is in sync.

use std::time::Duration;

use actors::node::group::{GroupHandle, GroupStatus};
use actors::node::membership::GroupState;
use schema::ledger::Role;
use schema::{DeviceId, GroupId, UserId};

use crate::GroupInfo;
use crate::error::{GroupError, SyncError};
use crate::node::Node;
use crate::table::{Table, TableName};

/// A database with members. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    node: Node,
    handle: GroupHandle,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// With which role.
    pub role: Role,
}

/// Who was in sync when a wait for it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        })
    }

    /// A named set of rows.
    pub fn table<T>(&self, name: TableName<T>) -> Table<T> {
        Table::new(self.node.clone(), self.handle.clone(), name)
    }

    pub(crate) fn table_reserved<T>(&self, name: TableName<T>) -> Table<T> {
        self.table(name)
    }

    /// The members with their roles, by user id.
    pub fn members(&self) -> Vec<Member> {
        let Some(roster) = self.node.handle().membership().roster(self.id()) else { return Vec::new() };
        roster.members().map(|(user, member)| Member { user, role: member.role() }).collect()
    }

    /// Admits a user, or changes their role. It needs no connection: whoever meets the user's devices later lets
    /// them in, once the user asked for the group ([`Node::request_group`]), in either order.
    ///
    /// # Errors
    /// [`GroupError::Change`] names the rule that forbids it.
    pub async fn add_member(&self, user: UserId, role: Role) -> Result<(), GroupError> {
        self.node.handle().membership().set_role(self.id(), user, role).await?;
        Ok(())
    }

    /// Waits until this device and every connected device of the group have equal rows.
    ///
    /// # Errors
    /// [`SyncError::NobodyConnected`] or [`SyncError::Behind`] at the deadline: never vacuously true.
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
            _ => Err(self.behind()),
        }
    }

    fn behind(&self) -> SyncError {
        let peers = self.handle.peers().borrow().clone();
        if peers.is_empty() {
            return SyncError::NobodyConnected;
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
