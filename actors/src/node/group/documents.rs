//! The documents of one group: judges, applies, commits and serves their changes (pure but for reads).
//!
//! This is the one path by which a change enters the database: local or remote it passes [`Documents::commit`] or
//! [`Documents::apply`], which leave a batch for the store and the news for watchers and sessions. Memory runs ahead
//! of the store until the batch is durable; such documents are pinned in the cache and not served yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::admission::{self, Index, Refusal};
use schema::change::{self, ChangeError, ChangeHeader};
use schema::digest::{Digest, Mark, Page};
use schema::key::SigningKey;
use schema::ledger::Roster;
use schema::limits::SYNC_MESSAGE_BYTES_MAX;
use schema::session::frame::{Unit, UnitTip, Units};
use schema::session::{self, Supply, Wanted};
use schema::sync_message::SyncMessage;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, UserId, codec};

use super::cache::{Cache, CacheBudget};
use super::record::{Appended, Authors, DocumentRecord, Spilled, TipRecord};
use super::replica::{ReadError, Replica, Row};
use super::rows::{self, RowRecord};
use crate::edit::{EditError, RowEdit};
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// About how many bytes of changes one unit carries before a long history is sent in parts.
const UNIT_BYTES: usize = 4 << 20;

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

/// What one row is to become.
#[derive(Clone, Debug)]
pub struct RowWrite {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// What to change.
    pub edit: RowEdit,
    /// Refuse unless the row still has these heads; none: unless it does not exist.
    pub expect: Option<Vec<ChangeHash>>,
}

/// Why a commit was refused; nothing of it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The row moved since it was read; read it again.
    #[error("row {key:?} of {table:?} moved meanwhile")]
    Moved {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// The edit does not fit the row as it is.
    #[error("edit does not fit row {key:?} of {table:?}")]
    Edit {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// Which part does not.
        #[source]
        cause: EditError,
    },
    /// The change is one that peers refuse: too large, too many operations.
    #[error("change to row {key:?} of {table:?} would be refused by every peer")]
    Change {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        #[source]
        cause: ChangeError,
    },
    /// The row cannot be read after the edit.
    #[error("row {key:?} of {table:?} cannot be read after the edit")]
    Unreadable {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// Why not.
        #[source]
        cause: ReadError,
    },
    /// This user may not write here.
    #[error("not allowed to write to this group")]
    NotAllowed,
    /// The document is damaged on disk and waits for a peer that has it.
    #[error("row {key:?} of {table:?} is damaged on disk; it is fetched again from the next peer")]
    Quarantined {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a commit or an apply leaves behind, to be stored and then told.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) batch: Batch,
    pub(crate) rows: Vec<RowEvent>,
    /// Documents that moved, with their marks before.
    pub(crate) moved: Vec<Wanted>,
    pub(crate) refused: Vec<(DocumentId, Refusal)>,
    /// Heads of the rows written, in the order of the writes; commits only.
    pub(crate) heads: Vec<Vec<ChangeHash>>,
}

/// One revision of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The change that made it.
    pub change: ChangeHash,
    /// Who wrote it; `None`: the device is no longer known.
    pub device: Option<DeviceId>,
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
    incarnation: u64,
    space: SpaceHandle,
    roster: Arc<Roster>,
    digest: Digest,
    authors: Authors,
    cache: Cache<Document>,
    /// Documents whose newest batch is not durable yet, with its number.
    unstored: BTreeMap<DocumentId, u64>,
    /// Documents whose memory cannot be trusted while the store does not have their newest batch yet.
    spoiled: BTreeSet<DocumentId>,
    quarantined: BTreeMap<DocumentId, String>,
}

