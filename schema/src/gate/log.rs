//! Lists for people: ops about members, voided ops, invitations.

use super::Gate;
use super::group::Group;
use crate::ledger::{InviteStatus, OpAction, OpStatus, Role};
use crate::{GroupId, OpId, Timestamp, UserId};

/// An op about a member, and its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct MemberOp {
    /// The op.
    pub op: OpId,
    /// The user who signed the op.
    pub author: UserId,
    /// The change that it asks for.
    #[cfg_attr(feature = "control", serde(flatten))]
    pub action: OpAction,
    /// The effect of the op: it counts, or the reason why it does not.
    pub status: OpStatus,
}

/// An invitation, as its group knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Invitation {
    /// The op that opened it.
    pub id: OpId,
    /// The user who signed the invitation.
    pub author: UserId,
    /// The role that it gives.
    pub role: Role,
    /// The number of users that it was to admit.
    pub uses: u16,
    /// The number of users that it admitted: more than `uses` where disconnected Admins' devices each
    /// admitted the last one.
    pub used: usize,
    /// The time from which Admins' devices decline it, each by its own clock.
    #[cfg_attr(feature = "control", serde(rename = "expires_ms"))]
    pub expires: Timestamp,
    /// The state of the invitation: open, or how it ended.
    #[cfg_attr(feature = "control", serde(flatten))]
    pub status: InviteStatus,
}

impl Gate {
    /// Every op about a member of a group, parents before children.
    pub fn log(&self, group: GroupId) -> Vec<MemberOp> {
        self.groups.get(&group).map(Group::log).unwrap_or_default()
    }

    /// The voided ops about members of a group, except where what they ask for holds anyway.
    pub fn reissuable(&self, group: GroupId) -> Vec<MemberOp> {
        self.groups.get(&group).map(Group::reissuable).unwrap_or_default()
    }

    /// Every invitation of a group, the oldest first.
    pub fn invites(&self, group: GroupId) -> Vec<Invitation> {
        let Some(group) = self.groups.get(&group) else { return Vec::new() };
        let invites = group.ledger.invites().map(|(id, author, invite)| Invitation {
            id,
            author,
            role: invite.max_role,
            uses: invite.uses,
            used: invite.used,
            expires: Timestamp(invite.hint_expiry),
            status: invite.status,
        });
        invites.collect()
    }
}

impl Group {
    fn log(&self) -> Vec<MemberOp> {
        let about_members = self.ledger.facts().filter(|facts| facts.action.target().is_some());
        let log = about_members.filter_map(|facts| {
            let status = self.ledger.status(facts.id)?;
            Some(MemberOp { op: facts.id, author: facts.author, action: facts.action, status })
        });
        log.collect()
    }

    pub(super) fn reissuable(&self) -> Vec<MemberOp> {
        let roster = self.ledger.roster();
        let holds = |action: &OpAction| match *action {
            OpAction::SetRole { user, role } => roster.role(user) == role,
            OpAction::RevokeDevice { user, device } => roster.is_device_revoked(user, device),
            OpAction::Other => true,
        };
        let mut log = self.log();
        log.retain(|op| op.status != OpStatus::Counts && !holds(&op.action));
        log
    }
}
