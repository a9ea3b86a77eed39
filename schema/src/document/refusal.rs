//! The reasons for which a change is refused: kept for `status`, and sent to the peer that sent the change.

use bincode::{Decode, Encode};

use crate::id::{ChangeHash, DeviceId, OpId, ReplicaId};
use crate::limits::REFUSAL_TEXT_BYTES_MAX;
use crate::tip::Author;

/// The reason for which a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
pub enum Refusal {
    /// C1: no verified tip of its replica, over an accepted change, vouches for it. Ask for the tip.
    #[error("no verified tip vouches for the change")]
    Unvouched,
    /// C1: no tip vouches for one of its dependencies. Ask for that one's tip.
    #[error("depends on change {dependency}, which no verified tip vouches for")]
    UnvouchedDependency {
        /// The dependency.
        dependency: ChangeHash,
    },
    /// C2: one of its dependencies, perhaps through other changes of the batch, is not here. Ask for it.
    #[error("depends on change {dependency}, which is missing")]
    MissingDependency {
        /// The missing change.
        dependency: ChangeHash,
    },
    /// C2: one of its dependencies was refused.
    #[error("depends on change {dependency}, which was refused")]
    RefusedDependency {
        /// The dependency.
        dependency: ChangeHash,
    },
    /// C3: it does not follow the newest accepted change of its replica.
    #[error("sequence number {got} where {expected} is next")]
    SequenceGap {
        /// The next number of the replica.
        expected: u64,
        /// The number of the change.
        got: u64,
    },
    /// C4: the previous change of its replica is not among its direct dependencies.
    #[error("the previous change of the replica is not a direct dependency")]
    PreviousNotDirect,
    /// C5: its first op does not follow the largest op of its dependencies, or the op counter overflows.
    #[error("first op {got} where {expected} is next")]
    StartOp {
        /// One more than the largest op of its dependencies.
        expected: u64,
        /// The counter of the change.
        got: u64,
    },
    /// C6: its replica already has another change with that sequence number: its device wrote two histories.
    #[error("replica {replica} already has another change number {seq}")]
    Fork {
        /// The replica.
        replica: ReplicaId,
        /// The sequence number.
        seq: u64,
    },
    /// C7: it has more dependencies than allowed.
    #[error("{got} dependencies where at most {max} are allowed")]
    Dependencies {
        /// The number of dependencies that the change names.
        got: u64,
        /// The most that are allowed.
        max: u64,
    },
    /// C8: its author may not write.
    #[error("device {} may not write this under grant {}", .author.device, .author.grant)]
    NotAllowed {
        /// The author of the change.
        author: Author,
    },
    /// C8: the grant, or the certificate of the device, is not known here yet.
    #[error("device {} under grant {} is not known", .author.device, .author.grant)]
    UnknownAuthor {
        /// The author of the change.
        author: Author,
    },
    /// C8: a removal or a revocation cuts this replica before the change.
    #[error("device {} may write no further than change {seq} here since op {revocation}", .author.device)]
    BeyondCut {
        /// The author of the change.
        author: Author,
        /// The op that cuts.
        revocation: OpId,
        /// The sequence number of the last change that stays accepted; 0: none does.
        seq: u64,
        /// The sequence number of the change; one no later than `seq` belongs to another branch of a fork.
        got: u64,
    },
    /// C1: the unit has more bytes of changes than one unit may have, so no device could forward them with
    /// the tips that vouch for them. The sender splits the unit.
    #[error("{got} bytes of changes at once where at most {max} are allowed")]
    TooMuch {
        /// The sum of their charges.
        got: u64,
        /// The largest sum that is allowed.
        max: u64,
    },
    /// The document's id is not the hash of group, table and key, or table or key is not valid.
    #[error("document does not belong to its table and key")]
    Misplaced,
    /// The signature of a tip does not verify.
    #[error("tip of device {device} does not verify")]
    BadTip {
        /// The device that the tip names.
        device: DeviceId,
    },
    /// The document is being loaded again after a failure here. Send the change later.
    #[error("not now")]
    NotNow,
    /// The bytes are not a well-formed change.
    #[error("not readable: {what}")]
    Unreadable {
        /// The fault.
        what: String,
    },
}

impl Refusal {
    /// Returns true if only a faulty peer sends the change: it is invalid under every roster, or refused
    /// under the roster of the peer, where that is the `same` as ours.
    pub fn is_fault(&self, same: bool) -> bool {
        match self {
            Self::PreviousNotDirect
            | Self::StartOp { .. }
            | Self::Dependencies { .. }
            | Self::TooMuch { .. }
            | Self::Misplaced
            | Self::BadTip { .. }
            | Self::Unreadable { .. } => true,
            Self::NotAllowed { .. } => same,
            Self::BeyondCut { seq, got, .. } => same && got > seq,
            _ => false,
        }
    }

    /// Cuts the text of a peer's refusal to the length that is kept.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        if let Self::Unreadable { what } = &mut self {
            let end = (0..=REFUSAL_TEXT_BYTES_MAX).rev().find(|end| what.is_char_boundary(*end));
            what.truncate(end.unwrap_or_default().min(what.len()));
            what.shrink_to_fit();
        }
        self
    }

    /// Returns true if the same change may be accepted once a tip, an op or another change has arrived.
    pub fn is_pending(&self) -> bool {
        matches!(
            self,
            Self::Unvouched
                | Self::UnknownAuthor { .. }
                | Self::UnvouchedDependency { .. }
                | Self::MissingDependency { .. }
                | Self::NotNow
        )
    }
}
