//! Looks up what a manifest leaves of one replica, in pages that are elsewhere.

use super::{Entry, Page, PageGroup};
use crate::id::DocumentId;
use crate::tip::Author;

/// Where the entry of one replica is looked up.
pub(super) type Place = (Author, DocumentId);

impl Page {
    /// The first and the last place on it.
    pub(super) fn span(&self) -> Option<(Place, Place)> {
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
