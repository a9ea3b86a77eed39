//! What of a removed writer stays: manifests, in pages, under one root hash.
//!
//! A manifest lists the newest change of every replica that its author knew, each with the writer's own signature: so
//! an entry bounds a chain, vouches for what stays of it, and nobody can put words into the writer's mouth. Its pages are addressed by hash, so
//! they are fetched once, in any order, and resumed; an op that names a manifest is not admitted before its pages
//! are here (AUTHORITY 3.0).

use std::collections::VecDeque;

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::id::{ChangeHash, DeviceId, DocumentId, OpId, hash};
use crate::key::Signature;
use crate::limits::{MANIFEST_BYTES_MAX, MANIFEST_PAGE_BYTES_MAX};
use crate::tip::{Author, Tip};

/// Names a manifest inside an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ManifestRef {
    /// Hash over the hashes of its pages, in order: [`root`].
    pub root: [u8; 32],
    /// Entries on all pages together.
    pub entries: u64,
}

/// One page of a manifest, at most [`MANIFEST_PAGE_BYTES_MAX`] encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Page {
    /// In order of device, grant and incarnation; a group that does not fit goes on on the next page.
    pub groups: Vec<PageGroup>,
}

/// The replicas that one device wrote under one grant in one incarnation, one a document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PageGroup {
    /// The device that wrote.
    pub device: DeviceId,
    /// The op, or Create, that let it write.
    pub grant: OpId,
    /// The device's incarnation.
    pub incarnation: u64,
    /// In order of document.
    pub entries: Vec<Entry>,
}

/// The newest change of one replica that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Entry {
    /// The document written to; with the group's triple it gives the replica id.
    pub document: DocumentId,
    /// The change's place in the replica's chain, from 1.
    pub seq: u64,
    /// Which change that is: of a fork this picks the branch.
    pub change: ChangeHash,
    /// The writer's, over its [`Tip`]: whoever has cut the chain there can prove the end of it.
    pub signature: Signature,
}

impl Entry {
    /// The tip that it is made of.
    pub fn tip(&self, author: Author) -> Tip {
        Tip { author, seq: self.seq, change: self.change, signature: self.signature }
    }
}

impl Page {
    /// The bytes that are hashed, stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a page that was found under its hash.
    ///
    /// # Errors
    /// [`DecodeError`] when it is too long, malformed, empty somewhere, or out of order.
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

    /// Entries on this page.
    pub fn entries(&self) -> usize {
        self.groups.iter().map(|group| group.entries.len()).sum()
    }
}

impl PageGroup {
    fn key(&self) -> Author {
        Author { device: self.device, grant: self.grant, incarnation: self.incarnation }
    }
}

/// Pages that a manifest may have.
pub const PAGES_MAX: usize = MANIFEST_BYTES_MAX / MANIFEST_PAGE_BYTES_MAX;

/// An entry as encoded: document, change, signature and at most nine bytes for the place.
const ENTRY_BYTES: usize = 32 + 32 + 64 + 9;
/// A group without its entries: device, grant, incarnation and their number.
const GROUP_BYTES: usize = 32 + 32 + 9 + 9;
/// Entries that always fit a page, each in a group of its own.
const PAGE_FILL: usize = MANIFEST_PAGE_BYTES_MAX - 16;

/// Writes a manifest: entries in, ascending by (author, document), pages out as they fill.
#[derive(Debug, Default)]
pub struct Writer {
    page: Page,
    bytes: usize,
    hashes: Vec<[u8; 32]>,
    entries: u64,
}

