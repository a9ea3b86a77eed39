//! Ledger frames: two ledgers of one group become equal, and manifests are fetched.

use bincode::{Decode, Encode};

use crate::signed::Envelope;
use crate::{DeviceId, OpId, UserId};

/// A message of a ledger session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum LedgerFrame {
    /// Tells the hash of the sender's ledger.
    Summary {
        /// Hash over ops, certificates, revocations and device records.
        hash: [u8; 32],
    },
    /// Asks for the records that the sender lacks.
    Pull(Pull),
    /// Carries records: a part of the reply to a Pull, or records that are new.
    Push {
        /// Membership ops in causal order.
        ops: Vec<Envelope>,
        /// Device certificates.
        certificates: Vec<Envelope>,
        /// Device revocations.
        revocations: Vec<Envelope>,
        /// Device records.
        records: Vec<Envelope>,
        /// The reply to a Pull ends with this frame.
        last: bool,
    },
    /// Ends a reply that is not complete: the receiver pulls again from `after`.
    More {
        /// The last position that the reply covers.
        after: PullCursor,
    },
    /// Asks for the list of a manifest's pages.
    WantPages {
        /// Root of the manifest.
        root: [u8; 32],
    },
    /// The reply to WantPages.
    Pages {
        /// Root of the manifest.
        root: [u8; 32],
        /// The hashes of its pages, in order; at most
        /// [`MANIFEST_PAGES_MAX`](crate::limits::MANIFEST_PAGES_MAX).
        pages: Vec<[u8; 32]>,
    },
    /// Asks for a page of a manifest.
    WantPage {
        /// Hash of the page.
        page: [u8; 32],
    },
    /// The reply to WantPage.
    Page {
        /// The page, at most [`MANIFEST_PAGE_BYTES_MAX`](crate::limits::MANIFEST_PAGE_BYTES_MAX).
        bytes: Vec<u8>,
    },
    /// The reply to WantPages or WantPage when the sender does not have it; the receiver asks another peer.
    Lacking {
        /// The root or hash that was asked for.
        name: [u8; 32],
    },
}

/// The records that one side has, and the position from which it asks for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Pull {
    /// Ids of ops that stand for all that it has, as chosen by
    /// [`Ledger::landmarks`](crate::ledger::Ledger::landmarks).
    pub have: Vec<OpId>,
    /// The [hashes](crate::ledger::Ledger::side_hashes) of its certificates, revocations and device records.
    pub sides: SideHashes,
    /// The last position that earlier replies covered.
    pub after: PullCursor,
}

/// Hashes over the records beside the ops, by kind: a kind with equal hashes is not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct SideHashes {
    /// The bounded set of certificates.
    pub certificates: [u8; 32],
    /// Device revocations by users.
    pub revocations: [u8; 32],
    /// Device records of members.
    pub records: [u8; 32],
}

/// A position in everything that a ledger can push: ops, certificates, revocations, device records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum PullCursor {
    /// This many ops, in the order in which the replying side admitted them.
    Ops(u64),
    /// All ops, and the certificates of users up to this one.
    Certificates(UserId),
    /// All ops and certificates, and the revocations of users up to this one.
    Revocations(UserId),
    /// All ops, certificates and revocations, and the records of devices up to this one.
    Records(DeviceId),
}

impl Default for PullCursor {
    fn default() -> Self {
        Self::Ops(0)
    }
}
