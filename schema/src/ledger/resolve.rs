//! Resolves a set of ops to roles and revoked devices, in one pass in order of strength (authority 3.3).
//!
//! Total and pure: every downward-closed set of ops resolves, to the same result on every device.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::id::{DeviceId, UserId};
use crate::ledger::facts::{Class, OpAction};
use crate::ledger::graph::{Graph, Node};
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;

/// The result of resolving a downward-closed set of ops. Ops are numbers of their [`Graph`]; 0 is the Create.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolution {
    /// The ops that were resolved.
    pub(crate) ops: OpSet,
    pub(crate) alive: OpSet,
    pub(crate) counting: OpSet,
    /// Counting SetRoles by target.
    set_roles: BTreeMap<UserId, Vec<usize>>,
    /// Counting RevokeDevices by target.
    revocations: BTreeMap<(UserId, DeviceId), Vec<usize>>,
    winners: BTreeMap<UserId, Winner>,
}

/// The op that decides a user's role.
#[derive(Clone, Copy, Debug)]
struct Winner {
    op: usize,
    role: Role,
}

impl Resolution {
    /// Computes `resolve(S)` for the set `ops`.
    pub(crate) fn of(graph: &Graph, ops: OpSet) -> Self {
        let mut resolution = Self { ops, ..Self::default() };
        if graph.len() == 0 {
            return resolution;
        }
        resolution.alive.insert(0);
        resolution.counting.insert(0);
        let founder = Winner { op: 0, role: Role::Founder };
        resolution.winners = graph.founders().iter().map(|user| (*user, founder)).collect();
        for &number in graph.order() {
            if resolution.ops.contains(number) {
                resolution.classify(graph, number);
            }
        }
        for (user, ops) in &resolution.set_roles {
            if let Some(op) = register_winner(graph, ops.clone()) {
                resolution.winners.insert(*user, Winner { op, role: graph.given_role(op) });
            }
        }
        resolution
    }

    /// Adds one op that has all living ops in its past, with the same result as resolving again: the op is
    /// concurrent with nothing that it could void or supersede, and revives nothing.
    pub(crate) fn extend(&mut self, graph: &Graph, number: usize) {
        self.ops.insert(number);
        self.classify(graph, number);
        if let OpAction::SetRole { user, role } = graph.node(number).facts.action
            && self.counting.contains(number)
        {
            self.winners.insert(user, Winner { op: number, role });
        }
    }

    /// Returns true if this is the resolution of `past`, void ops aside, which contribute nothing.
    pub(crate) fn is_of(&self, past: &OpSet) -> bool {
        self.alive.is_subset(past) && past.is_subset(&self.ops)
    }

    fn classify(&mut self, graph: &Graph, number: usize) {
        let node = graph.node(number);
        if !self.is_alive(graph, node, number) {
            return;
        }
        self.alive.insert(number);
        if !self.counts(graph, node, number) {
            return;
        }
        self.counting.insert(number);
        match node.facts.action {
            OpAction::SetRole { user, .. } => self.set_roles.entry(user).or_default().push(number),
            OpAction::RevokeDevice { user, device } => {
                self.revocations.entry((user, device)).or_default().push(number);
            }
            OpAction::Other => {}
        }
    }

    /// Clauses (a) to (c). `number` may be the next one, which the graph does not have yet.
    pub(crate) fn is_alive(&self, graph: &Graph, node: &Node, number: usize) -> bool {
        let op = &node.facts;
        let unseen_by = |other: usize| !graph.node(other).past.contains(number);
        // (b) A stronger lowering of the author voids the op, unless the author's grant already had it in its
        // past.
        let voids = |&r: &usize| {
            let lowering = &graph.node(r).facts;
            let own = lowering.strength == op.strength && lowering.class == Class::SelfLowering;
            graph.given_role(r) < op.rank()
                && unseen_by(r)
                && !graph.node(node.grant).past.contains(r)
                && (lowering.strength < op.strength || own && op.class == Class::Rest)
        };
        // (c) A stronger revocation of the signing device voids the op, and so does the user key's own.
        let revokes = |&q: &usize| {
            let revocation = &graph.node(q).facts;
            let own = revocation.strength == op.strength && revocation.class == Class::OwnDevice;
            unseen_by(q) && (revocation.strength < op.strength || own)
        };
        self.alive.contains(node.grant)
            && !self.set_roles(op.author).iter().any(voids)
            && !op.device.is_some_and(|device| self.revocations(op.author, device).iter().any(revokes))
    }

    /// Clauses (d) and (T), for an op that is alive.
    pub(crate) fn counts(&self, graph: &Graph, node: &Node, number: usize) -> bool {
        let Node { facts: op, past, .. } = node;
        let OpAction::SetRole { user, .. } = op.action else { return true };
        let higher = || {
            let ops = self.set_roles(user).iter().copied();
            ops.filter(|other| graph.node(*other).facts.rank() > op.rank())
        };
        // (d)
        if higher().any(|g| !past.contains(g) && !graph.node(g).past.contains(number)) {
            return false;
        }
        // (T) The role that higher ranks gave the target, as far as the author had seen, still allows the op.
        match register_winner(graph, higher().filter(|h| past.contains(*h)).collect()) {
            Some(winner) => graph.given_role(winner) <= op.rank(),
            None => op.rank() == Role::Founder || !graph.founders().contains(&user),
        }
    }

    pub(crate) fn role(&self, user: UserId) -> Role {
        self.winners.get(&user).map_or(Role::None, |winner| winner.role)
    }

    /// The op, or Create, that decides a user's role.
    pub(crate) fn winner(&self, user: UserId) -> Option<usize> {
        self.winners.get(&user).map(|winner| winner.op)
    }

    /// Every user who has or had a role, in user order.
    pub(crate) fn users(&self) -> impl Iterator<Item = UserId> {
        self.winners.keys().copied()
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

/// Of SetRoles on one user, the one that decides: among those that are in no other's past the one of the
/// highest rank, then of the lowest role, then the strongest.
fn register_winner(graph: &Graph, ops: Vec<usize>) -> Option<usize> {
    let preference = |number: &usize| {
        let op = &graph.node(*number).facts;
        (Reverse(op.rank()), graph.given_role(*number), op.strength, op.id)
    };
    graph.newest(ops).into_iter().min_by_key(preference)
}
