//! What an op says of other ops: cuts, amnesties and invitations (authority 3.2, clause 5).

use crate::id::OpId;
use crate::ledger::graph::Node;
use crate::ledger::op::Body::{Amnesty, CloseInvite, Create, OpenInvite, RevokeDevice, SetMeta, SetRole};
use crate::ledger::resolve::State;
use crate::ledger::{Body, Invalid, Ledger, Op, Role};

/// An OpenInvite and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Verifying key of the invitation.
    pub key: [u8; 32],
    /// What it grants.
    pub max_role: Role,
    /// How many it was to let in.
    pub uses: u16,
    /// How many it let in: more, where Admins' devices that were apart each let the last one in.
    pub used: usize,
    /// When an Admin's device should stop accepting it, ms since the Unix epoch.
    pub hint_expiry: u64,
    /// Whether it lets anybody in.
    pub standing: InviteStatus,
}

/// Whether an invitation lets anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "standing", rename_all = "snake_case")
)]
pub enum InviteStatus {
    /// It does.
    Open {
        /// How many still.
        left: u16,
    },
    /// It was closed, or is void.
    Closed,
    /// As many as it is for have come.
    UsedUp,
}

impl Ledger {
    /// Clause 5, and what clauses 3 and 4 say about cuts.
    pub(super) fn check_body(&self, op: &Op, node: &Node, state: &State) -> Result<(), Invalid> {
        let Node { facts, past, .. } = node;
        let rank = facts.rank();
        let named = |named: OpId| {
            let number = self.graph.number(named).filter(|number| past.contains(*number));
            number.ok_or(Invalid::Reference { named })
        };
        match &op.body {
            SetRole { user, role, cut, via } => {
                let needed = *role < Role::Writer && facts.old_role >= Role::Writer;
                if cut.is_some() != needed {
                    return Err(Invalid::Cut { needed, clause: 3 });
                }
                let Some(proof) = via else { return Ok(()) };
                let number = named(proof.invite)?;
                let OpenInvite { key, max_role, uses, .. } = &self.ops[number].record().body else {
                    return Err(Invalid::Reference { named: proof.invite });
                };
                if role > max_role {
                    return Err(Invalid::InviteRole { role: *role, max: *max_role });
                }
                proof.verify(key, self.group, *user).map_err(Invalid::InviteProof)?;
                match self.standing(proof.invite, *uses, state) {
                    InviteStatus::Open { .. } => Ok(()),
                    _ => Err(Invalid::InviteSpent { invite: proof.invite }),
                }
            }
            RevokeDevice { user, cut, .. } => {
                let own = *user == op.author;
                if !own && cut.is_none() {
                    return Err(Invalid::Cut { needed: true, clause: 4 });
                }
                if own && cut.is_some() && rank < Role::Admin {
                    return Err(Invalid::Cut { needed: false, clause: 4 });
                }
                Ok(())
            }
            Amnesty { revocation, .. } => {
                let number = named(*revocation)?;
                let cuts = match &self.ops[number].record().body {
                    SetRole { role, .. } => *role < Role::Writer,
                    RevokeDevice { cut, .. } => cut.is_some(),
                    _ => false,
                };
                let revoker = self.graph.node(number).facts.rank();
                match (cuts, rank >= revoker) {
                    (false, _) => Err(Invalid::Reference { named: *revocation }),
                    (true, false) => Err(Invalid::AmnestyRank { rank, revoker }),
                    (true, true) => Ok(()),
                }
            }
            OpenInvite { max_role, .. } if *max_role > Role::Writer => {
                Err(Invalid::InviteRole { role: *max_role, max: Role::Writer })
            }
            CloseInvite { invite } => match &self.ops[named(*invite)?].record().body {
                OpenInvite { .. } => Ok(()),
                _ => Err(Invalid::Reference { named: *invite }),
            },
            OpenInvite { .. } | SetMeta { .. } | Create { .. } => Ok(()),
        }
    }

    /// An invitation and how it stands now; `None` when there is no such OpenInvite.
    pub fn invite(&self, invite: OpId) -> Option<Invite> {
        match self.op(invite)?.record().body {
            OpenInvite { key, max_role, uses, hint_expiry } => {
                let standing = self.standing(invite, uses, self.graph.state());
                let used = self.used(invite, self.graph.state());
                Some(Invite { key, max_role, uses, used, hint_expiry, standing })
            }
            _ => None,
        }
    }

    /// Whether an invitation lives, was not closed and has uses left, by `state`.
    fn standing(&self, invite: OpId, uses: u16, state: &State) -> InviteStatus {
        let is_void = !self.graph.number(invite).is_some_and(|number| state.alive.contains(number));
        let is_closed = self.naming_alive(invite, state).any(|body| matches!(body, CloseInvite { .. }));
        let left = usize::from(uses).saturating_sub(self.used(invite, state));
        match u16::try_from(left) {
            _ if is_void || is_closed => InviteStatus::Closed,
            Ok(0) => InviteStatus::UsedUp,
            left => InviteStatus::Open { left: left.unwrap_or(uses) },
        }
    }

    /// How many an invitation let in, by `state`.
    fn used(&self, invite: OpId, state: &State) -> usize {
        self.naming_alive(invite, state).filter(|body| matches!(body, SetRole { .. })).count()
    }

    /// What the living ops say that name `named`.
    fn naming_alive<'l>(&'l self, named: OpId, state: &'l State) -> impl Iterator<Item = &'l Body> {
        let naming = self.naming.get(&named).into_iter().flatten();
        naming.filter(|number| state.alive.contains(**number)).map(|number| &self.ops[*number].record().body)
    }
}
