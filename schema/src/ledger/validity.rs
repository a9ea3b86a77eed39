//! Whether an op may enter at all, judged once and only against its own past (authority 3.2).

use std::cmp::Reverse;

use crate::id::{GroupId, OpId, UserId};
use crate::key::BadSignature;
use crate::ledger::facts::{Class, Facts, OpAction, Proposal, Strength};
use crate::ledger::graph::Graph;
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Role;
use crate::ledger::resolve::State;
use crate::signed::SignedError;

/// Why an op is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Ops that it builds on are not here: fetch them and offer it again.
    #[error("op {op} builds on {} ops that are not here", missing.len())]
    MissingParents {
        /// The op.
        op: OpId,
        /// Those of its parents that are not here.
        missing: Vec<OpId>,
    },
    /// It is valid, and pages of the manifest that it names are not here: fetch them and offer it again.
    #[error("op {op} names a manifest that is not here")]
    MissingManifest {
        /// The op.
        op: OpId,
        /// What it names.
        manifest: ManifestRef,
    },
    /// It breaks a rule in its own past and will for ever: whoever sent it is at fault.
    #[error("op {op} is invalid by clause {}", why.clause())]
    Invalid {
        /// The op.
        op: OpId,
        /// The rule.
        #[source]
        why: Invalid,
    },
    /// It would be valid but change nothing, because something stronger stands against it. Only drafts are refused
    /// for that.
    #[error("op {op} would have no effect")]
    NoEffect {
        /// The op.
        op: OpId,
    },
    /// More heads than an op may have parents. Only drafts are refused for that: sign merging ops first.
    #[error("{got} heads where an op joins at most {max}")]
    TooManyHeads {
        /// Heads at hand.
        got: usize,
        /// Parents allowed.
        max: usize,
    },
}

