//! The documents of one group: judges, applies, commits and serves their changes (pure but for reads).
//!
//! This is the one path by which a change enters the database: local or remote it passes `Documents::commit` or
//! `Documents::apply`, which leave a batch for the store and the news for watchers and sessions. Memory runs ahead
//! of the store until the batch is durable; such documents are pinned in the cache and not served yet.

mod admit;
mod commit;
mod known;
mod load;
mod rejudge;
mod snapshots;
mod supply;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::digest::{Digest, Mark};
use schema::document::{Index, Refusal};
use schema::key::SigningKey;
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, UserId, codec};

pub use self::commit::{CommitError, RowWrite};
use self::rejudge::Rejudging;
use self::snapshots::Snapshots;
pub use self::snapshots::{Kept, Snapshot};
use super::cache::{Cache, CacheBudget};
use super::manifests::Manifests;
use super::record::{AuthorRecord, Authors, DocumentRecord, Spilled};
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

/// What a commit or an apply leaves behind, to be stored and then told.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) batch: Batch,
    pub(crate) rows: Vec<RowEvent>,
    /// Documents that moved, with their marks before.
    pub(crate) moved: Vec<Wanted>,
    moved_ids: BTreeSet<DocumentId>,
    pub(crate) refused: Vec<(DocumentId, Refusal)>,
    /// Why something that was accepted once is not any more.
    pub(crate) fell: Vec<(DocumentId, Refusal)>,
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

/// A loaded document.
struct Document {
    record: DocumentRecord,
    replica: Replica,
    index: Index,
}

/// See the file's head.
pub(crate) struct Documents {
    group: GroupId,
    user: UserId,
    device: SigningKey,
    clock: Clock,
    incarnation: u64,
    /// How often the store was not closed cleanly: what an incarnation was drawn under.
    crashes: u64,
    space: SpaceHandle,
    roster: Arc<Roster>,
    digest: Digest,
    authors: Authors,
    manifests: Manifests,
    rejudging: Rejudging,
    snapshots: Snapshots,
    /// C8 lets everything pass: see [`Accept`](admit::Accept).
    lenient: bool,
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
    pub(crate) fn open(
        group: GroupId,
        (user, device): (UserId, SigningKey),
        (clock, crashes, incarnation): (Clock, u64, u64),
        space: SpaceHandle,
        roster: Arc<Roster>,
        (budget, lenient): (CacheBudget, bool),
    ) -> Result<Self, StoreError> {
        let mut documents = Self {
            group,
            user,
            device,
            clock,
            incarnation,
            crashes,
            space: space.clone(),
            roster,
            digest: Digest::default(),
            authors: Authors::lenient(lenient),
            manifests: Manifests::new(space.clone()),
            rejudging: Rejudging::default(),
            snapshots: Snapshots::read(&space)?,
            lenient,
            cache: Cache::new(budget),
            unstored: BTreeMap::new(),
            spoiled: BTreeSet::new(),
            quarantined: BTreeMap::new(),
            alarm: false,
        };
        for (key, value) in keys::entries(&space, keys::AUTHOR)? {
            let (device, grant, judged): AuthorRecord =
                codec::decode_stored(&value).map_err(|_| keys::damaged(&space, &key))?;
            documents.authors.push((DeviceId(device), OpId(grant)), judged);
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
        documents.look_who_is_judged_otherwise();
        Ok(documents)
    }

    /// Judges by another roster from now on; what was judged before is judged anew by
    /// [`rejudge_some`](Self::rejudge_some).
    pub(crate) fn set_roster(&mut self, roster: Arc<Roster>) {
        self.roster = roster;
        self.look_who_is_judged_otherwise();
    }

    /// By which documents are judged, as far as they are not yet to be judged anew.
    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.roster
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

    /// Whether a document was set aside since the last call: peers have it, and must be compared with again.
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
        (row, spilled): (Row, Vec<Spilled>),
        outcome: &mut Outcome,
    ) -> Result<Arc<RowRecord>, StoreError> {
        let document = self.cache.get(&id).expect("the document is at hand");
        let heads: Vec<_> = document.index.heads().iter().copied().collect();
        document.record.set_heads(|change| heads.binary_search(change).is_ok());
        let row = Arc::new(RowRecord::of(row, heads));
        let record = &document.record;
        for chunk in spilled {
            outcome.batch.put(keys::chunk(id, chunk.number), chunk.bytes);
        }
        outcome.batch.put(keys::document(id), codec::encode(record));
        outcome.batch.put(rows::row_key(&record.table, &record.key), row.encode());
        outcome.rows.push(RowEvent {
            table: record.table.clone(),
            key: record.key.clone(),
            row: row.clone(),
        });
        let bytes = document.replica.approximate_bytes();
        self.cache.resize(&id, bytes);
        let marks = self.marks_of(id)?;
        self.digest.set(id, &marks);
        if outcome.moved_ids.insert(id) {
            outcome.moved.push(Wanted { document: id, have: before });
        }
        Ok(row)
    }

    /// The revisions of a row, oldest first.
    pub(crate) fn history(&mut self, table: &str, key: &str) -> Result<Vec<Revision>, StoreError> {
        let id = DocumentId::of(self.group, table, key);
        let Some(document) = self.load(id)? else { return Ok(Vec::new()) };
        let revisions = document.replica.history();
        let record = document.record.clone();
        let ids = record.replica_ids(self.group, id, &self.authors).unwrap_or_default();
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

impl Document {
    fn new(table: &str, key: &str) -> Self {
        let record = DocumentRecord::new(table.to_owned(), key.to_owned());
        Self { record, replica: Replica::new(), index: Index::new() }
    }
}

/// The number of an author; a new one is stored.
fn put_author(authors: &mut Authors, roster: &Roster, author: (DeviceId, OpId), batch: &mut Batch) -> u32 {
    authors.number(author).unwrap_or_else(|| {
        let number = authors.push(author, roster.judgement(author.0, author.1));
        let record = authors.record(number).expect("just numbered");
        batch.put(keys::author(number), codec::encode(&record));
        number
    })
}