impl Documents {
    /// Reads the authors and the digest back from the store.
    pub(crate) fn open(
        group: GroupId,
        (user, device): (UserId, SigningKey),
        incarnation: u64,
        space: SpaceHandle,
        roster: Arc<Roster>,
        budget: CacheBudget,
    ) -> Result<Self, StoreError> {
        let mut documents = Self {
            group,
            user,
            device,
            incarnation,
            space: space.clone(),
            roster,
            digest: Digest::default(),
            authors: Authors::default(),
            cache: Cache::new(budget),
            unstored: BTreeMap::new(),
            spoiled: BTreeSet::new(),
            quarantined: BTreeMap::new(),
        };
        for (key, value) in keys::entries(&space, keys::AUTHOR)? {
            let (device, grant) = codec::decode_stored(&value).map_err(|_| keys::damaged(&space, &key))?;
            documents.authors.number((device, grant));
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
        Ok(documents)
    }

    pub(crate) fn set_roster(&mut self, roster: Arc<Roster>) {
        self.roster = roster;
    }

    pub(crate) fn root(&mut self) -> [u8; 32] {
        self.digest.root()
    }

    pub(crate) fn len(&self) -> usize {
        self.digest.len()
    }

    pub(crate) fn loaded(&self) -> usize {
        self.cache.len()
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

    /// Writes rows as this device, all or none.
    pub(crate) fn commit(&mut self, writes: &[RowWrite], time_ms: i64) -> Result<Outcome, CommitError> {
        let device = DeviceId(self.device.public());
        if !self.roster.may_write(self.user, device) {
            return Err(CommitError::NotAllowed);
        }
        let grant = self.roster.grant(self.user).ok_or(CommitError::NotAllowed)?;
        self.roster.accepts(device, grant).map_err(|_| CommitError::NotAllowed)?;
        let author = Author { device, grant, incarnation: self.incarnation };
        for write in writes {
            self.expect(write)?;
        }
        let (mut outcome, authors) = (Outcome::default(), self.authors.len());
        for write in writes {
            if let Err(error) = self.commit_row(write, author, time_ms, &mut outcome) {
                self.take_back(write, outcome, authors);
                return Err(error);
            }
        }
        Ok(outcome)
    }

    /// A commit was refused half way: memory returns to what the store has.
    fn take_back(&mut self, refused: &RowWrite, outcome: Outcome, authors: usize) {
        self.authors.truncate(authors);
        for moved in outcome.moved {
            self.digest.set(moved.document, &moved.have);
            self.forget(moved.document);
        }
        let id = DocumentId::of(self.group, &refused.table, &refused.key);
        if self
            .cache
            .get(&id)
            .is_some_and(|document| document.index.is_empty() || document.replica.is_broken())
        {
            self.forget(id);
        }
    }

    fn expect(&mut self, write: &RowWrite) -> Result<(), CommitError> {
        let id = DocumentId::of(self.group, &write.table, &write.key);
        if self.quarantined.contains_key(&id) || self.spoiled.contains(&id) {
            let (table, key) = (write.table.clone(), write.key.clone());
            return Err(CommitError::Quarantined { table, key });
        }
        let Some(expected) = &write.expect else { return Ok(()) };
        let mut heads: Vec<_> = match self.load(id)? {
            Some(document) => document.index.heads().iter().copied().collect(),
            None => Vec::new(),
        };
        let mut expected = expected.clone();
        heads.sort_unstable();
        expected.sort_unstable();
        if heads == expected {
            Ok(())
        } else {
            Err(CommitError::Moved { table: write.table.clone(), key: write.key.clone() })
        }
    }

    fn commit_row(
        &mut self,
        write: &RowWrite,
        author: Author,
        time_ms: i64,
        outcome: &mut Outcome,
    ) -> Result<(), CommitError> {
        let (table, key) = (&write.table, &write.key);
        let id = DocumentId::of(self.group, table, key);
        let replica_id = ReplicaId::of(self.group, id, author.device, author.grant, author.incarnation);
        if self.load(id)?.is_none() {
            self.cache.put(id, Document::new(table, key), 0);
        }
        let before = self.marks_of(id)?;
        let document = self.cache.get(&id).expect("just loaded");
        let change = document
            .replica
            .commit(replica_id, time_ms, &write.edit)
            .map_err(|cause| CommitError::Edit { table: table.clone(), key: key.clone(), cause })?;
        let Some(change) = change else {
            outcome.heads.push(document.index.heads().iter().copied().collect());
            return Ok(());
        };
        // Our own reader has the last word on what peers will take.
        let header = match ChangeHeader::read(&change.bytes) {
            Ok(header) => header,
            Err(cause) => {
                self.forget(id);
                return Err(CommitError::Change { table: table.clone(), key: key.clone(), cause });
            }
        };
        let tip = Tip::sign(self.group, id, author, header.seq, header.hash, &self.device);
        let (number, is_new) = self.authors.number((author.device, author.grant));
        if is_new {
            put_author(&mut outcome.batch, number, (author.device, author.grant));
        }
        document.index.accept(&header);
        let spilled = document.record.append(&Appended {
            author: number,
            incarnation: author.incarnation,
            seq: header.seq,
            change: header.hash,
            bytes: &change.bytes,
        });
        document.record.keep_tip(
            number,
            author.incarnation,
            TipRecord { seq: tip.seq, signature: tip.signature },
        );
        let row = match document.replica.row() {
            Ok(row) => row,
            Err(cause) => {
                self.forget(id);
                return Err(CommitError::Unreadable { table: table.clone(), key: key.clone(), cause });
            }
        };
        let row = self.finish(id, before, (row, spilled.into_iter().collect()), outcome)?;
        outcome.heads.push(row.heads.clone());
        Ok(())
    }

    /// Judges and applies what a peer sent.
    pub(crate) fn apply(&mut self, units: Units) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        for unit in units.units {
            let id = unit.document;
            if let Err(refusal) = self.apply_unit(unit, &units.authors, &mut outcome)? {
                outcome.refused.push((id, refusal));
            }
        }
        Ok(outcome)
    }

    fn apply_unit(
        &mut self,
        unit: Unit,
        authors: &[(DeviceId, OpId)],
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let id = unit.document;
        if id != DocumentId::of(self.group, &unit.table, &unit.key)
            || rows::check_place(&unit.table, &unit.key).is_err()
        {
            return Ok(Err(Refusal::Misplaced));
        }
        let (headers, bytes) = match read_message(&unit.message) {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::Unreadable { what: "document is being read again".to_owned() }));
        }
        let healing = self.quarantined.contains_key(&id);
        if healing || self.load(id)?.is_none() {
            self.cache.put(id, Document::new(&unit.table, &unit.key), 0);
        }
        let before = self.marks_of(id)?;
        let document = self.cache.get(&id).expect("just loaded");
        let tips = match verify_tips(self.group, id, &unit.tips, authors, &headers, &document.index) {
            Ok(tips) => tips,
            Err(refusal) => return Ok(Err(refusal)),
        };

