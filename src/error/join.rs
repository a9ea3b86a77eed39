//! Errors of joining a group.

use std::fmt;

use schema::GroupId;
use schema::ledger::Role;
use schema::wire::link::DeclineReason;

use super::{ErrorKind, GroupError};

/// Joining a group failed, or is not finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The group has not admitted this user yet. The intent and the ticket are stored, and every linked
    /// device of an Admin is asked, also after the next open: wait for
    /// [`Event::Joined`](crate::Event::Joined), or leave the group.
    #[error("not yet admitted to group {group}: {why}")]
    Pending {
        /// The group.
        group: GroupId,
        /// The step that is missing.
        why: Waiting,
    },
    /// The inviter refuses the ticket: ask for another one.
    #[error("not admitted to group {group}: {reason}")]
    Declined {
        /// The group.
        group: GroupId,
        /// The inviter's reason.
        reason: DeclineReason,
    },
    /// This user is a member already, with a lower role than the ticket's: ask an Admin for the role.
    #[error("already in group {group} as {role:?}; the ticket is for {ticket:?}: ask an admin for that role")]
    AlreadyIn {
        /// The group.
        group: GroupId,
        /// This user's role.
        role: Role,
        /// The role of the ticket.
        ticket: Role,
    },
    /// The group was left while this call waited.
    #[error("group {group} was left before it admitted this user")]
    Left {
        /// The group.
        group: GroupId,
    },
    /// The group could not be asked for.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The node was closed while this call waited.
    #[error("node is closed")]
    Closed,
}

/// The step that a [pending](JoinError::Pending) admission waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// No link to the inviter's device: nothing answers at the ticket's addresses.
    NotReached,
    /// The inviter's device is linked and has not answered.
    Unanswered,
    /// A member's device answered whose ledger is older than the ticket: a newer ledger must arrive first.
    OldLedger,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReached => "the inviter's device was not reached",
            Self::Unanswered => "the inviter's device has not answered",
            Self::OldLedger => "the device that answered has an old list of members",
        })
    }
}

impl JoinError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Pending { .. } => ErrorKind::Busy,
            Self::Declined { .. } | Self::AlreadyIn { .. } => ErrorKind::NotAllowed,
            Self::Left { .. } => ErrorKind::NotFound,
            Self::Group(error) => error.kind(),
            Self::Closed => ErrorKind::Closed,
        }
    }
}
