//! Changes membership: admits users, sets roles, removes members, revokes devices, settles contested ops.

use std::collections::BTreeSet;
use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;

#[doc(inline)]
pub use actors::node::membership::Receipt;
use actors::node::membership::{MembershipChange, SubmitOptions};
use schema::ledger::Role;
use schema::{DeviceId, OpId, UserId};

use super::Group;
use crate::error::{ChangeError, ChangeRefusal, GroupError};

type Progress<'a> = Box<dyn Fn(u64) + Send + Sync + 'a>;

/// The future of a membership change.
type Submission<'a> = Pin<Box<dyn Future<Output = Result<Receipt, GroupError>> + Send + 'a>>;

/// A change of a user's role, made by [`Group::set_role`] or [`Group::remove_member`]. Nothing happens until
/// it is awaited.
///
/// If the user may write less afterwards, the change needs a *cut*: the list of their changes that stay
/// accepted, which are those that this device has. Making it takes as long as reading every document that
/// they wrote to. Dropping the future before it ends leaves the change made or not made, never half.
///
/// ```
/// # use peerbase::{Node, Role};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (node, other) = (Node::in_memory().await?, Node::in_memory().await?);
/// # let (garden, ben) = (node.create_group("Garden club").await?, other.user_id());
/// garden.add_member(ben, Role::Writer).await?;
/// garden.remove_member(ben).on_progress(|documents| println!("{documents} rows of ben's read")).await?;
/// assert_eq!(garden.members().len(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "the role changes only when this is awaited"]
pub struct RoleChange<'a> {
    group: &'a Group,
    user: UserId,
    role: Role,
    before: BTreeSet<OpId>,
    options: SubmitOptions,
    progress: Progress<'a>,
}

impl<'a> RoleChange<'a> {
    /// Makes the change as of before these ops, so that they and all that was built on them cannot prevent
    /// it: a stronger member undoes the ops of an insider that everybody has received. The rejected ops of
    /// the user become void, and the ops that these had voided count again.
    ///
    /// ```
    /// # use peerbase::{Node, Role};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (node, other) = (Node::in_memory().await?, Node::in_memory().await?);
    /// # let (garden, ben) = (node.create_group("Garden club").await?, other.user_id());
    /// garden.add_member(ben, Role::Reader).await?;
    /// let mistake = garden.set_role(ben, Role::Admin).await?.op;
    /// garden.set_role(ben, Role::Writer).as_of(&[mistake]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_of(mut self, rejected: &[OpId]) -> Self {
        self.before = rejected.iter().copied().collect();
        self
    }

    /// Makes the change although documents that the user wrote to are damaged here: nothing of what the user
    /// wrote to these stays, on any device. [`Receipt::damaged_left_out`] counts them.
    ///
    /// Without this the change fails with [`ChangeError::Damaged`](crate::error::ChangeError::Damaged), which
    /// names the documents, and succeeds once a peer has healed them.
    pub fn without_damaged(mut self) -> Self {
        self.options.without_damaged = true;
        self
    }

    /// Of rows that are [not materialised](crate::group::GroupStatus::unmaterialised) here, keeps only what
    /// they show here: what the user wrote to them later, and what others built on that, stays on no device.
    /// So a row that a removed user made too dear can be read and written again. All other rows are as
    /// without this.
    pub fn without_unmaterialised(mut self) -> Self {
        self.options.without_unmaterialised = true;
        self
    }

    /// Calls `progress` with the number of documents read so far, again and again while the cut is made.
    pub fn on_progress(mut self, progress: impl Fn(u64) + Send + Sync + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

impl<'a> IntoFuture for RoleChange<'a> {
    type Output = Result<Receipt, GroupError>;
    type IntoFuture = Submission<'a>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { group, user, role, before, options, progress } = self;
        Box::pin(async move {
            let change = MembershipChange::SetRole { user, role, before };
            group.submit(change, options, progress).await
        })
    }
}

impl fmt::Debug for RoleChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleChange({:?}, {} to {:?})", self.group, self.user.short(), self.role)
    }
}

