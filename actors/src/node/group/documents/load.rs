//! Documents from cache and store; what is damaged is set aside.

use std::collections::BTreeSet;

use schema::digest::Mark;
use schema::document::Index;
use schema::{DocumentId, codec};

use super::fresh::FreshChunks;
use super::materialise::Materialised;
use super::work::{Runs, RunsError};
use super::{Document, Documents};
use crate::node::group::record::DocumentRecord;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

impl Documents {
    /// The document from the cache or the store.
    pub(super) fn load(&mut self, id: DocumentId) -> Result<Option<&mut Document>, StoreError> {
        if self.cache.contains(&id) {
            self.cache.meters().cache_hits.increment();
            return Ok(self.cache.get(&id));
        }
        if self.quarantined.contains_key(&id) {
            return Ok(None);
        }
        self.cache.meters().cache_misses.increment();
        let loaded = match self.stored(id) {
            Ok(None) => return Ok(None),
            Ok(Some(record)) => self.load_record(id, record)?,
            Err(StoreError::Damaged { .. }) => Err("record is damaged".to_owned()),
            Err(error) => return Err(error),
        };
        match loaded {
            Ok(document) => {
                let bytes = document.approximate_bytes().unwrap_or_default();
                Ok(Some(self.cache.put(id, document, bytes)))
            }
            Err(what) => {
                self.quarantine(id, &what);
                Ok(None)
            }
        }
    }

    /// Reads the index of a document from its stored changes; nothing is materialised yet.
    fn load_record(
        &self,
        id: DocumentId,
        record: DocumentRecord,
    ) -> Result<Result<Document, String>, StoreError> {
        let runs = runs(&self.space, id, &record, FreshChunks::default());
        let mut index = Index::new();
        for at in 0..runs.len() {
            match runs.read(at) {
                Ok(changes) => changes.iter().for_each(|change| index.accept(&change.header)),
                Err(RunsError::Damaged { what }) => return Ok(Err(what)),
                Err(RunsError::Store(error)) => return Err(error),
            }
        }
        let ends = record.replicas.iter().map(|replica| (replica.seq, replica.change));
        let is_of_record = ends.eq(index.in_order().map(|(_, seq, change)| (seq, change)));
        if !is_of_record || record.heads().collect::<BTreeSet<_>>() != *index.heads() {
            return Ok(Err("its changes are not those of its record".to_owned()));
        }
        Ok(Ok(Document::of(record, index, Materialised::Absent)))
    }

    /// The stored changes of a loaded document.
    pub(super) fn runs(&mut self, id: DocumentId) -> Runs {
        let document = self.cache.get(&id).expect("it is loaded");
        runs(&self.space, id, &document.record, document.fresh.clone())
    }

    pub(super) fn stored(&self, id: DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        let key = keys::document(id);
        let Some(bytes) = self.space.get(&key)? else { return Ok(None) };
        codec::decode_stored(&bytes).map(Some).map_err(|_| keys::damaged(&self.space, &key))
    }

    /// The record as it is in memory or, for a cold document, in the store.
    pub(super) fn record(&mut self, id: DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        if let Some(document) = self.cache.get(&id) {
            return Ok(Some(document.record.clone()));
        }
        if self.quarantined.contains_key(&id) {
            return Ok(None);
        }
        match self.stored(id) {
            Err(StoreError::Damaged { .. }) => {
                self.quarantine(id, "record is damaged");
                Ok(None)
            }
            other => other,
        }
    }

    pub(super) fn marks_of(&mut self, id: DocumentId) -> Result<Vec<Mark>, StoreError> {
        if let Some(document) = self.cache.get(&id) {
            return Ok(document.marks());
        }
        let record = self.record(id)?;
        Ok(record
            .and_then(|record| record.marks(self.authority.group, id, &self.authors))
            .unwrap_or_default())
    }

    /// Takes a document out of service: it is as if it were not here, so that peers send it again.
    pub(super) fn quarantine(&mut self, id: DocumentId, what: &str) {
        let group = self.authority.group.short();
        tracing::warn!(%group, document = %id.short(), what, "document quarantined");
        self.digest.set(id, &[]);
        self.alarm = true;
        self.quarantined.insert(id, what.to_owned());
    }
}

fn runs(space: &SpaceHandle, id: DocumentId, record: &DocumentRecord, fresh: FreshChunks) -> Runs {
    let numbers = record.chunks.iter().map(|chunk| chunk.number).collect();
    Runs::new(space.clone(), id, numbers, fresh, record.inline.clone())
}
