//! What people are shown of a ledger: invitations, removals that may still be contested, ops that came to nothing.

use crate::id::{OpId, UserId};
use crate::ledger::graph::OpStatus;
use crate::ledger::op::Role;
use crate::ledger::references::Invite;
use crate::ledger::{Facts, Ledger, OpAction};

/// A lowering that counts, by somebody whom its target could have lowered instead: until a stronger member
/// [confirms](Ledger::confirms) it, an op of the target that has not seen it may void it (authority 3.0, D5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Contestable {
    /// The SetRole.
    pub op: OpId,
    /// Who said it.
    pub author: UserId,
    /// Whom it lowers.
    pub user: UserId,
    /// The role that it leaves them.
    pub role: Role,
}

impl Ledger {
    /// Every OpenInvite with who opened it and how it stands, the oldest first.
    pub fn invites(&self) -> impl Iterator<Item = (OpId, UserId, Invite)> {
        self.ids()
            .zip(&self.ops)
            .filter_map(|(id, op)| self.invite(id).map(|invite| (id, op.record().author, invite)))
    }

    /// The lowerings that may still be contested, by user.
    pub fn contestable(&self) -> Vec<Contestable> {
        let winners = self
            .graph
            .state()
            .winners()
            .map(|(user, winner, role)| (user, &self.graph.node(winner).facts, role));
        let contestable = winners.filter(|(_, facts, _)| facts.contested);
        let contestable = contestable.map(|(user, facts, role)| Contestable {
            op: facts.id,
            author: facts.author,
            user,
            role,
        });
        contestable.collect()
    }

    /// Whether `by` would end the contest: a re-assertion by them is valid, and stronger.
    pub fn confirms(&self, contestable: &Contestable, by: UserId) -> bool {
        let state = self.graph.state();
        let (Some(grant), Some(winner)) = (state.winner(by), state.winner(contestable.user)) else {
            return false;
        };
        let rank = state.role(by);
        rank >= Role::Admin
            && contestable.role < Role::Admin
            && self.graph.strength(rank, grant, by) < self.graph.node(winner).facts.strength
    }

    /// The ops about members that came to nothing, the oldest first: void, or spoken over by a higher role (authority
    /// 3.4, client duty ii).
    pub fn without_effect(&self) -> impl Iterator<Item = &Facts> {
        let numbered = self.graph.ops().enumerate();
        numbered.filter(|(number, _)| self.graph.standing_of(*number) != OpStatus::Counts).filter_map(
            |(_, facts)| {
                matches!(facts.act, OpAction::SetRole { .. } | OpAction::RevokeDevice { .. }).then_some(facts)
            },
        )
    }
}
