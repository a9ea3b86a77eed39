//! What cuts leave of a replica: manifests read from the store, a few pages of them in memory.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use schema::document::{Bound, Refusal};
use schema::ledger::manifest::{Entry, Manifest, Page};
use schema::ledger::{ManifestRef, NotAccepted, Roster};
use schema::tip::{Author, Tip};
use schema::{DocumentId, codec};

use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// Pages in memory, half a MiB each: whoever goes through documents in order needs one a cut.
const PAGES: usize = 8;

/// How far what an author wrote to a document is accepted, if at all.
pub(super) type Judged = Result<Vec<Bound>, Refusal>;

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

    /// C8: how far what `author` wrote to `document` is accepted; and what the cuts have of the end of that chain, which
    /// nobody has verified yet.
    pub(crate) fn judge(
        &mut self,
        roster: &Roster,
        author: &Author,
        document: DocumentId,
    ) -> Result<(Judged, Vec<Tip>), StoreError> {
        let mut tips = Vec::new();
        let bounds = roster.bounds(author, |manifest| {
            let entry = self.entry(manifest, author, document)?;
            tips.extend(entry.map(|entry| entry.tip(*author)));
            Ok(entry.map(|entry| (entry.seq, entry.change)))
        })?;
        Ok((bounds.map_err(|cause| refusal(author, cause)), tips))
    }

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

/// Why an author may not write, as the rules of admission say it.
pub(super) fn refusal(author: &Author, cause: NotAccepted) -> Refusal {
    match cause {
        NotAccepted::UnknownGrant { .. } | NotAccepted::NotCertified { .. } => {
            Refusal::UnknownAuthor { author: *author }
        }
        _ => Refusal::NotAllowed { author: *author },
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
