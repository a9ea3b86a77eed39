//! The writer: performs what is queued in rounds. A round applies its batches in order, flushes once, answers
//! in order.
//!
//! It runs on its own named thread, or inline on the caller if the engine needs no thread (the simulator). A
//! callback that submits again from an inline round only queues its request; the round in progress is
//! followed by one for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::{StoreError, catch};
use super::own_space;
use super::queue::Round;
use super::request::{Done, Durability, Request, Task, answer};
use super::shared::Shared;

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The error with which the store as a whole refuses every later request.
    failed: Option<StoreError>,
    /// The moment at which the barrier for buffered writes is due.
    due: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, failed: None, due: None }
    }

    /// The body of the writer thread: performs rounds until the store closes.
    pub(super) fn run(mut self) {
        loop {
            match self.shared.queue.wait_for_round(self.until_due()) {
                Round::Requests(requests) => self.perform_round(requests),
                Round::Idle => self.perform_round(Vec::new()),
                Round::Closing => return self.close(),
            }
        }
    }

    /// Performs what is queued on this thread, and returns the writer unless that closed the store.
    pub(super) fn drain(mut self) -> Option<Self> {
        loop {
            match self.shared.queue.next_round() {
                Round::Requests(requests) => self.perform_round(requests),
                Round::Idle => return Some(self),
                Round::Closing => {
                    self.close();
                    return None;
                }
            }
        }
    }

    /// Applies all requests, flushes once if one of them waits for it, answers all; flushes if the timer is
    /// due.
    fn perform_round(&mut self, round: Vec<Request>) {
        let _turn = self.shared.progress.get().map(|progress| progress.turn("write and flush"));
        let bytes: usize = round.iter().map(Request::bytes).sum();
        let needs_barrier = round.iter().any(|request| request.task.needs_barrier());
        // An engine that is closed performs nothing.
        let _ = self.shared.spaces.with_engine(|engine| {
            engine.begin_round();
            Ok(())
        });
        let answers = self.apply(round);
        // After an engine's failed write, the barrier tells whether the engine still works.
        let has_failed = answers.iter().any(|(_, outcome)| {
            matches!(
                outcome,
                Err(StoreError::Engine { .. } | StoreError::Panicked { .. } | StoreError::Failed { .. })
            )
        });
        if needs_barrier || has_failed {
            self.flush();
        }
        for (done, outcome) in answers {
            // Nothing of this round is known to be durable if its barrier failed.
            answer(done, outcome.and_then(|()| self.failed.clone().map_or(Ok(()), Err)));
        }
        self.shared.meters.queued_bytes.subtract(bytes);
        // No buffered write waits for the barrier.
        if self.until_due() == Some(Duration::ZERO) {
            self.flush();
        }
    }

    /// Performs requests in order, neighbours joined; a joined batch has one outcome.
    fn apply(&mut self, round: Vec<Request>) -> Vec<(Done, Result<(), StoreError>)> {
        let mut answers = Vec::with_capacity(round.len());
        let mut requests = round.into_iter().peekable();
        while let Some(Request { mut task, done }) = requests.next() {
            let first = answers.len();
            answers.push((done, Ok(())));
            let is_valid = task.is_valid_batch();
            while let Some(next) = requests.next_if(|next| is_valid && task.can_join(&next.task)) {
                answers.push((next.done, Ok(())));
                task.join(next.task);
            }
            let outcome = self.perform(task);
            answers[first..].iter_mut().for_each(|answer| answer.1 = outcome.clone());
        }
        answers
    }

    fn perform(&mut self, task: Task) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let meters = &self.shared.meters;
        match task {
            Task::Barrier => Ok(()),
            Task::Write { cell, epoch, batch, durability } => {
                cell.apply(&batch, epoch).inspect_err(|_| meters.refused_batches.increment())?;
                meters.written_batches.increment();
                meters.written_bytes.add(batch.bytes());
                if let Durability::Buffered { every } = durability {
                    let due = now() + every;
                    self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
                }
                Ok(())
            }
            Task::DropSpace { name } => self.shared.spaces.drop_space(&name),
        }
    }

    /// The barrier: makes durable what was applied, or fails the store for good.
    fn flush(&mut self) {
        self.due = None;
        if self.failed.is_some() {
            return;
        }
        match catch("flush", || self.shared.spaces.with_engine(Engine::flush)) {
            Ok(()) => self.shared.meters.barriers.increment(),
            Err(error) => {
                let later = error.later();
                // Before any answer: from here on nobody reads what this round is refused.
                self.shared.spaces.fail_all(&later);
                self.failed = Some(later);
                self.shared.fail(error);
            }
        }
    }

    /// Flushes, revokes every handle, notes the clean close, and closes the engine.
    fn close(mut self) {
        self.flush();
        self.shared.spaces.invalidate_all();
        let noted = match (&self.failed, self.shared.spaces.take_own()) {
            (Some(failed), _) => Err(failed.clone()),
            (None, None) => Err(StoreError::Closed),
            (None, Some(space)) => catch("note the clean close", || {
                own_space::note_clean_close(&*space)?;
                self.shared.spaces.with_engine(Engine::flush)
            }),
        };
        self.shared.spaces.close();
        self.shared.end(noted);
    }

    /// The time until the barrier for buffered writes; none if none is due.
    fn until_due(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }
}

#[expect(clippy::disallowed_methods, reason = "spaces barriers on a real thread; no simulation reads it")]
fn now() -> Instant {
    Instant::now()
}
