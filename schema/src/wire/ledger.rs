//! The frames of a ledger session.

use bincode::{Decode, Encode};

use crate::signed::Envelope;
use crate::{DeviceId, OpId, UserId};

/// What one side says to the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LedgerFrame {
    /// My ledger has this hash.
    Summary {
        /// Over ops, certificates, revocations and device records.
        hash: [u8; 32],
    },
    /// Send me what I lack, or a part of it.
    Pull(Pull),
    /// Here it is, in causal order.
    Push {
        /// Membership ops.
        ops: Vec<Envelope>,
        /// Device certificates.
        certificates: Vec<Envelope>,
        /// Device revocations by their users.
        revocations: Vec<Envelope>,
        /// Where devices are reached, by their own word.
        records: Vec<Envelope>,
        /// Nothing of the answer follows.
        last: bool,
    },
    /// This is all that I say at once: pull on from there.
    More {
        /// What was sent, or need not be.
        after: Place,
    },
    /// Send me the list of a manifest's pages.
    WantPages {
        /// The manifest's.
        root: [u8; 32],
    },
    /// Here it is.
    Pages {
        /// The manifest's.
        root: [u8; 32],
        /// The hashes of its pages, in order; at most [`PAGES_MAX`](crate::ledger::manifest::PAGES_MAX).
        pages: Vec<[u8; 32]>,
    },
    /// Send me a page of a manifest.
    WantPage {
        /// Its hash.
        page: [u8; 32],
    },
    /// Here it is.
    Page {
        /// At most [`MANIFEST_PAGE_BYTES_MAX`](crate::limits::MANIFEST_PAGE_BYTES_MAX).
        bytes: Vec<u8>,
    },
    /// I do not have what you want: ask others.
    Lacking {
        /// The root or hash that was named.
        name: [u8; 32],
    },
}

/// What one side has, and from where on it asks for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Pull {
    /// Ops that stand for all that it has, as [`Ledger::landmarks`](crate::ledger::Ledger::landmarks) names them.
    pub have: Vec<OpId>,
    /// The [hashes](crate::ledger::Ledger::side_hashes) of what it has beside ops.
    pub sides: [[u8; 32]; 3],
    /// How far earlier answers came.
    pub after: Place,
}

/// How far the answers to pulls have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Place {
    /// So many ops of the answerer's, in the order in which it took them in.
    Ops(u64),
    /// All ops, and certificates up to those of this user.
    Certificates(UserId),
    /// These too, and device revocations up to those of this user.
    Revocations(UserId),
    /// These too, and device records up to this device's.
    Records(DeviceId),
}

impl Default for Place {
    fn default() -> Self {
        Self::Ops(0)
    }
}
