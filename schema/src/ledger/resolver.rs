//! Judges ops as they arrive, and keeps the resolutions that the next ones are likely to need.

use std::sync::OnceLock;

use crate::id::{DeviceId, OpId, UserId};
use crate::ledger::facts::{Facts, Proposal};
use crate::ledger::graph::{Graph, Node};
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;
use crate::ledger::refusal::Refusal;
use crate::ledger::resolve::Resolution;
use crate::ledger::validity;

/// Resolutions of older branches that are kept, so that a branch which arrives op by op is resolved once.
const BRANCHES_MAX: usize = 4;

/// The graph of ops with its resolutions. Any ids will do: the ledger uses hashes, the executable model short
/// names.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    graph: Graph,
    /// The resolution of all ops, computed on first use.
    current: OnceLock<Resolution>,
    /// Resolutions of smaller sets, the most recently used last.
    branches: Vec<Resolution>,
}

/// The effect of an op in the current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum OpStatus {
    /// A stronger op deprives it of effect.
    Void,
    /// Alive, but an op of higher rank decides its target's role: ops that rest on it stay valid.
    Superseded,
    /// It has effect.
    Counts,
}

/// A valid op, ready to be inserted.
pub(crate) struct Judged {
    pub(crate) node: Node,
    pub(crate) past: PastState,
}

/// Names the kept resolution of an op's past.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PastState {
    Current,
    Branch(usize),
}

impl Resolver {
    /// The resolver of a group of which only the Create is known; `founders` are sorted by seniority, the
    /// most senior first.
    pub fn new(create: OpId, founders: Vec<UserId>) -> Self {
        Self { graph: Graph::new(create, founders), ..Self::default() }
    }

    /// Judges an op and inserts it; does nothing for a known op.
    ///
    /// # Errors
    /// [`Refusal`] by clauses 1 to 4 of authority 3.2.
    pub fn admit(&mut self, id: OpId, proposal: &Proposal) -> Result<(), Refusal> {
        if self.graph.number(id).is_none() {
            let judged = self.judge(id, proposal)?;
            self.insert(judged);
        }
        Ok(())
    }

    /// Judges an op against the resolution of its past.
    pub(crate) fn judge(&mut self, id: OpId, proposal: &Proposal) -> Result<Judged, Refusal> {
        let ancestors = self.graph.past_of(id, &proposal.parents)?;
        let past = self.find_state(&ancestors, &proposal.parents);
        let node = validity::judge(&self.graph, self.state_at(past), id, proposal, ancestors)?;
        Ok(Judged { node, past })
    }

    /// Inserts a judged op and returns its number. No other op may have been inserted since it was judged.
    pub(crate) fn insert(&mut self, Judged { node, past }: Judged) -> usize {
        let number = self.graph.insert(node);
        let current = self.current.take();
        if past == PastState::Current {
            let mut state = current.expect("judging in the current state resolved it");
            state.extend(&self.graph, number);
            self.current = OnceLock::from(state);
        }
        number
    }

    /// Finds the resolution of `past` among those kept, or computes and keeps it. A kept one stays as it is,
    /// so that of many ops on the same parents only the first pays.
    fn find_state(&mut self, past: &OpSet, parents: &[OpId]) -> PastState {
        if self.current.get().is_some_and(|state| state.is_of(past)) {
            return PastState::Current;
        }
        if self.graph.all().is_subset(past) {
            self.state();
            return PastState::Current;
        }
        let state = match self.branches.iter().position(|state| state.is_of(past)) {
            Some(found) => self.branches.remove(found),
            None => self.extended(parents).unwrap_or_else(|| Resolution::of(&self.graph, past.clone())),
        };
        if self.branches.len() == BRANCHES_MAX {
            self.branches.remove(0);
        }
        self.branches.push(state);
        PastState::Branch(self.branches.len() - 1)
    }

    /// The resolution of one op and its past, where that of its past alone is kept.
    fn extended(&self, parents: &[OpId]) -> Option<Resolution> {
        let [parent] = parents else { return None };
        let parent = self.graph.number(*parent)?;
        let past = &self.graph.node(parent).past;
        let mut state = self.branches.iter().find(|state| state.is_of(past))?.clone();
        state.extend(&self.graph, parent);
        Some(state)
    }

    pub(crate) fn state_at(&self, past: PastState) -> &Resolution {
        match past {
            PastState::Current => self.state(),
            PastState::Branch(branch) => &self.branches[branch],
        }
    }

    /// The resolution of all ops.
    pub(crate) fn state(&self) -> &Resolution {
        self.current.get_or_init(|| Resolution::of(&self.graph, self.graph.all().clone()))
    }

    /// Drops all kept resolutions, so that the next query resolves from nothing.
    pub fn forget_states(&mut self) {
        self.current = OnceLock::new();
        self.branches.clear();
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The status of an op; `None` if it is unknown.
    pub fn status(&self, op: OpId) -> Option<OpStatus> {
        self.graph.number(op).map(|number| self.status_of(number))
    }

    pub(crate) fn status_of(&self, number: usize) -> OpStatus {
        match self.state() {
            state if state.counting.contains(number) => OpStatus::Counts,
            state if state.alive.contains(number) => OpStatus::Superseded,
            _ => OpStatus::Void,
        }
    }

    /// A user's role.
    pub fn role(&self, user: UserId) -> Role {
        self.state().role(user)
    }

    /// The op, or Create, that decides a user's role; `None` for a user that no op gives one.
    pub fn winner(&self, user: UserId) -> Option<OpId> {
        self.state().winner(user).map(|number| self.graph.node(number).facts.id)
    }

    /// Every user who has or had a role.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.state().users()
    }

    /// Every revoked device, with its user.
    pub fn revoked(&self) -> impl Iterator<Item = (UserId, DeviceId)> {
        self.state().revoked()
    }

    /// The facts of every op, in order of admission, the Create first.
    pub fn facts(&self) -> impl Iterator<Item = &Facts> {
        self.graph.nodes().iter().map(|node| &node.facts)
    }

    /// Returns true if op `older` is an ancestor of op `newer`.
    pub fn is_ancestor(&self, older: OpId, newer: OpId) -> bool {
        self.graph.is_ancestor(older, newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::facts::OpAction;

    fn id(number: u16) -> OpId {
        OpId(crate::id::hash("test", &[&number.to_be_bytes()]))
    }

    const ADA: UserId = UserId([1; 32]);

    fn revoke(resolver: &mut Resolver, number: u16, parent: OpId) -> OpId {
        let action = OpAction::RevokeDevice { user: ADA, device: DeviceId(id(number).0) };
        let proposal = Proposal { parents: vec![parent], author: ADA, device: None, action };
        resolver.admit(id(number), &proposal).unwrap();
        id(number)
    }

    /// A flood costs as many resolutions from nothing as this test counts.
    #[test]
    fn of_many_ops_on_one_parent_only_the_first_pays_for_their_past() {
        let mut resolver = Resolver::new(id(0), vec![ADA]);
        let parent = revoke(&mut resolver, 1, id(0));
        revoke(&mut resolver, 2, parent);
        revoke(&mut resolver, 3, parent);
        let kept = resolver.branches.last().unwrap().clone();
        assert!(kept.is_of(&resolver.graph.node(2).past));

        for number in 10..50 {
            let sibling = revoke(&mut resolver, number, parent);
            // An op that builds on a sibling does not cost the others their resolution either.
            revoke(&mut resolver, number + 1_000, sibling);
            let past = resolver.graph.node(2).past.clone();
            assert!(resolver.branches.iter().any(|state| state.is_of(&past)));
        }
    }
}
