//! The documents of one group: judges, applies, commits and serves their changes (pure but for reads).
//!
//! This is the one path by which a change enters the database: local or remote it passes `Documents::commit`
//! or `Documents::apply`, which leave a batch for the store and the news for watchers and sessions. Memory
//! runs ahead of the store until the batch is durable; such documents are pinned in the cache and not served
//! yet.
//!
//! A change is accepted by its header and its tips, at once. To materialise it, by Automerge, is another
//! matter: short work is done at once, long work is left for a worker (`work`), and the row follows.

mod apply;
mod authority;
mod backlog;
mod commit;
mod edit;
mod fresh;
mod history;
mod load;
mod materialise;
mod rebuild;
mod rejudge;
mod set_aside;
mod supply;
#[cfg(test)]
mod tests;
mod unmaterialised;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::digest::{Digest, Mark};
use schema::document::{self, EncodedChange, Index, Refusal, Rejudging, Rules};
use schema::key::SigningKey;
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::tip::Author;
use schema::{ChangeHash, DocumentId, GroupId, UserId, codec};

use self::apply::TURN_CHAINS;
pub(crate) use self::apply::{ReadUnit, UnitReader};
use self::authority::Authority;
use self::backlog::{Backlog, Writer};
pub(crate) use self::commit::{CommitEnd, Committing};
pub use self::commit::{CommitError, RowWrite};
use self::fresh::FreshChunks;
pub use self::history::Revision;
use self::materialise::{Later, Materialised, SHORT_TURN_CHARGE};
use self::set_aside::SetAsides;
pub use self::set_aside::{SetAside, SetAsideTotal};
pub use self::unmaterialised::{Unmaterialised, UnmaterialisedReason};
pub(crate) use self::work::{Slice, Work, Worked};
use super::cache::{Cache, CacheBudget};
use super::manifests::Manifests;
use super::reading::Reading;
use super::record::{AuthorRecord, Authors, DocumentRecord};
use super::replica::Row;
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
    /// Documents that grew in the present turn: their records are written once, at its end.
    grown: BTreeMap<DocumentId, Grown>,
    /// Documents of which something is no longer accepted, with the reason.
    pub(crate) lost: Vec<(DocumentId, Refusal)>,
    /// Heads of the rows written, in the order of the writes; commits only.
    pub(crate) heads: Vec<Vec<ChangeHash>>,
}

/// A document that grew, and is to be [finished](Documents::finish).
#[derive(Default)]
struct Grown {
    /// Its marks before.
    before: Vec<Mark>,
    /// The changes that were accepted, to be materialised together.
    changes: Vec<EncodedChange>,
    /// The users who wrote them.
    writers: BTreeSet<Writer>,
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
    /// The number of times that the store may have lost writes.
    pub(crate) losses: u64,
    /// The incarnation under which this device writes.
    pub(crate) incarnation: u64,
    pub(crate) space: SpaceHandle,
    pub(crate) roster: Arc<Roster>,
    pub(crate) budget: CacheBudget,
    /// Memory that one document may take, bytes.
    pub(crate) document_bytes: u64,
    pub(crate) rules: Rules,
}

/// A loaded document.
struct Document {
    record: DocumentRecord,
    index: Index,
    materialised: Materialised,
    /// Changes that the reading has to take yet: a worker has it, or is to have it.
    later: Later,
    fresh: FreshChunks,
}

/// The documents of one group, with everything by which they are judged and stored.
pub(crate) struct Documents {
    authority: Authority,
    clock: Clock,
    incarnation: u64,
    /// The number of times that the store may have lost writes: an incarnation is valid under one such
    /// number.
    losses: u64,
    space: SpaceHandle,
    digest: Digest,
    authors: Authors,
    /// Authors by number.
    rejudging: Rejudging<u32>,
    set_aside: SetAsides,
    cache: Cache<Document>,
    /// Documents whose newest batch is not durable yet, with its number.
    unstored: BTreeMap<DocumentId, u64>,
    /// Documents that a worker has, with the number of the work.
    working: BTreeMap<DocumentId, u64>,
    /// Documents of commits that wait for a worker: they stay in memory meanwhile.
    awaited: BTreeSet<DocumentId>,
    /// Work to begin.
    work: Vec<Work>,
    next_work: u64,
    /// Charge that may still be applied in the present turn of the actor.
    short_charge: u64,
    /// Chains that may still be looked at in the present turn of the actor.
    turn_chains: usize,
    /// Documents that this device does not materialise.
    unmaterialised: BTreeMap<DocumentId, Unmaterialised>,
    /// Those of them that nobody was told of yet.
    given_up: Vec<Unmaterialised>,
    /// Memory that one document may take, bytes.
    document_bytes: u64,
    /// Documents that wait for a worker.
    backlog: Backlog,
    quarantined: BTreeMap<DocumentId, String>,
    /// A document was set aside since the last look.
    alarm: bool,
}

