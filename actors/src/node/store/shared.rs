//! State that handles and the writer share: the queue, the open spaces, the meters, the store's failure and
//! its end.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use super::engine::{Engine, Space};
use super::error::StoreError;
use super::queue::Queue;
use super::request::{Request, answer};
use super::spaces::Spaces;
use crate::meter::StoreMeters;
use crate::watchdog::Progress;

/// The outcome of closing.
pub(super) type Closed = Result<(), StoreError>;

pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) spaces: Spaces,
    pub(super) meters: Arc<StoreMeters>,
    /// The notes of the writer, once a node watches it.
    pub(super) progress: OnceLock<Progress>,
    failure: Mutex<Failure>,
    /// Set once the store is closed.
    closed: watch::Sender<Option<Closed>>,
}

/// The first failure of the store as a whole, and the callback for it.
#[derive(Default)]
struct Failure {
    error: Option<StoreError>,
    listener: Option<Box<dyn FnOnce(StoreError) + Send>>,
}

impl Shared {
    pub(super) fn new(engine: Box<dyn Engine>, own: Arc<dyn Space>) -> Self {
        let queue = Arc::<Queue>::default();
        Self {
            spaces: Spaces::new(engine, own, queue.clone()),
            queue,
            meters: Arc::default(),
            progress: OnceLock::new(),
            failure: Mutex::default(),
            closed: watch::Sender::new(None),
        }
    }

    /// Queues a request; answers [`StoreError::Closed`] at once if the store is closing.
    pub(super) fn push(&self, request: Request) {
        let bytes = request.bytes();
        self.meters.queued_bytes.add(bytes);
        if let Err(refused) = self.queue.push(request) {
            self.meters.queued_bytes.subtract(bytes);
            answer(refused.done, Err(StoreError::Closed));
        }
    }

    /// Registers the one listener for a failure of the store as a whole; calls it at once if the store has
    /// failed.
    pub(super) fn on_failure(&self, listener: Box<dyn FnOnce(StoreError) + Send>) {
        let mut failure = self.failure();
        match failure.error.clone() {
            None => failure.listener = Some(listener),
            Some(error) => {
                drop(failure);
                listener(error);
            }
        }
    }

    /// Marks the store as failed and calls the listener. The first failure counts.
    pub(super) fn fail(&self, error: StoreError) {
        tracing::error!(%error, cause = error.source(), "the store failed");
        let listener = {
            let mut failure = self.failure();
            failure.error.get_or_insert_with(|| error.clone());
            failure.listener.take()
        };
        if let Some(listener) = listener {
            listener(error);
        }
    }

    /// Ends the store after a panic of the writer itself, so that no caller waits for an answer that cannot
    /// come.
    pub(super) fn abandon(&self) {
        let error = StoreError::Panicked { what: "go on writing", message: "the writer thread ended".into() };
        for request in self.queue.close_and_drain() {
            self.meters.queued_bytes.subtract(request.bytes());
            answer(request.done, Err(error.later()));
        }
        self.closed.send_replace(Some(Err(error.later())));
        self.fail(error);
    }

    /// Publishes the outcome of closing and drops the failure listener.
    pub(super) fn end(&self, outcome: Closed) {
        self.failure().listener = None;
        self.closed.send_replace(Some(outcome));
    }

    pub(super) fn closed(&self) -> watch::Receiver<Option<Closed>> {
        self.closed.subscribe()
    }

    fn failure(&self) -> MutexGuard<'_, Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
