//! Documents from cache and store; what is damaged is set aside.

use schema::change;
use schema::digest::Mark;
use schema::document::Index;
use schema::{DocumentId, codec};

use super::{Document, Documents};
use crate::node::group::record::DocumentRecord;
use crate::node::group::replica::Replica;
use crate::node::keys;
use crate::node::store::StoreError;

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
                let bytes = document.replica.approximate_bytes();
                Ok(Some(self.cache.put(id, document, bytes)))
            }
            Err(what) => {
                self.quarantine(id, &what);
                Ok(None)
            }
        }
    }

    fn load_record(
        &self,
        id: DocumentId,
        record: DocumentRecord,
    ) -> Result<Result<Document, String>, StoreError> {
        let mut runs = Vec::with_capacity(record.chunks.len() + 1);
        for chunk in &record.chunks {
            match self.space.get(&keys::chunk(id, chunk.number)) {
                Ok(Some(bytes)) => runs.push(bytes),
                Ok(None) => return Ok(Err(format!("chunk {} is missing", chunk.number))),
                Err(StoreError::Damaged { .. }) => {
                    return Ok(Err(format!("chunk {} is damaged", chunk.number)));
                }
                Err(error) => return Err(error),
            }
        }
        let mut index = Index::new();
        let slices: Vec<&[u8]> = runs
            .iter()
            .map(Vec::as_slice)
            .chain([record.inline.as_slice()])
            .filter(|r| !r.is_empty())
            .collect();
        for run in &slices {
            for change in change::split(run) {
                match change {
                    Ok((header, _)) => index.accept(&header),
                    Err(error) => return Ok(Err(format!("change is damaged: {error}"))),
                }
            }
        }
        let heads: Vec<_> = record.heads().collect();
        Ok(match Replica::load(&slices, &heads) {
            Ok(replica) => Ok(Document { record, replica, index }),
            Err(error) => Err(error.to_string()),
        })
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
            return Ok(document.record.marks(self.authority.group, id, &self.authors).unwrap_or_default());
        }
        let record = self.record(id)?;
        Ok(record
            .and_then(|record| record.marks(self.authority.group, id, &self.authors))
            .unwrap_or_default())
    }

    /// Drops a document from memory, now or once the store has its newest batch.
    pub(super) fn forget(&mut self, id: DocumentId) {
        if self.unstored.contains_key(&id) {
            self.spoiled.insert(id);
        } else {
            self.cache.remove(&id);
        }
    }

    /// Takes a document out of service: it is as if it were not here, so that peers send it again.
    pub(super) fn quarantine(&mut self, id: DocumentId, what: &str) {
        tracing::warn!(group = %self.authority.group.short(), document = %id.short(), what, "document quarantined");
        self.digest.set(id, &[]);
        self.alarm = true;
        self.quarantined.insert(id, what.to_owned());
    }
}
