//! The reasons for which a ledger refuses an op or a record.

use crate::id::{DeviceId, GroupId, OpId, UserId};
use crate::key::BadSignature;
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Role;
use crate::signed::SignedError;

/// The reason for which an op is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Parents are missing: fetch them and offer the op again.
    #[error("op {op} builds on {} ops that are not here", missing.len())]
    MissingParents {
        /// The op.
        op: OpId,
        /// Its parents that are missing.
        missing: Vec<OpId>,
    },
    /// The op is valid, and pages of its manifest are missing: fetch them and offer the op again.
    #[error("op {op} names a manifest that is not here")]
    MissingManifest {
        /// The op.
        op: OpId,
        /// The manifest that the op names.
        manifest: ManifestRef,
    },
    /// The op breaks a rule in its own past, hence for ever: the peer that sent it is at fault.
    #[error("op {op} is invalid")]
    Invalid {
        /// The op.
        op: OpId,
        /// The broken rule.
        #[source]
        why: Invalid,
    },
    /// The op would be valid but void or superseded. Only drafts are refused for this.
    #[error("op {op} would have no effect")]
    NoEffect {
        /// The op.
        op: OpId,
    },
    /// There are more heads than an op may have parents: sign merging ops first. Only drafts are refused for
    /// this.
    #[error("{got} heads where an op joins at most {max}")]
    TooManyHeads {
        /// Heads of the ledger.
        got: usize,
        /// Parents that an op may have.
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
    /// 1: an op of another group, or the Create of another group.
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
    /// 1: the signing device was revoked in the op's past.
    #[error("signing device was revoked before")]
    DeviceRevoked,
    /// 2: the author's role does not suffice.
    #[error("author is {rank:?}, and ops are signed by Admins and above")]
    Rank {
        /// The author's role.
        rank: Role,
    },
    /// 3, 4: the target stands above the author, or would.
    #[error("author is {rank:?}, the target {target:?}")]
    AboveAuthor {
        /// The author's role.
        rank: Role,
        /// The target's role, or the one it would get.
        target: Role,
    },
    /// 3: a founder acts on a founder who is not their junior.
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
    /// 3, 4: a required cut is missing, or a forbidden one is present.
    #[error("cut must be {}", if *.needed { "present" } else { "absent" })]
    Cut {
        /// True if the op must carry a cut.
        needed: bool,
        /// 3 for SetRole, 4 for RevokeDevice.
        clause: u8,
    },
    /// 4: only the user key revokes one's own device.
    #[error("own device revoked by a device")]
    OwnDevice,
    /// 5: the op that this op refers to is not in its past, or is of another kind.
    #[error("op {named} is not in its past, or not of the kind that it refers to")]
    Reference {
        /// The op referred to.
        named: OpId,
    },
    /// 5: an amnesty for a revocation by an author of higher rank.
    #[error("author is {rank:?}, the revocation's was {revoker:?}")]
    AmnestyRank {
        /// The author's role.
        rank: Role,
        /// The role of the revocation's author.
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

/// The reason for which a certificate, a device revocation or a device record is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SideRefusal {
    /// The envelope is not such a record, or its signature does not verify.
    #[error(transparent)]
    Envelope(#[from] SignedError),
    /// No op names its user: offer the record again after the op that does.
    #[error("user {user} is unknown to the group")]
    Stranger {
        /// The user who signed it.
        user: UserId,
    },
    /// The record belongs to another group.
    #[error("record is for group {got}")]
    OtherGroup {
        /// The group that it belongs to.
        got: GroupId,
    },
    /// No member certifies the device now: offer the record again after the op that admits one.
    #[error("device {device} is no member's")]
    Outsider {
        /// The device that signed it.
        device: DeviceId,
    },
}
