//! Fetches a manifest page by page and checks it as a whole.

use std::collections::VecDeque;

use super::look_up::Place;
use super::{ManifestRef, PAGES_MAX, Page, page_hash, root};
use crate::codec::DecodeError;

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
}
