//! Joins what is queued into one barrier: apply in order, flush once, answer in order.
//!
//! On its own named thread in life; inline on whoever submits when the engine needs no thread (the simulator), where
//! a callback that submits again finds the writer at work and leaves its request to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::engine::{Batch, Engine};
use super::queue::Shared;
use super::space::SpaceCell;
use super::{StoreError, catch};

/// Batches of one space that are joined into one, bytes: readers of the space wait while it is applied.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the barrier: it survives a power cut.
    Immediate,
    /// After it is applied; the barrier follows at most `every` later, and what came since the last one is lost in a
    /// crash. Inline there is no timer: the next immediate write, barrier or close makes it durable.
    Buffered {
        /// The longest wait for the barrier.
        every: Duration,
    },
}

impl Durability {
    fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Buffered { every }, Self::Buffered { every: other }) => {
                Self::Buffered { every: every.min(other) }
            }
            _ => Self::Immediate,
        }
    }
}

/// Is told how a request ended.
pub(super) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) enum Task {
    Write { cell: Arc<SpaceCell>, epoch: u64, batch: Batch, durability: Durability },
    DropSpace { name: Vec<u8> },
    Barrier,
}

impl Task {
    /// Whether its answer waits for the barrier.
    fn waits(&self) -> bool {
        !matches!(self, Task::Write { durability: Durability::Buffered { .. }, .. })
    }

    /// Whether `next` can be part of this very batch. Each batch costs sled two writes to its log, whatever it holds:
    /// joined, small ones are five times as fast. One that is going to be refused is refused alone.
    fn takes(&self, next: &Task) -> bool {
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

    fn merge(&mut self, next: Task) {
        if let (Task::Write { batch, durability, .. }, Task::Write { batch: more, durability: other, .. }) =
            (self, next)
        {
            batch.append(more);
            *durability = durability.sooner(other);
        }
    }
}

pub(super) struct Request {
    pub(super) task: Task,
    pub(super) done: Done,
}

impl Request {
    pub(super) fn bytes(&self) -> usize {
        match &self.task {
            Task::Write { batch, .. } => batch.bytes(),
            Task::DropSpace { .. } | Task::Barrier => 0,
        }
    }
}

/// What the writer remembers between rounds.
#[derive(Default)]
pub(super) struct Writer {
    /// Why the store as a whole refuses everything.
    pub(super) failed: Option<StoreError>,
    /// When the barrier for buffered writes is due.
    due: Option<Instant>,
}

impl Writer {
    /// Applies all, flushes once when somebody waits for it, answers all.
    pub(super) fn round(&mut self, shared: &Shared, round: Vec<Request>) {
        let bytes: usize = round.iter().map(Request::bytes).sum();
        let mut wanted = false;
        let mut answers = Vec::with_capacity(round.len());
        let mut requests = round.into_iter().peekable();
        while let Some(Request { mut task, done }) = requests.next() {
            wanted |= task.waits();
            let first = answers.len();
            answers.push((done, Ok(())));
            let sound = matches!(&task, Task::Write { batch, .. } if batch.check().is_ok());
            while let Some(next) = requests.next_if(|next| sound && task.takes(&next.task)) {
                wanted |= next.task.waits();
                answers.push((next.done, Ok(())));
                task.merge(next.task);
            }
            let outcome = self.perform(shared, task);
            answers[first..].iter_mut().for_each(|answer| answer.1 = outcome.clone());
        }
        if wanted || self.wait() == Some(Duration::ZERO) {
            self.barrier(shared);
        }
        for (done, outcome) in answers {
            // Nothing of this round is known to be durable once its barrier failed.
            answer(done, outcome.and_then(|()| self.failed.clone().map_or(Ok(()), Err)));
        }
        shared.answered(bytes);
    }

    fn perform(&mut self, shared: &Shared, task: Task) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        match task {
            Task::Barrier => Ok(()),
            Task::Write { cell, epoch, batch, durability } => {
                cell.apply(&batch, epoch)?;
                if let Durability::Buffered { every } = durability {
                    let due = now() + every;
                    self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
                }
                Ok(())
            }
            Task::DropSpace { name } => {
                // Its cell stays where `space` finds it until the engine is done, or the name could be opened meanwhile.
                shared.cell(&name)?.revoke(true);
                let dropped = catch("drop a space", || shared.engine(|engine| engine.drop_space(&name)));
                shared.forget(&name);
                dropped
            }
        }
    }

    /// Makes durable what was applied, or fails the store for good.
    pub(super) fn barrier(&mut self, shared: &Shared) {
        self.due = None;
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = catch("flush", || shared.engine(Engine::flush)) {
            self.failed = Some(error.later());
            shared.fail(error);
        }
    }

    /// How long the thread may sleep; `None` without end.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }
}

/// Runs a callback of somebody else's; a panic in it must not take the writer along.
pub(super) fn answer(done: Done, outcome: Result<(), StoreError>) {
    if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("a callback of a write panicked");
    }
}

#[expect(clippy::disallowed_methods, reason = "spaces barriers on a real thread; nothing a simulation sees")]
fn now() -> Instant {
    Instant::now()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
