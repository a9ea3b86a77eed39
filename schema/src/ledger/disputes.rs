//! Removals that may still be contested, and ops that have no effect: what members are asked to decide.

use crate::id::{OpId, UserId};
use crate::ledger::facts::{Facts, OpAction};
use crate::ledger::op::Role;
use crate::ledger::resolver::OpStatus;
use crate::ledger::state::Ledger;

/// A counting lowering that its target could have answered by lowering the author instead. Until a stronger
/// member confirms it, an op of the target that has not seen it may void it (authority
/// 3.0, D5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Contestable {
    /// The SetRole.
    pub op: OpId,
    /// The user who signed the op.
    pub author: UserId,
    /// The lowered user.
    pub user: UserId,
    /// The user's role since.
    pub role: Role,
}

impl Ledger {
    /// The lowerings that may still be contested, by user.
    pub fn contestable(&self) -> Vec<Contestable> {
        let (graph, state) = (self.resolver.graph(), self.resolver.state());
        let contestable = |user| {
            let facts = &graph.node(state.winner(user)?).facts;
            let Facts { id: op, author, .. } = *facts;
            facts.contestable.then(|| Contestable { op, author, user, role: state.role(user) })
        };
        state.users().filter_map(contestable).collect()
    }

    /// Returns true if `by` can end the contest: a re-assertion by them is valid, and stronger.
    pub fn confirms(&self, contestable: &Contestable, by: UserId) -> bool {
        let (graph, state) = (self.resolver.graph(), self.resolver.state());
        let (Some(grant), Some(winner)) = (state.winner(by), state.winner(contestable.user)) else {
            return false;
        };
        let rank = state.role(by);
        rank >= Role::Admin
            && contestable.role < Role::Admin
            && graph.strength(rank, grant, by) < graph.node(winner).facts.strength
    }

    /// The ops about members that are void or superseded, the oldest first (authority 3.4, client duty ii).
    pub fn without_effect(&self) -> impl Iterator<Item = &Facts> {
        let is_about_a_member = |facts: &Facts| !matches!(facts.action, OpAction::Other);
        let has_effect = |number| self.resolver.status_of(number) == OpStatus::Counts;
        let numbered = self.facts().enumerate();
        numbered
            .filter(move |(number, facts)| is_about_a_member(facts) && !has_effect(*number))
            .map(|(_, facts)| facts)
    }
}
