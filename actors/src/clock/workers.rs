//! The threads for long work: queues take turns, so that no slice waits for all that another queue holds.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The threads on which slices of long work run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// One thread for what peers send, before it is judged: most of it is short, and waits for nothing long.
    Reading,
    /// The threads for Automerge, which works on what is accepted already.
    Automerge,
}

impl Lane {
    fn workers(self) -> &'static Workers {
        static READING: LazyLock<Workers> = LazyLock::new(|| Workers::new(1));
        // One core for the runtime, and one for reading.
        static AUTOMERGE: LazyLock<Workers> = LazyLock::new(|| {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            Workers::new(cores.saturating_sub(2).max(1))
        });
        match self {
            Self::Reading => &READING,
            Self::Automerge => &AUTOMERGE,
        }
    }
}

/// A queue of slices of long work; the queues of a lane take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkQueue {
    lane: Lane,
    number: u64,
}

impl WorkQueue {
    /// Another queue than all before.
    pub fn new(lane: Lane) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { lane, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Waits for a worker; it is free again when it is dropped.
    pub(super) async fn acquire(self) -> Worker {
        self.lane.workers().acquire(self.number).await
    }
}

/// Workers, as permits. Clones are the same ones.
#[derive(Clone, Debug)]
struct Workers(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Queues<oneshot::Sender<Worker>>,
}

impl Workers {
    fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiting: Queues::default() })))
    }

    async fn acquire(&self, queue: u64) -> Worker {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Worker(Some(self.clone()));
            }
            let (sender, waiting) = oneshot::channel();
            state.waiting.push(queue, sender, oneshot::Sender::is_closed);
            waiting
        };
        waiting.await.expect("nobody else drops the sender")
    }

    fn release(self) {
        let mut worker = Worker(Some(self.clone()));
        loop {
            let mut state = self.state();
            let Some(next) = state.waiting.pop() else {
                state.free += 1;
                worker.0 = None;
                return;
            };
            drop(state);
            match next.send(worker) {
                Ok(()) => return,
                // This one gave up.
                Err(back) => worker = back,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker in use; none once it is released.
#[derive(Debug)]
pub(super) struct Worker(Option<Workers>);

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(workers) = self.0.take() {
            workers.release();
        }
    }
}

/// Those that wait (pure).
#[derive(Debug)]
struct Queues<W> {
    queues: BTreeMap<u64, VecDeque<W>>,
    /// The queue that had its turn last.
    last: u64,
}

impl<W> Default for Queues<W> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), last: 0 }
    }
}

impl<W> Queues<W> {
    /// Appends a waiter; those of its queue that gave up leave, so that they do not pile up.
    fn push(&mut self, queue: u64, waiter: W, gave_up: impl Fn(&W) -> bool) {
        let queue = self.queues.entry(queue).or_default();
        queue.retain(|waiter| !gave_up(waiter));
        queue.push_back(waiter);
    }

    /// The first one of the next queue.
    fn pop(&mut self) -> Option<W> {
        let after = self.queues.range((Excluded(self.last), Unbounded)).next();
        let number = after.or_else(|| self.queues.iter().next()).map(|(number, _)| *number)?;
        let queue = self.queues.get_mut(&number)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&number);
        }
        self.last = number;
        waiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_queue_keeps_no_other_waiting() {
        let mut queues = Queues::default();
        for number in 0..4 {
            queues.push(1, ("ada", number), |_| false);
        }
        assert_eq!(queues.pop(), Some(("ada", 0)));
        queues.push(7, ("ben", 0), |_| false);
        queues.push(0, ("cid", 0), |_| false);

        let order = [("ben", 0), ("cid", 0), ("ada", 1), ("ada", 2), ("ada", 3)];
        assert_eq!(order.map(Some), std::array::from_fn(|_| queues.pop()));
        assert_eq!(queues.pop(), None);
    }

    /// A peer that reconnects in a loop leaves a waiter behind each time.
    #[test]
    fn waiters_that_gave_up_do_not_pile_up() {
        let mut queues = Queues::default();
        for number in 0..100 {
            queues.push(1, number, |waiter| *waiter != number);
        }
        assert_eq!(queues.queues[&1].len(), 1);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_loses_no_worker() {
        let workers = Workers::new(1);
        let queue = 1;
        let first = workers.acquire(queue).await;
        let mut gives_up = Box::pin(workers.acquire(queue));
        assert!(futures_util::poll!(&mut gives_up).is_pending());
        let mut too_late = Box::pin(workers.acquire(queue));
        assert!(futures_util::poll!(&mut too_late).is_pending());

        drop(gives_up);
        drop(first);
        drop(too_late);
        workers.acquire(queue).await;
    }
}
