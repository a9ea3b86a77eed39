//! Fetches a manifest page by page and checks it as a whole.

use std::collections::VecDeque;

use super::look_up::EntryKey;
use super::{ManifestRef, Page, page_hash, root};
use crate::codec::DecodeError;
use crate::limits::MANIFEST_PAGES_MAX;

/// A fault in the pages of a manifest: the op that names it can never be admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadManifest {
    /// A page is malformed.
    #[error("page {page} is malformed")]
    Page {
        /// Number of the page, from 0.
        page: usize,
        /// The fault.
        #[source]
        cause: DecodeError,
    },
    /// A page does not continue after the end of the page before.
    #[error("page {page} is not in order")]
    Order {
        /// Number of the page, from 0.
        page: usize,
    },
    /// The number of entries differs from that in the op.
    #[error("{got} entries where {expected} are named")]
    Entries {
        /// Entries on the pages.
        got: u64,
        /// Entries as the op states them.
        expected: u64,
    },
    /// More pages than a manifest may have.
    #[error("{got} pages where at most {MANIFEST_PAGES_MAX} are allowed")]
    TooLong {
        /// Pages listed.
        got: usize,
    },
}

/// Fetches a manifest: pages in any order, each once, resumed with the stored ones. Pure: its caller asks and
/// stores.
#[derive(Debug)]
pub struct Fetch {
    manifest: ManifestRef,
    pages: Option<Vec<[u8; 32]>>,
    /// By page; `None` for those that are missing.
    checked: Vec<Option<CheckedPage>>,
    wanted: VecDeque<usize>,
}

/// The extent of a page that arrived.
#[derive(Clone, Copy, Debug)]
struct CheckedPage {
    entries: u64,
    first: EntryKey,
    last: EntryKey,
}

impl Fetch {
    /// A fetch of which only the manifest's name is known.
    pub fn new(manifest: ManifestRef) -> Self {
        Self { manifest, pages: None, checked: Vec::new(), wanted: VecDeque::new() }
    }

    /// The manifest to fetch.
    pub fn manifest(&self) -> ManifestRef {
        self.manifest
    }

    /// Returns true if the list of pages is known.
    pub fn is_listed(&self) -> bool {
        self.pages.is_some()
    }

    /// Sets the list of pages; returns false if it is not the manifest's, or known already.
    ///
    /// # Errors
    /// [`BadManifest::TooLong`]
    pub fn list(&mut self, pages: Vec<[u8; 32]>) -> Result<bool, BadManifest> {
        if pages.len() > MANIFEST_PAGES_MAX {
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

    /// The hashes of all pages; empty until they are listed.
    pub fn pages(&self) -> &[[u8; 32]] {
        self.pages.as_deref().unwrap_or_default()
    }

    /// Returns the next page to request; each is requested once.
    pub fn ask(&mut self) -> Option<[u8; 32]> {
        let page = self.wanted.pop_front()?;
        Some(self.pages()[page])
    }

    /// Adds a page from a peer or the store; returns false if it is not one that is missing.
    ///
    /// # Errors
    /// [`BadManifest::Page`]
    pub fn page(&mut self, bytes: &[u8]) -> Result<bool, BadManifest> {
        let hash = page_hash(bytes);
        let missing = |at: &usize| self.checked[*at].is_none();
        let of_hash = |at: &usize| self.pages()[*at] == hash;
        let Some(page) = (0..self.checked.len()).filter(missing).find(of_hash) else { return Ok(false) };
        let decoded = Page::decode(bytes).map_err(|cause| BadManifest::Page { page, cause })?;
        let (first, last) = decoded.span().expect("a page that decodes is not empty");
        self.checked[page] = Some(CheckedPage { entries: decoded.entries() as u64, first, last });
        self.wanted.retain(|at| *at != page);
        Ok(true)
    }

    /// Returns true if every page has arrived, after checking the manifest as a whole.
    ///
    /// # Errors
    /// [`BadManifest`]
    pub fn is_complete(&self) -> Result<bool, BadManifest> {
        let Some(checked) = self.pages.as_ref().and(self.checked.iter().copied().collect::<Option<Vec<_>>>())
        else {
            return Ok(false);
        };
        if let Some(page) = (1..checked.len()).find(|at| checked[at - 1].last >= checked[*at].first) {
            return Err(BadManifest::Order { page });
        }
        let (got, expected) = (checked.iter().map(|page| page.entries).sum(), self.manifest.entries);
        if got == expected { Ok(true) } else { Err(BadManifest::Entries { got, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{page, written};
    use super::*;

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
    fn pages_that_do_not_fit_the_manifest_are_refused() {
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
}
