//! The documents of one group: judges, applies, commits and serves their changes (pure but for reads).
//!
//! This is the one path by which a change enters the database: local or remote it passes `Documents::commit`
//! or `Documents::apply`, which leave a batch for the store and the news for watchers and sessions. Memory
//! runs ahead of the store until the batch is durable; such documents are pinned in the cache and not served
//! yet.

mod apply;
mod authority;
mod commit;
mod load;
mod rebuild;
mod rejudge;
mod set_aside;
mod supply;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::digest::{Digest, Mark};
use schema::document::{Index, Refusal, Rejudging, Rules, Slice};
use schema::key::SigningKey;
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::tip::Author;
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, UserId, codec};

use self::authority::Authority;
pub use self::commit::{CommitError, RowWrite};
use self::set_aside::SetAsides;
pub use self::set_aside::{SetAside, SetAsideTotal};
use super::cache::{Cache, CacheBudget};
use super::manifests::Manifests;
use super::record::{AuthorRecord, Authors, DocumentRecord, NewChunk};
use super::replica::{Replica, Row};
use super::rows::{self, RowRecord};
use crate::clock::Clock;
pub use crate::node::event::Rejudged;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// A row that changed, as watchers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RowEvent {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The row as it is now.
    pub row: Arc<RowRecord>,
}

/// The effects of a commit or of applied units: a batch for the store, and news to publish once it is
/// durable.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) batch: Batch,
    pub(crate) rows: Vec<RowEvent>,
    /// Documents that moved, with their marks before.
    pub(crate) moved: Vec<Wanted>,
    moved_ids: BTreeSet<DocumentId>,
    pub(crate) refused: Vec<(DocumentId, Refusal)>,
    /// Documents of which something is no longer accepted, with the reason.
    pub(crate) lost: Vec<(DocumentId, Refusal)>,
    /// Heads of the rows written, in the order of the writes; commits only.
    pub(crate) heads: Vec<Vec<ChangeHash>>,
}

/// One revision of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The change that made it.
    pub change: ChangeHash,
    /// On which device, and by which grant of a role; `None`: that is no longer known.
    pub author: Option<(DeviceId, OpId)>,
    /// The author's clock, ms since the Unix epoch: shown, never trusted.
    pub time_ms: i64,
}

/// The table and the key of a row.
#[derive(Clone, Debug)]
pub(super) struct RowName {
    pub(super) table: String,
    pub(super) key: String,
}

/// Everything that the documents of a group need to open.
pub(crate) struct Setup {
    pub(crate) group: GroupId,
    pub(crate) user: UserId,
    pub(crate) device: SigningKey,
    pub(crate) clock: Clock,
    /// The number of times that the store was not closed cleanly.
    pub(crate) crashes: u64,
    /// The incarnation under which this device writes.
    pub(crate) incarnation: u64,
    pub(crate) space: SpaceHandle,
    pub(crate) roster: Arc<Roster>,
    pub(crate) budget: CacheBudget,
    pub(crate) rules: Rules,
}

/// A loaded document.
struct Document {
    record: DocumentRecord,
    replica: Replica,
    index: Index,
}

/// The documents of one group, with everything by which they are judged and stored.
pub(crate) struct Documents {
    authority: Authority,
    clock: Clock,
    incarnation: u64,
    /// The number of times that the store was not closed cleanly: an incarnation is valid under one such
    /// number.
    crashes: u64,
    space: SpaceHandle,
    digest: Digest,
    authors: Authors,
    /// Authors by number.
    rejudging: Rejudging<u32>,
    set_aside: SetAsides,
    cache: Cache<Document>,
    /// Documents whose newest batch is not durable yet, with its number.
    unstored: BTreeMap<DocumentId, u64>,
    /// Documents whose memory cannot be trusted while the store does not have their newest batch yet.
    spoiled: BTreeSet<DocumentId>,
    quarantined: BTreeMap<DocumentId, String>,
    /// A document was set aside since the last look.
    alarm: bool,
}

impl Documents {
    /// Reads the authors and the digest back from the store.
    pub(crate) fn open(setup: Setup) -> Result<Self, StoreError> {
        let Setup { group, user, device, clock, crashes, incarnation, space, roster, budget, rules } = setup;
        let manifests = Manifests::new(space.clone());
        let mut documents = Self {
            authority: Authority { group, user, device, roster, manifests, rules },
            clock,
            incarnation,
            crashes,
            space: space.clone(),
            digest: Digest::default(),
            authors: Authors::default(),
            rejudging: Rejudging::new(Slice::NODE, rules),
            set_aside: SetAsides::read(&space)?,
            cache: Cache::new(budget),
            unstored: BTreeMap::new(),
            spoiled: BTreeSet::new(),
            quarantined: BTreeMap::new(),
            alarm: false,
        };
        for (key, value) in keys::entries(&space, keys::AUTHOR)? {
            let AuthorRecord { device, grant, judged } =
                codec::decode_stored(&value).map_err(|_| keys::damaged(&space, &key))?;
            documents.authors.push((device, grant), judged);
        }
        let ids = keys::names(&space, keys::DOCUMENT)?;
        for key in ids {
            let Ok(id) = <[u8; 32]>::try_from(key.as_slice()).map(DocumentId) else { continue };
            let marks = match documents.stored(id) {
                Ok(record) => record.and_then(|record| record.marks(group, id, &documents.authors)),
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            match marks {
                Some(marks) => documents.digest.set(id, &marks),
                None => documents.quarantine(id, "record is damaged"),
            }
        }
        documents.find_stale_authors();
        Ok(documents)
    }

    /// Judges by another roster from now on; [`rejudge_some`](Self::rejudge_some) re-judges what was
    /// judged before.
    pub(crate) fn set_roster(&mut self, roster: Arc<Roster>) {
        self.authority.roster = roster;
        self.find_stale_authors();
    }

    /// The roster by which documents are judged, except those that are still to be re-judged.
    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.authority.roster
    }

