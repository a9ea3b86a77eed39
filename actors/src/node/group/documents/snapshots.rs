//! Changes that were accepted and are not any more: kept for a while, since what took them may itself be void.
//!
//! One entry a document: what it is about under one key, the changes with all that vouches for them under another. The
//! oldest go first, by age and by bytes (AUTHORITY 3.8).

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use schema::limits::{SNAPSHOT_AGE_MAX, SNAPSHOT_BYTES_MAX};
use schema::time::Timestamp;
use schema::tip::{Author, Tip};
use schema::{ChangeHash, DocumentId, GroupId, codec};

use super::admit::Known;
use crate::node::group::record::{Authors, TipRecord};
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// What is kept of one document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// Since when something is kept, ms since the Unix epoch.
    since: u64,
    /// How many changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whose they are, by number.
    authors: Vec<u32>,
}

impl Snapshot {
    /// Since when something is kept.
    pub fn since(&self) -> Timestamp {
        Timestamp(self.since)
    }
}

/// The changes, and what vouches for them.
#[derive(Encode, Decode)]
struct Kept {
    /// Author number, incarnation, change and tip.
    tips: Vec<(u32, u64, ChangeHash, TipRecord)>,
    changes: Vec<u8>,
}

/// What is kept of the documents of one group.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    all: BTreeMap<DocumentId, Snapshot>,
    bytes: u64,
}

impl Snapshots {
    pub(super) fn read(space: &SpaceHandle) -> Result<Self, StoreError> {
        let mut snapshots = Self::default();
        for (key, value) in keys::entries(space, keys::SNAPSHOT)? {
            let document = key.get(1..).and_then(|id| <[u8; 32]>::try_from(id).ok());
            if let (Some(document), Ok(snapshot)) = (document, codec::decode_stored::<Snapshot>(&value)) {
                snapshots.bytes += snapshot.bytes;
                snapshots.all.insert(DocumentId(document), snapshot);
            }
        }
        Ok(snapshots)
    }

    pub(super) fn get(&self, document: &DocumentId) -> Option<&Snapshot> {
        self.all.get(document)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DocumentId, &Snapshot)> {
        self.all.iter().map(|(document, snapshot)| (*document, snapshot))
    }

    /// The documents of which something by one of these authors is kept.
    pub(super) fn by<'a>(&'a self, authors: &'a BTreeSet<u32>) -> impl Iterator<Item = DocumentId> + 'a {
        let concerns = |snapshot: &Snapshot| snapshot.authors.iter().any(|author| authors.contains(author));
        self.all.iter().filter(move |(_, snapshot)| concerns(snapshot)).map(|(document, _)| *document)
    }

    /// What is kept of a document; nothing where it cannot be read any more.
    pub(super) fn load(
        &self,
        space: &SpaceHandle,
        (group, document): (GroupId, DocumentId),
        authors: &Authors,
    ) -> Result<Known, StoreError> {
        let mut known = Known::default();
        if !self.all.contains_key(&document) {
            return Ok(known);
        }
        let kept = match space.get(&keys::kept(document)) {
            Ok(kept) => kept.and_then(|kept| codec::decode_stored::<Kept>(&kept).ok()),
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(kept) = kept else { return Ok(known) };
        known.add_run(&kept.changes);
        for (author, incarnation, change, tip) in kept.tips {
            let Some((device, grant)) = authors.get(author) else { continue };
            let author = Author { device, grant, incarnation };
            let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
            known.tips.push(tip.trust_stored(group, document));
        }
        Ok(known)
    }

    /// Keeps these changes of a document from now on, and nothing else of it.
    pub(super) fn keep(
        &mut self,
        document: DocumentId,
        (table, key): (&str, &str),
        known: &Known,
        authors: &Authors,
        now: Timestamp,
        batch: &mut Batch,
    ) {
        let since = self.forget(document, batch).map_or(now.as_millis(), |snapshot| snapshot.since);
        if known.bytes.is_empty() {
            return;
        }
        let replicas: BTreeSet<_> = known.headers.iter().map(|header| header.replica).collect();
        let tips = known.tips.iter().filter(|tip| replicas.contains(&tip.replica()));
        let tips: Vec<_> = tips
            .filter_map(|tip| {
                let author = tip.tip().author;
                let number = authors.number((author.device, author.grant))?;
                Some((number, author.incarnation, tip.tip().change, TipRecord::of(tip.tip())))
            })
            .collect();
        let owners: BTreeSet<u32> = tips.iter().map(|(author, ..)| *author).collect();
        let kept = Kept { tips, changes: known.bytes.concat() };
        let snapshot = Snapshot {
            table: table.to_owned(),
            key: key.to_owned(),
            since,
            changes: known.bytes.len() as u64,
            bytes: kept.changes.len() as u64,
            authors: owners.into_iter().collect(),
        };
        batch.put(keys::snapshot(document), codec::encode(&snapshot));
        batch.put(keys::kept(document), codec::encode(&kept));
        self.bytes += snapshot.bytes;
        self.all.insert(document, snapshot);
    }

    /// Lets go what is too old or too much.
    pub(super) fn expire(&mut self, now: Timestamp, batch: &mut Batch) {
        let age = u64::try_from(SNAPSHOT_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        loop {
            let oldest = self.all.iter().min_by_key(|(document, snapshot)| (snapshot.since, **document));
            let Some((document, snapshot)) = oldest else { return };
            let is_old = now.as_millis().saturating_sub(snapshot.since) > age;
            if !is_old && self.bytes <= SNAPSHOT_BYTES_MAX {
                return;
            }
            self.forget(*document, batch);
        }
    }

    fn forget(&mut self, document: DocumentId, batch: &mut Batch) -> Option<Snapshot> {
        let snapshot = self.all.remove(&document)?;
        self.bytes -= snapshot.bytes;
        batch.remove(keys::snapshot(document));
        batch.remove(keys::kept(document));
        Some(snapshot)
    }
}

/// The hashes of changes, for look-ups.
pub(super) fn hashes(known: &Known) -> BTreeSet<ChangeHash> {
    known.headers.iter().map(|header| header.hash).collect()
}
