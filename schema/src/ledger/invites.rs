//! Invitations: their status and uses.

use crate::id::{OpId, UserId};
use crate::ledger::op::Body::{self, CloseInvite, OpenInvite, SetRole};
use crate::ledger::op::Role;
use crate::ledger::resolve::Resolution;
use crate::ledger::state::Ledger;

/// An OpenInvite and its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Verifying key of the invitation.
    pub key: [u8; 32],
    /// The highest role that it grants.
    pub max_role: Role,
    /// Number of users that it may admit.
    pub uses: u16,
    /// Number of users that it admitted. More than `uses`, where devices of Admins that were apart each
    /// admitted the last one.
    pub used: usize,
    /// Time at which an Admin's device should stop accepting it, ms since the Unix epoch.
    pub hint_expiry: u64,
    /// Its status now.
    pub status: InviteStatus,
}

/// The status of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "status", rename_all = "snake_case")
)]
pub enum InviteStatus {
    /// It admits users.
    Open {
        /// Number of uses left.
        left: u16,
    },
    /// It was closed, or is void.
    Closed,
    /// It has no uses left.
    UsedUp,
}

impl Ledger {
    /// An invitation and its status now; `None` if `invite` is not a known OpenInvite.
    pub fn invite(&self, invite: OpId) -> Option<Invite> {
        match self.op(invite)?.record().body {
            OpenInvite { key, max_role, uses, hint_expiry } => {
                let status = self.invite_status(invite, uses, self.resolver.state());
                let used = self.invite_uses(invite, self.resolver.state());
                Some(Invite { key, max_role, uses, used, hint_expiry, status })
            }
            _ => None,
        }
    }

    /// Every OpenInvite with its author and status, the oldest first.
    pub fn invites(&self) -> impl Iterator<Item = (OpId, UserId, Invite)> {
        self.ids()
            .zip(&self.ops)
            .filter_map(|(id, op)| self.invite(id).map(|invite| (id, op.record().author, invite)))
    }

    /// The status of an invitation in `state`.
    pub(super) fn invite_status(&self, invite: OpId, uses: u16, state: &Resolution) -> InviteStatus {
        let number = self.resolver.graph().number(invite);
        let is_void = !number.is_some_and(|number| state.alive.contains(number));
        let is_closed = self.living_references(invite, state).any(|body| matches!(body, CloseInvite { .. }));
        let left = usize::from(uses).saturating_sub(self.invite_uses(invite, state));
        match u16::try_from(left) {
            _ if is_void || is_closed => InviteStatus::Closed,
            Ok(0) => InviteStatus::UsedUp,
            left => InviteStatus::Open { left: left.unwrap_or(uses) },
        }
    }

    /// Number of users that an invitation admitted in `state`.
    fn invite_uses(&self, invite: OpId, state: &Resolution) -> usize {
        self.living_references(invite, state).filter(|body| matches!(body, SetRole { .. })).count()
    }

    /// The bodies of the living ops that refer to `named`.
    fn living_references<'l>(&'l self, named: OpId, state: &'l Resolution) -> impl Iterator<Item = &'l Body> {
        let referring = self.referring.get(&named).into_iter().flatten();
        referring.filter(|number| state.alive.contains(**number)).map(|number| self.body(*number))
    }
}
