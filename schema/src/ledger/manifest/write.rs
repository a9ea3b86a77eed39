//! Writes a manifest, page by page, so that none is ever whole in memory.

use super::{Entry, ManifestRef, Page, PageGroup, page_hash, root};
use crate::limits::MANIFEST_PAGE_BYTES_MAX;
use crate::tip::Author;

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
