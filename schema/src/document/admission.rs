//! Which changes may reach Automerge: checks C1 to C8 over one document (authority 3.6).
//!
//! A batch is judged as a whole. Order and repetition of what comes in change nothing, and what is refused takes
//! nothing down but what depends on it.

mod batch;
mod index;

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};

use crate::change::ChangeHeader;
use crate::id::{ChangeHash, DeviceId, OpId, ReplicaId};
use crate::limits::REFUSAL_TEXT_BYTES_MAX;
use crate::tip::{Author, VerifiedTip};

pub use index::Index;

/// What becomes of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Places in the batch of the accepted changes, in topological order.
    pub accepted: Vec<usize>,
    /// How many changes were known already or came twice.
    pub duplicates: usize,
    /// Places in the batch of the refused changes, ascending by change hash, with the first check that each fails.
    pub refused: Vec<(usize, Refusal)>,
    /// For each replica that advanced, the tip over its newest accepted change.
    pub tips: Vec<VerifiedTip>,
    /// Where that is a change of our own for which we have not signed yet: which it is.
    pub open: Vec<(usize, Author)>,
    /// Replicas of which the batch has the branch that a cut decided for, and the index another: the document is to be
    /// judged anew, from all that is known of it.
    pub decided: BTreeSet<ReplicaId>,
}

impl Verdict {
    /// The changes to ask the peer for again.
    pub fn missing(&self) -> BTreeSet<ChangeHash> {
        let dependency = |refusal: &Refusal| match refusal {
            Refusal::MissingDependency { dependency } => Some(*dependency),
            _ => None,
        };
        self.refused.iter().filter_map(|(_, refusal)| dependency(refusal)).collect()
    }
}

/// Why a change was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
pub enum Refusal {
    /// C1: no verified tip of its replica covers it whose own change is accepted too. Ask for the tip.
    #[error("no verified tip vouches for the change")]
    Unvouched,
    /// C1: something it depends on is not vouched for. Ask for that one's tip.
    #[error("depends on change {dependency}, which no verified tip vouches for")]
    UnvouchedDependency {
        /// The dependency.
        dependency: ChangeHash,
    },
    /// C2: something it depends on, perhaps through others of the batch, is not here. Ask for it.
    #[error("depends on change {dependency}, which is missing")]
    MissingDependency {
        /// The change that is not here.
        dependency: ChangeHash,
    },
    /// C2: something it depends on was refused.
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
    /// C5: its first op does not follow the largest op of its dependencies, or the counters are used up.
    #[error("first op {got} where {expected} is next")]
    StartOp {
        /// One more than the largest op of its dependencies.
        expected: u64,
        /// The counter of the change.
        got: u64,
    },
    /// C6: its replica already has another change at that place. Its device wrote two histories: alert the Admins.
    #[error("replica {replica} already has another change number {seq}")]
    Fork {
        /// The replica.
        replica: ReplicaId,
        /// The place that is taken.
        seq: u64,
    },
    /// C7: it names more dependencies than allowed.
    #[error("{got} dependencies where at most {max} are allowed")]
    Dependencies {
        /// How many it names.
        got: u64,
        /// How many are allowed.
        max: u64,
    },
    /// C8: its author may not write.
    #[error("device {} may not write this under grant {}", .author.device, .author.grant)]
    NotAllowed {
        /// Who wrote it.
        author: Author,
    },
    /// C8: the grant, or the certificate of the device, is not known here. It may come.
    #[error("device {} under grant {} is not known", .author.device, .author.grant)]
    UnknownAuthor {
        /// Who wrote it.
        author: Author,
    },
    /// C8: a removal or revocation counts, and of this replica it leaves only what its author knew.
    #[error("device {} may write no further than change {seq} here since op {revocation}", .author.device)]
    BeyondCut {
        /// Who wrote it.
        author: Author,
        /// The op that ended it.
        revocation: OpId,
        /// The last change that stays; 0: nothing stays.
        seq: u64,
        /// Which change it is: one of another branch, where it is no later.
        got: u64,
    },
    /// C1: so many bytes of changes came as one that they could not be sent on with what vouches for them. Who has them
    /// sends them in parts.
    #[error("{got} bytes of changes at once where at most {max} are allowed")]
    TooMuch {
        /// Their bytes and what vouches for them, together.
        got: u64,
        /// How much is allowed.
        max: u64,
    },
    /// The document is not the hash of group, table and key, or these cannot be.
    #[error("document does not belong to its table and key")]
    Misplaced,
    /// The signature of a tip is not by its device.
    #[error("tip of device {device} does not verify")]
    BadTip {
        /// The device that it names.
        device: DeviceId,
    },
    /// It passes every check, and the document cannot take it: it speaks of something that no dependency of it made.
    #[error("cannot be applied: {what}")]
    Inapplicable {
        /// What the document says.
        what: String,
    },
    /// The document is just being read again after a failure here. Offer it later.
    #[error("not now")]
    NotNow,
    /// The bytes are not what they claim to be.
    #[error("not readable: {what}")]
    Unreadable {
        /// What is wrong with them.
        what: String,
    },
}

impl Refusal {
    /// Whether nobody honest sends it: invalid under any membership, or refused by whoever judges by `same` as we do.
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

    /// As much of it as is kept of what a peer says.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        if let Self::Unreadable { what } | Self::Inapplicable { what } = &mut self {
            let end = (0..=REFUSAL_TEXT_BYTES_MAX).rev().find(|end| what.is_char_boundary(*end));
            what.truncate(end.unwrap_or_default().min(what.len()));
            what.shrink_to_fit();
        }
        self
    }

    /// Whether the same change may be accepted once more is here: a tip, or another change.
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

/// What a counting cut leaves of one replica (authority 3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// The op that cuts.
    pub revocation: OpId,
    /// The last change that stays, and its place in the chain; `None`: nothing stays.
    pub end: Option<(u64, ChangeHash)>,
}

/// Judges a batch for one document, equal ranks by hash; `accept` (C8) says once for each author whether they may write it, and within
/// which bounds: the lowest of them holds. A change that a bound names is known when it is in the index or in the batch; until then the bound
/// holds by the change's place alone.
pub fn vet(
    index: &Index,
    changes: &[ChangeHeader],
    tips: &[VerifiedTip],
    accept: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
) -> Verdict {
    batch::Batch::new(index, changes, tips, &BTreeMap::new(), accept).judge(|_, hash| hash)
}

/// Judges a document anew, by all that is known of it in the order in which it was first seen: of two histories of one
/// chain the one that was seen first stays (authority 3.7.4), unless a bound decides between them.
///
/// What was accepted before comes first, and with it what it depends on, so that nothing takes its place. Chains may end
/// in any change of `own`: whoever judges made it, and can sign for it.
pub fn vet_anew(
    known: &[ChangeHeader],
    tips: &[VerifiedTip],
    own: &BTreeMap<ChangeHash, Author>,
    accept: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
) -> Verdict {
    batch::Batch::new(&Index::new(), known, tips, own, accept).judge(|place, _| place)
}
