//! The queue of requests between handles and the writer.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::request::Request;

/// Requests of one round: with more, the first of them would wait long for its answer.
const ROUND_REQUESTS_MAX: usize = 1024;
/// Batches of one round, bytes: the memory that a round holds, plus one batch.
const ROUND_BYTES_MAX: usize = 16 << 20;

/// Requests in the order in which they were submitted, until the store closes.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    closing: bool,
}

/// The work for the writer.
pub(super) enum Round {
    /// Requests that share one barrier.
    Requests(Vec<Request>),
    /// Nothing is queued.
    Idle,
    /// Nothing is queued, and the store is closing.
    Closing,
}

impl Queue {
    /// Queues a request, or returns it if the store is closing.
    pub(super) fn push(&self, request: Request) -> Result<(), Request> {
        let mut state = self.state();
        if state.closing {
            return Err(request);
        }
        state.requests.push_back(request);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Refuses every later request. The writer performs what is queued, then closes the store.
    pub(super) fn begin_closing(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Returns true if the writer has something to do.
    pub(super) fn has_work(&self) -> bool {
        let state = self.state();
        state.closing || !state.requests.is_empty()
    }

    /// Takes the next round without waiting.
    pub(super) fn next_round(&self) -> Round {
        self.state().next_round()
    }

    /// Waits for the next round; returns [`Round::Idle`] once `wait` is over, never if there is none.
    pub(super) fn wait_for_round(&self, wait: Option<Duration>) -> Round {
        let mut state = self.state();
        match wait {
            None => {
                while state.requests.is_empty() && !state.closing {
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            Some(wait) if state.requests.is_empty() && !state.closing => {
                state = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(_) => {}
        }
        state.next_round()
    }

    /// Begins closing and takes every request out.
    pub(super) fn close_and_drain(&self) -> VecDeque<Request> {
        let mut state = self.state();
        state.closing = true;
        mem::take(&mut state.requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_round(&mut self) -> Round {
        if self.requests.is_empty() {
            return if self.closing { Round::Closing } else { Round::Idle };
        }
        let mut bytes = 0_usize;
        let fits = self.requests.iter().take(ROUND_REQUESTS_MAX).take_while(|request| {
            let before = bytes;
            bytes += request.bytes();
            before < ROUND_BYTES_MAX // the first always fits
        });
        let count = fits.count();
        Round::Requests(self.requests.drain(..count).collect())
    }
}