/// A revocation of a member's device, made by [`Group::revoke_device`]. Nothing happens until it is awaited.
///
/// It needs a cut of what the device wrote, and so takes as long as a [`RoleChange`].
#[must_use = "the device is revoked only when this is awaited"]
pub struct DeviceRevocation<'a> {
    group: &'a Group,
    device: DeviceId,
    user: Option<UserId>,
    before: BTreeSet<OpId>,
    options: SubmitOptions,
    progress: Progress<'a>,
}

impl<'a> DeviceRevocation<'a> {
    /// Names the user whose device it is; needed only where several users certify one device.
    pub fn of(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Revokes the device as of before these ops, as [`RoleChange::as_of`] does: of them and all that was
    /// built on them, the ops that the device signed become void, and the ops that these had voided count
    /// again.
    pub fn as_of(mut self, rejected: &[OpId]) -> Self {
        self.before = rejected.iter().copied().collect();
        self
    }

    /// Revokes the device although documents that it wrote to are damaged here, as
    /// [`RoleChange::without_damaged`] does.
    pub fn without_damaged(mut self) -> Self {
        self.options.without_damaged = true;
        self
    }

    /// Of rows that are not materialised here, keeps only what they show here, as
    /// [`RoleChange::without_unmaterialised`] does.
    pub fn without_unmaterialised(mut self) -> Self {
        self.options.without_unmaterialised = true;
        self
    }

    /// Calls `progress` with the number of documents read so far, again and again while the cut is made.
    pub fn on_progress(mut self, progress: impl Fn(u64) + Send + Sync + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// The user who certifies the device.
    fn owner(&self) -> Result<UserId, GroupError> {
        if let Some(user) = self.user {
            return Ok(user);
        }
        let (device, membership) = (self.device, self.group.node.handle().membership());
        let roster = membership.roster(self.group.id()).ok_or(GroupError::Unknown(self.group.id()))?;
        let users: Vec<UserId> = roster.certifiers(device).collect();
        match users[..] {
            [] => Err(GroupError::UnknownDevice(device)),
            [user] => Ok(user),
            _ => Err(GroupError::SharedDevice { device, users }),
        }
    }
}

impl<'a> IntoFuture for DeviceRevocation<'a> {
    type Output = Result<Receipt, GroupError>;
    type IntoFuture = Submission<'a>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let user = self.owner()?;
            let Self { group, device, before, options, progress, .. } = self;
            let change = MembershipChange::RevokeDevice { user, device, before };
            group.submit(change, options, progress).await
        })
    }
}

impl fmt::Debug for DeviceRevocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceRevocation({:?}, {})", self.group, self.device.short())
    }
}

fn no_progress<'a>() -> Progress<'a> {
    Box::new(|_| {})
}

impl Group {
    /// Admits a user by id, or gives a member a higher role; returns the op that gives the role, an older one
    /// if they have that very role already.
    ///
    /// It needs no link. The user takes part once they have asked for the group with
    /// [`Node::request_group`](crate::Node::request_group), before or after this, and a device of theirs is
    /// linked to a member's.
    ///
    /// # Errors
    /// [`GroupError::Change`] names the rule that forbids it, or tells that they have a higher role, which
    /// only [`set_role`](Self::set_role) lowers.
    pub async fn add_member(&self, user: UserId, role: Role) -> Result<OpId, GroupError> {
        self.submit_now(MembershipChange::Admit { user, role }).await
    }