        let roster = &self.roster;
        let verdict = admission::vet(&document.index, headers.clone(), &tips, |author| {
            let refusal = |_| Refusal::NotAllowed { author: *author };
            roster.accepts(author.device, author.grant).map(drop).map_err(refusal)
        });
        let refusal = verdict.refused.into_iter().next().map(|(_, refusal)| refusal);
        if verdict.accepted.is_empty() {
            if document.index.is_empty() {
                self.cache.remove(&id);
            }
            return Ok(refusal.map_or(Ok(()), Err));
        }

        let accepted: Vec<_> = verdict.accepted.iter().map(|position| bytes[*position].clone()).collect();
        if let Err(error) = document.replica.apply(&accepted) {
            // What Automerge made of it is unknown: forget it, the store has the last good state.
            self.forget(id);
            return Ok(Err(Refusal::Unreadable { what: error.to_string() }));
        }
        let row = match document.replica.row() {
            Ok(row) => row,
            Err(error) => {
                self.forget(id);
                return Ok(Err(Refusal::Unreadable { what: error.to_string() }));
            }
        };
        let mut owners = BTreeMap::new();
        for tip in &verdict.tips {
            let author = tip.tip().author;
            let (number, is_new) = self.authors.number((author.device, author.grant));
            if is_new {
                put_author(&mut outcome.batch, number, (author.device, author.grant));
            }
            owners.insert(tip.replica(), (number, author.incarnation));
        }
        let mut spilled = Vec::new();
        for position in &verdict.accepted {
            let header = &headers[*position];
            let (author, incarnation) = owners[&header.replica];
            document.index.accept(header);
            spilled.extend(document.record.append(&Appended {
                author,
                incarnation,
                seq: header.seq,
                change: header.hash,
                bytes: &bytes[*position],
            }));
            // Checkpoints on the way are kept with the newest.
            if let Some(tip) = tips.iter().find(|tip| tip.tip().change == header.hash) {
                let tip = TipRecord { seq: header.seq, signature: tip.tip().signature };
                document.record.keep_tip(author, incarnation, tip);
            }
        }
        if healing {
            self.quarantined.remove(&id);
        }
        self.finish(id, before, (row, spilled), outcome)?;
        Ok(refusal.map_or(Ok(()), Err))
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
        if !outcome.moved.iter().any(|wanted| wanted.document == id) {
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
        let devices: BTreeMap<_, _> = ids
            .into_iter()
            .zip(&record.replicas)
            .map(|(id, replica)| (id, self.authors.get(replica.author).map(|(device, _)| device)))
            .collect();
        Ok(revisions
            .into_iter()
            .map(|r| Revision {
                change: r.hash,
                device: devices.get(&r.author).copied().flatten(),
                time_ms: r.time_ms,
            })
            .collect())
    }

