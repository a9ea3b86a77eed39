//! What an op says of other ops: cuts, amnesties and invitations (authority 3.2, clause 5).

use crate::id::OpId;
use crate::ledger::graph::Node;
use crate::ledger::op::Body::{Amnesty, CloseInvite, Create, OpenInvite, RevokeDevice, SetMeta, SetRole};
use crate::ledger::resolve::State;
use crate::ledger::{Invalid, Ledger, Op, Role};

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
                if !self.is_open(proof.invite, *uses, state) {
                    return Err(Invalid::InviteSpent { invite: proof.invite });
                }
                Ok(())
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

    /// Whether an invitation lives, was not closed and has uses left, by `state`.
    fn is_open(&self, invite: OpId, uses: u16, state: &State) -> bool {
        let naming = self.naming.get(&invite).into_iter().flatten();
        let living: Vec<usize> = naming.copied().filter(|number| state.alive.contains(*number)).collect();
        let closed = |number: &usize| matches!(self.ops[*number].record().body, CloseInvite { .. });
        self.graph.number(invite).is_some_and(|number| state.alive.contains(number))
            && !living.iter().any(closed)
            && living.len() < usize::from(uses)
    }
}
