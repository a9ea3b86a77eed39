//! Distributes records over Push frames: the reply to a Pull, and pushes of new records.

use crate::ledger::Ledger;
use crate::limits::{LEDGER_ANSWER_BYTES_MAX, LEDGER_IDS_MAX, LEDGER_PUSH_BYTES_MAX};
use crate::signed::Envelope;
use crate::wire::ledger::{LedgerFrame, Pull, PullCursor};

/// Returns the frames that reply to a Pull: the next [`LEDGER_ANSWER_BYTES_MAX`] of records, and a last frame
/// that tells if more follow.
pub(super) fn answer(pull: &Pull, ledger: &Ledger) -> Vec<LedgerFrame> {
    let have = &pull.have[..pull.have.len().min(LEDGER_IDS_MAX)];
    let first = match pull.after {
        PullCursor::Ops(number) => usize::try_from(number).unwrap_or(usize::MAX),
        PullCursor::Certificates(_) | PullCursor::Revocations(_) | PullCursor::Records(_) => usize::MAX,
    };
    let ours = ledger.side_hashes();
    let theirs = &pull.sides;
    let ops = ledger
        .ops_beyond(have, first)
        .map(|(number, envelope)| (PullCursor::Ops(number as u64 + 1), envelope));
    let certificates = ledger.certificates_by_user(ours.certificates != theirs.certificates);
    let certificates = certificates.map(|(user, envelope)| (PullCursor::Certificates(user), envelope));
    let revocations = ledger.signed_revocations().filter(|_| ours.revocations != theirs.revocations);
    let revocations =
        revocations.map(|signed| (PullCursor::Revocations(signed.record().user), signed.envelope()));
    let records = ledger.records().filter(|_| ours.records != theirs.records);
    let records = records.map(|signed| (PullCursor::Records(signed.record().device), signed.envelope()));
    let all = ops.chain(certificates).chain(revocations).chain(records);

    let (mut kinds, mut sum): ([Vec<Envelope>; 4], usize) = Default::default();
    let (mut sent, mut more) = (pull.after, None);
    for (cursor, envelope) in all.skip_while(|(cursor, _)| *cursor <= pull.after) {
        // Records with one cursor are never split.
        if sum >= LEDGER_ANSWER_BYTES_MAX && cursor != sent {
            more = Some(LedgerFrame::More { after: sent });
            break;
        }
        sent = cursor;
        sum += bytes(envelope);
        let kind = match cursor {
            PullCursor::Ops(_) => 0,
            PullCursor::Certificates(_) => 1,
            PullCursor::Revocations(_) => 2,
            PullCursor::Records(_) => 3,
        };
        kinds[kind].push(envelope.clone());
    }
    let [ops, certificates, revocations, records] = kinds;
    let mut frames = pushes(ops, certificates, revocations, records);
    frames.push(more.unwrap_or_else(|| push(Default::default(), true)));
    frames
}

/// Returns one Push where the records fit, so that records that depend on each other are admitted together;
/// else as many as necessary.
pub(super) fn pushes(
    ops: Vec<Envelope>,
    certificates: Vec<Envelope>,
    revocations: Vec<Envelope>,
    records: Vec<Envelope>,
) -> Vec<LedgerFrame> {
    // In this order each kind admits the next.
    let kinds = [ops, certificates, revocations, records];
    let sum: usize = kinds.iter().flatten().map(bytes).sum();
    if sum <= LEDGER_PUSH_BYTES_MAX {
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

/// Splits envelopes into portions of at most [`LEDGER_PUSH_BYTES_MAX`].
fn portions(envelopes: Vec<Envelope>) -> impl Iterator<Item = Vec<Envelope>> {
    let mut envelopes = envelopes.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut portion = vec![envelopes.next()?];
        let mut sum = bytes(&portion[0]);
        while let Some(next) = envelopes.next_if(|next| sum + bytes(next) <= LEDGER_PUSH_BYTES_MAX) {
            sum += bytes(&next);
            portion.push(next);
        }
        Some(portion)
    })
}

/// The bytes of an envelope in a frame: payload, signature and their lengths.
fn bytes(envelope: &Envelope) -> usize {
    envelope.payload.len() + 80
}
