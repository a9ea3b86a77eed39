//! The ops of a ledger as the rules see them: a DAG with ancestry, facts, and the states worth keeping.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::id::{DeviceId, OpId, UserId};
use crate::ledger::facts::{Class, Facts, OpAction, Proposal, Strength};
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;
use crate::ledger::resolve::State;
use crate::ledger::validity::{Invalid, Refusal};

/// States of older branches that are kept, so that a branch which arrives op by op is resolved once.
const BRANCHES_MAX: usize = 4;

/// The DAG of ops, without what the rules of state do not look at. Any ids will do: the ledger brings hashes, the
/// executable model its short names.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    founders: Vec<UserId>,
    /// In order of admission, parents first; 0 is the Create.
    nodes: Vec<Node>,
    numbers: BTreeMap<OpId, usize>,
    /// All but the Create, in the order in which they are resolved.
    order: Vec<usize>,
    /// All numbers.
    all: OpSet,
    /// The state of all ops, once somebody asked for it.
    current: OnceLock<State>,
    /// States of some smaller sets, the last used at the end.
    branches: Vec<State>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) facts: Facts,
    /// The number of the op that gave its author their role.
    pub(crate) grant: usize,
    /// All its ancestors.
    pub(crate) past: OpSet,
}

/// How an op stands in the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum OpStatus {
    /// Voided by something stronger.
    Void,
    /// Alive, but something of higher rank was said about its target: what rests on it stands.
    Superseded,
    /// It counts.
    Counts,
}

/// An op that was found valid, ready to be inserted.
pub(crate) struct Judged {
    pub(crate) node: Node,
    pub(crate) place: Place,
}

/// Which kept state is that of an op's past.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Current,
    Branch(usize),
}

impl Graph {
    /// A group of `founders`, the most senior first, with nothing said since.
    pub fn new(create: OpId, founders: Vec<UserId>) -> Self {
        let strength = Strength { rank: Reverse(Role::Founder), depth: 0, grant: create, founder: 0 };
        let author = founders.first().copied().unwrap_or(UserId([0; 32]));
        let facts = Facts {
            id: create,
            author,
            device: None,
            act: OpAction::Other,
            old_role: Role::None,
            contested: false,
            depth: 0,
            strength,
            class: Class::Rest,
        };
        Self {
            founders,
            nodes: vec![Node { facts, grant: 0, past: OpSet::default() }],
            numbers: BTreeMap::from([(create, 0)]),
            all: OpSet::below(1),
            ..Self::default()
        }
    }

    /// Judges an op and takes it in; one that is here already changes nothing.
    ///
    /// # Errors
    /// [`Refusal`] by clauses 1 to 4 of authority 3.2.
    pub fn admit(&mut self, id: OpId, proposal: &Proposal) -> Result<(), Refusal> {
        if !self.numbers.contains_key(&id) {
            let judged = self.judge(id, proposal)?;
            self.insert(judged);
        }
        Ok(())
    }

    /// Judges an op against the state of its past.
    pub(crate) fn judge(&mut self, id: OpId, proposal: &Proposal) -> Result<Judged, Refusal> {
        let past = self.past_of(id, &proposal.parents)?;
        let place = self.place(&past, &proposal.parents);
        let node = self.judge_in(self.state_at(place), id, proposal, past)?;
        Ok(Judged { node, place })
    }

    /// Judges an op against `state`, which is that of its past.
    pub(crate) fn judge_in(
        &self,
        state: &State,
        id: OpId,
        proposal: &Proposal,
        past: OpSet,
    ) -> Result<Node, Refusal> {
        let deepest = proposal.parents.iter().map(|parent| self.node(self.numbers[parent]).facts.depth).max();
        let depth = 1 + deepest.unwrap_or(0);
        let (facts, grant) =
            self.facts(state, id, depth, proposal).map_err(|why| Refusal::Invalid { op: id, why })?;
        Ok(Node { facts, grant, past })
    }

    /// Takes a judged op in; nothing else was inserted since it was judged.
    pub(crate) fn insert(&mut self, Judged { node, place }: Judged) -> usize {
        let number = self.nodes.len();
        let position =
            self.order.partition_point(|&other| self.node(other).facts.order() < node.facts.order());
        self.order.insert(position, number);
        self.numbers.insert(node.facts.id, number);
        self.all.insert(number);
        self.nodes.push(node);
        let current = self.current.take();
        if place == Place::Current {
            let mut state = current.expect("judging in the current state resolved it");
            state.extend(self, number);
            self.current = OnceLock::from(state);
        }
        number
    }

    /// All ancestors of an op with such parents.
    pub(crate) fn past_of(&self, op: OpId, parents: &[OpId]) -> Result<OpSet, Refusal> {
        let number = |parent: &OpId| self.numbers.get(parent).copied().ok_or(*parent);
        let (known, missing): (Vec<_>, Vec<_>) = parents.iter().map(number).partition(Result::is_ok);
        if !missing.is_empty() || parents.is_empty() {
            return Err(Refusal::MissingParents {
                op,
                missing: missing.into_iter().filter_map(Result::err).collect(),
            });
        }
        let numbers: Vec<usize> = known.into_iter().flatten().collect();
        let mut past = OpSet::default();
        for &number in &numbers {
            past.union(&self.node(number).past);
        }
        for &number in &numbers {
            if past.contains(number) {
                let parent = self.node(number).facts.id;
                return Err(Refusal::Invalid { op, why: Invalid::NotAntichain { parent } });
            }
        }
        numbers.into_iter().for_each(|number| past.insert(number));
        Ok(past)
    }

