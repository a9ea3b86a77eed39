//! What a session reads, what happens to it, and what it wants done.

use super::ANSWER_TIMEOUT;
use crate::admission::Refusal;
use crate::digest::{Mark, Page};
use crate::ledger::manifest::BadManifest;
use crate::wire::session::{SessionFrame, Unit, Units};
use crate::{DeviceId, DocumentId, OpId};

/// What a session reads from its group; every call is short.
pub trait Documents {
    /// Why a read may fail: a disk, in life.
    type Error;
    /// Hash over all leaves.
    ///
    /// # Errors
    /// When the store fails; so for all reads.
    fn root(&mut self) -> Result<[u8; 32], Self::Error>;
    /// The digest of the membership state under which changes are judged.
    fn state(&mut self) -> [u8; 32];
    /// Up to `count` leaves behind `after`.
    fn page(&mut self, after: Option<DocumentId>, count: usize) -> Result<Page, Self::Error>;
    /// Which documents of the page's stretch differ here.
    fn differing(&mut self, page: &Page) -> Result<Vec<DocumentId>, Self::Error>;
    /// The tip vector of a document, sorted; empty when it is not here.
    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Self::Error>;
    /// The tip vector as it is shown to a peer: a chain that a cut may yet decide otherwise, since the change that the
    /// cut names is not here, is marked as [undecided](Mark::undecided), so that the peer sends its own.
    ///
    /// # Errors
    /// When the store fails.
    fn asks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Self::Error> {
        self.marks(document)
    }
    /// What the peer lacks of the wanted documents, about `bytes` in all.
    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, Self::Error>;
}

/// A document and what the peer has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which document.
    pub document: DocumentId,
    /// The peer's tip vector.
    pub have: Vec<Mark>,
}

/// The answer to [`Documents::supply`].
#[derive(Clone, Debug, Default)]
pub struct Supply {
    /// The authors that the units name.
    pub authors: Vec<(DeviceId, OpId)>,
    /// What can be sent now.
    pub units: Vec<Unit>,
    /// What did not fit, or is not durable yet.
    pub later: Vec<Wanted>,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Input {
    /// A frame of the peer.
    Frame(SessionFrame),
    /// Documents that moved, other than by this peer's doing, with their marks before.
    Changed(Vec<Wanted>),
    /// The units of this number were judged and stored.
    Applied {
        /// Of the [`Effect::Apply`].
        number: u64,
        /// What did not get in.
        refused: Vec<(DocumentId, Refusal)>,
    },
    /// The membership changed: what was refused before may be accepted now.
    Rejudged,
    /// The time that [`Session::wake_at`](super::Session::wake_at) named has come.
    Wake,
}

/// What a session wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to the peer.
    Send(SessionFrame),
    /// Judge, apply and store; answer with [`Input::Applied`].
    Apply(Units),
    /// Both sides have the same documents.
    Synced,
    /// The peer refused some of what we sent.
    Refused(Vec<(DocumentId, Refusal)>),
}

/// Why a session cannot go on; the link is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFault {
    /// A frame that may not come now.
    #[error("unexpected frame: {what}")]
    Unexpected {
        /// Which one, and why not.
        what: &'static str,
    },
    /// A manifest is not what the op that names it promises: the op can never be taken.
    #[error("op {op} names a manifest that is none")]
    BadManifest {
        /// The op.
        op: OpId,
        /// What is wrong with it.
        #[source]
        cause: BadManifest,
    },
    /// Nothing was answered in time.
    #[error("peer owed an answer for more than {} s", ANSWER_TIMEOUT.as_secs())]
    Stalled,
}

/// Why a step failed.
#[derive(Debug)]
pub enum StepError<E> {
    /// The peer is at fault.
    Fault(SessionFault),
    /// Our own store is.
    Local(E),
}

impl<E> From<SessionFault> for StepError<E> {
    fn from(fault: SessionFault) -> Self {
        Self::Fault(fault)
    }
}
