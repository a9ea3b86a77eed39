//! The DAG of ops: facts, ancestry and the order of resolution.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::id::{OpId, UserId};
use crate::ledger::facts::{Class, Facts, OpAction, Strength};
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;
use crate::ledger::refusal::{Invalid, Refusal};

/// The ops of a ledger, without the parts that resolution does not read. Ops are numbered in order of
/// admission, parents before children; 0 is the Create.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    founders: Vec<UserId>,
    nodes: Vec<Node>,
    numbers: BTreeMap<OpId, usize>,
    /// All numbers but the Create's, in the order in which ops are resolved.
    order: Vec<usize>,
    all: OpSet,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) facts: Facts,
    /// The number of the op that gave its author their role.
    pub(crate) grant: usize,
    /// All ancestors.
    pub(crate) past: OpSet,
}

impl Graph {
    /// A graph that holds only the Create of a group; `founders` are sorted by seniority, the most senior
    /// first.
    pub(crate) fn new(create: OpId, founders: Vec<UserId>) -> Self {
        let strength = Strength { rank: Reverse(Role::Founder), depth: 0, grant: create, founder_index: 0 };
        let author = founders.first().copied().unwrap_or(UserId([0; 32]));
        let facts = Facts {
            id: create,
            author,
            device: None,
            action: OpAction::Other,
            old_role: Role::None,
            contestable: false,
            depth: 0,
            strength,
            class: Class::Rest,
        };
        Self {
            founders,
            nodes: vec![Node { facts, grant: 0, past: OpSet::default() }],
            numbers: BTreeMap::from([(create, 0)]),
            order: Vec::new(),
            all: OpSet::below(1),
        }
    }

    /// Adds a judged op and returns its number.
    pub(crate) fn insert(&mut self, node: Node) -> usize {
        let number = self.nodes.len();
        let key = node.facts.resolve_order();
        let position = self.order.partition_point(|&other| self.node(other).facts.resolve_order() < key);
        self.order.insert(position, number);
        self.numbers.insert(node.facts.id, number);
        self.all.insert(number);
        self.nodes.push(node);
        number
    }

    /// The ancestors of an op with the given parents.
    ///
    /// # Errors
    /// [`Refusal::MissingParents`], and [`Invalid::NotAntichain`] where one parent is an ancestor of another.
    pub(crate) fn past_of(&self, op: OpId, parents: &[OpId]) -> Result<OpSet, Refusal> {
        let number = |parent: &OpId| self.number(*parent).ok_or(*parent);
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

    /// The depth of an op with the given parents, all of which are known.
    pub(crate) fn depth_below(&self, parents: &[OpId]) -> u32 {
        let depths = parents.iter().filter_map(|parent| self.number(*parent));
        1 + depths.map(|number| self.node(number).facts.depth).max().unwrap_or(0)
    }

    /// Those of `ops` that are not in the past of another.
    pub(crate) fn newest(&self, mut ops: Vec<usize>) -> Vec<usize> {
        if ops.len() < 2 {
            return ops;
        }
        // Ancestors have smaller numbers, so every descendant of an op is visited before the op.
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

    /// The strength of an op that `author` signs in the role that op number `grant` gave.
    pub(crate) fn strength(&self, rank: Role, grant: usize, author: UserId) -> Strength {
        let grant_facts = &self.node(grant).facts;
        let index = || self.founders.iter().position(|founder| *founder == author);
        let founder_index =
            if grant == 0 { index().expect("the Create gives its founders a role") } else { 0 };
        Strength { rank: Reverse(rank), depth: grant_facts.depth, grant: grant_facts.id, founder_index }
    }

    /// The role that SetRole number `number` gives.
    pub(crate) fn given_role(&self, number: usize) -> Role {
        self.node(number).facts.role().expect("only SetRoles are indexed by target")
    }

    pub(crate) fn is_ancestor(&self, older: OpId, newer: OpId) -> bool {
        let numbers = self.number(older).zip(self.number(newer));
        numbers.is_some_and(|(older, newer)| self.node(newer).past.contains(older))
    }

    pub(crate) fn founders(&self) -> &[UserId] {
        &self.founders
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn number(&self, op: OpId) -> Option<usize> {
        self.numbers.get(&op).copied()
    }

    /// The numbers of all ops but the Create, in the order in which ops are resolved.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The numbers of all ops.
    pub(crate) fn all(&self) -> &OpSet {
        &self.all
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}
