//! The cache of loaded documents: keeps the most recently used, within a budget that all groups share (pure).

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::DocumentId;

use crate::meter::DocumentMeters;

/// Bytes that the loaded documents of all groups of a node may take.
#[derive(Clone, Debug)]
pub struct CacheBudget {
    /// Holds the bytes in use.
    meters: Arc<DocumentMeters>,
    max: usize,
}

impl CacheBudget {
    /// Allows `max` bytes.
    pub fn new(max: usize, meters: Arc<DocumentMeters>) -> Self {
        Self { meters, max }
    }

    fn is_exceeded(&self) -> bool {
        self.meters.cached_bytes.get() > self.max as u64
    }
}

/// Loaded documents, least recently used first out.
pub(crate) struct Cache<D> {
    budget: CacheBudget,
    entries: BTreeMap<DocumentId, Entry<D>>,
    order: BTreeMap<u64, DocumentId>,
    clock: u64,
}

struct Entry<D> {
    document: D,
    used: u64,
    bytes: usize,
}

impl<D> Cache<D> {
    pub(crate) fn new(budget: CacheBudget) -> Self {
        Self { budget, entries: BTreeMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks a document up and marks it as used.
    pub(crate) fn get(&mut self, id: &DocumentId) -> Option<&mut D> {
        let entry = self.entries.get_mut(id)?;
        self.clock += 1;
        self.order.remove(&std::mem::replace(&mut entry.used, self.clock));
        self.order.insert(self.clock, *id);
        Some(&mut entry.document)
    }

    /// The meters that this cache counts in.
    pub(crate) fn meters(&self) -> &DocumentMeters {
        &self.budget.meters
    }

    pub(crate) fn contains(&self, id: &DocumentId) -> bool {
        self.entries.contains_key(id)
    }

    /// Puts a document, of about `bytes`, as the most recently used.
    pub(crate) fn put(&mut self, id: DocumentId, document: D, bytes: usize) -> &mut D {
        self.remove(&id);
        self.clock += 1;
        self.order.insert(self.clock, id);
        self.budget.meters.cached_bytes.add(bytes);
        self.budget.meters.cached.add(1);
        &mut self.entries.entry(id).or_insert(Entry { document, used: self.clock, bytes }).document
    }

    /// Corrects the size of a document that grew.
    pub(crate) fn resize(&mut self, id: &DocumentId, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(id) {
            self.budget.meters.cached_bytes.add(bytes);
            self.budget.meters.cached_bytes.subtract(std::mem::replace(&mut entry.bytes, bytes));
        }
    }

    pub(crate) fn remove(&mut self, id: &DocumentId) -> Option<D> {
        let entry = self.entries.remove(id)?;
        self.order.remove(&entry.used);
        self.budget.meters.cached_bytes.subtract(entry.bytes);
        self.budget.meters.cached.subtract(1);
        Some(entry.document)
    }

    /// Drops the least recently used documents that may go, until the budget holds.
    pub(crate) fn trim(&mut self, may_go: impl Fn(&DocumentId) -> bool) {
        while self.budget.is_exceeded() {
            let Some(oldest) = self.order.values().copied().find(&may_go) else { return };
            self.remove(&oldest);
        }
    }
}

impl<D> Drop for Cache<D> {
    fn drop(&mut self) {
        let bytes = self.entries.values().map(|entry| entry.bytes).sum();
        self.budget.meters.cached_bytes.subtract(bytes);
        self.budget.meters.cached.subtract(self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_document_goes_first() {
        let meters = Arc::<DocumentMeters>::default();
        let mut cache = Cache::new(CacheBudget::new(25, meters.clone()));
        let ids: Vec<_> = (0..3).map(|n| DocumentId([n; 32])).collect();
        for id in &ids {
            cache.put(*id, (), 10);
        }
        cache.get(&ids[0]);
        cache.trim(|_| true);
        assert!(cache.contains(&ids[0]) && !cache.contains(&ids[1]) && cache.contains(&ids[2]));
        assert_eq!((meters.cached.get(), meters.cached_bytes.get()), (2, 20));
        drop(cache);
        assert_eq!((meters.cached.get(), meters.cached_bytes.get()), (0, 0));
    }

    #[test]
    fn groups_share_one_budget_and_give_it_back() {
        let budget = CacheBudget::new(15, Arc::default());
        let mut ada = Cache::new(budget.clone());
        let mut ben = Cache::new(budget.clone());
        ada.put(DocumentId([1; 32]), (), 10);
        ben.put(DocumentId([2; 32]), (), 10);
        assert!(budget.is_exceeded());
        drop(ada);
        assert!(!budget.is_exceeded());
    }
}