    /// The document from the cache or the store.
    fn load(&mut self, id: DocumentId) -> Result<Option<&mut Document>, StoreError> {
        if self.cache.contains(&id) {
            return Ok(self.cache.get(&id));
        }
        if self.quarantined.contains_key(&id) {
            return Ok(None);
        }
        let loaded = match self.stored(id) {
            Ok(None) => return Ok(None),
            Ok(Some(record)) => self.load_record(id, record)?,
            Err(StoreError::Damaged { .. }) => Err("record is damaged".to_owned()),
            Err(error) => return Err(error),
        };
        match loaded {
            Ok(document) => {
                let bytes = document.replica.approximate_bytes();
                Ok(Some(self.cache.put(id, document, bytes)))
            }
            Err(what) => {
                self.quarantine(id, &what);
                Ok(None)
            }
        }
    }

    fn load_record(
        &self,
        id: DocumentId,
        record: DocumentRecord,
    ) -> Result<Result<Document, String>, StoreError> {
        let mut runs = Vec::with_capacity(record.chunks.len() + 1);
        for chunk in &record.chunks {
            match self.space.get(&keys::chunk(id, chunk.number)) {
                Ok(Some(bytes)) => runs.push(bytes),
                Ok(None) => return Ok(Err(format!("chunk {} is missing", chunk.number))),
                Err(StoreError::Damaged { .. }) => {
                    return Ok(Err(format!("chunk {} is damaged", chunk.number)));
                }
                Err(error) => return Err(error),
            }
        }
        let mut index = Index::new();
        let slices: Vec<&[u8]> = runs
            .iter()
            .map(Vec::as_slice)
            .chain([record.inline.as_slice()])
            .filter(|r| !r.is_empty())
            .collect();
        for run in &slices {
            for change in change::split(run) {
                match change {
                    Ok((header, _)) => index.accept(&header),
                    Err(error) => return Ok(Err(format!("change is damaged: {error}"))),
                }
            }
        }
        let heads: Vec<_> = record.heads().collect();
        Ok(match Replica::load(&slices, &heads) {
            Ok(replica) => Ok(Document { record, replica, index }),
            Err(error) => Err(error.to_string()),
        })
    }

    fn stored(&self, id: DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        let key = keys::document(id);
        let Some(bytes) = self.space.get(&key)? else { return Ok(None) };
        codec::decode_stored(&bytes).map(Some).map_err(|_| keys::damaged(&self.space, &key))
    }

    /// The record as it is in memory or, for a cold document, in the store.
    fn record(&mut self, id: DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        if let Some(document) = self.cache.get(&id) {
            return Ok(Some(document.record.clone()));
        }
        if self.quarantined.contains_key(&id) {
            return Ok(None);
        }
        match self.stored(id) {
            Err(StoreError::Damaged { .. }) => {
                self.quarantine(id, "record is damaged");
                Ok(None)
            }
            other => other,
        }
    }

