//! Brings two ledgers of one group together, before its documents.
//!
//! Each side names its heads. Where the hashes differ each pulls what it lacks, naming what it has; new ops are
//! pushed as they come. A side that is not (yet) a member has nothing to give and only pulls.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::OpId;
use crate::device::DeviceRecord;
use crate::ledger::Ledger;
use crate::limits::LEDGER_IDS_MAX;
use crate::signed::{Envelope, Record, Signed};

/// Envelopes of one Push frame, bytes: half a frame.
const PUSH_BYTES: usize = 512 << 10;
/// Certificates or revocations of one Push frame, some 300 bytes each: half a frame.
const PUSH_SIDE: usize = 1_500;
/// Device records of one Push frame: half a frame of the longest.
const PUSH_RECORDS: usize = PUSH_BYTES / (DeviceRecord::BYTES_MAX + 80);

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
        /// What I have, at most [`LEDGER_IDS_MAX`].
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
}

/// What a ledger session wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEffect {
    /// Send a frame to the peer.
    Send(LedgerFrame),
    /// Admit what the peer pushed, then call [`LedgerSession::admitted`].
    Admit {
        /// Membership ops.
        ops: Vec<Envelope>,
        /// Device certificates.
        certificates: Vec<Envelope>,
        /// Device revocations.
        revocations: Vec<Envelope>,
        /// Device records.
        records: Vec<Envelope>,
        /// The pull is answered.
        last: bool,
    },
    /// Everything that the peer had is here: the documents may follow.
    Agreed {
        /// The documents are equal too.
        in_sync: bool,
    },
}

/// One group's ledger conversation over one link.
#[derive(Debug, Default)]
pub struct LedgerSession {
    /// The peer knows our hash: from a Summary, or from the Hello of two that were in sync.
    said: bool,
    pulling: bool,
    agreed: bool,
}

impl LedgerSession {
    /// Opens the conversation; `in_sync` when both Hellos carried the same hash.
    pub fn open(in_sync: bool, ledger: &Ledger) -> (Self, Vec<LedgerEffect>) {
        let session = Self { said: !in_sync, pulling: false, agreed: in_sync };
        let effect = if in_sync {
            LedgerEffect::Agreed { in_sync }
        } else {
            LedgerEffect::Send(LedgerFrame::Summary { hash: ledger.hash() })
        };
        (session, vec![effect])
    }

    /// Takes a frame of the peer.
    pub fn frame(&mut self, frame: LedgerFrame, ledger: &Ledger) -> Vec<LedgerEffect> {
        match frame {
            LedgerFrame::Summary { hash } => {
                let mut effects = Vec::new();
                // We thought that both were in sync; the peer knew better, and waits for our word.
                if !std::mem::replace(&mut self.said, true) {
                    effects.push(LedgerEffect::Send(LedgerFrame::Summary { hash: ledger.hash() }));
                }
                effects.extend(if hash == ledger.hash() { self.agree() } else { self.pull(ledger) });
                effects
            }
            LedgerFrame::Pull { have } => answer(&have.into_iter().collect(), ledger),
            LedgerFrame::Push { ops, certificates, revocations, records, last } => {
                let last = last && self.pulling;
                vec![LedgerEffect::Admit { ops, certificates, revocations, records, last }]
            }
        }
    }

    /// After an [`LedgerEffect::Admit`]: `missing` when parents of an op are unknown here.
    pub fn admitted(&mut self, last: bool, missing: bool, ledger: &Ledger) -> Vec<LedgerEffect> {
        if last {
            self.pulling = false;
            return self.agree();
        }
        if missing { self.pull(ledger) } else { Vec::new() }
    }

    /// Pushes what our ledger gained, other than from this peer.
    pub fn grown(
        ops: Vec<Envelope>,
        certificates: Vec<Envelope>,
        revocations: Vec<Envelope>,
        records: Vec<Envelope>,
    ) -> LedgerEffect {
        LedgerEffect::Send(LedgerFrame::Push { ops, certificates, revocations, records, last: false })
    }

    /// The documents may be spoken of.
    pub fn is_agreed(&self) -> bool {
        self.agreed
    }

    fn pull(&mut self, ledger: &Ledger) -> Vec<LedgerEffect> {
        if std::mem::replace(&mut self.pulling, true) {
            return Vec::new();
        }
        let have = ledger.ids().take(LEDGER_IDS_MAX).collect();
        vec![LedgerEffect::Send(LedgerFrame::Pull { have })]
    }

    fn agree(&mut self) -> Vec<LedgerEffect> {
        if std::mem::replace(&mut self.agreed, true) {
            Vec::new()
        } else {
            vec![LedgerEffect::Agreed { in_sync: false }]
        }
    }
}

fn answer(have: &BTreeSet<OpId>, ledger: &Ledger) -> Vec<LedgerEffect> {
    let none = Vec::new;
    let mut effects = Vec::new();
    let mut ops = Vec::new();
    let mut bytes = 0;
    for envelope in ledger.ops_missing_from(have) {
        bytes += envelope.payload.len() + 80;
        ops.push(envelope);
        if bytes >= PUSH_BYTES {
            bytes = 0;
            effects.push(LedgerSession::grown(std::mem::take(&mut ops), none(), none(), none()));
        }
    }
    effects.push(LedgerSession::grown(ops, none(), none(), none()));
    // Behind what lets them in.
    let certificates: Vec<_> = ledger.certificates().cloned().collect();
    for some in certificates.chunks(PUSH_SIDE) {
        effects.push(LedgerSession::grown(none(), some.to_vec(), none(), none()));
    }
    let revocations: Vec<_> = ledger.revocations().cloned().collect();
    for some in revocations.chunks(PUSH_SIDE) {
        effects.push(LedgerSession::grown(none(), none(), some.to_vec(), none()));
    }
    let records: Vec<_> = ledger.records().map(Signed::envelope).cloned().collect();
    for some in records.chunks(PUSH_RECORDS) {
        effects.push(LedgerSession::grown(none(), none(), none(), some.to_vec()));
    }
    effects.push(LedgerEffect::Send(LedgerFrame::Push {
        ops: none(),
        certificates: none(),
        revocations: none(),
        records: none(),
        last: true,
    }));
    effects
}
