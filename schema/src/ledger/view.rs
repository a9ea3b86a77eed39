//! What people are shown of a ledger: invitations, removals that may still be contested, ops that came to nothing.

use crate::id::{OpId, UserId};
use crate::ledger::body::Invite;
use crate::ledger::graph::Standing;
use crate::ledger::op::{Body, Role};
use crate::ledger::{Act, Ledger};

/// A lowering that counts, by somebody whom its target could have lowered instead: until a stronger member
/// [confirms](Ledger::confirms) it, an op of the target that has not seen it may void it (authority 3.0, D5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// An op that is here and has no effect (authority 3.4, client duty ii).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voided {
    /// The op.
    pub op: OpId,
    /// Who said it.
    pub author: UserId,
    /// What it said.
    pub body: Body,
    /// It was void, or spoken over by a higher role.
    pub standing: Standing,
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

    /// The ops about members that came to nothing and that somebody may want to say again, the oldest first.
    pub fn voided(&self) -> Vec<Voided> {
        let voided = self.graph.ops().zip(&self.ops).enumerate().filter_map(|(number, (facts, op))| {
            let standing = self.graph.standing_of(number);
            let about_somebody = matches!(facts.act, Act::SetRole { .. } | Act::RevokeDevice { .. });
            (standing != Standing::Counts && about_somebody).then(|| Voided {
                op: facts.id,
                author: facts.author,
                body: op.record().body.clone(),
                standing,
            })
        });
        voided.collect()
    }
}
