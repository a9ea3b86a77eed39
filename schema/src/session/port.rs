//! The interface of a session: the documents it reads, its inputs and its effects.

use crate::digest::{Digest, Mark};
use crate::document::Refusal;
use crate::ledger::manifest::BadManifest;
use crate::limits::ANSWER_TIMEOUT;
use crate::wire::session::{SessionFrame, Unit, Units};
use crate::{DeviceId, DocumentId, OpId};

/// The documents of a group as a session reads them; every call is short.
pub trait Documents {
    /// The failure of a read.
    type Error;
    /// Returns the digest over the accepted changes of all documents.
    fn digest(&mut self) -> &mut Digest;
    /// Returns the digest of the membership state under which changes are judged.
    fn state(&mut self) -> [u8; 32];
    /// Returns the version vector of a document, sorted; empty when the document is not stored.
    ///
    /// # Errors
    /// When the store fails; so for all reads.
    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Self::Error>;
    /// Returns the version vector as it is sent to a peer. A chain that a cut may yet decide differently,
    /// because the change that the cut names is missing, is marked as [undecided](Mark::undecided), so that
    /// the peer sends its own.
    ///
    /// # Errors
    /// When the store fails.
    fn marks_for_peer(&mut self, document: DocumentId) -> Result<Vec<Mark>, Self::Error> {
        self.marks(document)
    }
    /// Returns units with the changes that the peer lacks of the wanted documents, about `bytes` in all.
    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, Self::Error>;
}

/// A document and the changes of it that the peer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The document.
    pub document: DocumentId,
    /// The peer's version vector.
    pub have: Vec<Mark>,
}

/// The answer to [`Documents::supply`].
#[derive(Clone, Debug, Default)]
pub struct Supply {
    /// The authors that the units refer to.
    pub authors: Vec<(DeviceId, OpId)>,
    /// The units to send now.
    pub units: Vec<Unit>,
    /// Documents with changes that did not fit, or are not durable yet.
    pub later: Vec<Wanted>,
    /// Some of them wait only because one step has looked at enough.
    pub is_partial: bool,
}

/// An input of the session machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A frame of the peer.
    Frame(SessionFrame),
    /// Documents that changed, other than by this peer's units, with their marks before.
    Changed(Vec<Wanted>),
    /// The units of this number are judged and stored.
    Applied {
        /// The number of the [`Effect::Apply`].
        number: u64,
        /// The documents whose changes were refused.
        refused: Vec<(DocumentId, Refusal)>,
    },
    /// The roster changed: changes that were refused before may be accepted now.
    Rejudged,
    /// The time that [`Session::wake_at`](super::Session::wake_at) named has come.
    Wake,
    /// The answer to [`Effect::Continue`].
    Continue,
}

/// An effect of the session machine, to be performed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to the peer.
    Send(SessionFrame),
    /// Judge, apply and store; then pass [`Input::Applied`].
    Apply(Units),
    /// There is more to compare than one step does: serve others, then pass [`Input::Continue`].
    Continue,
    /// Both sides have equal documents.
    Synced,
    /// The peer refused some of our changes.
    Refused(Vec<(DocumentId, Refusal)>),
}

/// A violation of the protocol by the peer; it ends the session and the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFault {
    /// A frame that is not allowed in this state.
    #[error("unexpected frame: {what}")]
    Unexpected {
        /// The frame and the rule.
        what: &'static str,
    },
    /// A manifest differs from the promise of the op that names it: the op can never be admitted.
    #[error("op {op} names an invalid manifest")]
    BadManifest {
        /// The op.
        op: OpId,
        /// The fault of the manifest.
        #[source]
        cause: BadManifest,
    },
    /// The peer did not answer in time.
    #[error("peer owed an answer for more than {} s", ANSWER_TIMEOUT.as_secs())]
    Stalled,
}

/// The failure of a step.
#[derive(Debug)]
pub enum StepError<E> {
    /// The peer is at fault.
    Fault(SessionFault),
    /// Our own store failed.
    Local(E),
}

impl<E> From<SessionFault> for StepError<E> {
    fn from(fault: SessionFault) -> Self {
        Self::Fault(fault)
    }
}
