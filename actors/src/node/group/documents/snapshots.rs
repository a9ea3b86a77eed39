//! Changes that were accepted and are not any more: kept for a while, since what took them may itself be void.
//!
//! One entry a document: what it is about under one key, the changes with all that vouches for them under another. The
//! oldest go first, by age and by bytes (authority 3.8).

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use schema::change::ChangeHeader;
use schema::document::Refusal;
use schema::limits::{SET_ASIDE_AGE_MAX, SET_ASIDE_BYTES_MAX};
use schema::time::Timestamp;
use schema::tip::{Author, Tip};
use schema::{ChangeHash, DocumentId, GroupId, ReplicaId, codec};

use super::known::Known;
use crate::node::group::record::{Authors, TipRecord};
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// What is kept of one document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// Since when something is kept, ms since the Unix epoch.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    since: u64,
    /// How many changes.
    pub changes: u64,
    /// The bytes that they and what vouches for them take.
    pub bytes: u64,
    /// Whose they are, by number.
    #[cfg_attr(feature = "control", serde(skip))]
    authors: Vec<u32>,
    /// Of which chains.
    #[cfg_attr(feature = "control", serde(skip))]
    replicas: Vec<ReplicaId>,
    /// Why what fell last is not accepted any more.
    why: Option<Refusal>,
    /// What they build on and is neither kept nor accepted.
    #[cfg_attr(feature = "control", serde(skip))]
    lacks: Vec<ChangeHash>,
}

impl Snapshot {
    /// Since when something is kept.
    pub fn since(&self) -> Timestamp {
        Timestamp(self.since)
    }

    /// Why what fell last is not accepted any more; `None`: it is what was whole of a damaged document.
    pub fn why(&self) -> Option<&Refusal> {
        self.why.as_ref()
    }

    /// Whether a change that was just accepted may bring something of this back, or is part of it.
    pub(super) fn may_need(&self, change: &ChangeHeader) -> bool {
        self.replicas.binary_search(&change.replica).is_ok() || self.lacks.binary_search(&change.hash).is_ok()
    }
}

/// That something of a document is not accepted any more.
pub(super) struct Fell {
    pub(super) at: Timestamp,
    pub(super) why: Option<Refusal>,
}

/// How much is kept of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Kept {
    /// Of how many documents.
    pub documents: usize,
    /// How many changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since when the oldest is; `None`: nothing is kept.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Option<Timestamp>,
}

/// The changes, and what vouches for them.
#[derive(Encode, Decode)]
struct Contents {
    /// Author number, incarnation, change and tip.
    tips: Vec<(u32, u64, ChangeHash, TipRecord)>,
    changes: Vec<u8>,
}

/// What is kept of the documents of one group.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    all: BTreeMap<DocumentId, Snapshot>,
    /// The oldest first.
    ages: BTreeSet<(u64, DocumentId)>,
    changes: u64,
    bytes: u64,
}

impl Snapshots {
    pub(super) fn read(space: &SpaceHandle) -> Result<Self, StoreError> {
        let mut snapshots = Self::default();
        for (key, value) in keys::entries(space, keys::SNAPSHOT)? {
            let document = key.get(1..).and_then(|id| <[u8; 32]>::try_from(id).ok());
            if let (Some(document), Ok(snapshot)) = (document, codec::decode_stored::<Snapshot>(&value)) {
                snapshots.put(DocumentId(document), snapshot);
            }
        }
        Ok(snapshots)
    }

    pub(super) fn get(&self, document: &DocumentId) -> Option<&Snapshot> {
        self.all.get(document)
    }

    pub(super) fn sum(&self) -> Kept {
        let since = self.ages.first().map(|(since, _)| Timestamp(*since));
        Kept { documents: self.all.len(), changes: self.changes, bytes: self.bytes, since }
    }

