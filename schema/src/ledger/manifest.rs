//! Manifests: the pages that list a cut, under one root hash.
//!
//! A manifest lists the newest change of every replica that the author of the cut knew, each with the
//! writer's own signature: so an entry bounds a chain and vouches for it, and the author of the cut can forge
//! none. Pages are named by their hash: each is fetched once, in any order, and an interrupted fetch is
//! resumed. An op that names a manifest is not admitted before all pages are stored (authority 3.0).

mod fetch;
mod look_up;
mod named;
mod write;

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::id::{ChangeHash, DeviceId, DocumentId, OpId, hash};
use crate::key::Signature;
use crate::limits::MANIFEST_PAGE_BYTES_MAX;
use crate::tip::{Author, Tip};

pub use fetch::{BadManifest, Fetch};
pub use look_up::Manifest;
pub use named::NamedPages;
pub use write::Writer;

/// Names a manifest inside an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct ManifestRef {
    /// Hash over the hashes of its pages, in order: `root`.
    pub root: [u8; 32],
    /// Number of entries on all pages together.
    pub entries: u64,
}

/// One page of a manifest, at most [`MANIFEST_PAGE_BYTES_MAX`] encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Page {
    /// In order of device, grant and incarnation; a group that does not fit continues on the next page.
    pub groups: Vec<PageGroup>,
}

/// The replicas that one device wrote under one grant in one incarnation, one for each document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PageGroup {
    /// The device that wrote.
    pub device: DeviceId,
    /// The op, or Create, under which it wrote.
    pub grant: OpId,
    /// The device's incarnation.
    pub incarnation: u64,
    /// In order of document.
    pub entries: Vec<Entry>,
}

/// The last change of one replica that stays accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Entry {
    /// The document written to; with the group's triple it gives the replica id.
    pub document: DocumentId,
    /// The change's place in the replica's chain, from 1.
    pub seq: u64,
    /// The change: of a fork it picks the branch.
    pub change: ChangeHash,
    /// The writer's signature over its [`Tip`], so that a replica cut there still ends in a proven tip.
    pub signature: Signature,
}

impl Entry {
    /// The tip that this entry was made of.
    pub fn tip(&self, author: Author) -> Tip {
        Tip { author, seq: self.seq, change: self.change, signature: self.signature }
    }
}

impl Page {
    /// Encodes the page: these bytes are hashed, stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes a page that was found under its hash.
    ///
    /// # Errors
    /// [`DecodeError`] if it is too long, malformed, out of order, or has an empty group.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let page: Self = codec::decode(bytes, MANIFEST_PAGE_BYTES_MAX)?;
        let malformed = |what: &str| Err(DecodeError::Malformed { what: what.into() });
        if page.groups.is_empty() || page.groups.iter().any(|group| group.entries.is_empty()) {
            return malformed("an empty page or group");
        }
        if !page.groups.is_sorted_by(|a, b| a.key() < b.key()) {
            return malformed("groups out of order");
        }
        let ordered = |group: &PageGroup| group.entries.is_sorted_by(|a, b| a.document < b.document);
        if !page.groups.iter().all(ordered) {
            return malformed("entries out of order");
        }
        Ok(page)
    }

    /// Number of entries on this page.
    pub fn entries(&self) -> usize {
        self.groups.iter().map(|group| group.entries.len()).sum()
    }
}

impl PageGroup {
    fn key(&self) -> Author {
        Author { device: self.device, grant: self.grant, incarnation: self.incarnation }
    }
}

/// The hash that names an encoded page. A first byte keeps hashes of pages and roots apart.
pub fn page_hash(bytes: &[u8]) -> [u8; 32] {
    hash("manifest", &[&[0], bytes])
}

/// The root over a manifest's pages, given their hashes in order; a manifest without entries has no pages.
pub fn root(pages: &[[u8; 32]]) -> [u8; 32] {
    hash("manifest", &[&[1], pages.as_flattened()])
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn page(documents: &[u8]) -> Page {
        let entry = |&byte: &u8| Entry {
            document: DocumentId([byte; 32]),
            seq: 7,
            change: ChangeHash([byte; 32]),
            signature: Signature([byte; 64]),
        };
        let entries = documents.iter().map(entry).collect();
        let group = PageGroup { device: DeviceId([1; 32]), grant: OpId([2; 32]), incarnation: 3, entries };
        Page { groups: vec![group] }
    }

    #[test]
    fn a_page_decodes_to_what_was_encoded() {
        let page = page(&[4, 5]);
        assert_eq!(Page::decode(&page.encode()), Ok(page.clone()));
        assert_eq!(page.entries(), 2);
    }

    #[test]
    fn a_page_out_of_order_is_refused() {
        let twice = Page { groups: [page(&[4]).groups, page(&[5]).groups].concat() };
        for odd in [page(&[5, 4]), page(&[4, 4]), page(&[]), Page::default(), twice] {
            assert!(Page::decode(&odd.encode()).is_err(), "{odd:?}");
        }
    }

    pub(super) fn author(byte: u8) -> Author {
        Author { device: DeviceId([byte; 32]), grant: OpId([2; 32]), incarnation: 3 }
    }

    pub(super) type Pages = std::collections::BTreeMap<[u8; 32], Vec<u8>>;

    /// A manifest of `documents` entries of each of two authors, on several pages.
    pub(super) fn written(documents: u64) -> (ManifestRef, Vec<[u8; 32]>, Pages) {
        let (mut writer, mut pages) = (Writer::default(), Vec::new());
        for by in [1, 7] {
            for number in 0..documents {
                pages.extend(writer.push(author(by), entry(number)));
            }
        }
        let (last, manifest, hashes) = writer.finish();
        pages.extend(last);
        (manifest, hashes, pages.into_iter().map(|page| (page_hash(&page), page)).collect())
    }

    pub(super) fn entry(number: u64) -> Entry {
        let mut document = [0; 32];
        document[..8].copy_from_slice(&number.to_be_bytes());
        let (document, change) = (DocumentId(document), ChangeHash(document));
        Entry { document, seq: number + 1, change, signature: Signature([7; 64]) }
    }

    #[test]
    fn the_root_depends_on_every_page_and_their_order() {
        let [a, b] = [page(&[4]), page(&[5])].map(|page| page_hash(&page.encode()));
        let roots = [root(&[]), root(&[a]), root(&[a, b]), root(&[b, a]), a];
        for (i, one) in roots.iter().enumerate() {
            assert!(roots[i + 1..].iter().all(|other| one != other));
        }
    }
}
