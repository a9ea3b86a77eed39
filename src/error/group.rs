//! Errors of groups and their members.

use schema::{DeviceId, GroupId, UserId};

use super::{
    CallError, ChangeError, ChangeRefusal, ErrorKind, ReadError, WriteError, call_kind, change_kind,
};

/// Finding, founding or changing a group failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// This user takes no part in such a group: [`Node::request_group`](crate::Node::request_group) or a
    /// ticket asks to.
    #[error("no group {0}; `request_group` asks to join one")]
    Unknown(GroupId),
    /// The name is longer than 256 bytes: choose a shorter one.
    #[error("group name of {bytes} bytes, at most {max} are allowed")]
    Name {
        /// Length of the name, bytes.
        bytes: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The node has as many groups as it may: leave one.
    #[error("{max} groups are as many as a node holds")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The group failed too often and serves no more until the node is opened again.
    #[error("group {0} failed and serves no more until the node is opened again")]
    Failed(GroupId),
    /// The group is this user's personal group, which cannot be left.
    #[error("the personal group cannot be left")]
    Personal,
    /// No such device is known here: [`Group::devices`](crate::Group::devices) lists those of a group,
    /// [`Node::devices`](crate::Node::devices) those of this user.
    #[error("device {0} is not known as one of this user")]
    UnknownDevice(DeviceId),
    /// The user is no member: [`Group::add_member`](crate::Group::add_member) admits them.
    #[error("user {} is no member of group {}", .user.short(), .group.short())]
    NotMember {
        /// The user.
        user: UserId,
        /// The group.
        group: GroupId,
    },
    /// Several users certify the device: name the one meant with
    /// [`DeviceRevocation::of`](crate::group::DeviceRevocation::of).
    #[error("device {device} is certified by {} users; name the one whose device is revoked", .users.len())]
    SharedDevice {
        /// The device.
        device: DeviceId,
        /// The users who certify it, by id.
        users: Vec<UserId>,
    },
    /// A device cannot revoke itself: call this on another device of the same user.
    #[error("this device cannot revoke itself; do it from another device of this user")]
    OwnDevice,
    /// There is a recovery key already: use its words, or [replace](crate::Node::replace_recovery) it.
    #[error("there is a recovery key already, of user {}", .user.short())]
    HasRecovery {
        /// The recovery user.
        user: UserId,
    },
    /// The stored id of the recovery key was not read.
    #[error("recovery key was not read")]
    Recovery(#[source] Box<ReadError>),
    /// The stored id of the recovery key is not signed by this user: another person may control one of their
    /// devices. [Revoke](crate::Node::revoke_device) that device, and
    /// [replace](crate::Node::replace_recovery) the key.
    #[error("recovery key is stored as {user:?}, which this user did not sign; replace the key")]
    RecoveryUser {
        /// The stored id, as text.
        user: String,
    },
    /// A user cannot block themselves: [`Node::revoke_device`](crate::Node::revoke_device) ends a device of
    /// theirs.
    #[error("this user cannot block themselves; a device of theirs is revoked")]
    BlockSelf,
    /// The list of blocked users was not read.
    #[error("blocked users were not read")]
    Contacts(#[source] Box<ReadError>),
    /// The invitation would admit nobody: it has no uses, no time, or a role below Reader.
    #[error("invitation would admit nobody")]
    Invitation,
    /// The rules forbid the change of membership, or it failed: the cause tells which, and what to do.
    #[error("membership was not changed")]
    Change(#[source] Box<ChangeError>),
    /// A row of the personal group, which records this user's decisions, was not written.
    #[error("personal group was not written")]
    Intent(#[source] Box<WriteError>),
    /// The node did not answer: try again, unless it is closed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl GroupError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownDevice(_) | Self::NotMember { .. } => ErrorKind::NotFound,
            Self::Name { .. }
            | Self::Full { .. }
            | Self::Invitation
            | Self::OwnDevice
            | Self::SharedDevice { .. }
            | Self::BlockSelf
            | Self::Personal
            | Self::HasRecovery { .. } => ErrorKind::Invalid,
            Self::Recovery(error) | Self::Contacts(error) => error.kind(),
            Self::RecoveryUser { .. } => ErrorKind::Damaged,
            Self::Failed(_) => ErrorKind::Failed,
            Self::Change(error) => change_kind(error),
            Self::Call(error) => call_kind(error),
            Self::Intent(error) => error.kind(),
        }
    }
}

impl From<ChangeError> for GroupError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Change(ChangeRefusal::UnknownDevice(device)) => Self::UnknownDevice(device),
            ChangeError::Change(ChangeRefusal::OwnDevice) => Self::OwnDevice,
            error => Self::Change(Box::new(error)),
        }
    }
}

impl From<WriteError> for GroupError {
    fn from(error: WriteError) -> Self {
        Self::Intent(Box::new(error))
    }
}
