//! The frames of a session, after the ledgers agree: roots, pages, tip vectors, changes, acknowledgements.

use bincode::{Decode, Encode};

use crate::admission::Refusal;
use crate::digest::{Mark, Page};
use crate::key::Signature;
use crate::{DeviceId, DocumentId, OpId};

/// Leaves of one page: 64 bytes each, half a link frame.
pub const PAGE_LEAVES: usize = 8_192;
/// Documents and marks of one Vectors or Request frame before the next begins: 72 bytes each, about a link frame.
pub const FRAME_MARKS: usize = 16_384;
/// Marks that are shown of one document. A vector that was cut says less than there is: more is sent for it than is
/// lacking, never less.
pub const MARKS_MAX: usize = 65_536;
/// Documents of one Units frame.
pub const FRAME_DOCUMENTS: usize = 2_048;

/// What a document with its marks takes of [`FRAME_MARKS`].
pub(crate) fn weight((_, marks): &(DocumentId, Vec<Mark>)) -> usize {
    1 + marks.len()
}

/// What one side of a session says to the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SessionFrame {
    /// My documents have this root.
    Root {
        /// Hash over all leaves.
        root: [u8; 32],
        /// What it is said for.
        why: RootWhy,
    },
    /// The initiator walks: here are my leaves of one stretch.
    Leaves(Page),
    /// The responder's answer: its tip vectors of what differs in that stretch.
    Vectors {
        /// An absent document has no marks; one that has more than [`MARKS_MAX`] shows so many of them.
        documents: Vec<(DocumentId, Vec<Mark>)>,
        /// The stretch is answered up to here, inclusive: ask for the rest of it. `None`: all of it is.
        through: Option<DocumentId>,
    },
    /// Send me what I lack of these documents.
    Request {
        /// What I have of each, up to [`MARKS_MAX`] marks of it.
        documents: Vec<(DocumentId, Vec<Mark>)>,
    },
    /// Changes of many documents.
    Units(Units),
    /// Everything up to `number` is judged and stored.
    Ack {
        /// The highest such number.
        number: u64,
        /// What was refused in it, and why.
        refused: Vec<(DocumentId, Refusal)>,
    },
}

/// What a root is said for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RootWhy {
    /// The first word of a session: whatever its side said before is void.
    Opening {
        /// A number that the side draws for the session.
        era: u64,
    },
    /// Answers an opening: whatever its side said before was meant for another session.
    Answer {
        /// The opening's.
        era: u64,
    },
    /// It is new, or differs from the peer's.
    Compare,
    /// The membership changed: what was refused or kept back before may be judged otherwise now.
    Rejudged,
}

/// Changes of many documents, with the authors that their tips name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Units {
    /// Grows within the session.
    pub number: u64,
    /// The membership by which the sender judges: who judges by the same refuses the same, or is at fault.
    pub state: [u8; 32],
    /// Device and grant, named by index.
    pub authors: Vec<(DeviceId, OpId)>,
    /// One entry a document.
    pub units: Vec<Unit>,
}

/// Changes of one document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Unit {
    /// Must be the hash of group, table and key.
    pub document: DocumentId,
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// What vouches for the changes.
    pub tips: Vec<UnitTip>,
    /// An Automerge sync message with the changes.
    pub message: Vec<u8>,
}

impl SessionFrame {
    /// More than anybody honest puts into one frame, and so more work than one frame may make.
    pub(crate) fn excess(&self) -> Option<&'static str> {
        let is_heavy = |documents: &[(DocumentId, Vec<Mark>)]| {
            documents.len() > FRAME_MARKS
                || documents.iter().any(|(_, marks)| marks.len() > MARKS_MAX)
                || documents.iter().map(weight).sum::<usize>() > FRAME_MARKS + 1 + MARKS_MAX
        };
        match self {
            Self::Leaves(page) if page.leaves.len() > PAGE_LEAVES => Some("too many leaves"),
            Self::Vectors { documents, .. } | Self::Request { documents } if is_heavy(documents) => {
                Some("too many marks")
            }
            Self::Units(units) if units.units.len() > FRAME_DOCUMENTS => Some("too many units"),
            Self::Ack { refused, .. } if refused.len() > FRAME_DOCUMENTS => Some("too many refusals"),
            _ => None,
        }
    }
}

/// A tip without what the receiver derives: the replica id, and the hash of the change at `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UnitTip {
    /// Index into [`Units::authors`].
    pub author: u32,
    /// The incarnation of the replica.
    pub incarnation: u64,
    /// The sequence number that is vouched for.
    pub seq: u64,
    /// By the device.
    pub signature: Signature,
}
