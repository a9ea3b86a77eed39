//! What handles and the writer share: the queue between them, the open spaces, the engine to lend and to take back.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::engine::{Batch, Engine, Space};
use super::space::SpaceCell;
use super::writer::{Request, Writer, answer, lock};
use super::{STATE_CLOSED, STATE_KEY, StoreError, catch};

/// Requests of one round: more would make the first wait long for its answer.
const ROUND_REQUESTS_MAX: usize = 1024;
/// Batches of one round, bytes: two of sled's segments.
const ROUND_BYTES_MAX: usize = 16 << 20;

/// What handles and writer share.
pub(super) struct Shared {
    /// Taken on close. Locked for writing by close alone.
    engine: RwLock<Option<Box<dyn Engine>>>,
    cells: Mutex<BTreeMap<Vec<u8>, Arc<SpaceCell>>>,
    own: Mutex<Option<Arc<dyn Space>>>,
    queue: Mutex<Queue>,
    wake: Condvar,
    queued_bytes: AtomicUsize,
    failure: Mutex<Failure>,
    /// How closing went, once it has.
    closed: watch::Sender<Option<Result<(), StoreError>>>,
}

/// The first failure of the store as a whole, and who wants to know.
#[derive(Default)]
struct Failure {
    error: Option<StoreError>,
    listener: Option<Box<dyn FnOnce(StoreError) + Send>>,
}

struct Queue {
    requests: VecDeque<Request>,
    /// Out while somebody drains the queue: the thread for good, an inline caller for the moment.
    writer: Option<Writer>,
    closing: bool,
}

impl Shared {
    pub(super) fn new(engine: Box<dyn Engine>, own: Arc<dyn Space>) -> Self {
        let queue = Queue { requests: VecDeque::new(), writer: Some(Writer::default()), closing: false };
        Self {
            engine: RwLock::new(Some(engine)),
            cells: Mutex::default(),
            own: Mutex::new(Some(own)),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            queued_bytes: AtomicUsize::new(0),
            failure: Mutex::default(),
            closed: watch::Sender::new(None),
        }
    }

    /// Lends the engine to `call`, unless the store is closed.
    pub(super) fn engine<T>(
        &self,
        call: impl FnOnce(&dyn Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        call(&**engine.as_ref().ok_or(StoreError::Closed)?)
    }

    /// The cell of a space, opened when it is not open.
    pub(super) fn cell(&self, name: &[u8]) -> Result<Arc<SpaceCell>, StoreError> {
        // The engine first: close takes them in this order too, so no cell is made behind its back.
        self.engine(|engine| {
            let mut cells = lock(&self.cells);
            if let Some(cell) = cells.get(name) {
                return Ok(cell.clone());
            }
            let cell = Arc::new(SpaceCell::new(name, engine.open_space(name)?));
            cells.insert(name.to_vec(), cell.clone());
            Ok(cell)
        })
    }

    /// Queues a request; answers `Closed` at once when it comes too late.
    pub(super) fn push(&self, request: Request) {
        let bytes = request.bytes();
        let mut queue = lock(&self.queue);
        if queue.closing {
            drop(queue);
            return answer(request.done, Err(StoreError::Closed));
        }
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        queue.requests.push_back(request);
        drop(queue);
        self.wake.notify_one();
    }

    /// The space was dropped; the next to open it begins an empty one.
    pub(super) fn forget(&self, name: &[u8]) {
        lock(&self.cells).remove(name);
    }

    /// Requests of so many bytes were answered.
    pub(super) fn answered(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Lets nothing in any more. The writer drains, then closes.
    pub(super) fn begin_closing(&self) {
        lock(&self.queue).closing = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        lock(&self.queue).closing
    }

    /// Tells `listener`, and nobody else, when the store as a whole fails; at once when it has.
    pub(super) fn on_failure(&self, listener: Box<dyn FnOnce(StoreError) + Send>) {
        let mut failure = lock(&self.failure);
        match failure.error.clone() {
            None => failure.listener = Some(listener),
            Some(error) => {
                drop(failure);
                listener(error);
            }
        }
    }

    pub(super) fn fail(&self, error: StoreError) {
        tracing::error!(%error, cause = error.source(), "the store failed");
        let listener = {
            let mut failure = lock(&self.failure);
            failure.error.get_or_insert_with(|| error.clone());
            failure.listener.take()
        };
        if let Some(listener) = listener {
            listener(error);
        }
    }

    /// After a panic of the writer itself: nobody may wait for an answer that cannot come.
    pub(super) fn abandon(&self) {
        let requests = {
            let mut queue = lock(&self.queue);
            queue.closing = true;
            mem::take(&mut queue.requests)
        };
        let error = StoreError::Panicked { what: "go on writing", message: "the writer thread ended".into() };
        for request in requests {
            answer(request.done, Err(error.later()));
        }
        self.closed.send_replace(Some(Err(error.later())));
        self.fail(error);
    }

    pub(super) fn closed(&self) -> watch::Receiver<Option<Result<(), StoreError>>> {
        self.closed.subscribe()
    }

    /// Works off the queue on this thread, unless somebody, perhaps a caller of this very function further up the
    /// stack, is at it already.
    pub(super) fn drain_inline(&self) {
        let mut queue = lock(&self.queue);
        let Some(mut writer) = queue.writer.take() else { return };
        loop {
            let round = queue.next_round();
            let closing = queue.closing;
            if round.is_empty() && !closing {
                queue.writer = Some(writer);
                return;
            }
            drop(queue);
            if round.is_empty() {
                return self.finish(&mut writer);
            }
            writer.round(self, round);
            queue = lock(&self.queue);
        }
    }

    /// The writer thread.
    pub(super) fn run(&self) {
        let Some(mut writer) = lock(&self.queue).writer.take() else { return };
        loop {
            let mut queue = lock(&self.queue);
            while queue.requests.is_empty() && !queue.closing {
                queue = match writer.wait() {
                    None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                    Some(Duration::ZERO) => break,
                    Some(wait) => {
                        self.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
            let round = queue.next_round();
            let closing = queue.closing;
            drop(queue);
            if round.is_empty() && closing {
                return self.finish(&mut writer);
            }
            writer.round(self, round);
        }
    }

    /// Flushes, takes every space back, notes that all is well, and lets go of the engine.
    fn finish(&self, writer: &mut Writer) {
        writer.barrier(self);
        self.revoke_all();
        let own = lock(&self.own).take();
        let noted = match (&writer.failed, own) {
            (Some(failed), _) => Err(failed.clone()),
            (None, None) => Err(StoreError::Closed),
            (None, Some(own)) => catch("note the clean close", || {
                let mut batch = Batch::default();
                batch.put(STATE_KEY, STATE_CLOSED);
                own.apply(&batch)?;
                self.engine(Engine::flush)
            }),
        };
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        self.revoke_all(); // what was opened since the first time; without an engine nothing more can be
        drop(engine);
        lock(&self.failure).listener = None;
        self.closed.send_replace(Some(noted));
    }

    fn revoke_all(&self) {
        // Out of the lock: a read that must end first may be opening another space.
        let cells = mem::take(&mut *lock(&self.cells));
        for cell in cells.into_values() {
            cell.revoke(false);
        }
    }
}

impl Queue {
    fn next_round(&mut self) -> Vec<Request> {
        let mut bytes = 0_usize;
        let fits = self.requests.iter().take(ROUND_REQUESTS_MAX).take_while(|request| {
            let before = bytes;
            bytes += request.bytes();
            before < ROUND_BYTES_MAX // the first always fits
        });
        let count = fits.count();
        self.requests.drain(..count).collect()
    }
}