    /// Finds the state of `past` among those kept, or makes and keeps it. One that is kept stays as it is: of many ops on
    /// the same parents only the first pays.
    fn place(&mut self, past: &OpSet, parents: &[OpId]) -> Place {
        if self.current.get().is_some_and(|state| state.is_of(past)) {
            return Place::Current;
        }
        if self.all.is_subset(past) {
            self.state();
            return Place::Current;
        }
        let state = match self.branches.iter().position(|state| state.is_of(past)) {
            Some(found) => self.branches.remove(found),
            None => self.extended(parents).unwrap_or_else(|| State::resolve(self, past.clone())),
        };
        if self.branches.len() == BRANCHES_MAX {
            self.branches.remove(0);
        }
        self.branches.push(state);
        Place::Branch(self.branches.len() - 1)
    }

    /// The state of one op and its past, where that of its past alone is kept: a branch that arrives op by op.
    fn extended(&self, parents: &[OpId]) -> Option<State> {
        let [parent] = parents else { return None };
        let parent = self.number(*parent)?;
        let past = &self.node(parent).past;
        let mut state = self.branches.iter().find(|state| state.is_of(past))?.clone();
        state.extend(self, parent);
        Some(state)
    }

    pub(crate) fn state_at(&self, place: Place) -> &State {
        match place {
            Place::Current => self.state(),
            Place::Branch(branch) => &self.branches[branch],
        }
    }

    /// The state of all ops.
    pub(crate) fn state(&self) -> &State {
        self.current.get_or_init(|| State::resolve(self, self.all.clone()))
    }

    /// Drops the states that are kept for speed: the next question resolves anew.
    pub fn forget_states(&mut self) {
        self.current = OnceLock::new();
        self.branches.clear();
    }

    /// Those of `ops` that are not in the past of another.
    pub(crate) fn newest(&self, mut ops: Vec<usize>) -> Vec<usize> {
        if ops.len() < 2 {
            return ops;
        }
        // Ancestors have smaller numbers, so whatever may have seen an op comes before it.
        ops.sort_unstable_by_key(|number| Reverse(*number));
        let mut below = OpSet::default();
        ops.retain(|number| {
            let newest = !below.contains(*number);
            if newest {
                below.union(&self.node(*number).past);
            }
            newest
        });
        ops
    }

    /// How an op stands; `None` when it is not here.
    pub fn standing(&self, op: OpId) -> Option<OpStatus> {
        self.number(op).map(|number| self.standing_of(number))
    }

    pub(crate) fn standing_of(&self, number: usize) -> OpStatus {
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

    /// The op, or Create, that gave or took a user's role; `None` when nothing was ever said of them.
    pub fn winner(&self, user: UserId) -> Option<OpId> {
        self.state().winner(user).map(|number| self.node(number).facts.id)
    }

    /// Every user who has or had a role.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.state().winners().map(|(user, ..)| user)
    }

    /// Every revoked device, with its user.
    pub fn revoked(&self) -> impl Iterator<Item = (UserId, DeviceId)> {
        self.state().revoked()
    }

    /// The facts of every op, in order of admission, the Create first.
    pub fn ops(&self) -> impl Iterator<Item = &Facts> {
        self.nodes.iter().map(|node| &node.facts)
    }

    /// Whether op `older` is an ancestor of op `newer`.
    pub fn is_ancestor(&self, older: OpId, newer: OpId) -> bool {
        let numbers = self.number(older).zip(self.number(newer));
        numbers.is_some_and(|(older, newer)| self.node(newer).past.contains(older))
    }

    /// Ops, the Create included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether not even the Create is here.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn founders(&self) -> &[UserId] {
        &self.founders
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    pub(crate) fn number(&self, op: OpId) -> Option<usize> {
        self.numbers.get(&op).copied()
    }

    /// All but the Create, in the order in which they are resolved.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> OpId {
        OpId(crate::id::hash("test", &[&number.to_be_bytes()]))
    }

    const ADA: UserId = UserId([1; 32]);

    fn revoke(graph: &mut Graph, number: u16, parent: OpId) -> OpId {
        let act = OpAction::RevokeDevice { user: ADA, device: DeviceId(id(number).0) };
        let proposal = Proposal { parents: vec![parent], author: ADA, device: None, act };
        graph.admit(id(number), &proposal).unwrap();
        id(number)
    }

    /// How often a state is made from nothing is what a flood costs.
    #[test]
    fn of_many_ops_on_one_parent_only_the_first_pays_for_their_past() {
        let mut graph = Graph::new(id(0), vec![ADA]);
        let parent = revoke(&mut graph, 1, id(0));
        revoke(&mut graph, 2, parent);
        revoke(&mut graph, 3, parent);
        let kept = graph.branches.last().unwrap().clone();
        assert!(kept.is_of(&graph.node(2).past));

        for number in 10..50 {
            let sibling = revoke(&mut graph, number, parent);
            // One that builds on a sibling does not cost the others their state either.
            revoke(&mut graph, number + 1_000, sibling);
            let past = graph.node(2).past.clone();
            assert!(graph.branches.iter().any(|state| state.is_of(&past)));
        }
    }
}
