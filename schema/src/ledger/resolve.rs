//! Who has which role, given a set of ops: one pass in order of strength (authority 3.3).
//!
//! Total and pure: any downward-closed set of ops has a state, the same on every device.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::id::{DeviceId, UserId};
use crate::ledger::facts::{Class, OpAction};
use crate::ledger::graph::{Graph, Node};
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;

/// The state of a downward-closed set of ops. Ops are numbers of their [`Graph`]; 0 is the Create.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The ops that it is the state of.
    pub(crate) seen: OpSet,
    pub(crate) alive: OpSet,
    pub(crate) counting: OpSet,
    /// Counting SetRoles by target, in order of strength as far as ops came in that order.
    set_roles: BTreeMap<UserId, Vec<usize>>,
    /// Counting RevokeDevices by target.
    revocations: BTreeMap<(UserId, DeviceId), Vec<usize>>,
    winners: BTreeMap<UserId, (usize, Role)>,
}

impl State {
    /// `resolve(S)`.
    pub(crate) fn resolve(graph: &Graph, seen: OpSet) -> Self {
        let mut state = Self { seen, ..Self::default() };
        if graph.is_empty() {
            return state;
        }
        state.alive.insert(0);
        state.counting.insert(0);
        state.winners = graph.founders().iter().map(|user| (*user, (0, Role::Founder))).collect();
        for &number in graph.order() {
            if state.seen.contains(number) {
                state.judge(graph, number);
            }
        }
        for (user, ops) in &state.set_roles {
            if let Some(winner) = register(graph, ops.clone()) {
                state.winners.insert(*user, (winner, given(graph, winner)));
            }
        }
        state
    }

    /// The same as resolving again with one more op, for an op that has all living ones in its past: it meets
    /// nothing that it could void or supersede, and nothing that was void could rise by it.
    pub(crate) fn extend(&mut self, graph: &Graph, number: usize) {
        self.seen.insert(number);
        self.judge(graph, number);
        if let (true, OpAction::SetRole { user, role }) =
            (self.counting.contains(number), graph.node(number).facts.act)
        {
            self.winners.insert(user, (number, role));
        }
    }

    /// Whether this is, void ops aside, the state of `past`: void ops contribute nothing.
    pub(crate) fn is_of(&self, past: &OpSet) -> bool {
        self.alive.is_subset(past) && past.is_subset(&self.seen)
    }

    fn judge(&mut self, graph: &Graph, number: usize) {
        let node = graph.node(number);
        if !self.is_alive(graph, node, number) {
            return;
        }
        self.alive.insert(number);
        if !self.counts(graph, node, number) {
            return;
        }
        self.counting.insert(number);
        match node.facts.act {
            OpAction::SetRole { user, .. } => self.set_roles.entry(user).or_default().push(number),
            OpAction::RevokeDevice { user, device } => {
                self.revocations.entry((user, device)).or_default().push(number);
            }
            OpAction::Other => {}
        }
    }

    /// Clauses (a) to (c). `number` may be one that the graph does not have yet.
    pub(crate) fn is_alive(&self, graph: &Graph, node: &Node, number: usize) -> bool {
        let op = &node.facts;
        let unseen_by = |other: usize| !graph.node(other).past.contains(number);
        // (b) A stronger lowering of the author, not made good by the very grant that the op rests on.
        let kills = |&r: &usize| {
            let lowering = &graph.node(r).facts;
            let own = lowering.strength == op.strength && lowering.class == Class::SelfLowering;
            given(graph, r) < op.rank()
                && unseen_by(r)
                && !graph.node(node.grant).past.contains(r)
                && (lowering.strength < op.strength || own && op.class == Class::Rest)
        };
        // (c) A stronger revocation of the signing device, or the user key's own.
        let shuts_out = |&q: &usize| {
            let revocation = &graph.node(q).facts;
            let own = revocation.strength == op.strength && revocation.class == Class::OwnDevice;
            unseen_by(q) && (revocation.strength < op.strength || own)
        };
        self.alive.contains(node.grant)
            && !self.set_roles(op.author).iter().any(kills)
            && !op.device.is_some_and(|device| self.revocations(op.author, device).iter().any(shuts_out))
    }

    /// Clauses (d) and (T), for an op that is alive.
    pub(crate) fn counts(&self, graph: &Graph, node: &Node, number: usize) -> bool {
        let Node { facts: op, past, .. } = node;
        let OpAction::SetRole { user, .. } = op.act else { return true };
        let higher = || {
            let ops = self.set_roles(user).iter().copied();
            ops.filter(|other| graph.node(*other).facts.rank() > op.rank())
        };
        // (d)
        if higher().any(|g| !past.contains(g) && !graph.node(g).past.contains(number)) {
            return false;
        }
        // (T) What higher authority said of the target, as far as the author had seen it, still allows the op.
        match register(graph, higher().filter(|h| past.contains(*h)).collect()) {
            Some(winner) => given(graph, winner) <= op.rank(),
            None => op.rank() == Role::Founder || !graph.founders().contains(&user),
        }
    }

    pub(crate) fn role(&self, user: UserId) -> Role {
        self.winners.get(&user).map_or(Role::None, |(_, role)| *role)
    }

    pub(crate) fn winner(&self, user: UserId) -> Option<usize> {
        self.winners.get(&user).map(|(winner, _)| *winner)
    }

    /// Everybody who has or had a role, in user order, with its op.
    pub(crate) fn winners(&self) -> impl Iterator<Item = (UserId, usize, Role)> {
        self.winners.iter().map(|(user, (winner, role))| (*user, *winner, *role))
    }

    /// Counting SetRoles on `user`.
    pub(crate) fn set_roles(&self, user: UserId) -> &[usize] {
        self.set_roles.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Counting RevokeDevices of a device of `user`.
    pub(crate) fn revocations(&self, user: UserId, device: DeviceId) -> &[usize] {
        self.revocations.get(&(user, device)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_revoked(&self, user: UserId, device: DeviceId) -> bool {
        self.revocations.contains_key(&(user, device))
    }

    /// Every revoked device, with its user.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = (UserId, DeviceId)> {
        self.revocations.keys().copied()
    }
}

/// The register winner of SetRoles on one user: of those that none of the others has seen the one by the highest
/// rank, then to the lowest role, then the strongest.
fn register(graph: &Graph, ops: Vec<usize>) -> Option<usize> {
    let preference = |number: &usize| {
        let op = &graph.node(*number).facts;
        (Reverse(op.rank()), given(graph, *number), op.strength, op.id)
    };
    graph.newest(ops).into_iter().min_by_key(preference)
}

/// The role that a SetRole gives.
fn given(graph: &Graph, number: usize) -> Role {
    graph.node(number).facts.role().expect("only SetRoles are kept by target")
}
