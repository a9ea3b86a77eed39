//! The pages of manifests, in the space of their group: read and kept for ledger sessions.

use schema::codec;
use schema::ledger::ManifestRef;
use schema::session::ledger::Attachments;

use super::Entry;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// What a ledger session reads of a group's pages. What is damaged is fetched again, and takes its place.
pub(super) struct Shelf<'s>(pub(super) &'s SpaceHandle);

impl Attachments for Shelf<'_> {
    type Error = StoreError;

    fn list(&mut self, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        let list = self.get(&keys::manifest(root))?;
        Ok(list.and_then(|list| codec::decode_stored(&list).ok()))
    }

    fn page(&mut self, page: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(&keys::page(page))
    }
}

impl Shelf<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.get(key) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            read => read,
        }
    }
}

impl Entry {
    pub(super) fn shelf(&self) -> Shelf<'_> {
        Shelf(&self.space)
    }

    /// A manifest is here, whole and checked: ops that name it may come in.
    pub(super) fn attach(&mut self, manifest: ManifestRef) {
        self.attached.insert(manifest);
    }
}
