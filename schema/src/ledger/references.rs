//! Judges what an op states about other ops: cuts, amnesties and invitations (authority 3.2, clause 5, and
//! what clauses 3 and 4 require of cuts).

use crate::ledger::graph::Node;
use crate::ledger::invites::InviteStatus;
use crate::ledger::op::Body::{Amnesty, CloseInvite, Create, OpenInvite, RevokeDevice, SetMeta, SetRole};
use crate::ledger::op::{Op, Role};
use crate::ledger::refusal::Invalid;
use crate::ledger::resolve::Resolution;
use crate::ledger::state::Ledger;

impl Ledger {
    /// Judges `op`, whose facts are those of `node`, against `past`, the resolution of its past.
    pub(super) fn check_references(&self, op: &Op, node: &Node, past: &Resolution) -> Result<(), Invalid> {
        let facts = &node.facts;
        let rank = facts.rank();
        let past_number = |named| {
            let number = self.resolver.graph().number(named).filter(|number| node.past.contains(*number));
            number.ok_or(Invalid::Reference { named })
        };
        match &op.body {
            SetRole { user, role, cut, via } => {
                let needed = *role < Role::Writer && facts.old_role >= Role::Writer;
                if cut.is_some() != needed {
                    return Err(Invalid::Cut { needed, clause: 3 });
                }
                let Some(proof) = via else { return Ok(()) };
                let OpenInvite { key, max_role, uses, .. } = self.body(past_number(proof.invite)?) else {
                    return Err(Invalid::Reference { named: proof.invite });
                };
                if role > max_role {
                    return Err(Invalid::InviteRole { role: *role, max: *max_role });
                }
                proof.verify(key, self.group, *user).map_err(Invalid::InviteProof)?;
                match self.invite_status(proof.invite, *uses, past) {
                    InviteStatus::Open { .. } => Ok(()),
                    _ => Err(Invalid::InviteSpent { invite: proof.invite }),
                }
            }
            RevokeDevice { user, cut: None, .. } if *user != op.author => {
                Err(Invalid::Cut { needed: true, clause: 4 })
            }
            Amnesty { revocation, .. } => {
                let number = past_number(*revocation)?;
                let cuts = match self.body(number) {
                    SetRole { role, .. } => *role < Role::Writer,
                    RevokeDevice { cut, .. } => cut.is_some(),
                    _ => false,
                };
                let revoker = self.resolver.graph().node(number).facts.rank();
                match (cuts, rank >= revoker) {
                    (false, _) => Err(Invalid::Reference { named: *revocation }),
                    (true, false) => Err(Invalid::AmnestyRank { rank, revoker }),
                    (true, true) => Ok(()),
                }
            }
            OpenInvite { max_role, .. } if *max_role > Role::Writer => {
                Err(Invalid::InviteRole { role: *max_role, max: Role::Writer })
            }
            CloseInvite { invite } => match self.body(past_number(*invite)?) {
                OpenInvite { .. } => Ok(()),
                _ => Err(Invalid::Reference { named: *invite }),
            },
            RevokeDevice { .. } | OpenInvite { .. } | SetMeta { .. } | Create { .. } => Ok(()),
        }
    }
}
