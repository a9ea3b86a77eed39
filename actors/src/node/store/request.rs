//! Requests to the writer: a batch, the drop of a space, or a barrier, each with the callback that receives
//! the outcome.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::engine::Batch;
use super::error::StoreError;
use super::space::SpaceCell;

/// Batches of one space are joined up to this size, bytes: readers of the space wait while a batch is
/// applied.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// The moment at which a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the barrier: the write survives a power cut.
    Immediate,
    /// After the batch is applied. The barrier follows at most `every` later; a crash loses the writes since
    /// the last barrier. An inline store has no timer: the next immediate write, barrier or close makes the
    /// write durable.
    Buffered {
        /// The longest wait for the barrier.
        every: Duration,
    },
}

impl Durability {
    fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Buffered { every }, Self::Buffered { every: other }) => {
                Self::Buffered { every: every.min(other) }
            }
            _ => Self::Immediate,
        }
    }
}

/// Receives the outcome of a request.
pub(super) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The work of one request.
pub(super) enum Task {
    Write { cell: Arc<SpaceCell>, epoch: u64, batch: Batch, durability: Durability },
    DropSpace { name: Vec<u8> },
    Barrier,
}

impl Task {
    /// Returns true if the answer waits for the barrier.
    pub(super) fn needs_barrier(&self) -> bool {
        !matches!(self, Task::Write { durability: Durability::Buffered { .. }, .. })
    }

    /// Returns true if the engine accepts the keys and values of this batch.
    pub(super) fn is_valid_batch(&self) -> bool {
        matches!(self, Task::Write { batch, .. } if batch.check().is_ok())
    }

    /// Returns true if `next` can join this valid batch. A batch that will be refused stays alone, so that it
    /// takes no other with it.
    ///
    /// Engines pay per batch, not per entry: small batches that were joined are five times as fast.
    pub(super) fn can_join(&self, next: &Task) -> bool {
        let (Task::Write { cell, epoch, batch, .. }, Task::Write { cell: to, epoch: at, batch: more, .. }) =
            (self, next)
        else {
            return false;
        };
        Arc::ptr_eq(cell, to)
            && epoch == at
            && batch.bytes() + more.bytes() <= JOINED_BYTES_MAX
            && more.check().is_ok()
    }

    /// Appends a batch that [can join](Self::can_join).
    pub(super) fn join(&mut self, next: Task) {
        if let (Task::Write { batch, durability, .. }, Task::Write { batch: more, durability: other, .. }) =
            (self, next)
        {
            batch.append(more);
            *durability = durability.stricter(other);
        }
    }
}

/// One queued task and the callback for its outcome.
pub(super) struct Request {
    pub(super) task: Task,
    pub(super) done: Done,
}

impl Request {
    /// Keys and values of the batch, bytes.
    pub(super) fn bytes(&self) -> usize {
        match &self.task {
            Task::Write { batch, .. } => batch.bytes(),
            Task::DropSpace { .. } | Task::Barrier => 0,
        }
    }
}

/// Calls back with the outcome. A panic of the callback must not stop the writer.
pub(super) fn answer(done: Done, outcome: Result<(), StoreError>) {
    if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("the callback of a write panicked");
    }
}
