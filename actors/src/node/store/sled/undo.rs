//! The values that batches replaced since the last barrier, to roll back what a failed barrier refuses.
//!
//! sled writes its buffers once more when it is dropped. Without a roll-back, a batch that was refused
//! because the folder was moved would be there after the next open. A disk that takes no writes any more
//! takes no roll-back either: then the part that sled wrote before the failure may stay.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sled::IVec;

/// Replaced values that are held, bytes: the largest round of the writer, twice. With buffered durability
/// more may pass between two barriers; the oldest, whose writes were acknowledged long ago, are dropped.
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
}

impl Undo {
    /// Records the values that a batch is about to replace.
    pub(super) fn record(&self, tree: &sled::Tree, replaced: Replaced) {
        let mut state = self.state();
        state.bytes += bytes(&replaced);
        state.batches.push_back((tree.clone(), replaced));
        while state.bytes > UNDO_BYTES_MAX
            && let Some((_, oldest)) = state.batches.pop_front()
        {
            state.bytes -= bytes(&oldest);
        }
    }

    /// Forgets a tree, which was dropped.
    pub(super) fn forget(&self, name: &[u8]) {
        let mut state = self.state();
        state.batches.retain(|(tree, _)| &*tree.name() != name);
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
