//! Ops and records on their way into a ledger, or just admitted.

use crate::session::ledger::LedgerSession;
use crate::signed::Envelope;
use crate::wire::ledger::LedgerFrame;

/// Additions to a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerDelta {
    /// Ops, parents before children.
    pub ops: Vec<Envelope>,
    /// Device certificates.
    pub certificates: Vec<Envelope>,
    /// Device revocations by their users.
    pub revocations: Vec<Envelope>,
    /// Device records.
    pub records: Vec<Envelope>,
}

impl LedgerDelta {
    /// A delta of ops alone.
    pub(super) fn of_ops(ops: Vec<Envelope>) -> Self {
        Self { ops, ..Self::default() }
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.ops.append(&mut other.ops);
        self.certificates.append(&mut other.certificates);
        self.revocations.append(&mut other.revocations);
        self.records.append(&mut other.records);
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { ops, certificates, revocations, records } = self;
        [ops, certificates, revocations, records].into_iter().all(Vec::is_empty)
    }

    /// The frames that push it to a peer.
    pub(super) fn frames(&self) -> Vec<LedgerFrame> {
        let Self { ops, certificates, revocations, records } = self.clone();
        LedgerSession::push(ops, certificates, revocations, records)
    }
}
