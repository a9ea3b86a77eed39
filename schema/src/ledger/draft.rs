//! What somebody of our own would sign: parents chosen, and refused here where others would refuse it.

use std::collections::BTreeSet;

use crate::id::{OpId, UserId};
use crate::ledger::resolve::State;
use crate::ledger::set::OpSet;
use crate::ledger::{Body, By, Invalid, Ledger, Op, Refusal, proposal};
use crate::limits::OP_PARENTS_MAX;
use crate::signed::Record;

/// The key of SetMetas that only join heads.
pub const MERGE: &str = "merge";

impl Ledger {
    /// The op that `author` would sign now: it builds on the newest living ops.
    ///
    /// # Errors
    /// [`Refusal`] of what every other device would refuse, and of what would have no effect.
    pub fn draft(&self, author: UserId, by: By, body: Body) -> Result<Op, Refusal> {
        self.draft_without(&BTreeSet::new(), author, by, body)
    }

    /// The op that `author` would sign as of before `rejected`: it builds on the newest living ops that are neither
    /// among them nor build on them. So a stronger member undoes what an insider did after everybody has seen it
    /// (authority 3.4, W11b).
    ///
    /// # Errors
    /// As [`draft`](Self::draft).
    pub fn draft_without(
        &self,
        rejected: &BTreeSet<OpId>,
        author: UserId,
        by: By,
        body: Body,
    ) -> Result<Op, Refusal> {
        let mut without = OpSet::default();
        for number in 0..self.ops.len() {
            let node = self.graph.node(number);
            let builds_on =
                |rejected: &OpId| self.graph.number(*rejected).is_some_and(|r| node.past.contains(r));
            if rejected.contains(&node.facts.id) || rejected.iter().any(builds_on) {
                without.insert(number);
            }
        }
        let kept = self.graph.state().alive.iter().filter(|number| !without.contains(*number));
        let heads = self.graph.newest(kept.collect()).into_iter();
        let mut parents: Vec<OpId> = heads.map(|number| self.graph.node(number).facts.id).collect();
        parents.sort_unstable();
        // Whoever shuts out their own device need not have seen everything, and may not be allowed to join heads.
        let joins_some = match &body {
            Body::SetMeta { key, .. } => key == MERGE,
            Body::RevokeDevice { user, .. } => *user == author,
            _ => false,
        };
        if parents.len() > OP_PARENTS_MAX && !joins_some {
            return Err(Refusal::TooManyHeads { got: parents.len(), max: OP_PARENTS_MAX });
        }
        parents.truncate(OP_PARENTS_MAX);
        let op = Op { version: 1, group: self.group, parents, author, by, body };
        let id = op.id();
        let invalid = |why| Refusal::Invalid { op: id, why };
        op.signer().map_err(|cause| invalid(Invalid::Envelope(cause)))?;
        let past = self.graph.past_of(id, &op.parents)?;
        let resolved;
        let state = if self.graph.state().is_of(&past) {
            self.graph.state()
        } else {
            resolved = State::resolve(&self.graph, past.clone());
            &resolved
        };
        let node = self.graph.judge_in(state, id, &proposal(&op), past)?;
        self.check_body(&op, &node, state).map_err(invalid)?;
        let (now, number) = (self.graph.state(), self.graph.len());
        if now.is_alive(&self.graph, &node, number) && now.counts(&self.graph, &node, number) {
            Ok(op)
        } else {
            Err(Refusal::NoEffect { op: id })
        }
    }
}
