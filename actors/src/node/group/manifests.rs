//! What cuts leave of a replica: manifests read from the store, a few pages of them in memory.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use schema::document;
use schema::ledger::ManifestRef;
use schema::ledger::manifest::{Entry, Manifest, Page};
use schema::tip::Author;
use schema::{DocumentId, codec};

use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// Pages in memory, half a MiB each: whoever goes through documents in order needs one a cut.
const PAGES: usize = 8;

/// Looks replicas up in the manifests of one group.
pub(crate) struct Manifests {
    space: SpaceHandle,
    listed: BTreeMap<[u8; 32], Manifest>,
    /// The most recently used last.
    pages: Vec<([u8; 32], Arc<Page>)>,
}

impl Manifests {
    pub(crate) fn new(space: SpaceHandle) -> Self {
        Self { space, listed: BTreeMap::new(), pages: Vec::new() }
    }
}

impl document::Manifests for Manifests {
    type Error = StoreError;

    fn entry(
        &mut self,
        manifest: &ManifestRef,
        author: &Author,
        document: DocumentId,
    ) -> Result<Option<Entry>, StoreError> {
        let (space, pages) = (&self.space, &mut self.pages);
        let listed = match self.listed.entry(manifest.root) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(new) => {
                let key = keys::manifest(&manifest.root);
                let list = space.get(&key)?.and_then(|list| codec::decode_stored(&list).ok());
                let list: Vec<[u8; 32]> = list.ok_or_else(|| keys::damaged(space, &key))?;
                new.insert(Manifest::new(list))
            }
        };
        listed.entry(author, document, |hash| page(space, pages, hash))
    }
}

fn page(
    space: &SpaceHandle,
    pages: &mut Vec<([u8; 32], Arc<Page>)>,
    hash: &[u8; 32],
) -> Result<Arc<Page>, StoreError> {
    let read = || {
        let key = keys::page(hash);
        let page = space.get(&key)?.and_then(|bytes| Page::decode(&bytes).ok());
        page.map(Arc::new).ok_or_else(|| keys::damaged(space, &key))
    };
    let page = match pages.iter().position(|(known, _)| known == hash) {
        Some(at) => pages.remove(at).1,
        None => read()?,
    };
    if pages.len() >= PAGES {
        pages.remove(0);
    }
    pages.push((*hash, page.clone()));
    Ok(page)
}