impl Documents {
    /// Reads the authors and the digest back from the store.
    pub(crate) fn open(setup: Setup) -> Result<Self, StoreError> {
        let Setup { group, user, device, clock, losses, incarnation, space, roster, .. } = setup;
        let Setup { budget, document_bytes, rules, .. } = setup;
        let manifests = Manifests::new(space.clone());
        let mut documents = Self {
            authority: Authority { group, user, device, roster, manifests, rules },
            clock,
            incarnation,
            losses,
            space: space.clone(),
            digest: Digest::default(),
            authors: Authors::default(),
            rejudging: Rejudging::new(document::Slice::NODE, rules),
            set_aside: SetAsides::read(&space)?,
            cache: Cache::new(budget),
            unstored: BTreeMap::new(),
            working: BTreeMap::new(),
            awaited: BTreeSet::new(),
            work: Vec::new(),
            next_work: 0,
            short_charge: SHORT_TURN_CHARGE,
            turn_chains: TURN_CHAINS,
            unmaterialised: BTreeMap::new(),
            given_up: Vec::new(),
            document_bytes,
            backlog: Backlog::default(),
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
                Ok(Some(record)) => {
                    if record.is_behind {
                        let writers = documents.writers_of(&record);
                        documents.backlog.push(id, writers);
                    }
                    record.marks(group, id, &documents.authors)
                }
                Ok(None) => None,
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

    /// Everybody who wrote in a document: whose changes are not materialised yet is not stored.
    fn writers_of(&self, record: &DocumentRecord) -> BTreeSet<Writer> {
        let authors: BTreeSet<u32> = record.replicas.iter().map(|replica| replica.author).collect();
        let writer = |number| {
            let (device, grant) = self.authors.get(number)?;
            self.authority.user_of(device, grant)
        };
        authors.into_iter().map(writer).collect()
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
            if let Some(document) = self.cache.get(&wanted.document) {
                document.fresh.submit(batch);
            }
        }
    }

    /// The batch of this number is durable.
    pub(crate) fn unpin(&mut self, moved: &[Wanted], batch: u64) {
        for wanted in moved {
            if let Some(document) = self.cache.get(&wanted.document) {
                document.fresh.forget(batch);
            }
            if self.unstored.get(&wanted.document) == Some(&batch) {
                self.unstored.remove(&wanted.document);
                self.drop_if_empty(wanted.document);
            }
        }
        let Self { unstored, working, awaited, .. } = self;
        let is_pinned =
            |id: &DocumentId| unstored.contains_key(id) || working.contains_key(id) || awaited.contains(id);
        self.cache.trim(|id| !is_pinned(id));
    }

    /// Leaves the new state of a document in the batch, and its row where it is materialised.
    fn finish(
        &mut self,
        id: DocumentId,
        before: Vec<Mark>,
        row: Option<Row>,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        self.show(id, row, outcome);
        let marks = self.marks_of(id)?;
        if !self.quarantined.contains_key(&id) {
            self.digest.set(id, &marks);
        }
        outcome.push_moved(Wanted { document: id, have: before });
        Ok(())
    }

    /// Leaves the record of a document in the batch, and its row where it is materialised.
    fn show(&mut self, id: DocumentId, row: Option<Row>, outcome: &mut Outcome) {
        let document = self.cache.get(&id).expect("the document is loaded");
        document.record.is_behind = row.is_none();
        if row.is_some() {
            document.record.set_read();
        }
        let record = &document.record;
        outcome.batch.put(keys::document(id), codec::encode(record));
        if let (Some(row), Materialised::Here(reading)) = (row, &document.materialised) {
            let row = Arc::new(RowRecord::of(row, reading.heads()));
            outcome.batch.put(rows::row_key(&record.table, &record.key), row.encode());
            outcome.push_row(id, RowEvent { table: record.table.clone(), key: record.key.clone(), row });
        }
        if let Some(bytes) = document.approximate_bytes() {
            self.cache.resize(&id, bytes);
        }
    }
}

impl Outcome {
    /// Of several steps of a row, readers are told the last; before [`push_moved`](Self::push_moved).
    fn push_row(&mut self, document: DocumentId, event: RowEvent) {
        let is_later = self.moved_ids.contains(&document);
        let is_same = |known: &&mut RowEvent| (&known.table, &known.key) == (&event.table, &event.key);
        match self.rows.iter_mut().find(|known| is_later && is_same(known)) {
            Some(known) => *known = event,
            None => self.rows.push(event),
        }
    }

    /// Adds a document that changed, unless it is there already.
    fn push_moved(&mut self, moved: Wanted) {
        if self.moved_ids.insert(moved.document) {
            self.moved.push(moved);
        }
    }
}

impl Document {
    fn new(name: &RowName) -> Self {
        let record = DocumentRecord::new(name.table.clone(), name.key.clone());
        let materialised = Materialised::Here(Reading::new(BTreeSet::new()));
        Self::of(record, Index::new(), materialised)
    }

    fn of(record: DocumentRecord, index: Index, materialised: Materialised) -> Self {
        Self { record, index, materialised, later: Later::default(), fresh: FreshChunks::default() }
    }

    /// Its version vector, sorted.
    fn marks(&self) -> Vec<Mark> {
        self.index.replicas().map(|(replica, seq, change)| Mark { replica, seq, change }).collect()
    }

    /// Its size in memory; `None`: a worker has most of it.
    fn approximate_bytes(&self) -> Option<usize> {
        let reading = match &self.materialised {
            Materialised::Here(reading) => reading.approximate_bytes(),
            Materialised::Absent => 0,
            Materialised::Working => return None,
        };
        let later = usize::try_from(self.later.charge).unwrap_or(usize::MAX);
        Some(reading.saturating_add(later) + INDEX_BYTES * self.index.len())
    }
}

/// Memory of an index for one change, bytes.
const INDEX_BYTES: usize = 76;

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
