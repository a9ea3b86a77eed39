//! Writes a manifest page by page, so that only one page is in memory.

use super::{Entry, ManifestRef, Page, PageGroup, page_hash, root};
use crate::limits::MANIFEST_PAGE_BYTES_MAX;
use crate::tip::Author;

/// An encoded entry: document, change, signature and at most nine bytes for the sequence number.
const ENTRY_BYTES: usize = 32 + 32 + 64 + 9;
/// An encoded group without its entries: device, grant, incarnation and the number of entries.
const GROUP_BYTES: usize = 32 + 32 + 9 + 9;
/// Bytes of groups and entries on a page; the rest is for the number of groups.
const PAGE_FILL: usize = MANIFEST_PAGE_BYTES_MAX - 16;

/// Writes a manifest: takes entries in order of author and document, and returns each page as it fills.
#[derive(Debug, Default)]
pub struct Writer {
    page: Page,
    bytes: usize,
    hashes: Vec<[u8; 32]>,
    entries: u64,
}

impl Writer {
    /// Adds an entry. If the page is full, it is returned, to be stored under its [hash](page_hash), and a
    /// new one begins.
    ///
    /// # Panics
    /// In debug builds if entries are not in order.
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

    /// Returns the last page, if there is one, the manifest's name, and the hashes of all pages in order.
    pub fn finish(mut self) -> (Option<Vec<u8>>, ManifestRef, Vec<[u8; 32]>) {
        let last = (!self.page.groups.is_empty()).then(|| self.close());
        let manifest = ManifestRef { root: root(&self.hashes), entries: self.entries };
        (last, manifest, self.hashes)
    }

    /// Number of entries so far.
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
