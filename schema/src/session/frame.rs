//! The frames of a session, after the ledgers agree: roots, pages, tip vectors, changes, acknowledgements.

use bincode::{Decode, Encode};

use crate::admission::Refusal;
use crate::digest::{Mark, Page};
use crate::key::Signature;
use crate::{DeviceId, DocumentId, OpId};

/// What one side of a session says to the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SessionFrame {
    /// My documents have this root, judged under this membership state.
    Root {
        /// Hash over all leaves.
        root: [u8; 32],
        /// Equal states that refuse differently are a fault.
        state: [u8; 32],
        /// What it is said for.
        why: RootWhy,
    },
    /// The initiator walks: here are my leaves of one stretch.
    Leaves(Page),
    /// The responder's answer: its tip vectors of what differs in that stretch.
    Vectors {
        /// An absent document has no marks.
        documents: Vec<(DocumentId, Vec<Mark>)>,
        /// The stretch is answered.
        last: bool,
    },
    /// Send me what I lack of these documents.
    Request {
        /// What I have of each.
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
