//! Session frames: roots, digest pages, version vectors, changes and acknowledgements, once the ledgers are
//! equal.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::digest::{Mark, Page};
use crate::document::Refusal;
use crate::key::Signature;
use crate::limits::{FRAME_DOCUMENTS, FRAME_MARKS, MARKS_MAX, PAGE_LEAVES};
use crate::{DeviceId, DocumentId, OpId};

/// The share of [`FRAME_MARKS`] that a document with its marks takes.
pub(crate) fn weight((_, marks): &(DocumentId, Vec<Mark>)) -> usize {
    1 + marks.len()
}

/// A message of a session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum SessionFrame {
    /// Tells the root of the sender's documents.
    Root {
        /// Hash over all leaves.
        root: [u8; 32],
        /// The occasion.
        reason: RootReason,
    },
    /// A step of the initiator's walk: its leaves of one range of documents.
    Leaves(Page),
    /// The responder's reply to Leaves: its version vectors of the documents that differ.
    Vectors {
        /// Documents in ascending order, each with at most [`MARKS_MAX`] marks; a document that the responder
        /// lacks has none.
        documents: Vec<(DocumentId, Vec<Mark>)>,
        /// The last document that the reply covers; the initiator asks again for the rest of the range.
        /// `None`: the reply covers the whole range.
        through: Option<DocumentId>,
    },
    /// Asks for the changes of these documents that the sender lacks.
    Request {
        /// The sender's version vector of each document, at most [`MARKS_MAX`] marks.
        documents: Vec<(DocumentId, Vec<Mark>)>,
    },
    /// Carries changes of many documents.
    Units(Units),
    /// Acknowledges all Units frames up to `number`: their changes are judged, and the accepted ones stored.
    Ack {
        /// The highest acknowledged number.
        number: u64,
        /// The documents of that frame whose changes were refused, each with its cause.
        refused: Vec<(DocumentId, Refusal)>,
    },
}

/// The occasion on which a root is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum RootReason {
    /// Opens a session; frames that the sender sent before belong to an earlier one.
    Opening {
        /// A random number that the sender draws for the session.
        incarnation: u64,
    },
    /// Answers an opening; frames that the sender sent before belong to an earlier session.
    Answer {
        /// The incarnation of the opening.
        incarnation: u64,
    },
    /// The root is new, or differs from the peer's.
    Compare,
    /// The roster changed: changes that were refused or held back may be judged differently now.
    Rejudged,
}

/// Changes of many documents, with the authors of their tips.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Units {
    /// Number of the frame; grows within the session.
    pub number: u64,
    /// Digest of the membership state by which the sender judges. A receiver with the same state refuses only
    /// what a faulty sender accepted.
    pub state: [u8; 32],
    /// Device and grant of each author; tips refer to them by index.
    pub authors: Vec<(DeviceId, OpId)>,
    /// One unit for each document; a document named twice is a fault.
    pub units: Vec<Unit>,
}

/// Changes of one document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Unit {
    /// The hash of group, table and key; anything else is refused.
    pub document: DocumentId,
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The tips that vouch for the changes.
    pub tips: Vec<UnitTip>,
    /// An Automerge [sync message](super::sync_message) with the changes.
    pub message: Vec<u8>,
}

impl SessionFrame {
    /// Returns the rule that the frame breaks, if any: no correct peer sends so much in one frame, or names a
    /// document twice. Each document that a frame names costs its receiver a look at all its chains.
    pub(crate) fn violation(&self) -> Option<&'static str> {
        self.excess().or_else(|| self.repeats_a_document().then_some("a document named twice"))
    }

    fn repeats_a_document(&self) -> bool {
        fn repeats<'a>(ids: impl ExactSizeIterator<Item = &'a DocumentId>) -> bool {
            let count = ids.len();
            ids.collect::<BTreeSet<_>>().len() < count
        }
        match self {
            Self::Root { .. } => false,
            Self::Leaves(page) => repeats(page.leaves.iter().map(|(document, _)| document)),
            Self::Vectors { documents, .. } | Self::Request { documents } => {
                repeats(documents.iter().map(|(document, _)| document))
            }
            Self::Units(units) => repeats(units.units.iter().map(|unit| &unit.document)),
            Self::Ack { refused, .. } => repeats(refused.iter().map(|(document, _)| document)),
        }
    }

    /// Returns the bound that the frame exceeds, if any.
    fn excess(&self) -> Option<&'static str> {
        let is_heavy = |documents: &[(DocumentId, Vec<Mark>)]| {
            documents.len() > FRAME_MARKS
                || documents.iter().any(|(_, marks)| marks.len() > MARKS_MAX)
                || documents.iter().map(weight).sum::<usize>() > FRAME_MARKS + 1 + MARKS_MAX
        };
        match self {
            Self::Root { .. } => None,
            Self::Leaves(page) => (page.leaves.len() > PAGE_LEAVES).then_some("too many leaves"),
            Self::Vectors { documents, .. } | Self::Request { documents } => {
                is_heavy(documents).then_some("too many marks")
            }
            Self::Units(units) => (units.units.len() > FRAME_DOCUMENTS).then_some("too many units"),
            Self::Ack { refused, .. } => (refused.len() > FRAME_DOCUMENTS).then_some("too many refusals"),
        }
    }
}

/// A tip without the fields that the receiver derives: the replica id, and the hash of the change at `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct UnitTip {
    /// Index into [`Units::authors`].
    pub author: u32,
    /// Incarnation of the replica.
    pub incarnation: u64,
    /// Sequence number of the newest change that the tip vouches for.
    pub seq: u64,
    /// Signature by the author's device.
    pub signature: Signature,
}
