//! The promises of the machine world, each as it breaks (authority 4.1, D).

use schema::document::Refusal;
use schema::{ChangeHash, OpId};

/// Which promise does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Two honest members know of different ops.
    #[error("peer {peer} and the founder have different ledgers")]
    Ledger {
        /// Who differs from the founder.
        peer: usize,
    },
    /// D1: two honest members hold a document that no undecided fork touches, and hold it differently.
    #[error("D1: peer {peer} and the founder hold document {key} differently")]
    Differ {
        /// Who differs from the founder.
        peer: usize,
        /// The document.
        key: String,
    },
    /// D1: what a peer holds is not what it accepts of it now.
    #[error("D1: peer {peer} holds of document {key} what it would not accept now")]
    Stale {
        /// Who.
        peer: usize,
        /// The document.
        key: String,
    },
    /// D2: a change that was made after its author's removal, or lies beyond what the removal left.
    #[error("D2: peer {peer} holds change {change}, which op {revocation} cuts")]
    BeyondCut {
        /// Who.
        peer: usize,
        /// The change.
        change: ChangeHash,
        /// What cuts it.
        revocation: OpId,
    },
    /// C8: a change by somebody who could not write.
    #[error("C8: peer {peer} holds change {change}, whose author may not write")]
    NotAllowed {
        /// Who.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D3: what an honest member wrote, upon what stands, is gone.
    #[error("D3: change {change} of honest peer {peer} is lost")]
    Lost {
        /// Whose.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D4: who may write is refused by themselves.
    #[error("D4: peer {peer} may write, and what it writes is refused: {refusal}")]
    Silenced {
        /// Who.
        peer: usize,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// D5: a dependency is missing, a chain has a gap or a fork, or the counters of ops have one.
    #[error("D5: peer {peer} holds change {change} of document {key} in no order")]
    Order {
        /// Who.
        peer: usize,
        /// The document.
        key: String,
        /// The change.
        change: ChangeHash,
    },
    /// D6: the end of a chain that no tip covers.
    #[error("D6: peer {peer} cannot prove the end of a chain of document {key}")]
    Unproven {
        /// Who.
        peer: usize,
        /// The document.
        key: String,
    },
    /// D6: nobody made it.
    #[error("D6: peer {peer} holds change {change}, which nobody made")]
    Forged {
        /// Who.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D7: Automerge would let it wait.
    #[error("D7: peer {peer} took change {change} before what it depends on")]
    Queued {
        /// Who.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D9: something is kept that was never accepted, or twice.
    #[error("D9: peer {peer} keeps change {change}, which it never accepted or has besides")]
    Hoarded {
        /// Who.
        peer: usize,
        /// The change.
        change: ChangeHash,
    },
    /// D9: more is remembered of a document than what was accepted of it needs.
    #[error("D9: peer {peer} remembers more of document {key} than there is to it")]
    Clutter {
        /// Who.
        peer: usize,
        /// The document.
        key: String,
    },
}
