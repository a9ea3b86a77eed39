//! The frames of a ledger session, and how what is pushed is spread over them.

use bincode::{Decode, Encode};

use crate::ledger::Ledger;
use crate::limits::LEDGER_IDS_MAX;
use crate::signed::Envelope;
use crate::{DeviceId, OpId, UserId};

/// Envelopes of one Push frame, bytes: half a frame; one op is at most 64 KiB.
const PUSH_BYTES: usize = 512 << 10;

/// Envelopes of one answer to a Pull, bytes: whoever asks has to hear it before it asks on, so that no more waits to be
/// sent, however long the ledger is.
const ANSWER_BYTES: usize = 2 << 20;

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
    /// Ops that stand for all that it has, as [`Ledger::landmarks`] names them.
    pub have: Vec<OpId>,
    /// The [hashes](Ledger::side_hashes) of what it has beside ops.
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

/// The frames that answer a Pull: as much as fits an answer, and whether there is more.
pub(super) fn answer(pull: &Pull, ledger: &Ledger) -> Vec<LedgerFrame> {
    let have = &pull.have[..pull.have.len().min(LEDGER_IDS_MAX)];
    let first = match pull.after {
        Place::Ops(number) => usize::try_from(number).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let ours = ledger.side_hashes();
    let differs = |kind: usize| ours[kind] != pull.sides[kind];
    let ops =
        ledger.ops_beyond(have, first).map(|(number, envelope)| (Place::Ops(number as u64 + 1), envelope));
    let certificates = ledger.certificates_by_user(differs(0));
    let certificates = certificates.map(|(user, envelope)| (Place::Certificates(user), envelope));
    let revocations = ledger.signed_revocations().filter(|_| differs(1));
    let revocations = revocations.map(|signed| (Place::Revocations(signed.record().user), signed.envelope()));
    let records = ledger.records().filter(|_| differs(2));
    let records = records.map(|signed| (Place::Records(signed.record().device), signed.envelope()));
    let all = ops.chain(certificates).chain(revocations).chain(records);

    let (mut kinds, mut sum): ([Vec<Envelope>; 4], usize) = Default::default();
    let (mut sent, mut more) = (pull.after, None);
    for (place, envelope) in all.skip_while(|(place, _)| *place <= pull.after) {
        // What is of one place goes together.
        if sum >= ANSWER_BYTES && place != sent {
            more = Some(LedgerFrame::More { after: sent });
            break;
        }
        sent = place;
        sum += bytes(envelope);
        let kind = match place {
            Place::Ops(_) => 0,
            Place::Certificates(_) => 1,
            Place::Revocations(_) => 2,
            Place::Records(_) => 3,
        };
        kinds[kind].push(envelope.clone());
    }
    let [ops, certificates, revocations, records] = kinds;
    let mut frames = pushes(ops, certificates, revocations, records);
    frames.push(more.unwrap_or_else(|| push(Default::default(), true)));
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