/// The rule that an op breaks; [`Invalid::clause`] is its number in authority 3.2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// 1: not a well-formed op signed by the key it names.
    #[error("envelope is not a signed op")]
    Envelope(#[source] SignedError),
    /// 1: of another group, or a Create that does not found this one.
    #[error("op belongs to group {got}")]
    Group {
        /// The group that it belongs to.
        got: GroupId,
    },
    /// 1: one parent is an ancestor of another.
    #[error("parent {parent} is an ancestor of another parent")]
    NotAntichain {
        /// The ancestor.
        parent: OpId,
    },
    /// 1: the signing device was already shut out.
    #[error("signing device was revoked before")]
    DeviceRevoked,
    /// 2: the author's role does not suffice.
    #[error("author is {rank:?} where {needed:?} is needed")]
    Rank {
        /// The author's role.
        rank: Role,
        /// The least role that may do this.
        needed: Role,
    },
    /// 3, 4: the target stands above the author, or would.
    #[error("author is {rank:?}, the target {target:?}")]
    AboveAuthor {
        /// The author's role.
        rank: Role,
        /// The target's role, or the one it would get.
        target: Role,
    },
    /// 3: a founder acts on one who is not their junior.
    #[error("author is not senior to the founder")]
    NotSenior,
    /// 3: authors can only lower themselves.
    #[error("author does not lower their own role")]
    SelfRaise,
    /// 3: the role stays the same, and the op does not confirm it with greater strength.
    #[error("role stays {role:?}")]
    Unchanged {
        /// The role before and after.
        role: Role,
    },
    /// 3, 4: a cut that must be there is missing, or one that must not is there.
    #[error("cut must be {}", if *.needed { "present" } else { "absent" })]
    Cut {
        /// Whether the op must carry one.
        needed: bool,
        /// 3 for SetRole, 4 for RevokeDevice.
        clause: u8,
    },
    /// 4: only the user key revokes one's own device.
    #[error("own device revoked by a device")]
    OwnDevice,
    /// 5: what the op names is not in its past, or is of another kind.
    #[error("op {named} is not in its past as what it is taken for")]
    Reference {
        /// The op that it names.
        named: OpId,
    },
    /// 5: an amnesty for a revocation by somebody above its author.
    #[error("author is {rank:?}, the revocation's was {revoker:?}")]
    AmnestyRank {
        /// The author's role.
        rank: Role,
        /// The role of whoever revoked.
        revoker: Role,
    },
    /// 5: an invitation grants more than it may.
    #[error("invitation to {role:?} where at most {max:?} is allowed")]
    InviteRole {
        /// The role.
        role: Role,
        /// The most allowed.
        max: Role,
    },
    /// 5: the invitation is void, closed or used up.
    #[error("invitation {invite} is not open")]
    InviteSpent {
        /// Its OpenInvite.
        invite: OpId,
    },
    /// 5: the proof was not made with the invitation's secret for this user.
    #[error("invitation proof does not hold")]
    InviteProof(#[source] BadSignature),
}

impl Invalid {
    /// The clause of authority 3.2 that is broken.
    pub fn clause(&self) -> u8 {
        match self {
            Self::Envelope(_) | Self::Group { .. } | Self::NotAntichain { .. } | Self::DeviceRevoked => 1,
            Self::Rank { .. } => 2,
            Self::AboveAuthor { .. } | Self::NotSenior | Self::SelfRaise | Self::Unchanged { .. } => 3,
            Self::Cut { clause, .. } => *clause,
            Self::OwnDevice => 4,
            Self::Reference { .. }
            | Self::AmnestyRank { .. }
            | Self::InviteRole { .. }
            | Self::InviteSpent { .. }
            | Self::InviteProof(_) => 5,
        }
    }
}

impl Graph {
    /// Judges clauses 1 to 4 against `state`, the state of the op's past; gives its facts and the
    /// number of its grant.
    pub(crate) fn facts(
        &self,
        state: &State,
        id: OpId,
        depth: u32,
        proposal: &Proposal,
    ) -> Result<(Facts, usize), Invalid> {
        let &Proposal { author, device, act, .. } = proposal;
        let rank = state.role(author);
        let own_device = matches!(act, OpAction::RevokeDevice { user, .. } if user == author);

        // 1
        if device.is_some_and(|device| state.is_revoked(author, device)) {
            return Err(Invalid::DeviceRevoked);
        }
        // 2; whoever is no member has nothing to shut out of the group.
        let needed = if own_device { Role::Reader } else { Role::Admin };
        if rank < needed {
            return Err(Invalid::Rank { rank, needed });
        }
        let grant = state.winner(author).expect("a role above None has a winner");
        let strength = self.strength(rank, grant, author);
        match act {
            // 3
            OpAction::SetRole { user, role } => {
                let old_role = state.role(user);
                if user == author && role >= rank {
                    return Err(Invalid::SelfRaise);
                }
                if user != author && (rank < old_role || rank < role) {
                    return Err(Invalid::AboveAuthor { rank, target: old_role.max(role) });
                }
                if user != author && old_role == Role::Founder {
                    let other = state.winner(user).expect("a founder has a winner");
                    if strength >= self.strength(old_role, other, user) {
                        return Err(Invalid::NotSenior);
                    }
                }
                if role == old_role {
                    // Re-assertion, or a junior could reset a senior's seniority with an op that changes nothing.
                    let confirms = |winner| winner != 0 && strength < self.node(winner).facts.strength;
                    if role >= Role::Admin || !state.winner(user).is_some_and(confirms) {
                        return Err(Invalid::Unchanged { role });
                    }
                }
            }
            // 4
            OpAction::RevokeDevice { user, .. } => {
                if own_device && device.is_some() {
                    return Err(Invalid::OwnDevice);
                }
                let target = state.role(user);
                if !own_device && rank < target {
                    return Err(Invalid::AboveAuthor { rank, target });
                }
            }
            OpAction::Other => {}
        }
        let class = match act {
            OpAction::RevokeDevice { .. } if own_device => Class::OwnDevice,
            OpAction::SetRole { user, .. } if user == author => Class::SelfLowering,
            _ => Class::Rest,
        };
        let old_role = act.target().map_or(Role::None, |user| state.role(user));
        // Who speaks down is not contested, and who lowers themselves has nobody to contest them.
        let contested = match act {
            OpAction::SetRole { user, role } if user != author && role < old_role && rank == old_role => {
                state.winner(user).is_some_and(|other| self.strength(old_role, other, user) < strength)
            }
            _ => false,
        };
        Ok((Facts { id, author, device, act, old_role, contested, depth, strength, class }, grant))
    }

    /// The strength of what `author` says in the role that op number `grant` gave.
    pub(crate) fn strength(&self, rank: Role, grant: usize, author: UserId) -> Strength {
        let given = &self.node(grant).facts;
        let place = || self.founders().iter().position(|founder| *founder == author);
        let founder = if grant == 0 { place().expect("the Create gives its founders a role") } else { 0 };
        Strength { rank: Reverse(rank), depth: given.depth, grant: given.id, founder }
    }
}
