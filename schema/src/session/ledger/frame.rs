//! The frames of a ledger session, and how what is pushed is spread over them.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::OpId;
use crate::ledger::Ledger;
use crate::signed::{Envelope, Signed};

/// Envelopes of one Push frame, bytes: half a frame; one op is at most 64 KiB.
const PUSH_BYTES: usize = 512 << 10;

/// What one side says to the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LedgerFrame {
    /// My ledger has this hash.
    Summary {
        /// Over ops, certificates, revocations and device records.
        hash: [u8; 32],
    },
    /// Send me what I lack.
    Pull {
        /// What I have, at most [`LEDGER_IDS_MAX`](crate::limits::LEDGER_IDS_MAX).
        have: Vec<OpId>,
    },
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
    /// Send me the list of a manifest's pages.
    WantPages {
        /// The manifest's.
        root: [u8; 32],
    },
    /// Here it is.
    Pages {
        /// The manifest's.
        root: [u8; 32],
        /// The hashes of its pages, in order; at most [`PAGES_MAX`](crate::ledger::cut::PAGES_MAX).
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

/// The frames that answer a Pull.
pub(super) fn answer(have: &BTreeSet<OpId>, ledger: &Ledger) -> Vec<LedgerFrame> {
    let certificates = ledger.certificates().cloned().collect();
    let revocations = ledger.revocations().cloned().collect();
    let records = ledger.records().map(Signed::envelope).cloned().collect();
    let mut frames = pushes(ledger.ops_missing_from(have), certificates, revocations, records);
    let none = Vec::new;
    frames.push(push([none(), none(), none(), none()], true));
    frames
}

/// As many frames as it takes; one where it fits, so that what belongs together comes together.
pub(super) fn pushes(
    ops: Vec<Envelope>,
    certificates: Vec<Envelope>,
    revocations: Vec<Envelope>,
    records: Vec<Envelope>,
) -> Vec<LedgerFrame> {
    // Behind each other what lets the next in.
    let kinds = [ops, certificates, revocations, records];
    let sum: usize = kinds.iter().flatten().map(bytes).sum();
    if sum <= PUSH_BYTES {
        let is_empty = kinds.iter().all(Vec::is_empty);
        return if is_empty { Vec::new() } else { vec![push(kinds, false)] };
    }
    let mut frames = Vec::new();
    for (kind, envelopes) in kinds.into_iter().enumerate() {
        for portion in portions(envelopes) {
            let mut alone: [Vec<Envelope>; 4] = Default::default();
            alone[kind] = portion;
            frames.push(push(alone, false));
        }
    }
    frames
}

fn push([ops, certificates, revocations, records]: [Vec<Envelope>; 4], last: bool) -> LedgerFrame {
    LedgerFrame::Push { ops, certificates, revocations, records, last }
}

/// Each fits half a frame.
fn portions(envelopes: Vec<Envelope>) -> impl Iterator<Item = Vec<Envelope>> {
    let mut envelopes = envelopes.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut portion = vec![envelopes.next()?];
        let mut sum = bytes(&portion[0]);
        while let Some(next) = envelopes.next_if(|next| sum + bytes(next) <= PUSH_BYTES) {
            sum += bytes(&next);
            portion.push(next);
        }
        Some(portion)
    })
}

/// What an envelope takes in a frame: payload, signature and their lengths.
fn bytes(envelope: &Envelope) -> usize {
    envelope.payload.len() + 80
}