impl Writer {
    /// Adds an entry; a page that it did not fit is returned, to be stored under its [hash](page_hash).
    ///
    /// # Panics
    /// In debug builds when entries are out of order.
    pub fn push(&mut self, author: Author, entry: Entry) -> Option<Vec<u8>> {
        let is_new = |page: &Page| page.groups.last().is_none_or(|last| last.key() != author);
        let bytes = |page: &Page| ENTRY_BYTES + if is_new(page) { GROUP_BYTES } else { 0 };
        let full = (self.bytes + bytes(&self.page) > PAGE_FILL).then(|| self.close());
        self.bytes += bytes(&self.page);
        self.entries += 1;
        if is_new(&self.page) {
            let Author { device, grant, incarnation } = author;
            debug_assert!(self.page.groups.last().is_none_or(|last| last.key() < author), "in order");
            self.page.groups.push(PageGroup { device, grant, incarnation, entries: Vec::new() });
        }
        let group = self.page.groups.last_mut().expect("just pushed");
        debug_assert!(group.entries.last().is_none_or(|last| last.document < entry.document), "in order");
        group.entries.push(entry);
        full
    }

    /// The last page, if there is one, and what the manifest is called; with the hashes of its pages.
    pub fn finish(mut self) -> (Option<Vec<u8>>, ManifestRef, Vec<[u8; 32]>) {
        let last = (!self.page.groups.is_empty()).then(|| self.close());
        let manifest = ManifestRef { root: root(&self.hashes), entries: self.entries };
        (last, manifest, self.hashes)
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    fn close(&mut self) -> Vec<u8> {
        self.bytes = 0;
        let bytes = std::mem::take(&mut self.page).encode();
        self.hashes.push(page_hash(&bytes));
        bytes
    }
}

/// Where the entry of one replica is looked up.
type Place = (Author, DocumentId);

impl Page {
    /// The first and the last place on it.
    fn span(&self) -> Option<(Place, Place)> {
        let (first, last) = (self.groups.first()?, self.groups.last()?);
        let from = (first.key(), first.entries.first()?.document);
        Some((from, (last.key(), last.entries.last()?.document)))
    }

    /// What stays of one replica.
    pub fn entry(&self, author: &Author, document: DocumentId) -> Option<Entry> {
        let group = self.groups.binary_search_by_key(author, PageGroup::key).ok()?;
        let entries = &self.groups[group].entries;
        let at = entries.binary_search_by_key(&document, |entry| entry.document).ok()?;
        Some(entries[at])
    }
}

/// A manifest whose pages are elsewhere: on disk, in life.
#[derive(Clone, Debug)]
pub struct Manifest {
    pages: Vec<[u8; 32]>,
    /// The first place of each page that was looked at.
    from: Vec<Option<Place>>,
}

impl Manifest {
    /// A manifest with these pages, in order.
    pub fn new(pages: Vec<[u8; 32]>) -> Self {
        Self { from: vec![None; pages.len()], pages }
    }

    /// What stays of one replica; `page` reads a page by its hash.
    ///
    /// # Errors
    /// Those of `page`.
    pub fn entry<E>(
        &mut self,
        author: &Author,
        document: DocumentId,
        mut page: impl FnMut(&[u8; 32]) -> Result<std::sync::Arc<Page>, E>,
    ) -> Result<Option<Entry>, E> {
        let wanted = (*author, document);
        let (mut low, mut high) = (0, self.pages.len());
        // The last page that begins at or before what is wanted.
        while low < high {
            let middle = usize::midpoint(low, high);
            let from = match self.from[middle] {
                Some(from) => from,
                None => match page(&self.pages[middle])?.span() {
                    Some((from, _)) => *self.from[middle].insert(from),
                    None => return Ok(None),
                },
            };
            if from <= wanted { low = middle + 1 } else { high = middle }
        }
        match low.checked_sub(1) {
            None => Ok(None),
            Some(at) => Ok(page(&self.pages[at])?.entry(author, document)),
        }
    }
}

/// Why the pages of a manifest are not what its name promises: the op that names it can never be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadManifest {
    /// A page is malformed.
    #[error("page {page} is malformed")]
    Page {
        /// Which, from 0.
        page: usize,
        /// How.
        #[source]
        cause: DecodeError,
    },
    /// A page does not go on where the one before ended.
    #[error("page {page} is out of order")]
    Order {
        /// Which, from 0.
        page: usize,
    },
    /// The pages have another number of entries.
    #[error("{got} entries where {expected} are named")]
    Entries {
        /// How many are there.
        got: u64,
        /// How many the op names.
        expected: u64,
    },
    /// More pages than a manifest may have.
    #[error("{got} pages where at most {PAGES_MAX} are allowed")]
    TooLong {
        /// How many.
        got: usize,
    },
}

