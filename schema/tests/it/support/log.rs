//! Random logs of unsigned ops for the resolver: honest ops on the heads, backdated ones anywhere.

use std::collections::BTreeSet;
use std::ops::Range;

use peerbase_schema::ledger::{Facts, OpAction, OpStatus, Proposal, Refusal, Resolver, Role};
use peerbase_schema::{DeviceId, OpId, UserId};
use proptest::prelude::*;

/// A random op to propose; indices are taken modulo the number of choices.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    author: usize,
    target: usize,
    /// 0 to 69 sets a role, up to 92 revokes a device, up to 99 does neither.
    kind: u8,
    role: Role,
    /// None is the user key.
    device: Option<u8>,
    /// None is the heads.
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
    pub(crate) resolver: Resolver,
    pub(crate) founders: Vec<UserId>,
    pub(crate) admitted: Vec<(OpId, Proposal)>,
    pub(crate) refused: Vec<(OpId, Proposal, Refusal)>,
    tried: u64,
}

pub(crate) const CREATE: OpId = OpId([0; 32]);

pub(crate) fn users(names: &str) -> Vec<UserId> {
    names.bytes().map(|name| UserId([name; 32])).collect()
}

/// Logs of up to six users, one or two of them founders: some honest, some mostly backdated.
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
        let resolver = Resolver::new(CREATE, founders.to_vec());
        Self { resolver, founders: founders.to_vec(), admitted: Vec::new(), refused: Vec::new(), tried: 0 }
    }

    /// Proposes each draft once, and returns the ids of the valid ones.
    pub(crate) fn grow(&mut self, drafts: &[Draft], authors: &[UserId], targets: &[UserId]) -> Vec<OpId> {
        let mut grown = Vec::new();
        for draft in drafts {
            let parents = match draft.parents {
                None => self.heads(),
                Some(picks) => self.antichain(picks),
            };
            let user = targets[draft.target % targets.len()];
            let action = match draft.kind {
                0..70 => OpAction::SetRole { user, role: draft.role },
                70..93 => OpAction::RevokeDevice { user, device: DeviceId([draft.kind % 2; 32]) },
                _ => OpAction::Other,
            };
            // Founders seldom lower themselves, so that most logs keep a founder.
            if draft.author % 8 > 0
                && user == authors[draft.author % authors.len()]
                && self.founders.contains(&user)
            {
                continue;
            }
            let device = draft.device.map(|device| DeviceId([device; 32]));
            let author = authors[draft.author % authors.len()];
            grown.extend(self.propose(Proposal { parents, author, device, action }).ok());
        }
        grown
    }

    /// Proposes one op under a fresh pseudo-random id.
    pub(crate) fn propose(&mut self, proposal: Proposal) -> Result<OpId, Refusal> {
        self.tried += 1;
        let id = OpId(peerbase_schema::id::hash("test", &[&self.tried.to_be_bytes()]));
        match self.resolver.admit(id, &proposal) {
            Ok(()) => {
                self.admitted.push((id, proposal));
                Ok(id)
            }
            Err(refusal) => {
                self.refused.push((id, proposal, refusal.clone()));
                Err(refusal)
            }
        }
    }

    /// Proposes an op of the user key on the heads.
    pub(crate) fn propose_now(&mut self, author: UserId, action: OpAction) -> Result<OpId, Refusal> {
        self.propose(Proposal { parents: self.heads(), author, device: None, action })
    }

    pub(crate) fn heads(&self) -> Vec<OpId> {
        let mut heads: BTreeSet<OpId> = self.admitted.iter().map(|(id, _)| *id).chain([CREATE]).collect();
        for (_, proposal) in &self.admitted {
            for parent in &proposal.parents {
                heads.remove(parent);
            }
        }
        heads.into_iter().collect()
    }

    fn antichain(&self, picks: [usize; 2]) -> Vec<OpId> {
        let ids: Vec<OpId> = self.resolver.facts().map(|op| op.id).collect();
        let [a, b] = picks.map(|pick| ids[pick % ids.len()]);
        if a == b || self.resolver.is_ancestor(a, b) {
            vec![b]
        } else if self.resolver.is_ancestor(b, a) {
            vec![a]
        } else {
            vec![a.min(b), a.max(b)]
        }
    }

    pub(crate) fn facts(&self, op: OpId) -> &Facts {
        self.resolver.facts().find(|facts| facts.id == op).expect("the op is known")
    }

    /// A resolver with the same founders and only the ops for which `keep` returns true, in the same order.
    pub(crate) fn only(&self, keep: impl Fn(OpId) -> bool) -> Resolver {
        let mut resolver = Resolver::new(CREATE, self.founders.clone());
        for (id, proposal) in self.admitted.iter().filter(|(id, _)| keep(*id)) {
            resolver.admit(*id, proposal).expect("validity depends on the past alone");
        }
        resolver
    }
}

/// The state of a resolver as it can be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) roles: Vec<(UserId, Role, Option<OpId>)>,
    pub(crate) statuses: Vec<(OpId, OpStatus)>,
    pub(crate) revoked: Vec<(UserId, DeviceId)>,
}

pub(crate) fn present(resolver: &Resolver) -> Present {
    let roles = resolver.users().map(|user| (user, resolver.role(user), resolver.winner(user))).collect();
    let mut statuses: Vec<_> =
        resolver.facts().filter_map(|op| Some((op.id, resolver.status(op.id)?))).collect();
    statuses.sort();
    Present { roles, statuses, revoked: resolver.revoked().collect() }
}

/// The users with a role above None.
pub(crate) fn members(resolver: &Resolver) -> Vec<(UserId, Role)> {
    let roles = resolver.users().map(|user| (user, resolver.role(user)));
    roles.filter(|(_, role)| *role > Role::None).collect()
}
