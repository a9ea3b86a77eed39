//! Documents that this device does not materialise: too dear for it, or beyond Automerge (pure).
//!
//! Accepted changes stay accepted, counted, and served to peers. The row stays as it was last read, and
//! cannot be written here. A cut that takes changes away, or a larger budget, materialises the rest from the
//! store.

use schema::{DeviceId, DocumentId};

use super::materialise::{Later, Materialised};
use super::{Documents, INDEX_BYTES};
use crate::node::group::record::{Authors, DocumentRecord};

/// A row whose newest accepted changes are not materialised on this device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Unmaterialised {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The reason.
    pub why: UnmaterialisedReason,
    /// The device that wrote most chains of it; `None`: that is not known.
    pub device: Option<DeviceId>,
}

/// The reason for which a row is not materialised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "control", serde(tag = "kind", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum UnmaterialisedReason {
    /// It would take more memory than this device gives one document.
    #[error("it would take {bytes} bytes of memory where {max} are allowed")]
    TooDear {
        /// The estimate, bytes.
        bytes: u64,
        /// The budget, bytes.
        max: u64,
    },
    /// Automerge does not take its changes.
    #[error("{what}")]
    Faulty {
        /// The reason that Automerge gave.
        what: String,
    },
}

/// Memory for one byte of charge, bytes: an op of 96 takes less, a long value is held thrice.
const CHARGE_MEMORY: u64 = 2;
/// Chains beyond which Automerge may keep a clock of all of them for every change, and not for each 16th.
const CALM_CHAINS: u64 = 64;

/// The memory that a document takes once it is materialised, bytes: an upper estimate from the record alone.
fn memory(record: &DocumentRecord) -> u64 {
    let ops = record.charge.saturating_mul(CHARGE_MEMORY) + record.changes.saturating_mul(INDEX_BYTES as u64);
    let chains = record.replicas.len() as u64;
    // Four bytes a chain in each clock.
    let clocks = chains.saturating_mul(record.changes);
    let clocks = if chains > CALM_CHAINS { clocks.saturating_mul(4) } else { clocks / 4 };
    ops.saturating_add(clocks)
}

/// The device of most chains.
fn busiest(record: &DocumentRecord, authors: &Authors) -> Option<DeviceId> {
    let mut chains = std::collections::BTreeMap::<DeviceId, usize>::new();
    for replica in &record.replicas {
        let (device, _) = authors.get(replica.author)?;
        *chains.entry(device).or_default() += 1;
    }
    chains.into_iter().max_by_key(|(_, count)| *count).map(|(device, _)| device)
}

impl Documents {
    /// Gives a loaded document up if it is too dear; returns true if it is given up.
    pub(super) fn gives_up(&mut self, id: DocumentId) -> bool {
        let document = self.cache.get(&id).expect("it is loaded");
        let (bytes, max) = (memory(&document.record), self.document_bytes);
        if bytes <= max {
            return false;
        }
        document.materialised = Materialised::Absent;
        document.later = Later::default();
        // A worker may have it: its result is void.
        self.working.remove(&id);
        self.backlog.remove(id);
        self.give_up(id, UnmaterialisedReason::TooDear { bytes, max });
        true
    }

    /// Does not materialise a loaded document from now on.
    pub(super) fn give_up(&mut self, id: DocumentId, why: UnmaterialisedReason) {
        let record = &self.cache.get(&id).expect("it is loaded").record;
        let device = busiest(record, &self.authors);
        let unmaterialised =
            Unmaterialised { table: record.table.clone(), key: record.key.clone(), why, device };
        if self.unmaterialised.insert(id, unmaterialised.clone()).is_none() {
            self.given_up.push(unmaterialised);
        }
    }

    /// The rows that are not materialised here.
    pub(crate) fn unmaterialised(&self) -> impl Iterator<Item = &Unmaterialised> {
        self.unmaterialised.values()
    }

    /// The rows that were given up since the last call.
    pub(crate) fn take_given_up(&mut self) -> Vec<Unmaterialised> {
        std::mem::take(&mut self.given_up)
    }
}