    fn marks_of(&mut self, id: DocumentId) -> Result<Vec<Mark>, StoreError> {
        if let Some(document) = self.cache.get(&id) {
            return Ok(document.record.marks(self.group, id, &self.authors).unwrap_or_default());
        }
        let record = self.record(id)?;
        Ok(record.and_then(|record| record.marks(self.group, id, &self.authors)).unwrap_or_default())
    }

    /// Drops a document from memory, now or once the store has its newest batch.
    fn forget(&mut self, id: DocumentId) {
        if self.unstored.contains_key(&id) {
            self.spoiled.insert(id);
        } else {
            self.cache.remove(&id);
        }
    }

    /// Takes a document out of service: it is as if it were not here, so that peers send it again.
    fn quarantine(&mut self, id: DocumentId, what: &str) {
        tracing::warn!(group = %self.group.short(), document = %id.short(), what, "document quarantined");
        self.digest.set(id, &[]);
        self.quarantined.insert(id, what.to_owned());
    }

    /// The changes of a document beyond `have`, as a unit; what does not fit waits.
    fn unit(
        &mut self,
        wanted: &Wanted,
        authors: &mut Vec<(DeviceId, OpId)>,
    ) -> Result<Option<(Unit, Option<Wanted>)>, StoreError> {
        let id = wanted.document;
        let Some(record) = self.record(id)? else { return Ok(None) };
        let Some(ids) = record.replica_ids(self.group, id, &self.authors) else { return Ok(None) };
        let have_of = |replica: &ReplicaId| {
            wanted.have.binary_search_by_key(replica, |mark| mark.replica).map_or(0, |at| wanted.have[at].seq)
        };
        let have: Vec<u64> = ids.iter().map(have_of).collect();
        let (chunks, inline) = record.runs_beyond(&have);
        let mut runs = Vec::new();
        for number in chunks {
            match self.space.get(&keys::chunk(id, number)) {
                Ok(Some(bytes)) => runs.push(bytes),
                Ok(None) | Err(StoreError::Damaged { .. }) => {
                    self.quarantine(id, "chunk is damaged");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        if inline {
            runs.push(record.inline.clone());
        }

        let replicas: BTreeMap<_, _> = ids.iter().zip(&record.replicas).collect();
        let mut changes = Vec::new();
        let mut bytes = 0;
        let mut newest: BTreeMap<ReplicaId, (u64, ChangeHash)> = BTreeMap::new();
        let mut untipped = BTreeSet::new();
        let mut cut = false;
        'runs: for run in &runs {
            for change in change::split(run) {
                let Ok((header, chunk)) = change else {
                    self.quarantine(id, "change is damaged");
                    return Ok(None);
                };
                if header.seq <= have_of(&header.replica) {
                    continue;
                }
                if bytes >= UNIT_BYTES && untipped.is_empty() {
                    cut = true;
                    break 'runs;
                }
                bytes += chunk.len();
                changes.push(chunk.to_vec());
                let tipped = replicas
                    .get(&header.replica)
                    .is_some_and(|r| r.tips.iter().any(|tip| tip.seq == header.seq));
                if tipped {
                    untipped.remove(&header.replica);
                } else {
                    untipped.insert(header.replica);
                }
                newest.insert(header.replica, (header.seq, header.hash));
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }

        let mut tips = Vec::new();
        for (replica, (through, _)) in &newest {
            let record = replicas[replica];
            let author = self.authors.get(record.author).expect("replica ids were derived from it");
            let author = authors.iter().position(|known| *known == author).unwrap_or_else(|| {
                authors.push(author);
                authors.len() - 1
            });
            let author = u32::try_from(author).expect("a frame has few authors");
            let have = have_of(replica);
            for tip in record.tips.iter().filter(|tip| tip.seq > have && tip.seq <= *through) {
                let (seq, signature) = (tip.seq, tip.signature);
                tips.push(UnitTip { author, incarnation: record.incarnation, seq, signature });
            }
        }
        let rest = cut.then(|| {
            let mut have: BTreeMap<_, _> = wanted.have.iter().map(|mark| (mark.replica, *mark)).collect();
            for (replica, (seq, change)) in newest {
                have.insert(replica, Mark { replica, seq, change });
            }
            Wanted { document: id, have: have.into_values().collect() }
        });
        let heads = record.heads().collect();
        let message = SyncMessage { heads, need: Vec::new(), changes }.encode();
        let unit = Unit { document: id, table: record.table, key: record.key, tips, message };
        Ok(Some((unit, rest)))
    }
}

impl session::Documents for Documents {
    type Error = StoreError;

    fn root(&mut self) -> Result<[u8; 32], StoreError> {
        Ok(self.digest.root())
    }

    fn state(&mut self) -> [u8; 32] {
        self.roster.state_digest()
    }

    fn page(&mut self, after: Option<DocumentId>, count: usize) -> Result<Page, StoreError> {
        Ok(self.digest.page(after, count))
    }

    fn differing(&mut self, page: &Page) -> Result<Vec<DocumentId>, StoreError> {
        Ok(self.digest.differing(page))
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, StoreError> {
        self.marks_of(document)
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, StoreError> {
        let mut supply = Supply::default();
        let mut used = 0;
        for wanted in wanted {
            if used >= bytes || self.unstored.contains_key(&wanted.document) {
                supply.later.push(wanted);
                continue;
            }
            if let Some((unit, rest)) = self.unit(&wanted, &mut supply.authors)? {
                used += unit.message.len() + 100 * unit.tips.len();
                supply.units.push(unit);
                supply.later.extend(rest);
            }
        }
        Ok(supply)
    }
}

impl Document {
    fn new(table: &str, key: &str) -> Self {
        let record = DocumentRecord::new(table.to_owned(), key.to_owned());
        Self { record, replica: Replica::new(), index: Index::new() }
    }
}

fn put_author(batch: &mut Batch, number: u32, (device, grant): (DeviceId, OpId)) {
    batch.put(keys::author(number), codec::encode(&(device.0, grant.0)));
}

/// Reads the changes of a message without handing a byte to Automerge.
fn read_message(message: &[u8]) -> Result<(Vec<ChangeHeader>, Vec<Vec<u8>>), Refusal> {
    let malformed = |what: String| Refusal::Unreadable { what };
    if message.len() > SYNC_MESSAGE_BYTES_MAX {
        return Err(malformed(format!("message of {} bytes", message.len())));
    }
    let message = SyncMessage::decode(message).map_err(|error| malformed(error.to_string()))?;
    let headers: Result<Vec<_>, _> =
        message.changes.iter().map(|change| ChangeHeader::read(change)).collect();
    Ok((headers.map_err(|error| malformed(error.to_string()))?, message.changes))
}

/// Rebuilds the tips that came with changes and checks each signature once.
fn verify_tips(
    group: GroupId,
    document: DocumentId,
    tips: &[UnitTip],
    authors: &[(DeviceId, OpId)],
    headers: &[ChangeHeader],
    index: &Index,
) -> Result<Vec<VerifiedTip>, Refusal> {
    let changes: BTreeMap<_, _> = headers.iter().map(|h| ((h.replica, h.seq), h.hash)).collect();
    let mut verified = Vec::new();
    for tip in tips {
        let author = usize::try_from(tip.author).ok().and_then(|number| authors.get(number));
        let Some(&(device, grant)) = author else { return Err(Refusal::Unvouched) };
        let author = Author { device, grant, incarnation: tip.incarnation };
        let replica = ReplicaId::of(group, document, device, grant, tip.incarnation);
        if tip.seq <= index.length(&replica) {
            continue;
        }
        let Some(change) = changes.get(&(replica, tip.seq)) else { continue };
        let tip = Tip { author, seq: tip.seq, change: *change, signature: tip.signature };
        verified.push(tip.verify(group, document).map_err(|_| Refusal::BadTip { device })?);
    }
    Ok(verified)
}