    pub(crate) fn root(&mut self) -> [u8; 32] {
        self.digest.root()
    }

    pub(crate) fn len(&self) -> usize {
        self.digest.len()
    }

    pub(crate) fn authors(&self) -> &Authors {
        &self.authors
    }

    pub(crate) fn loaded(&self) -> usize {
        self.cache.len()
    }

    /// Returns true if a document was quarantined since the last call: peers have it, and must be compared
    /// with again.
    pub(crate) fn take_alarm(&mut self) -> bool {
        std::mem::take(&mut self.alarm)
    }

    pub(crate) fn quarantined(&self) -> &BTreeMap<DocumentId, String> {
        &self.quarantined
    }

    /// The batch of this number holds the newest state of these documents.
    pub(crate) fn pin(&mut self, moved: &[Wanted], batch: u64) {
        for wanted in moved {
            self.unstored.insert(wanted.document, batch);
        }
    }

    /// The batch of this number is durable.
    pub(crate) fn unpin(&mut self, moved: &[Wanted], batch: u64) {
        for wanted in moved {
            if self.unstored.get(&wanted.document) == Some(&batch) {
                self.unstored.remove(&wanted.document);
                if self.spoiled.remove(&wanted.document) {
                    self.cache.remove(&wanted.document);
                }
            }
        }
        let unstored = &self.unstored;
        self.cache.trim(|id| !unstored.contains_key(id));
    }
    /// Leaves the new state of a document in the batch, its row with it.
    fn finish(
        &mut self,
        id: DocumentId,
        before: Vec<Mark>,
        row: Row,
        spilled: Vec<NewChunk>,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let document = self.cache.get(&id).expect("the document is loaded");
        let heads: Vec<_> = document.index.heads().iter().copied().collect();
        document.record.set_heads(|change| heads.binary_search(change).is_ok());
        let row = Arc::new(RowRecord::of(row, heads));
        let record = &document.record;
        for chunk in spilled {
            outcome.batch.put(keys::chunk(id, chunk.number), chunk.bytes);
        }
        outcome.batch.put(keys::document(id), codec::encode(record));
        outcome.batch.put(rows::row_key(&record.table, &record.key), row.encode());
        outcome.push_row(id, RowEvent { table: record.table.clone(), key: record.key.clone(), row });
        let bytes = document.replica.approximate_bytes();
        self.cache.resize(&id, bytes);
        let marks = self.marks_of(id)?;
        self.digest.set(id, &marks);
        outcome.push_moved(Wanted { document: id, have: before });
        Ok(())
    }

    /// The revisions of a row, oldest first.
    pub(crate) fn history(&mut self, table: &str, key: &str) -> Result<Vec<Revision>, StoreError> {
        let id = DocumentId::of(self.authority.group, table, key);
        let Some(document) = self.load(id)? else { return Ok(Vec::new()) };
        let revisions = document.replica.history();
        let record = document.record.clone();
        let ids = record.replica_ids(self.authority.group, id, &self.authors).unwrap_or_default();
        let authors: BTreeMap<_, _> = ids
            .into_iter()
            .zip(&record.replicas)
            .map(|(id, replica)| (id, self.authors.get(replica.author)))
            .collect();
        Ok(revisions
            .into_iter()
            .map(|r| Revision {
                change: r.hash,
                author: authors.get(&r.author).copied().flatten(),
                time_ms: r.time_ms,
            })
            .collect())
    }
}

impl Outcome {
    /// Adds a document that changed, unless it is there already.
    /// Of several steps of a row, readers are told the last; before [`push_moved`](Self::push_moved).
    fn push_row(&mut self, document: DocumentId, event: RowEvent) {
        let is_later = self.moved_ids.contains(&document);
        let is_same = |known: &&mut RowEvent| (&known.table, &known.key) == (&event.table, &event.key);
        match self.rows.iter_mut().find(|known| is_later && is_same(known)) {
            Some(known) => *known = event,
            None => self.rows.push(event),
        }
    }

    fn push_moved(&mut self, moved: Wanted) {
        if self.moved_ids.insert(moved.document) {
            self.moved.push(moved);
        }
    }
}

impl Document {
    fn new(name: &RowName) -> Self {
        let record = DocumentRecord::new(name.table.clone(), name.key.clone());
        Self { record, replica: Replica::new(), index: Index::new() }
    }
}

/// The number of an author; a new one is stored with the judgement of now.
fn put_author(authors: &mut Authors, authority: &Authority, author: Author, batch: &mut Batch) -> u32 {
    let Author { device, grant, .. } = author;
    authors.number((device, grant)).unwrap_or_else(|| {
        let number = authors.push((device, grant), authority.judgement(device, grant));
        let record = authors.record(number).expect("just numbered");
        batch.put(keys::author(number), codec::encode(&record));
        number
    })
}
