//! The chunks of a document that the store may not have yet (pure).

use std::collections::BTreeMap;
use std::sync::Arc;

/// New chunks, by their numbers, until their batches are durable. Clones share the bytes.
#[derive(Clone, Default)]
pub(super) struct FreshChunks(BTreeMap<u32, Fresh>);

#[derive(Clone)]
struct Fresh {
    bytes: Arc<Vec<u8>>,
    /// The batch that stores it; `None`: not submitted.
    batch: Option<u64>,
}

impl FreshChunks {
    pub(super) fn add(&mut self, number: u32, bytes: Vec<u8>) {
        self.0.insert(number, Fresh { bytes: Arc::new(bytes), batch: None });
    }

    pub(super) fn get(&self, number: u32) -> Option<&[u8]> {
        self.0.get(&number).map(|fresh| fresh.bytes.as_slice())
    }

    /// The batch of this number stores all that no earlier one does.
    pub(super) fn submit(&mut self, batch: u64) {
        for fresh in self.0.values_mut() {
            fresh.batch.get_or_insert(batch);
        }
    }

    /// The batch of this number is durable, and all before it.
    pub(super) fn forget(&mut self, batch: u64) {
        self.0.retain(|_, fresh| fresh.batch.is_none_or(|of| of > batch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They were once kept until no batch was under way: for ever, in a row that peers write without pause.
    #[test]
    fn a_chunk_is_forgotten_with_its_own_batch_while_later_ones_are_under_way() {
        let mut fresh = FreshChunks::default();
        for number in 1..=3 {
            fresh.add(number, vec![0; 8]);
            if number < 3 {
                fresh.submit(u64::from(number));
            }
        }
        fresh.forget(1);
        assert_eq!([1, 2, 3].map(|number| fresh.get(number).is_some()), [false, true, true]);
        fresh.submit(3);
        fresh.forget(3);
        assert!(fresh.0.is_empty());
    }
}
