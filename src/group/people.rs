//! Who is in a group with which role, what was said about them, and how to change it.

use std::collections::BTreeSet;

use actors::node::membership::{Invitation, MemberDevice, MemberOp, MembershipChange, SubmitOptions};
use schema::ledger::{Contestable, Role};
use schema::{DeviceId, OpId, Timestamp, UserId};

use crate::error::GroupError;
use crate::group::Group;
use crate::group::members::MembersTable;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// With which role.
    pub role: Role,
    /// Who gave it to them; nobody, where the group was founded with it.
    pub granted_by: Option<UserId>,
    /// Since when they have it: when this device took in the op that gave it, by its own clock. An op carries no time, so
    /// each device says something else; one that came later says when it came.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Option<Timestamp>,
    /// Their devices, as far as they are known here and were not shut out.
    pub devices: Vec<MemberDevice>,
    /// The op that lowered them to this role, while it may be contested.
    pub contestable: Option<Contestable>,
}

impl Group {
    /// The members with their roles, by user id.
    pub fn members(&self) -> Vec<Member> {
        let known = self.node.handle().membership().people(self.id());
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

    /// The members' devices that are not shut out, by user and device, and where each said last that it is reached: of
    /// those that this node knows but has no link to it dials some.
    pub fn devices(&self) -> Vec<MemberDevice> {
        let known = self.node.handle().membership().people(self.id());
        known.map(|(_, people)| people.devices.values().flatten().cloned().collect()).unwrap_or_default()
    }

    /// The members as a table that can be read and followed, and is changed by what members say alone.
    pub fn members_table(&self) -> MembersTable {
        MembersTable::new(self.clone())
    }

    /// The lowerings and removals by somebody whose target could have done the same to them, by target. Until somebody
    /// stronger [confirms](Self::confirm) one, an op that its target made without having seen it may void it.
    pub fn contestable(&self) -> Vec<Contestable> {
        let known = self.node.handle().membership().people(self.id());
        known.map(|(_, people)| people.contestable.clone()).unwrap_or_default()
    }

    /// Admits a user, or gives a member a higher role; the op that gives it, an older one where they have that role
    /// already. It needs no connection: whoever meets the user's devices later lets them in, once the user asked for the
    /// group ([`Node::request_group`](crate::Node::request_group)), in either order.
    ///
    /// # Errors
    /// [`GroupError::Change`] says which rule forbids it, or that they have a higher role: [`set_role`](Self::set_role)
    /// takes it from them, [`remove_member`](Self::remove_member) all.
    pub async fn add_member(&self, user: UserId, role: Role) -> Result<OpId, GroupError> {
        self.submit(MembershipChange::Admit { user, role }).await
    }

    /// Gives a user a role: an Admin one up to Admin, an Owner one up to Owner, to whoever has no higher one than they
    /// themselves. An Admin or above may lower themselves too; a Reader or Writer [leaves](Self::leave). What somebody wrote until they may write no more stays as far as it
    /// is known here; what others have of it beyond that goes. That takes as long as going through what they wrote.
    ///
    /// # Errors
    /// [`GroupError::Change`] names the rule that forbids it.
    pub async fn set_role(&self, user: UserId, role: Role) -> Result<OpId, GroupError> {
        self.set_role_as_of(user, role, &[]).await
    }

    /// Gives a user a role as of before `rejected`: so a stronger member undoes what an insider said after everybody
    /// has seen it. What the user said in those ops is void, and what these ops voided is back.
    ///
    /// # Errors
    /// As [`set_role`](Self::set_role), and for ops that are not here.
    pub async fn set_role_as_of(
        &self,
        user: UserId,
        role: Role,
        rejected: &[OpId],
    ) -> Result<OpId, GroupError> {
        self.set_role_with(user, role, rejected, |_| {}).await
    }

    /// Gives a user a role, as [`set_role_as_of`](Self::set_role_as_of), and tells how far that is: `progress` hears how
    /// many documents of what the user wrote are gone through, where that has to be done. Dropping the future before the
    /// end leaves everything as it was, or the role changed: never something between.
    ///
    /// # Errors
    /// As [`set_role_as_of`](Self::set_role_as_of).
    pub async fn set_role_with(
        &self,
        user: UserId,
        role: Role,
        rejected: &[OpId],
        progress: impl Fn(u64),
    ) -> Result<OpId, GroupError> {
        let before: BTreeSet<OpId> = rejected.iter().copied().collect();
        let change = MembershipChange::SetRole { user, role, before };
        let options = SubmitOptions::default();
        Ok(self.node.handle().membership().submit(self.id(), change, options, progress).await?.op)
    }

    /// Gives a user a role, as [`set_role_with`](Self::set_role_with), also where documents to which the user wrote are
    /// damaged here. Nobody can say then up to where these stay: what the user wrote to them goes, at everybody. How many
    /// were left out so. Without it the same call fails, with an error that names them, and may be tried again when a
    /// peer that has them was met.
    ///
    /// # Errors
    /// As [`set_role_as_of`](Self::set_role_as_of).
    pub async fn set_role_anyway(
        &self,
        user: UserId,
        role: Role,
        rejected: &[OpId],
        progress: impl Fn(u64),
    ) -> Result<(OpId, u64), GroupError> {
        let before: BTreeSet<OpId> = rejected.iter().copied().collect();
        let change = MembershipChange::SetRole { user, role, before };
        let options = SubmitOptions { without_damaged: true };
        let submitted = self.node.handle().membership().submit(self.id(), change, options, progress).await?;
        Ok((submitted.op, submitted.damaged_left_out))
    }

    /// Removes a member: their devices are served no more, by who hears of it, and what they write from now on is taken
    /// by nobody, as in [`set_role`](Self::set_role).
    ///
    /// # Errors
    /// As [`set_role`](Self::set_role).
    pub async fn remove_member(&self, user: UserId) -> Result<OpId, GroupError> {
        self.set_role(user, Role::None).await
    }

    /// Removes a member, and tells how far that is, as [`set_role_with`](Self::set_role_with).
    ///
    /// ```
    /// # use peerbase::{Node, Role};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (node, other) = (Node::in_memory().await?, Node::in_memory().await?);
    /// # let (garden, ben) = (node.create_group("Garden club").await?, other.user_id());
    /// garden.add_member(ben, Role::Writer).await?;
    /// garden.remove_member_with(ben, |documents| println!("{documents} rows of ben's gone through")).await?;
    /// assert_eq!(garden.members().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`set_role`](Self::set_role).
    pub async fn remove_member_with(&self, user: UserId, progress: impl Fn(u64)) -> Result<OpId, GroupError> {
        self.set_role_with(user, Role::None, &[], progress).await
    }

    /// Removes a member as of before `rejected`, as [`set_role_as_of`](Self::set_role_as_of).
    ///
    /// # Errors
    /// As [`set_role_as_of`](Self::set_role_as_of).
    pub async fn remove_member_as_of(&self, user: UserId, rejected: &[OpId]) -> Result<OpId, GroupError> {
        self.set_role_as_of(user, Role::None, rejected).await
    }

    /// Hands the group over: `to` gets this user's role, Owner or Founder, and this user stays as an Admin.
    ///
    /// These are two ops. Should the node end between them there are two in charge, never none; the same call goes on
    /// from there.
    ///
    /// # Errors
    /// [`GroupError::Change`] when this user is below Owner, or `to` is no member with a device in the group.
    pub async fn transfer_ownership(&self, to: UserId) -> Result<(), GroupError> {
        self.submit(MembershipChange::Transfer { to }).await?;
        Ok(())
    }

    /// Ends the contest over a [lowering](Self::contestable): it holds, whatever its target says.
    ///
    /// # Errors
    /// [`GroupError::Change`] unless `op` is contestable, leaves a role below Admin, and this user is stronger than who said
    /// it. One that leaves its target an Admin or Owner nobody can confirm: set another role.
    pub async fn confirm(&self, op: OpId) -> Result<OpId, GroupError> {
        self.submit(MembershipChange::Confirm { op }).await
    }

    /// Every op about a member, with what came of it; each behind those that it builds on.
    ///
    /// # Errors
    /// [`GroupError::Call`] when nobody answers.
    pub async fn log(&self) -> Result<Vec<MemberOp>, GroupError> {
        Ok(self.node.handle().membership().log(self.id()).await?)
    }

    /// The ops about members that came to nothing and may be said [again](Self::redo); where what they say is so all
    /// the same they are left out.
    ///
    /// # Errors
    /// [`GroupError::Call`] when nobody answers.
    pub async fn voided(&self) -> Result<Vec<MemberOp>, GroupError> {
        Ok(self.node.handle().membership().reissuable(self.id()).await?)
    }

    /// Says now, in this user's name, what an op said that came to nothing.
    ///
    /// # Errors
    /// [`GroupError::Change`] names the rule that forbids it, or says that the op is none of the [voided](Self::voided);
    /// [`GroupError::UnknownDevice`], [`GroupError::OwnDevice`].
    pub async fn redo(&self, op: OpId) -> Result<OpId, GroupError> {
        self.submit(MembershipChange::Reissue { op }).await
    }

    /// Every invitation, the oldest first.
    ///
    /// # Errors
    /// [`GroupError::Call`] when nobody answers.
    pub async fn invites(&self) -> Result<Vec<Invitation>, GroupError> {
        Ok(self.node.handle().membership().invites(self.id()).await?)
    }

    /// Shuts one device of a member out, as an Admin: what it wrote stays as far as it is known here. A user takes their
    /// own devices back in all groups, with [`Node::revoke_device`](crate::Node::revoke_device).
    ///
    /// # Errors
    /// [`GroupError::UnknownDevice`], [`GroupError::OwnDevice`]; [`GroupError::Change`] names the rule that forbids it.
    pub async fn revoke_device(&self, user: UserId, device: DeviceId) -> Result<OpId, GroupError> {
        self.submit(MembershipChange::RevokeDevice { user, device }).await
    }

    /// Shuts one device of a member out, as [`revoke_device`](Self::revoke_device), also where documents to which it wrote
    /// are damaged here, as in [`set_role_anyway`](Self::set_role_anyway).
    ///
    /// # Errors
    /// As [`revoke_device`](Self::revoke_device).
    pub async fn revoke_device_anyway(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> Result<(OpId, u64), GroupError> {
        let change = MembershipChange::RevokeDevice { user, device };
        let options = SubmitOptions { without_damaged: true };
        let submitted = self.node.handle().membership().submit(self.id(), change, options, |_| {}).await?;
        Ok((submitted.op, submitted.damaged_left_out))
    }

    /// Closes an invitation: whoever hears of it lets nobody in with its ticket any more.
    ///
    /// # Errors
    /// [`GroupError::Change`] when there is none, or this user is no Admin.
    pub async fn close_invite(&self, invite: OpId) -> Result<(), GroupError> {
        self.submit(MembershipChange::CloseInvite { invite }).await?;
        Ok(())
    }

    async fn submit(&self, change: MembershipChange) -> Result<OpId, GroupError> {
        let options = SubmitOptions::default();
        Ok(self.node.handle().membership().submit(self.id(), change, options, |_| {}).await?.op)
    }
}