/// Fetches a manifest page by page and checks it whole: in any order, each page once, resumed with what is here (pure).
#[derive(Debug)]
pub struct Fetch {
    manifest: ManifestRef,
    pages: Option<Vec<[u8; 32]>>,
    /// What each page that is here holds.
    checked: Vec<Option<(u64, Place, Place)>>,
    wanted: VecDeque<usize>,
}

impl Fetch {
    /// Nothing is known but the name.
    pub fn new(manifest: ManifestRef) -> Self {
        Self { manifest, pages: None, checked: Vec::new(), wanted: VecDeque::new() }
    }

    /// What it is for.
    pub fn manifest(&self) -> ManifestRef {
        self.manifest
    }

    /// Whether the list of pages is here.
    pub fn is_listed(&self) -> bool {
        self.pages.is_some()
    }

    /// Takes the list of pages; `false` when it is not the manifest's.
    ///
    /// # Errors
    /// [`BadManifest::TooLong`]
    pub fn list(&mut self, pages: Vec<[u8; 32]>) -> Result<bool, BadManifest> {
        if pages.len() > PAGES_MAX {
            return Err(BadManifest::TooLong { got: pages.len() });
        }
        if self.pages.is_some() || root(&pages) != self.manifest.root {
            return Ok(false);
        }
        self.wanted = (0..pages.len()).collect();
        self.checked = vec![None; pages.len()];
        self.pages = Some(pages);
        Ok(true)
    }

    /// The hashes of all pages, once listed.
    pub fn pages(&self) -> &[[u8; 32]] {
        self.pages.as_deref().unwrap_or_default()
    }

    /// The next page to ask for; asked for once.
    pub fn ask(&mut self) -> Option<[u8; 32]> {
        let page = self.wanted.pop_front()?;
        Some(self.pages()[page])
    }

    /// Takes a page, from the peer or the store; `false` when it is none of the manifest's that is missing.
    ///
    /// # Errors
    /// [`BadManifest::Page`]
    pub fn page(&mut self, bytes: &[u8]) -> Result<bool, BadManifest> {
        let hash = page_hash(bytes);
        let missing = |at: &usize| self.checked[*at].is_none();
        let of_hash = |at: &usize| self.pages()[*at] == hash;
        let Some(page) = (0..self.checked.len()).filter(missing).find(of_hash) else { return Ok(false) };
        let decoded = Page::decode(bytes).map_err(|cause| BadManifest::Page { page, cause })?;
        let (from, to) = decoded.span().expect("a page that decodes is not empty");
        self.checked[page] = Some((decoded.entries() as u64, from, to));
        self.wanted.retain(|at| *at != page);
        Ok(true)
    }

    /// Whether every page is here; then the manifest was checked as a whole.
    ///
    /// # Errors
    /// [`BadManifest`]
    pub fn is_complete(&self) -> Result<bool, BadManifest> {
        let Some(checked) = self.pages.as_ref().and(self.checked.iter().copied().collect::<Option<Vec<_>>>())
        else {
            return Ok(false);
        };
        if let Some(page) = (1..checked.len()).find(|at| checked[at - 1].2 >= checked[*at].1) {
            return Err(BadManifest::Order { page });
        }
        let (got, expected) = (checked.iter().map(|(entries, ..)| entries).sum(), self.manifest.entries);
        if got == expected { Ok(true) } else { Err(BadManifest::Entries { got, expected }) }
    }
}

