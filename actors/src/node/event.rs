//! What a node tells whoever listens: people come and go, devices come and go, branches fail.

use schema::ledger::Role;
use schema::wire::link::DeclineReason;
use schema::{DeviceId, GroupId, OpId, UserId};

use super::group::documents::Rejudged;

/// Something that happened at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This user became a member.
    Joined {
        /// Of which group.
        group: GroupId,
        /// With which role.
        role: Role,
    },
    /// Somebody's role changed; `Role::None`: they are out.
    RoleChanged {
        /// In which group.
        group: GroupId,
        /// Whose; possibly this user's.
        user: UserId,
        /// To what.
        role: Role,
    },
    /// A member lowered another who could have done the same to them: until somebody stronger confirms it, it may be
    /// contested.
    Contestable {
        /// In which group.
        group: GroupId,
        /// The lowering.
        op: OpId,
        /// Who said it.
        author: UserId,
        /// Whom it lowers.
        user: UserId,
        /// To what.
        role: Role,
    },
    /// What this user said of a member came to nothing, because of something stronger that was said meanwhile.
    Voided {
        /// In which group.
        group: GroupId,
        /// The op; it can be said again.
        op: OpId,
    },
    /// Who made a ticket will not let this user in with it; it is kept no longer.
    JoinDeclined {
        /// To which group.
        group: GroupId,
        /// By which invitation.
        invite: OpId,
        /// Why.
        reason: DeclineReason,
    },
    /// Documents of a group were judged anew after somebody was removed, lowered or let in again, or their device
    /// revoked: what is not accepted any more is gone from the rows, and kept for a while.
    Rejudged {
        /// Which group.
        group: GroupId,
        /// How many documents were looked at, and how many of them changed.
        rejudged: Rejudged,
    },
    /// A member presented a group that admits this user, who has not asked for it.
    Offered {
        /// Which group.
        group: GroupId,
        /// With which role.
        role: Role,
        /// Who presented it.
        by: UserId,
    },
    /// A link to a device is up.
    PeerUp {
        /// Whose device.
        user: UserId,
        /// Which device.
        device: DeviceId,
    },
    /// A link ended.
    PeerDown {
        /// To which device.
        device: DeviceId,
        /// Why, for people.
        reason: String,
    },
    /// A group is no longer spoken of with a device: the link ended, or one side is not a member any more, which the
    /// other is not told.
    SessionLost {
        /// Which group.
        group: GroupId,
        /// With which device.
        device: DeviceId,
    },
    /// A group failed too often and is out of service until the node is opened again.
    GroupFailed {
        /// Which group.
        group: GroupId,
        /// How it failed last.
        reason: String,
    },
}
