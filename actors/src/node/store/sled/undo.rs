//! The values that batches replaced since the last barrier, to roll back what a failed barrier refuses.
//!
//! sled writes its buffers once more when it is dropped. Without a roll-back, a batch that was refused
//! because the folder was moved would be there after the next open. A disk that takes no writes any more
//! takes no roll-back either: then the part that sled wrote before the failure may stay.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sled::IVec;

/// Replaced values of answered rounds that are held, bytes. With buffered durability many rounds pass between
/// two barriers; the oldest are dropped first. Those of the round under way, whose writes may still be
/// refused, are always held.
const UNDO_BYTES_MAX: usize = 32 << 20;
/// The memory of one key beside its bytes.
const KEY_OVERHEAD_BYTES: usize = 64;

/// Keys with their replaced values; none where there was no value.
pub(super) type Replaced = Vec<(Vec<u8>, Option<IVec>)>;

#[derive(Default)]
pub(super) struct Undo {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    batches: VecDeque<(sled::Tree, Replaced)>,
    bytes: usize,
    /// The last so many batches are of the round under way.
    of_round: usize,
}

impl Undo {
    /// Records the values that a batch is about to replace.
    pub(super) fn record(&self, tree: &sled::Tree, replaced: Replaced) {
        let mut state = self.state();
        state.bytes += bytes(&replaced);
        state.batches.push_back((tree.clone(), replaced));
        state.of_round += 1;
        while state.bytes > UNDO_BYTES_MAX
            && state.batches.len() > state.of_round
            && let Some((_, oldest)) = state.batches.pop_front()
        {
            state.bytes -= bytes(&oldest);
        }
    }

    /// Begins a round: the writes of those before were answered.
    pub(super) fn begin_round(&self) {
        self.state().of_round = 0;
    }

    /// Forgets a tree, which was dropped.
    pub(super) fn forget(&self, name: &[u8]) {
        let mut state = self.state();
        state.batches.retain(|(tree, _)| &*tree.name() != name);
        state.of_round = state.of_round.min(state.batches.len());
        state.bytes = state.batches.iter().map(|(_, replaced)| bytes(replaced)).sum();
    }

    /// Forgets everything: it is durable.
    pub(super) fn clear(&self) {
        *self.state() = State::default();
    }

    /// Returns to the values at the last barrier, the newest batch first.
    pub(super) fn roll_back(&self) {
        let State { batches, .. } = std::mem::take(&mut *self.state());
        for (tree, replaced) in batches.into_iter().rev() {
            let mut batch = sled::Batch::default();
            for (key, value) in replaced {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            // sled panics in places where it could return an error.
            let undone = catch_unwind(AssertUnwindSafe(|| tree.apply_batch(batch)));
            if !matches!(undone, Ok(Ok(()))) {
                tracing::error!("refused writes were not rolled back; some may be there after the next open");
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(replaced: &Replaced) -> usize {
    let of_one = |(key, value): &(Vec<u8>, Option<IVec>)| {
        key.len() + value.as_ref().map_or(0, |value| value.len()) + KEY_OVERHEAD_BYTES
    };
    replaced.iter().map(of_one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_under_way_is_rolled_back_whatever_its_size_and_the_oldest_answered_values_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let tree = sled::open(folder.path()).unwrap().open_tree("garden").unwrap();
        let undo = Undo::default();
        let put = |key: &[u8], value: &[u8], replaced: Vec<u8>| {
            undo.record(&tree, vec![(key.to_vec(), Some(replaced.into()))]);
            tree.insert(key, value).unwrap();
        };
        undo.begin_round();
        put(b"answered", b"2", b"1".to_vec());
        undo.begin_round();
        put(b"large", b"2", vec![1; UNDO_BYTES_MAX + 1]);
        put(b"small", b"2", b"1".to_vec());

        undo.roll_back();

        assert_eq!(tree.get(b"answered").unwrap().unwrap(), b"2", "its value was dropped to make room");
        assert_eq!(tree.get(b"large").unwrap().unwrap().len(), UNDO_BYTES_MAX + 1);
        assert_eq!(tree.get(b"small").unwrap().unwrap(), b"1");
    }
}
