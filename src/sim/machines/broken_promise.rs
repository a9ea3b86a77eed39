//! The promises of the machine world, each as it breaks (authority 4.1, D).

use schema::document::Refusal;
use schema::{ChangeHash, OpId};

/// A promise that does not hold, and the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokenPromise {
    /// Two honest members have different ledgers.
    #[error("peer {peer} and the founder have different ledgers")]
    Ledger {
        /// The peer that differs from the founder.
        peer: usize,
    },
    /// D1: two honest members differ in a document without an undecided fork.
    #[error("D1: peer {peer} and the founder hold document {key} differently")]
    Differ {
        /// The peer that differs from the founder.
        peer: usize,
        /// The document.
        key: String,
    },
    /// D1: a peer holds other changes than it would accept now.
    #[error("D1: peer {peer} holds of document {key} what it would not accept now")]
    Stale {
        /// The peer.
        peer: usize,
        /// The document.
        key: String,
    },
    /// D2: a change made after its author's removal, or beyond the removal's cut.
    #[error("D2: peer {peer} holds change {change}, which op {revocation} cuts")]
    BeyondCut {
        /// The peer.
        peer: usize,
        /// The change.
        change: ChangeHash,
        /// The op that cuts it.
        revocation: OpId,
    },
    /// C8: a change whose author may not write.
    #[error("C8: peer {peer} holds change {change}, whose author may not write")]
    NotAllowed {
        /// The peer.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D3: a change of an honest member is missing, although its author may write and all its dependencies
    /// are accepted.
    #[error("D3: change {change} of honest peer {peer} is lost")]
    Lost {
        /// The author's peer.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D4: a peer that may write refuses its own change.
    #[error("D4: peer {peer} may write, and what it writes is refused: {refusal}")]
    Silenced {
        /// The peer.
        peer: usize,
        /// The reason.
        refusal: Box<Refusal>,
    },
    /// D5: a dependency is missing, or a chain or its op counters have a gap or a fork.
    #[error("D5: peer {peer} holds change {change} of document {key} in no order")]
    Order {
        /// The peer.
        peer: usize,
        /// The document.
        key: String,
        /// The change.
        change: ChangeHash,
    },
    /// D6: no tip covers the end of a chain.
    #[error("D6: peer {peer} cannot prove the end of a chain of document {key}")]
    Unproven {
        /// The peer.
        peer: usize,
        /// The document.
        key: String,
    },
    /// D6: no peer made the change.
    #[error("D6: peer {peer} holds change {change}, which nobody made")]
    Forged {
        /// The peer.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D7: Automerge would queue the change.
    #[error("D7: peer {peer} took change {change} before what it depends on")]
    Queued {
        /// The peer.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D9: a change is set aside that was never accepted, or that is accepted too.
    #[error("D9: peer {peer} keeps change {change}, which it never accepted or has besides")]
    Hoarded {
        /// The peer.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D9: a peer stores other device revocations than its ledger holds.
    #[error("D9: peer {peer} stores {stored} device revocations, and its ledger holds {held}")]
    Records {
        /// The peer.
        peer: usize,
        /// The number that is stored.
        stored: usize,
        /// The number that the ledger holds.
        held: usize,
    },
    /// D9: more is stored of a document than its accepted changes need.
    #[error("D9: peer {peer} remembers more of document {key} than there is to it")]
    Clutter {
        /// The peer.
        peer: usize,
        /// The document.
        key: String,
    },
}
