//! Documents that this device does not materialise: too dear for it, or beyond Automerge (pure).
//!
//! Accepted changes stay accepted, counted, and served to peers. The row stays as it was last read, and
//! cannot be written here. A cut that takes changes away, or a larger budget, materialises the rest from the
//! store.

use std::collections::{BTreeMap, BTreeSet};

use schema::ledger::Roster;
use schema::{DeviceId, DocumentId, UserId};

use super::Documents;
use super::materialise::{Later, Materialised};
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
    /// The user whose changes take most of its memory; `None`: that is not known.
    pub user: Option<UserId>,
    /// The device of that user whose changes take most.
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

/// The user whose changes take most memory, and of their devices the one whose changes do.
fn costliest(
    record: &DocumentRecord,
    authors: &Authors,
    roster: &Roster,
) -> (Option<UserId>, Option<DeviceId>) {
    let (mut users, mut devices) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
    for (author, bytes) in record.memory_by_chain() {
        let Some((device, grant)) = authors.get(author) else { continue };
        let user = roster.user_of(device, grant);
        *users.entry(user).or_default() += bytes;
        *devices.entry((user, device)).or_default() += bytes;
    }
    let user = users.into_iter().max_by_key(|(_, bytes)| *bytes).and_then(|(user, _)| user);
    let of_user = devices.into_iter().filter(|((of, _), _)| *of == user);
    (user, of_user.max_by_key(|(_, bytes)| *bytes).map(|((_, device), _)| device))
}

impl Documents {
    /// Gives a loaded document up if it is too dear; returns true if it is given up.
    pub(super) fn gives_up(&mut self, id: DocumentId) -> bool {
        let document = self.cache.get(&id).expect("it is loaded");
        let (bytes, max) = (document.record.memory(), self.document_bytes);
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
        let (user, device) = costliest(record, &self.authors, &self.authority.roster);
        let (table, key) = (record.table.clone(), record.key.clone());
        let unmaterialised = Unmaterialised { table, key, why, user, device };
        if self.unmaterialised.insert(id, unmaterialised.clone()).is_none() {
            self.given_up.push(unmaterialised);
        }
    }

    /// The rows that are not materialised here.
    pub(crate) fn unmaterialised(&self) -> impl Iterator<Item = &Unmaterialised> {
        self.unmaterialised.values()
    }

    /// Their documents.
    pub(crate) fn unmaterialised_documents(&self) -> BTreeSet<DocumentId> {
        self.unmaterialised.keys().copied().collect()
    }

    /// The rows that were given up since the last call.
    pub(crate) fn take_given_up(&mut self) -> Vec<Unmaterialised> {
        std::mem::take(&mut self.given_up)
    }
}
