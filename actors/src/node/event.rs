//! What a node tells whoever listens: people come and go, devices come and go, branches fail.

use std::sync::Arc;

use schema::frame::DeclineReason;
use schema::ledger::{Role, Roster};
use schema::{DeviceId, GroupId, OpId, UserId};

use super::membership::{GroupInfo, GroupState};

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
    /// Who made a ticket will not let this user in with it; it is kept no longer.
    JoinDeclined {
        /// To which group.
        group: GroupId,
        /// By which invitation.
        invite: OpId,
        /// Why.
        reason: DeclineReason,
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
        before: Option<&(GroupInfo, Arc<Roster>)>,
        after: &(GroupInfo, Arc<Roster>),
        user: UserId,
    ) -> Vec<Self> {
        let mut events = Vec::new();
        let was_active = before.is_some_and(|(info, _)| info.state == GroupState::Active);
        if after.0.state == GroupState::Active && !was_active {
            events.push(Self::Joined { group, role: after.0.role });
        }
        let Some((_, before)) = before.filter(|(info, _)| info.state != GroupState::Pending) else {
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
        events
    }
}
