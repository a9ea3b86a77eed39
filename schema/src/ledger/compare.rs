//! Compares ledgers: the hash by which they are equal, the ops that name what one has, and those that another
//! lacks.
//!
//! A ledger that has an op has its ancestors, so a few ids name much: the heads, and the heads of ever
//! smaller prefixes in order of admission, for a peer that does not know the newest ops. Of the ops since the
//! last prefix that both know some are sent twice, never one before it.

use std::collections::BTreeSet;

use crate::id::{OpId, hash};
use crate::ledger::op_set::OpSet;
use crate::ledger::state::Ledger;
use crate::limits::{EARLIER_LANDMARK_HEADS_MAX, LANDMARK_HEADS_MAX, LEDGER_IDS_MAX};
use crate::signed::{Envelope, Signed};
use crate::wire::ledger::SideHashes;

impl Ledger {
    /// `H("ledger", heads ‖ certificates ‖ revocations ‖ records)`: equal on equal ledgers.
    pub fn hash(&self) -> [u8; 32] {
        let heads = counted(self.heads.iter().map(|head| &head.0));
        hash("ledger", &[&heads, &self.certificate_ids(), &self.revocation_ids(), &self.record_ids()])
    }

    /// The hashes of certificates, device revocations and device records.
    pub fn side_hashes(&self) -> SideHashes {
        SideHashes {
            certificates: hash("ledger", &[&self.certificate_ids()]),
            revocations: hash("ledger", &[&self.revocation_ids()]),
            records: hash("ledger", &[&self.record_ids()]),
        }
    }

    fn certificate_ids(&self) -> Vec<u8> {
        counted(self.certificates.ids())
    }

    fn revocation_ids(&self) -> Vec<u8> {
        counted(self.revocations.ids())
    }

    fn record_ids(&self) -> Vec<u8> {
        let ids: Vec<[u8; 32]> = self.records().map(Signed::id).collect();
        counted(ids.iter())
    }

    /// Ops that stand for everything in this ledger, at most [`LEDGER_IDS_MAX`].
    pub fn landmarks(&self) -> Vec<OpId> {
        let graph = self.resolver.graph();
        let (mut named, mut left_out) = (BTreeSet::new(), 0);
        while left_out < self.len() {
            let mut heads = graph.newest((0..self.len() - left_out).collect());
            heads.sort_by_cached_key(|head| graph.node(*head).facts.resolve_order());
            let ids = heads.into_iter().map(|head| graph.node(head).facts.id);
            let most = if left_out == 0 { LANDMARK_HEADS_MAX } else { EARLIER_LANDMARK_HEADS_MAX };
            named.extend(ids.take(most.min(LEDGER_IDS_MAX - named.len())));
            left_out = (2 * left_out).max(1);
        }
        named.into_iter().collect()
    }

    /// The ops from number `from` on that are neither in `have` nor ancestors of one that is, parents before
    /// children, each with its number. Unknown ids in `have` are ignored.
    pub fn ops_beyond(
        &self,
        have: &[OpId],
        from: usize,
    ) -> impl Iterator<Item = (usize, &Envelope)> + use<'_> {
        let graph = self.resolver.graph();
        let mut theirs = OpSet::default();
        for number in have.iter().filter_map(|op| graph.number(*op)) {
            theirs.insert(number);
            theirs.union(&graph.node(number).past);
        }
        let numbered = self.ops.iter().map(Signed::envelope).enumerate().skip(from);
        numbered.filter(move |(number, _)| !theirs.contains(*number))
    }
}

/// The number of ids, 8 bytes big-endian, then the ids.
fn counted<'a>(ids: impl Iterator<Item = &'a [u8; 32]>) -> Vec<u8> {
    let ids: Vec<&[u8; 32]> = ids.collect();
    let mut bytes = (ids.len() as u64).to_be_bytes().to_vec();
    ids.into_iter().for_each(|id| bytes.extend(id));
    bytes
}
