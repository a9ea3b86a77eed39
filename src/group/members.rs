//! Lists a group's members, their devices, the ops about them, and the invitations.

use actors::node::membership::{Invitation, MemberDevice, MemberOp};
use schema::ledger::{Contestable, Role};
use schema::{Timestamp, UserId};

use super::Group;
use super::members_table::MembersTable;
use crate::error::GroupError;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// The member's user id.
    pub user: UserId,
    /// Their role, above [`Role::None`].
    pub role: Role,
    /// The user who gave them the role; none if the group was founded with it.
    pub granted_by: Option<UserId>,
    /// The time at which this device received the op that gave them the role, by its own clock. Ops carry no
    /// time, so each device has another one.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Option<Timestamp>,
    /// Their devices that are known here and not revoked, by id.
    pub devices: Vec<MemberDevice>,
    /// The op that lowered them to this role, while it may be contested.
    pub contestable: Option<Contestable>,
}

impl Group {
    /// Lists the members, by user id.
    ///
    /// ```
    /// # use peerbase::{Node, Role};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ada = Node::in_memory().await?;
    /// let garden = ada.create_group("Garden club").await?;
    /// let members = garden.members();
    /// assert_eq!((members[0].user, members[0].role), (ada.user_id(), Role::Founder));
    /// # Ok(())
    /// # }
    /// ```
    pub fn members(&self) -> Vec<Member> {
        let known = self.node.handle().membership().members(self.id());
        let Some((roster, people)) = known else { return Vec::new() };
        let contestable = |user| people.contestable.iter().find(|lowering| lowering.user == user).copied();
        let members = roster.members().map(|(user, member)| Member {
            user,
            role: member.role(),
            granted_by: people.granted_by.get(&user).copied(),
            since: people.since.get(&user).copied(),
            devices: people.devices.get(&user).cloned().unwrap_or_default(),
            contestable: contestable(user),
        });
        members.collect()
    }

    /// Lists the members' devices that are not revoked, by user and device, with their last announced
    /// addresses.
    pub fn devices(&self) -> Vec<MemberDevice> {
        let known = self.node.handle().membership().members(self.id());
        known.map(|(_, people)| people.devices.values().flatten().cloned().collect()).unwrap_or_default()
    }

    /// Returns the members as a table that can be read and followed; only membership ops change it.
    pub fn members_table(&self) -> MembersTable {
        MembersTable::new(self.clone())
    }

    /// Lists the contestable ops, by target: lowerings and removals whose target could have done the same to
    /// their author.
    ///
    /// An op that the target made without having seen the lowering may void it, until a stronger member
    /// [confirms](Self::confirm) it.
    pub fn contestable(&self) -> Vec<Contestable> {
        let known = self.node.handle().membership().members(self.id());
        known.map(|(_, people)| people.contestable.clone()).unwrap_or_default()
    }

    /// Lists every op about a member with its status, parents before children.
    ///
    /// # Errors
    /// [`GroupError::Call`] if the node does not answer.
    pub async fn log(&self) -> Result<Vec<MemberOp>, GroupError> {
        Ok(self.node.handle().membership().log(self.id()).await?)
    }

    /// Lists the voided ops about members that [`reissue`](Self::reissue) can sign again; an op whose content
    /// holds anyhow is left out.
    ///
    /// # Errors
    /// [`GroupError::Call`] if the node does not answer.
    pub async fn voided(&self) -> Result<Vec<MemberOp>, GroupError> {
        Ok(self.node.handle().membership().reissuable(self.id()).await?)
    }

    /// Lists the invitations, the oldest first.
    ///
    /// # Errors
    /// [`GroupError::Call`] if the node does not answer.
    pub async fn invites(&self) -> Result<Vec<Invitation>, GroupError> {
        Ok(self.node.handle().membership().invites(self.id()).await?)
    }
}
