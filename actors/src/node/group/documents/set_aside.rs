//! Changes that are no longer accepted, set aside for a while, because a removal that took them may itself
//! turn out void.
//!
//! One entry a document: a summary under one key, the changes with their tips under another. The oldest are
//! deleted first, by age and by bytes (authority 3.8).

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use schema::document::{self, Awaited, ChangeSet, DocumentRef, EncodedChange, KeptTip, Refusal};
use schema::limits::{SET_ASIDE_AGE_MAX, SET_ASIDE_BYTES_MAX};
use schema::time::Timestamp;
use schema::tip::{Tip, VerifiedTip};
use schema::{ChangeHash, DocumentId, ReplicaId, codec};

use super::RowName;
use crate::node::group::record::Authors;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// The changes of one document that are set aside, in figures.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct SetAside {
    /// The row's table.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// The time at which changes were last set aside, ms since the Unix epoch.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    since: u64,
    /// The number of changes.
    pub changes: u64,
    /// Their bytes, tips included.
    pub bytes: u64,
    /// Numbers of their authors.
    #[cfg_attr(feature = "control", serde(skip))]
    authors: Vec<u32>,
    /// Their chains, ascending.
    #[cfg_attr(feature = "control", serde(skip))]
    replicas: Vec<ReplicaId>,
    /// The reason why the changes that were last set aside are no longer accepted.
    why: Option<Refusal>,
    /// Dependencies that are neither set aside nor accepted, ascending.
    #[cfg_attr(feature = "control", serde(skip))]
    lacks: Vec<ChangeHash>,
}

impl SetAside {
    /// The time at which changes were last set aside.
    pub fn since(&self) -> Timestamp {
        Timestamp(self.since)
    }

    /// The reason why the changes that were last set aside are no longer accepted; `None`: they are the
    /// intact ones of a damaged document.
    pub fn why(&self) -> Option<&Refusal> {
        self.why.as_ref()
    }

    /// The changes that could bring something back.
    pub(super) fn awaited(&self) -> Awaited<'_> {
        Awaited { replicas: &self.replicas, lacks: &self.lacks }
    }
}

/// A loss of accepted changes.
pub(super) struct Loss {
    pub(super) at: Timestamp,
    pub(super) cause: Option<Refusal>,
}

/// The changes of one group that are set aside, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct SetAsideTotal {
    /// The number of documents that they belong to.
    pub documents: usize,
    /// The number of changes.
    pub changes: u64,
    /// The bytes of the changes.
    pub bytes: u64,
    /// The time at which the oldest were set aside; `None`: nothing is set aside.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Option<Timestamp>,
}

/// The stored changes with their tips.
#[derive(Encode, Decode)]
struct Contents {
    tips: Vec<StoredTip>,
    changes: Vec<u8>,
}

/// A tip with the facts that tell its chain.
#[derive(Encode, Decode)]
struct StoredTip {
    author: u32,
    incarnation: u64,
    change: ChangeHash,
    tip: KeptTip,
}

/// The changes that are set aside of all documents of one group.
#[derive(Debug, Default)]
pub(super) struct SetAsides {
    all: BTreeMap<DocumentId, SetAside>,
    /// The oldest first.
    ages: BTreeSet<(u64, DocumentId)>,
    changes: u64,
    bytes: u64,
}

impl SetAsides {
    pub(super) fn read(space: &SpaceHandle) -> Result<Self, StoreError> {
        let mut set_asides = Self::default();
        for (key, value) in keys::entries(space, keys::SET_ASIDE)? {
            let document = key.get(1..).and_then(|id| <[u8; 32]>::try_from(id).ok());
            if let (Some(document), Ok(set_aside)) = (document, codec::decode_stored::<SetAside>(&value)) {
                set_asides.insert(DocumentId(document), set_aside);
            }
        }
        Ok(set_asides)
    }

    pub(super) fn get(&self, document: &DocumentId) -> Option<&SetAside> {
        self.all.get(document)
    }

    /// The row of a document of which something is set aside.
    pub(super) fn row_of(&self, document: &DocumentId) -> Option<RowName> {
        let set_aside = self.all.get(document)?;
        Some(RowName { table: set_aside.table.clone(), key: set_aside.key.clone() })
    }

    pub(super) fn total(&self) -> SetAsideTotal {
        let since = self.ages.first().map(|(since, _)| Timestamp(*since));
        SetAsideTotal { documents: self.all.len(), changes: self.changes, bytes: self.bytes, since }
    }

    /// The documents of which something by one of these authors is set aside.
    pub(super) fn by(&self, is_meant: impl Fn(u32) -> bool) -> impl Iterator<Item = DocumentId> {
        let concerns = move |set_aside: &SetAside| set_aside.authors.iter().any(|author| is_meant(*author));
        self.all.iter().filter(move |(_, set_aside)| concerns(set_aside)).map(|(document, _)| *document)
    }

