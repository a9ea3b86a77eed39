//! Which changes may reach Automerge: checks C1 to C8 over one document (AUTHORITY 3.6).
//!
//! A batch is judged as a whole. Order and repetition of what comes in change nothing, and what is refused takes
//! nothing down but what depends on it.

mod batch;
mod index;

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};

use crate::change::ChangeHeader;
use crate::id::{ChangeHash, DeviceId, ReplicaId};
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
#[non_exhaustive]
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
    /// C8: its author may not write, or not this far.
    #[error("device {} may not write this under grant {}", .author.device, .author.grant)]
    NotAllowed {
        /// Who wrote it.
        author: Author,
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
    /// Whether the same change may be accepted once more is here: a tip, or another change.
    pub fn is_pending(&self) -> bool {
        matches!(
            self,
            Self::Unvouched
                | Self::UnvouchedDependency { .. }
                | Self::MissingDependency { .. }
                | Self::NotNow
        )
    }
}

/// Judges a batch for one document, `accept` (C8) once for each author.
pub fn vet(
    index: &Index,
    changes: Vec<ChangeHeader>,
    tips: &[VerifiedTip],
    accept: impl Fn(&Author) -> Result<(), Refusal>,
) -> Verdict {
    let mut answers = BTreeMap::new();
    vet_each(index, &changes, tips, |author, _| {
        answers.entry(*author).or_insert_with(|| accept(author)).clone()
    })
}

/// Judges a batch for one document, `accept` (C8) for each change: a cut ends a chain at one of them.
pub fn vet_each(
    index: &Index,
    changes: &[ChangeHeader],
    tips: &[VerifiedTip],
    accept: impl FnMut(&Author, &ChangeHeader) -> Result<(), Refusal>,
) -> Verdict {
    batch::Batch::new(index, changes, tips).judge(accept)
}