/// The name of an encoded page. Pages and roots are told apart by their first byte.
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

    fn page(documents: &[u8]) -> Page {
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
    fn a_page_survives_its_bytes() {
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

    fn author(byte: u8) -> Author {
        Author { device: DeviceId([byte; 32]), grant: OpId([2; 32]), incarnation: 3 }
    }

    type Pages = std::collections::BTreeMap<[u8; 32], Vec<u8>>;

    /// Some thousand entries of two authors, on several pages, and the pages by hash.
    fn written(documents: u64) -> (ManifestRef, Vec<[u8; 32]>, Pages) {
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

    fn entry(number: u64) -> Entry {
        let mut document = [0; 32];
        document[..8].copy_from_slice(&number.to_be_bytes());
        let (document, change) = (DocumentId(document), ChangeHash(document));
        Entry { document, seq: number + 1, change, signature: Signature([7; 64]) }
    }

    #[test]
    fn an_entry_is_found_on_its_page_and_nowhere_else() {
        let (named, hashes, pages) = written(10_000);
        assert_eq!((named.entries, hashes.len() > 2), (20_000, true));
        assert!(pages.values().all(|page| page.len() <= MANIFEST_PAGE_BYTES_MAX));
        let mut manifest = Manifest::new(hashes.clone());
        let mut find = |by, number| {
            let read =
                |hash: &[u8; 32]| Ok::<_, ()>(std::sync::Arc::new(Page::decode(&pages[hash]).unwrap()));
            manifest.entry(&author(by), entry(number).document, read).unwrap()
        };

        for number in [0, 1, 4_999, 6_842, 9_999] {
            for by in [1, 7] {
                assert_eq!(find(by, number), Some(entry(number)), "{by} {number}");
            }
        }
        for (by, number) in [(1, 10_000), (7, 10_000), (3, 5), (0, 0), (9, 0)] {
            assert_eq!(find(by, number), None, "{by} {number}");
        }
    }

    #[test]
    fn a_manifest_is_fetched_in_any_order_and_checked_whole() {
        let (named, hashes, pages) = written(10_000);
        let mut fetch = Fetch::new(named);
        assert_eq!(fetch.list(hashes[1..].to_vec()), Ok(false));
        assert_eq!(fetch.list(hashes.clone()), Ok(true));

        let asked: Vec<_> = std::iter::from_fn(|| fetch.ask()).collect();
        assert_eq!(asked, hashes);
        assert_eq!(fetch.page(b"something else"), Ok(false));
        for hash in asked.iter().rev() {
            assert_eq!(fetch.is_complete(), Ok(false));
            assert_eq!(fetch.page(&pages[hash]), Ok(true));
            assert_eq!(fetch.page(&pages[hash]), Ok(false), "each page once");
        }
        assert_eq!(fetch.is_complete(), Ok(true));
    }

    #[test]
    fn a_manifest_that_is_not_what_it_is_called_is_refused() {
        let complete = |entries, pages: &[Page]| {
            let bytes: Vec<_> = pages.iter().map(Page::encode).collect();
            let hashes: Vec<_> = bytes.iter().map(|page| page_hash(page)).collect();
            let mut fetch = Fetch::new(ManifestRef { root: root(&hashes), entries });
            assert_eq!(fetch.list(hashes), Ok(true));
            bytes.iter().try_for_each(|page| fetch.page(page).map(drop))?;
            fetch.is_complete()
        };

        assert_eq!(complete(0, &[]), Ok(true));
        assert_eq!(complete(2, &[page(&[4]), page(&[5])]), Ok(true));
        assert_eq!(complete(3, &[page(&[4, 5])]), Err(BadManifest::Entries { got: 2, expected: 3 }));
        assert_eq!(complete(2, &[page(&[5]), page(&[4])]), Err(BadManifest::Order { page: 1 }));
        assert!(matches!(complete(2, &[page(&[4]), page(&[6, 5])]), Err(BadManifest::Page { page: 1, .. })));
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
