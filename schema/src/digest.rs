//! The digest of a group's documents: finds those that differ by one hash over a flat list, walked in pages
//! of key order.
//!
//! A leaf is the hash of a document's sorted marks, never of signatures, so that devices with the same
//! accepted changes have the same leaf. A document without accepted changes has none.

use std::collections::BTreeMap;
use std::ops::Bound;

use bincode::{Decode, Encode};

use crate::id::hash;
use crate::{ChangeHash, DocumentId, ReplicaId};

/// The newest accepted change of one replica; a document's marks are its version vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Mark {
    /// The replica.
    pub replica: ReplicaId,
    /// The number of its accepted changes.
    pub seq: u64,
    /// Hash of that change.
    pub change: ChangeHash,
}

impl Mark {
    /// The mark of a chain of which another branch may be the right one: shown to peers, so that they send
    /// theirs.
    #[must_use]
    pub fn undecided(self) -> Self {
        Self { change: ChangeHash([0; 32]), ..self }
    }

    /// Returns true if the mark does not tell which changes are here.
    pub fn is_undecided(&self) -> bool {
        self.change == ChangeHash([0; 32])
    }
}

/// The hash of one document; two leaves are equal exactly if the accepted changes are.
pub type Leaf = [u8; 32];

/// Hashes a document's marks, sorted by replica.
pub fn leaf(marks: &[Mark]) -> Leaf {
    debug_assert!(marks.is_sorted());
    let mut bytes = Vec::with_capacity(marks.len() * 72);
    for mark in marks {
        bytes.extend(mark.replica.0);
        bytes.extend(mark.seq.to_be_bytes());
        bytes.extend(mark.change.0);
    }
    hash("leaf", &[&bytes])
}

/// The leaves of one group's documents.
///
/// The root is the hash of the bucket hashes, a bucket for each first byte of a document id: a change costs
/// the hash of its bucket, not of everything.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    leaves: BTreeMap<DocumentId, Leaf>,
    /// The hash of each bucket that has a leaf; `None` until it is computed again after a change.
    buckets: BTreeMap<u8, Option<[u8; 32]>>,
    root: Option<[u8; 32]>,
}

impl Digest {
    /// Replaces the leaf of a document by that of its accepted changes.
    pub fn set(&mut self, document: DocumentId, marks: &[Mark]) {
        self.root = None;
        self.buckets.insert(document.0[0], None);
        if marks.is_empty() {
            self.leaves.remove(&document);
        } else {
            self.leaves.insert(document, leaf(marks));
        }
    }

    /// One hash over all leaves.
    pub fn root(&mut self) -> [u8; 32] {
        if let Some(root) = self.root {
            return root;
        }
        let leaves = &self.leaves;
        self.buckets.retain(|first, bucket| {
            if bucket.is_none() {
                *bucket = bucket_hash(leaves, *first);
            }
            bucket.is_some()
        });
        let mut all = Vec::with_capacity(self.buckets.len() * 33);
        for (first, bucket) in &self.buckets {
            all.push(*first);
            all.extend(bucket.iter().flatten());
        }
        *self.root.insert(hash("root", &[&all]))
    }

    /// The number of documents with an accepted change.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Returns true if no document has an accepted change.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The leaf of one document.
    pub fn get(&self, document: &DocumentId) -> Option<Leaf> {
        self.leaves.get(document).copied()
    }

    /// The documents, in order.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentId> {
        self.leaves.keys()
    }

    /// Up to `count` leaves after `after`.
    pub fn page(&self, after: Option<DocumentId>, count: usize) -> Page {
        let mut leaves: Vec<_> = self.range(after, None).take(count + 1).map(|(d, l)| (*d, *l)).collect();
        let more = leaves.len() > count;
        leaves.truncate(count);
        Page { after, through: if more { leaves.last().map(|(d, _)| *d) } else { None }, leaves }
    }

    /// The documents of the page's range that differ here: changed, missing here, or missing there.
    pub fn differing(&self, page: &Page) -> Vec<DocumentId> {
        let mut theirs: BTreeMap<_, _> = page.leaves.iter().copied().collect();
        let mut differing = Vec::new();
        for (document, leaf) in self.range(page.after, page.through) {
            if theirs.remove(document) != Some(*leaf) {
                differing.push(*document);
            }
        }
        differing.extend(theirs.into_keys());
        differing
    }

    fn range(
        &self,
        after: Option<DocumentId>,
        through: Option<DocumentId>,
    ) -> impl Iterator<Item = (&DocumentId, &Leaf)> {
        // A page that is out of order selects nothing.
        let empty = matches!((after, through), (Some(a), Some(t)) if a >= t);
        let bounds = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            if empty { Bound::Unbounded } else { through.map_or(Bound::Unbounded, Bound::Included) },
        );
        self.leaves.range(bounds).take(if empty { 0 } else { usize::MAX })
    }
}

/// Hashes the leaves of one bucket; `None` when it has none.
fn bucket_hash(leaves: &BTreeMap<DocumentId, Leaf>, first: u8) -> Option<[u8; 32]> {
    let (mut low, mut high) = ([0; 32], [0xff; 32]);
    (low[0], high[0]) = (first, first);
    let mut bytes = Vec::new();
    for (document, leaf) in leaves.range(DocumentId(low)..=DocumentId(high)) {
        bytes.extend(document.0);
        bytes.extend(leaf);
    }
    (!bytes.is_empty()).then(|| hash("bucket", &[&bytes]))
}

/// A range of a digest: all leaves after `after` up to `through`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Page {
    /// The exclusive start of the range; `None`: the first leaf.
    pub after: Option<DocumentId>,
    /// The inclusive end of the range; `None`: the last leaf.
    pub through: Option<DocumentId>,
    /// The leaves, in document order.
    pub leaves: Vec<(DocumentId, Leaf)>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(documents: &BTreeMap<u8, u8>) -> Digest {
        let mut digest = Digest::default();
        for (document, seq) in documents {
            let mark =
                Mark { replica: ReplicaId([0; 32]), seq: u64::from(*seq), change: ChangeHash([*seq; 32]) };
            digest.set(DocumentId([*document; 32]), &[mark]);
        }
        digest
    }

    proptest! {
        #[test]
        fn a_walk_finds_exactly_what_differs(
            ada in proptest::collection::btree_map(any::<u8>(), 0u8..3, 0..60),
            ben in proptest::collection::btree_map(any::<u8>(), 0u8..3, 0..60),
            size in 1usize..20,
        ) {
            let (mut here, mut there) = (digest(&ada), digest(&ben));
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = here.page(after, size);
                found.extend(there.differing(&page));
                match page.through {
                    Some(through) => after = Some(through),
                    None => break,
                }
            }
            found.sort();
            let expected: Vec<_> = (0..=u8::MAX)
                .filter(|d| ada.get(d) != ben.get(d))
                .map(|d| DocumentId([d; 32]))
                .collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(here.root() == there.root(), expected.is_empty());
        }
    }

    #[test]
    fn a_document_without_changes_has_no_leaf() {
        let mut digest = digest(&BTreeMap::from([(1, 1)]));
        digest.set(DocumentId([1; 32]), &[]);
        assert_eq!(digest.root(), Digest::default().root());
    }
}
