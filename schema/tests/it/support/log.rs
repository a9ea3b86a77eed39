//! Random membership logs over the abstract graph: honest ops on the heads, backdated ones anywhere.

use std::collections::BTreeSet;
use std::ops::Range;

use peerbase_schema::ledger::{Facts, Graph, OpAction, OpStatus, Proposal, Refusal, Role};
use peerbase_schema::{DeviceId, OpId, UserId};
use proptest::prelude::*;

/// A proposed op; indexes are reduced modulo the number of candidates.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    author: usize,
    target: usize,
    /// 0–69 sets a role, 70–92 revokes a device, 93–99 does neither.
    kind: u8,
    role: Role,
    /// `None`: the user key signs.
    device: Option<u8>,
    /// `None`: the op builds on the heads.
    parents: Option<[usize; 2]>,
}

pub(crate) fn drafts(count: Range<usize>, backdated: f64) -> impl Strategy<Value = Vec<Draft>> {
    let parents = proptest::option::weighted(backdated, any::<[usize; 2]>());
    let role = proptest::sample::select(Role::ALL.to_vec());
    let device = proptest::option::weighted(0.6, 0..2u8);
    let draft = (any::<usize>(), any::<usize>(), 0..100u8, role, device, parents);
    let draft = draft.prop_map(|(author, target, kind, role, device, parents)| Draft {
        author,
        target,
        kind,
        role,
        device,
        parents,
    });
    proptest::collection::vec(draft, count)
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) graph: Graph,
    pub(crate) founders: Vec<UserId>,
    pub(crate) said: Vec<(OpId, Proposal)>,
    pub(crate) refused: Vec<(OpId, Proposal, Refusal)>,
    tried: u64,
}

pub(crate) const CREATE: OpId = OpId([0; 32]);

pub(crate) fn users(names: &str) -> Vec<UserId> {
    names.bytes().map(|name| UserId([name; 32])).collect()
}

/// Logs of one or two founders and up to six users, from honest to mostly backdated.
pub(crate) fn logs() -> impl Strategy<Value = Log> {
    let shape = (1..=2usize, 3..=6usize, proptest::sample::select(vec![0.1, 0.4, 0.7]));
    shape.prop_flat_map(|(founders, users_max, backdated)| {
        drafts(10..70, backdated).prop_map(move |drafts| {
            let all = &users("abcdef")[..users_max];
            let mut log = Log::new(&all[..founders]);
            log.grow(&drafts, all, all);
            log
        })
    })
}

impl Log {
    pub(crate) fn new(founders: &[UserId]) -> Self {
        let graph = Graph::new(CREATE, founders.to_vec());
        Self { graph, founders: founders.to_vec(), said: Vec::new(), refused: Vec::new(), tried: 0 }
    }

    /// Tries each draft once and returns the ids of the valid ones.
    pub(crate) fn grow(&mut self, drafts: &[Draft], authors: &[UserId], targets: &[UserId]) -> Vec<OpId> {
        let mut grown = Vec::new();
        for draft in drafts {
            let parents = match draft.parents {
                None => self.heads(),
                Some(picks) => self.antichain(picks),
            };
            let user = targets[draft.target % targets.len()];
            let act = match draft.kind {
                0..70 => OpAction::SetRole { user, role: draft.role },
                70..93 => OpAction::RevokeDevice { user, device: DeviceId([draft.kind % 2; 32]) },
                _ => OpAction::Other,
            };
            // Founders seldom lower themselves, or most logs would end without an authority.
            if draft.author % 8 > 0
                && user == authors[draft.author % authors.len()]
                && self.founders.contains(&user)
            {
                continue;
            }
            let device = draft.device.map(|device| DeviceId([device; 32]));
            let author = authors[draft.author % authors.len()];
            grown.extend(self.say(Proposal { parents, author, device, act }).ok());
        }
        grown
    }

    /// Admits one op under a fresh id that depends on nothing but its number.
    pub(crate) fn say(&mut self, proposal: Proposal) -> Result<OpId, Refusal> {
        self.tried += 1;
        let id = OpId(peerbase_schema::id::hash("test", &[&self.tried.to_be_bytes()]));
        match self.graph.admit(id, &proposal) {
            Ok(()) => {
                self.said.push((id, proposal));
                Ok(id)
            }
            Err(refusal) => {
                self.refused.push((id, proposal, refusal.clone()));
                Err(refusal)
            }
        }
    }

    /// Admits an op of the user key on the heads.
    pub(crate) fn say_now(&mut self, author: UserId, act: OpAction) -> Result<OpId, Refusal> {
        self.say(Proposal { parents: self.heads(), author, device: None, act })
    }

    pub(crate) fn heads(&self) -> Vec<OpId> {
        let mut heads: BTreeSet<OpId> = self.said.iter().map(|(id, _)| *id).chain([CREATE]).collect();
        for (_, proposal) in &self.said {
            for parent in &proposal.parents {
                heads.remove(parent);
            }
        }
        heads.into_iter().collect()
    }

    fn antichain(&self, picks: [usize; 2]) -> Vec<OpId> {
        let ids: Vec<OpId> = self.graph.ops().map(|op| op.id).collect();
        let [a, b] = picks.map(|pick| ids[pick % ids.len()]);
        if a == b || self.graph.is_ancestor(a, b) {
            vec![b]
        } else if self.graph.is_ancestor(b, a) {
            vec![a]
        } else {
            vec![a.min(b), a.max(b)]
        }
    }

    pub(crate) fn facts(&self, op: OpId) -> &Facts {
        self.graph.ops().find(|facts| facts.id == op).expect("it was said")
    }

    /// The graph of the same founders with only the ops that `keep` accepts, in the same order.
    pub(crate) fn only(&self, keep: impl Fn(OpId) -> bool) -> Graph {
        let mut graph = Graph::new(CREATE, self.founders.clone());
        for (id, proposal) in self.said.iter().filter(|(id, _)| keep(*id)) {
            graph.admit(*id, proposal).expect("validity depends on the past alone");
        }
        graph
    }
}

/// The outcome of a graph: roles with their winning ops, the status of every op, revoked devices.
pub(crate) type Present = (Vec<(UserId, Role, Option<OpId>)>, Vec<(OpId, OpStatus)>, Vec<(UserId, DeviceId)>);

pub(crate) fn present(graph: &Graph) -> Present {
    let roles = graph.users().map(|user| (user, graph.role(user), graph.winner(user))).collect();
    let mut standing: Vec<_> = graph.ops().filter_map(|op| Some((op.id, graph.standing(op.id)?))).collect();
    standing.sort();
    (roles, standing, graph.revoked().collect())
}

/// The users with a role above `None`.
pub(crate) fn members(graph: &Graph) -> Vec<(UserId, Role)> {
    let roles = graph.users().map(|user| (user, graph.role(user)));
    roles.filter(|(_, role)| *role > Role::None).collect()
}
