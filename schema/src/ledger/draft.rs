//! What somebody of our own would sign: parents chosen, and refused here where others would refuse it.

use std::collections::BTreeSet;

use crate::id::{OpId, UserId};
use crate::key::SigningKey;
use crate::ledger::op_set::OpSet;
use crate::ledger::resolve::State;
use crate::ledger::{Body, By, Invalid, Ledger, NAME, Op, Refusal, Role, proposal};
use crate::limits::OP_PARENTS_MAX;
use crate::signed::{Record, Signed};

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
        let mut heads = self.graph.newest(kept.collect());
        if heads.len() > OP_PARENTS_MAX && !self.leaves_heads_out(author, &body) {
            return Err(Refusal::TooManyHeads { got: heads.len(), max: OP_PARENTS_MAX });
        }
        // Where some are left out: first what the author's role rests on, then what the strongest said.
        let grant = self.graph.state().winner(author).unwrap_or_default();
        let rests_on = |head: usize| head == grant || self.graph.node(head).past.contains(grant);
        heads.sort_by_cached_key(|head| (!rests_on(*head), self.graph.node(*head).facts.order()));
        heads.truncate(OP_PARENTS_MAX);
        let mut parents: Vec<OpId> = heads.iter().map(|head| self.graph.node(*head).facts.id).collect();
        parents.sort_unstable();
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

    /// The merging ops that `author` would sign, until there are few enough heads for whatever is to be said; none when
    /// there are already.
    ///
    /// # Errors
    /// As [`draft`](Self::draft): who may not merge meets the rule that forbids it.
    pub fn merges(
        &self,
        rejected: &BTreeSet<OpId>,
        author: UserId,
        by: &By,
        key: &SigningKey,
    ) -> Result<Vec<Signed<Op>>, Refusal> {
        let (mut ledger, mut merges) = (self.clone(), Vec::new());
        let plain = || Body::SetMeta { key: NAME.into(), value: Vec::new() };
        while let Err(Refusal::TooManyHeads { .. }) =
            ledger.draft_without(rejected, author, by.clone(), plain())
        {
            let body = Body::SetMeta { key: MERGE.into(), value: Vec::new() };
            let merge = Signed::sign(ledger.draft_without(rejected, author, by.clone(), body)?, key);
            ledger.admit(merge.envelope().clone())?;
            merges.push(merge);
        }
        Ok(merges)
    }

    /// Whether an op need not build on all heads: one that joins them, and one by which somebody who may not join them
    /// takes a device back. They have said nothing else that it might miss.
    fn leaves_heads_out(&self, author: UserId, body: &Body) -> bool {
        match body {
            Body::SetMeta { key, .. } => key == MERGE,
            Body::RevokeDevice { user, .. } => *user == author && self.graph.role(author) < Role::Admin,
            _ => false,
        }
    }
}
