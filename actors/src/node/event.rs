//! What a node tells whoever listens: people come and go, devices come and go, branches fail.

use schema::ledger::{Contestable, Role};
use schema::wire::link::DeclineReason;
use schema::{DeviceId, GroupId, OpId, UserId};

use super::group::documents::Rejudged;
use super::membership::{GroupState, Known};

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

impl Event {
    /// What changed for `user` and everyone else from one roster to the next.
    pub(crate) fn of_roster(
        group: GroupId,
        before: Option<&Known>,
        after: &Known,
        user: UserId,
    ) -> Vec<Self> {
        let mut events = Vec::new();
        let was_active = before.is_some_and(|(info, ..)| info.state == GroupState::Active);
        if after.0.state == GroupState::Active && !was_active {
            events.push(Self::Joined { group, role: after.0.role });
        }
        let Some((_, before, people)) = before.filter(|(info, ..)| info.state != GroupState::Pending) else {
            return events;
        };
        let mut users: Vec<_> = before.members().chain(after.1.members()).map(|(user, _)| user).collect();
        users.sort_unstable();
        users.dedup();
        for other in users {
            let role = after.1.role(other);
            let is_our_joining = other == user && !was_active;
            if role != before.role(other) && !is_our_joining {
                events.push(Self::RoleChanged { group, user: other, role });
            }
        }
        for &Contestable { op, author, user, role } in &after.2.contestable {
            if people.contestable.iter().all(|known| known.op != op) {
                events.push(Self::Contestable { group, op, author, user, role });
            }
        }
        events
            .extend(after.2.own_void.difference(&people.own_void).map(|op| Self::Voided { group, op: *op }));
        events
    }
}
