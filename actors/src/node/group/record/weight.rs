//! The memory that the changes of a document take once they are materialised, from counts alone (pure).
//!
//! An upper bound, measured with a counting allocator and Automerge 0.12 over all dear shapes and over rows
//! of 100 000 small changes: rows of small changes are overestimated by up to 2.4, clocks by up to 1.4. Runs
//! of equal ops, such as a text that is typed in order, take a fortieth of what is counted here; in another
//! order the same ops take all of it, and no count tells which it is.

use bincode::{Decode, Encode};
use schema::change::ChangeHeader;

use super::DocumentRecord;

/// A document without changes, bytes.
const EMPTY_BYTES: u64 = 17 << 10;
/// A change in the graph of changes and in the index, bytes: 220 to 375, as tables double.
const CHANGE_BYTES: u64 = 300;
/// An op, bytes: one that makes an object; others take 1 to 41.
const OP_BYTES: u64 = 48;
/// A chain, bytes: its id, its column of changes, its place in what waits.
const CHAIN_BYTES: u64 = 700;
/// One chain in a clock, bytes.
const CLOCK_BYTES: u64 = 4;
/// Automerge keeps a clock at each 16th change, and one for 33 changes of each branch below it.
const CHANGES_PER_CLOCK: u64 = 8;

/// The counts of some changes that decide how much memory they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(crate) struct Weight {
    changes: u64,
    ops: u64,
    /// Bytes of the changes, and so of their values and keys.
    bytes: u64,
    /// Clocks that Automerge may keep beside those of each eighth change.
    clocks: u64,
}

impl Weight {
    /// Of one change.
    pub(crate) fn of(header: &ChangeHeader, bytes: usize) -> Self {
        // A merge leads to as many branches, each of which may get a clock; so does a hash that begins with
        // a zero byte, which Automerge takes for the begin of a fragment.
        let branches = (header.deps.len() as u64).saturating_sub(1);
        let clocks = branches + u64::from(header.hash.0[0] == 0);
        Self { changes: 1, ops: header.ops, bytes: bytes as u64, clocks }
    }

    pub(crate) fn add(&mut self, other: Self) {
        let Self { changes, ops, bytes, clocks } = other;
        self.changes = self.changes.saturating_add(changes);
        self.ops = self.ops.saturating_add(ops);
        self.bytes = self.bytes.saturating_add(bytes);
        self.clocks = self.clocks.saturating_add(clocks);
    }

    /// Bytes without clocks.
    fn held(&self) -> u64 {
        let of_changes = self.changes.saturating_mul(CHANGE_BYTES);
        of_changes.saturating_add(self.ops.saturating_mul(OP_BYTES)).saturating_add(self.bytes)
    }
}

impl DocumentRecord {
    /// The memory that the document takes once it is materialised, bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory_by_chain().map(|(_, bytes)| bytes).fold(EMPTY_BYTES, u64::saturating_add)
    }

    /// The share of each chain, by the number of its author, bytes. Each chain makes every clock longer.
    pub(crate) fn memory_by_chain(&self) -> impl Iterator<Item = (u32, u64)> {
        let mut all = Weight::default();
        self.replicas.iter().for_each(|replica| all.add(replica.weight));
        let clocks = (all.changes / CHANGES_PER_CLOCK).saturating_add(all.clocks).min(all.changes);
        let of_chain = CHAIN_BYTES.saturating_add(clocks.saturating_mul(CLOCK_BYTES));
        self.replicas
            .iter()
            .map(move |replica| (replica.author, replica.weight.held().saturating_add(of_chain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::group::record::{ReadEnd, ReplicaRecord};

    /// A document of one user's chains, each of so many changes of one op and 120 bytes.
    fn memory(chains: u64, changes: u64) -> u64 {
        let mut record = DocumentRecord::new("tasks".into(), "a".into());
        for incarnation in 0..chains {
            record.replicas.push(ReplicaRecord {
                author: 0,
                incarnation,
                seq: changes,
                change: schema::ChangeHash([7; 32]),
                is_head: true,
                tips: schema::document::ChainTips::default(),
                weight: Weight { changes, ops: changes, bytes: 120 * changes, clocks: 0 },
                read: ReadEnd::Newest,
            });
        }
        record.memory()
    }

    /// A counter that was written every ten seconds was once given up after a month.
    #[test]
    fn a_row_of_a_million_small_changes_fits_512_mib() {
        assert!(memory(1, 1_000_000) < 512 << 20, "{}", memory(1, 1_000_000));
        assert!(memory(4, 250_000) < 512 << 20, "{}", memory(4, 250_000));
    }

    /// Each 16th change has a clock of all chains.
    #[test]
    fn chains_are_charged_for_the_clocks_that_they_make_longer() {
        let bytes = memory(8_000, 1);
        assert!((30_000_000..80_000_000).contains(&bytes), "{bytes}");
    }
}