    /// Reads the changes of a document that are set aside; none if they are damaged.
    pub(super) fn load(
        &self,
        space: &SpaceHandle,
        document: DocumentRef,
        authors: &Authors,
    ) -> Result<ChangeSet<EncodedChange>, StoreError> {
        let mut changes = ChangeSet::default();
        if !self.all.contains_key(&document.document) {
            return Ok(changes);
        }
        let contents = match space.get(&keys::set_aside_changes(document.document)) {
            Ok(contents) => contents.and_then(|bytes| codec::decode_stored::<Contents>(&bytes).ok()),
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(contents) = contents else { return Ok(changes) };
        changes.add_run(&contents.changes);
        for StoredTip { author, incarnation, change, tip } in contents.tips {
            let Some(author) = authors.author(author, incarnation) else { continue };
            let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
            changes.add_tip(tip.trust_stored(document.group, document.document));
        }
        Ok(changes)
    }

    /// Sets these changes of a document aside, and nothing else of it. `loss` tells that some of them were
    /// accepted until now.
    pub(super) fn replace(
        &mut self,
        document: DocumentId,
        row: &RowName,
        new: &document::SetAside<EncodedChange>,
        authors: &Authors,
        loss: Option<Loss>,
        batch: &mut Batch,
    ) {
        let before = self.delete(document, batch).map(|set_aside| (set_aside.since, set_aside.why));
        let now = loss.map(|Loss { at, cause }| (at.as_millis(), cause));
        let (since, why) = now.or(before).unwrap_or_default();
        if new.changes.is_empty() {
            return;
        }
        let stored = |tip: &VerifiedTip| {
            let tip = tip.tip();
            let author = authors.number((tip.author.device, tip.author.grant))?;
            let incarnation = tip.author.incarnation;
            Some(StoredTip { author, incarnation, change: tip.change, tip: tip.into() })
        };
        let tips: Vec<StoredTip> = new.tips.iter().filter_map(stored).collect();
        let owners: BTreeSet<u32> = tips.iter().map(|tip| tip.author).collect();
        let changes = new.changes.iter().flat_map(|change| &change.bytes).copied().collect();
        let contents = codec::encode(&Contents { tips, changes });
        let set_aside = SetAside {
            table: row.table.clone(),
            key: row.key.clone(),
            since,
            changes: new.changes.len() as u64,
            bytes: contents.len() as u64,
            authors: owners.into_iter().collect(),
            replicas: new.replicas.clone(),
            why,
            lacks: new.lacks.clone(),
        };
        batch.put(keys::set_aside(document), codec::encode(&set_aside));
        batch.put(keys::set_aside_changes(document), contents);
        self.insert(document, set_aside);
    }

    /// Deletes the oldest while they are too old or too many.
    pub(super) fn expire(&mut self, now: Timestamp, batch: &mut Batch) {
        let age = u64::try_from(SET_ASIDE_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        while let Some(&(since, document)) = self.ages.first() {
            let is_old = now.as_millis().saturating_sub(since) > age;
            if !is_old && self.bytes <= SET_ASIDE_BYTES_MAX {
                return;
            }
            self.delete(document, batch);
        }
    }

    fn insert(&mut self, document: DocumentId, set_aside: SetAside) {
        self.changes += set_aside.changes;
        self.bytes += set_aside.bytes;
        self.ages.insert((set_aside.since, document));
        self.all.insert(document, set_aside);
    }

    fn delete(&mut self, document: DocumentId, batch: &mut Batch) -> Option<SetAside> {
        let set_aside = self.all.remove(&document)?;
        self.changes -= set_aside.changes;
        self.bytes -= set_aside.bytes;
        self.ages.remove(&(set_aside.since, document));
        batch.remove(keys::set_aside(document));
        batch.remove(keys::set_aside_changes(document));
        Some(set_aside)
    }
}

#[cfg(test)]
mod tests {
    use schema::key::Signature;
    use schema::tip::Author;
    use testkit::golden::check_bytes;

    use super::*;

    #[test]
    fn records_of_changes_set_aside_keep_their_bytes() {
        let summary = SetAside {
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
        let golden = "01 74 | 03 6b6579 | fb 2c01 | 02 | 03 | 01 04 | 01 05*32 | 01 0f | 01 06*32";
        check_bytes("summary", &codec::encode(&summary), golden);
        let author =
            Author { device: schema::DeviceId([1; 32]), grant: schema::OpId([2; 32]), incarnation: 8 };
        let change = ChangeHash([7; 32]);
        let tip = (&Tip { author, seq: 9, change, signature: Signature([0xab; 64]) }).into();
        let stored = StoredTip { author: 4, incarnation: 8, change, tip };
        let contents = Contents { tips: vec![stored], changes: vec![1, 2] };
        let golden = "01 | 04 | 08 | 07*32 | 09 ab*64 00 | 02 0102";
        check_bytes("contents", &codec::encode(&contents), golden);
    }
}