    /// Gives a member a role, higher or lower; await the result.
    ///
    /// An Admin gives roles up to Admin, an Owner up to Owner, to users whose role is not above their own.
    /// Admins and above may lower themselves; Readers and Writers [leave](Self::leave). If the user may not
    /// write afterwards, what this device has of their changes stays accepted, and their other changes are
    /// purged on every device.
    ///
    /// # Errors
    /// Awaiting it: [`GroupError::NotMember`] if the user is no member, and was none as of before the ops
    /// that [`RoleChange::as_of`] names; [`GroupError::Change`] names the rule that forbids it.
    pub fn set_role(&self, user: UserId, role: Role) -> RoleChange<'_> {
        let progress = no_progress();
        let options = SubmitOptions::default();
        RoleChange { group: self, user, role, before: BTreeSet::new(), options, progress }
    }

    /// Removes a member; await the result. Their devices are no longer served by any device that receives
    /// this, and what they write from now on is refused, as after [`set_role`](Self::set_role).
    ///
    /// They keep what they have read, and are not notified.
    ///
    /// # Errors
    /// Awaiting it: as [`set_role`](Self::set_role).
    pub fn remove_member(&self, user: UserId) -> RoleChange<'_> {
        self.set_role(user, Role::None)
    }

    /// Revokes one device of a member, as an Admin; await the result. What the device wrote stays accepted as
    /// far as this device has it.
    ///
    /// Users revoke their own devices in all groups at once, with
    /// [`Node::revoke_device`](crate::Node::revoke_device); below Admin only so.
    ///
    /// # Errors
    /// Awaiting it: [`GroupError::UnknownDevice`], [`GroupError::SharedDevice`], [`GroupError::OwnDevice`];
    /// [`GroupError::Change`] names the rule that forbids it.
    pub fn revoke_device(&self, device: DeviceId) -> DeviceRevocation<'_> {
        let progress = no_progress();
        let before = BTreeSet::new();
        let options = SubmitOptions::default();
        DeviceRevocation { group: self, device, user: None, before, options, progress }
    }

    /// Hands the group over: `to` gets this user's role, Owner or Founder, and this user becomes an Admin.
    ///
    /// It takes two ops. If the node ends between them, both users have the role; call it again to finish.
    ///
    /// # Errors
    /// [`GroupError::Change`] if this user is below Owner, or `to` is no member with a device in the group.
    pub async fn transfer_ownership(&self, to: UserId) -> Result<(), GroupError> {
        self.submit_now(MembershipChange::Transfer { to }).await?;
        Ok(())
    }

    /// Confirms a [contestable](Self::contestable) lowering: from then on no op of its target can void it.
    ///
    /// # Errors
    /// [`GroupError::Change`] unless `op` is contestable, leaves a role below Admin, and this user is
    /// stronger than its author. A lowering to Admin or Owner cannot be confirmed: set another role.
    pub async fn confirm(&self, op: OpId) -> Result<OpId, GroupError> {
        self.submit_now(MembershipChange::Confirm { op }).await
    }

    /// Re-issues a [voided](Self::voided) op, signed by this user; returns the new op.
    ///
    /// # Errors
    /// [`GroupError::Change`] names the rule that forbids it, or tells that the op is not voided;
    /// [`GroupError::UnknownDevice`], [`GroupError::OwnDevice`].
    pub async fn reissue(&self, op: OpId) -> Result<OpId, GroupError> {
        self.submit_now(MembershipChange::Reissue { op }).await
    }

    /// Closes an invitation: devices that receive this no longer accept its ticket.
    ///
    /// # Errors
    /// [`GroupError::Change`] if there is no such invitation, or this user is no Admin.
    pub async fn close_invite(&self, invite: OpId) -> Result<(), GroupError> {
        self.submit_now(MembershipChange::CloseInvite { invite }).await?;
        Ok(())
    }

    async fn submit_now(&self, change: MembershipChange) -> Result<OpId, GroupError> {
        Ok(self.submit(change, SubmitOptions::default(), no_progress()).await?.op)
    }

    async fn submit(
        &self,
        change: MembershipChange,
        options: SubmitOptions,
        progress: Progress<'_>,
    ) -> Result<Receipt, GroupError> {
        let submitted = self.node.handle().membership().submit(self.id(), change, options, progress).await;
        submitted.map_err(|error| match error {
            ChangeError::Change(ChangeRefusal::NotAMember(user)) => {
                GroupError::NotMember { user, group: self.id() }
            }
            error => error.into(),
        })
    }
}
