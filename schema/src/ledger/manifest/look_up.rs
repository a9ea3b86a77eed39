//! Looks up the end of one replica in the pages of a manifest.

use super::{Entry, Page, PageGroup};
use crate::id::DocumentId;
use crate::tip::Author;

/// The key by which the entries of a manifest are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryKey {
    author: Author,
    document: DocumentId,
}

impl Page {
    /// The keys of the first and the last entry.
    pub(super) fn span(&self) -> Option<(EntryKey, EntryKey)> {
        let (first, last) = (self.groups.first()?, self.groups.last()?);
        let first = EntryKey { author: first.key(), document: first.entries.first()?.document };
        let last = EntryKey { author: last.key(), document: last.entries.last()?.document };
        Some((first, last))
    }

    /// The entry of one replica.
    pub fn entry(&self, author: &Author, document: DocumentId) -> Option<Entry> {
        let group = self.groups.binary_search_by_key(author, PageGroup::key).ok()?;
        let entries = &self.groups[group].entries;
        let at = entries.binary_search_by_key(&document, |entry| entry.document).ok()?;
        Some(entries[at])
    }
}

/// A manifest whose pages are read on demand, usually from disk.
#[derive(Clone, Debug)]
pub struct Manifest {
    pages: Vec<[u8; 32]>,
    /// The first key of each page that was read.
    first_keys: Vec<Option<EntryKey>>,
}

impl Manifest {
    /// A manifest with these pages, in order.
    pub fn new(pages: Vec<[u8; 32]>) -> Self {
        Self { first_keys: vec![None; pages.len()], pages }
    }

    /// Finds the entry of one replica; `page` reads a page by its hash.
    ///
    /// # Errors
    /// Those of `page`.
    pub fn entry<E>(
        &mut self,
        author: &Author,
        document: DocumentId,
        mut page: impl FnMut(&[u8; 32]) -> Result<std::sync::Arc<Page>, E>,
    ) -> Result<Option<Entry>, E> {
        let wanted = EntryKey { author: *author, document };
        let (mut low, mut high) = (0, self.pages.len());
        // The last page that begins at or before the wanted key.
        while low < high {
            let middle = usize::midpoint(low, high);
            let first = match self.first_keys[middle] {
                Some(first) => first,
                None => match page(&self.pages[middle])?.span() {
                    Some((first, _)) => *self.first_keys[middle].insert(first),
                    None => return Ok(None),
                },
            };
            if first <= wanted { low = middle + 1 } else { high = middle }
        }
        match low.checked_sub(1) {
            None => Ok(None),
            Some(at) => Ok(page(&self.pages[at])?.entry(author, document)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{author, entry, written};
    use super::*;
    use crate::limits::MANIFEST_PAGE_BYTES_MAX;

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
}