    /// The documents of which something by one of these authors is kept.
    pub(super) fn by(&self, is_meant: impl Fn(u32) -> bool) -> impl Iterator<Item = DocumentId> {
        let concerns = move |snapshot: &Snapshot| snapshot.authors.iter().any(|author| is_meant(*author));
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
            Ok(kept) => kept.and_then(|kept| codec::decode_stored::<Contents>(&kept).ok()),
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

    /// Keeps these changes of a document from now on, and nothing else of it; some of them fell just now, or none.
    pub(super) fn keep(
        &mut self,
        document: DocumentId,
        (table, key): (&str, &str),
        (known, lacks): (&Known, Vec<ChangeHash>),
        authors: &Authors,
        fell: Option<Fell>,
        batch: &mut Batch,
    ) {
        let before = self.forget(document, batch).map(|snapshot| (snapshot.since, snapshot.why));
        let now = fell.map(|Fell { at, why }| (at.as_millis(), why));
        let (since, why) = now.or(before).unwrap_or_default();
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
        let contents = codec::encode(&Contents { tips, changes: known.bytes.concat() });
        let snapshot = Snapshot {
            table: table.to_owned(),
            key: key.to_owned(),
            since,
            changes: known.bytes.len() as u64,
            bytes: contents.len() as u64,
            authors: owners.into_iter().collect(),
            replicas: replicas.into_iter().collect(),
            why,
            lacks,
        };
        batch.put(keys::snapshot(document), codec::encode(&snapshot));
        batch.put(keys::kept(document), contents);
        self.put(document, snapshot);
    }

    /// Lets go what is too old or too much.
    pub(super) fn expire(&mut self, now: Timestamp, batch: &mut Batch) {
        let age = u64::try_from(SET_ASIDE_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        while let Some(&(since, document)) = self.ages.first() {
            let is_old = now.as_millis().saturating_sub(since) > age;
            if !is_old && self.bytes <= SET_ASIDE_BYTES_MAX {
                return;
            }
            self.forget(document, batch);
        }
    }

    fn put(&mut self, document: DocumentId, snapshot: Snapshot) {
        self.changes += snapshot.changes;
        self.bytes += snapshot.bytes;
        self.ages.insert((snapshot.since, document));
        self.all.insert(document, snapshot);
    }

    fn forget(&mut self, document: DocumentId, batch: &mut Batch) -> Option<Snapshot> {
        let snapshot = self.all.remove(&document)?;
        self.changes -= snapshot.changes;
        self.bytes -= snapshot.bytes;
        self.ages.remove(&(snapshot.since, document));
        batch.remove(keys::snapshot(document));
        batch.remove(keys::kept(document));
        Some(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use schema::key::Signature;
    use testkit::golden::check_bytes;

    use super::*;

    #[test]
    fn records_of_changes_set_aside_keep_their_bytes() {
        let summary = Snapshot {
            table: "t".into(),
            key: "key".into(),
            since: 300,
            changes: 2,
            bytes: 3,
            authors: vec![4],
            replicas: vec![ReplicaId([5; 32])],
            why: Some(Refusal::NotNow),
            lacks: vec![ChangeHash([6; 32])],
        };
        let golden = "01 74 | 03 6b6579 | fb 2c01 | 02 | 03 | 01 04 | 01 05*32 | 01 10 | 01 06*32";
        check_bytes("summary", &codec::encode(&summary), golden);
        let author =
            Author { device: schema::DeviceId([1; 32]), grant: schema::OpId([2; 32]), incarnation: 8 };
        let change = ChangeHash([7; 32]);
        let tip = TipRecord::of(&Tip { author, seq: 9, change, signature: Signature([0xab; 64]) });
        let contents = Contents { tips: vec![(4, 8, change, tip)], changes: vec![1, 2] };
        let golden = "01 | 04 | 08 | 07*32 | 09 ab*64 00 | 02 0102";
        check_bytes("contents", &codec::encode(&contents), golden);
    }
}
