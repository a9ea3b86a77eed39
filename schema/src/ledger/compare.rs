//! What a ledger says it has when it asks for more, and what another then has to send.
//!
//! Who has an op has all that it builds on, so a few names say much: the heads, and the heads of ever smaller
//! beginnings of what came here, for somebody who does not know the newest. Of what came since the last beginning that
//! both know some is sent twice, never anything before it.

use std::collections::BTreeSet;

use crate::id::{OpId, hash};
use crate::ledger::Ledger;
use crate::ledger::op_set::OpSet;
use crate::limits::LEDGER_IDS_MAX;
use crate::signed::{Envelope, Signed};

/// Heads of all ops that are named: those of the strongest, where somebody floods a ledger with heads.
const HEADS_NAMED: usize = LEDGER_IDS_MAX / 4 * 3;
/// Heads of each smaller beginning that are named.
const EARLIER_NAMED: usize = 64;

/// What a ledger has beside its ops: where two hashes are equal nothing of that kind need be sent.
pub(crate) type SideHashes = [[u8; 32]; 3];

impl Ledger {
    /// Ops that stand for all that is here, at most [`LEDGER_IDS_MAX`].
    pub fn landmarks(&self) -> Vec<OpId> {
        let (mut named, mut back) = (BTreeSet::new(), 0);
        while back < self.len() {
            let mut heads = self.graph().newest((0..self.len() - back).collect());
            heads.sort_by_cached_key(|head| self.graph().node(*head).facts.order());
            let ids = heads.into_iter().map(|head| self.graph().node(head).facts.id);
            let most = if back == 0 { HEADS_NAMED } else { EARLIER_NAMED };
            named.extend(ids.take(most.min(LEDGER_IDS_MAX - named.len())));
            back = (2 * back).max(1);
        }
        named.into_iter().collect()
    }

    /// The ops from number `from` on that somebody lacks who has `have` and what it builds on, parents before children,
    /// each with its number; names that are not known here say nothing.
    pub fn ops_beyond(
        &self,
        have: &[OpId],
        from: usize,
    ) -> impl Iterator<Item = (usize, &Envelope)> + use<'_> {
        let mut theirs = OpSet::default();
        for number in have.iter().filter_map(|op| self.graph().number(*op)) {
            theirs.insert(number);
            theirs.union(&self.graph().node(number).past);
        }
        let numbered = self.ops.iter().map(Signed::envelope).enumerate().skip(from);
        numbered.filter(move |(number, _)| !theirs.contains(*number))
    }

    /// The hashes of certificates, device revocations and device records.
    pub fn side_hashes(&self) -> SideHashes {
        [0, 1, 2].map(|kind| {
            let mut bytes = Vec::new();
            self.digest_side(kind, &mut bytes);
            hash("ledger", &[&bytes])
        })
    }

    /// One of these kinds, before it is hashed.
    pub(super) fn digest_side(&self, kind: usize, into: &mut Vec<u8>) {
        match kind {
            0 => self.certificates.digest(into),
            1 => self.revocations.digest(into),
            _ => {
                let records: Vec<[u8; 32]> = self.records().map(Signed::id).collect();
                into.extend((records.len() as u64).to_be_bytes());
                records.iter().for_each(|id| into.extend(id));
            }
        }
    }
}
