//! One writer thread; every write passes here.
//!
//! Parent: [`node`](super). Children: none. Restart: none; a store that failed escalates and the node stops.
//!
//! Writes are submitted and answered later, in order (see `store/writer.rs`); reads go straight to the engine through
//! handles that `close` takes back (see `store/space.rs`). Nothing here or above names an engine but [`StoreHandle::open`].

pub mod engine;
pub mod faulty;
pub mod memory;
pub mod sled;

mod copy;
mod error;
mod queue;
mod space;
mod writer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use schema::limits::STOP_TIMEOUT;
use tokio::sync::oneshot;

pub use self::copy::{Copied, CopyError};
pub use self::engine::Batch;
pub use self::error::{OpenError, StoreError};
pub use self::sled::SledOptions;
pub use self::space::{SpaceHandle, View};
pub use self::writer::Durability;

use self::engine::Engine;
use self::memory::MemoryDisk;
use self::queue::Shared;
use self::sled::SledEngine;
use self::writer::{Done, Request, Task};

/// The store's own space; names that begin with NUL are reserved for it.
const OWN_SPACE: &[u8] = b"\0store";
/// Whether the last close was clean.
const STATE_KEY: &[u8] = b"state";
/// How often it was not; 8 bytes big-endian.
const CRASHES_KEY: &[u8] = b"crashes";
/// Which files these were at the last open ([`Engine::place`]).
const PLACE_KEY: &[u8] = b"place";
const STATE_OPEN: &[u8] = b"open";
const STATE_CLOSED: &[u8] = b"closed";

/// Where writes are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On a thread of the store's own: for engines that wait for a disk.
    Threaded,
    /// On the caller, before `submit` returns (unless another caller is at it): for engines in memory, and for
    /// simulations, which have one thread.
    Inline,
}

/// Opens spaces, submits writes, closes. Cheap to clone; the last clone to go closes the store, after everything
/// that was submitted.
#[derive(Clone)]
pub struct StoreHandle {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    mode: Mode,
    opened_cleanly: bool,
    crashes: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl StoreHandle {
    /// Opens the database in `path`, which is created when absent. Blocks: call it off the runtime.
    ///
    /// # Errors
    /// [`OpenError`] says which of them the user can do something about.
    pub fn open(path: &Path, options: &SledOptions) -> Result<Self, OpenError> {
        Ok(Self::over(SledEngine::open(path, options)?, Mode::Threaded)?)
    }

    /// Whether a database was made in `path`, readable or not. Ask before the identity is made, and make that before
    /// the database: an identity without a database is a new start, a database without its identity is a loss.
    pub fn exists(path: &Path) -> bool {
        sled::exists(path)
    }

    /// Opens a database that nobody will find again.
    pub fn in_memory() -> Self {
        let engine = MemoryDisk::default().open().expect("nobody else has this disk");
        Self::over(engine, Mode::Inline).expect("memory does not fail")
    }

    /// Opens a store over an engine of the caller's choice.
    ///
    /// # Errors
    /// [`StoreError`] when the engine does not answer.
    pub fn over(engine: impl Engine, mode: Mode) -> Result<Self, StoreError> {
        let own = engine.open_space(OWN_SPACE)?;
        // Nothing written yet: nothing can have been lost. A damaged record: no telling what else was.
        let opened_cleanly = match own.get(STATE_KEY) {
            Ok(state) => state.is_none_or(|state| state == STATE_CLOSED),
            Err(StoreError::Damaged { .. }) => false,
            Err(other) => return Err(other),
        };
        let crashes = match own.get(CRASHES_KEY) {
            Ok(count) => count.and_then(|count| count.try_into().ok()).map_or(0, u64::from_be_bytes),
            // No telling how many: as if there had never been one, and one now.
            Err(StoreError::Damaged { .. }) => 0,
            Err(other) => return Err(other),
        };
        let place = engine.place();
        let is_copy = match own.get(PLACE_KEY) {
            Ok(before) => place.as_ref().is_some_and(|place| before.is_some_and(|before| before != *place)),
            Err(StoreError::Damaged { .. }) => true,
            Err(other) => return Err(other),
        };
        let crashes = if opened_cleanly && !is_copy { crashes } else { crashes + 1 };
        let mut batch = Batch::default();
        batch.put(STATE_KEY, STATE_OPEN);
        if let Some(place) = place {
            batch.put(PLACE_KEY, place);
        }
        batch.put(CRASHES_KEY, crashes.to_be_bytes());
        own.apply(&batch)?;
        engine.flush()?; // before the first write of anybody

        let shared = Arc::new(Shared::new(Box::new(engine), own));
        let thread = match mode {
            Mode::Inline => None,
            Mode::Threaded => {
                let writer = shared.clone();
                let spawned = thread::Builder::new().name("peerbase-store".into()).spawn(move || {
                    if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                        writer.abandon();
                    }
                });
                Some(spawned.map_err(|cause| StoreError::engine("start the writer thread", cause))?)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner { shared, mode, opened_cleanly, crashes, thread: Mutex::new(thread) }),
        })
    }

    /// Whether everything that was written before this open is here: the last close was clean, or there was none.
    pub fn opened_cleanly(&self) -> bool {
        self.inner.opened_cleanly
    }

    /// How often this database was opened after anything but a clean close, or as a copy of its files. What was made
    /// durable under another count may have been followed by writes that are lost, or that are elsewhere.
    pub fn crashes(&self) -> u64 {
        self.inner.crashes
    }

    /// Opens a space, empty when there is none of that name.
    ///
    /// # Errors
    /// [`StoreError::Reserved`] for names that begin with NUL; else closed or failed.
    pub fn space(&self, name: &[u8]) -> Result<SpaceHandle, StoreError> {
        check_name(name)?;
        Ok(SpaceHandle { cell: self.inner.shared.cell(name)? })
    }

    /// The names of all spaces, sorted.
    ///
    /// # Errors
    /// [`StoreError`] when closed or failed.
    pub fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut names = self.inner.shared.engine(Engine::spaces)?;
        names.retain(|name| name != OWN_SPACE);
        Ok(names)
    }

    /// Removes a space after what was submitted before, and returns once that is durable. Its handles answer
    /// `Dropped` from then on.
    ///
    /// # Errors
    /// [`StoreError`] when reserved, closed or failed.
    pub async fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        self.request(Task::DropSpace { name: name.to_vec() }).await
    }

    /// Queues a batch. Never waits; batches are applied and answered in the order in which they were submitted.
    ///
    /// `done` runs on the writer thread (inline: on the caller; at once when the store is closed), after the barrier
    /// or, when buffered, after the batch is applied. It must only send messages. A batch that fails poisons its
    /// space: later ones are refused until [`SpaceHandle::reset`].
    ///
    /// The queue has no bound of its own: callers bound what they have under way (one request a caller, permits for
    /// what comes from peers), and [`queued_bytes`](Self::queued_bytes) says how much that is.
    pub fn submit(
        &self,
        space: &SpaceHandle,
        batch: Batch,
        durability: Durability,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let cell = space.cell.clone();
        let epoch = cell.epoch();
        self.push(Task::Write { cell, epoch, batch, durability }, Box::new(done));
    }

    /// Submits a batch and returns once it is durable.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch will be seen after the next open unless the store as a whole failed.
    pub async fn write(&self, space: &SpaceHandle, batch: Batch) -> Result<(), StoreError> {
        let (send, receive) = oneshot::channel();
        self.submit(space, batch, Durability::Immediate, move |outcome| drop(send.send(outcome)));
        receive.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Returns once everything submitted before is durable, buffered writes too.
    ///
    /// # Errors
    /// [`StoreError`] when closed or failed.
    pub async fn barrier(&self) -> Result<(), StoreError> {
        self.request(Task::Barrier).await
    }

    /// Keys and values of batches that are not answered yet, bytes.
    pub fn queued_bytes(&self) -> usize {
        self.inner.shared.queued_bytes()
    }

    /// Tells `listener` when the store as a whole fails (a barrier that failed), at once when it has. The last
    /// listener counts; it must only send a message.
    pub fn on_failure(&self, listener: impl FnOnce(StoreError) + Send + 'static) {
        self.inner.shared.on_failure(Box::new(listener));
    }

    /// Starts the actor that stands for the store in the supervision tree: it fails when the store does, and closes
    /// the store when it is stopped.
    ///
    /// # Errors
    /// [`SpawnErr`] when the parent is no more.
    pub async fn start(&self, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Store, self.clone(), parent).await?;
        Ok(actor.get_cell())
    }

    /// Finishes what is queued, flushes, notes the clean close, takes every handle back and frees the database's
    /// lock: all of that has happened when it returns. Calls after it answer `Closed`; a second close waits for the
    /// first.
    ///
    /// # Errors
    /// [`StoreError::CloseTimedOut`] when that takes longer than `deadline` (a read that does not end); closing goes
    /// on. [`StoreError::Failed`] when the store had failed: it is closed, but not cleanly.
    pub async fn close(&self, deadline: Duration) -> Result<(), StoreError> {
        self.inner.begin_closing();
        let mut closed = self.inner.shared.closed();
        let known = closed.borrow_and_update().clone(); // inline it is over already, and there may be no timer
        let outcome = match known {
            Some(outcome) => outcome,
            None => match tokio::time::timeout(deadline, closed.wait_for(Option::is_some)).await {
                Ok(outcome) => {
                    outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(StoreError::Closed))
                }
                Err(_) => return Err(StoreError::CloseTimedOut),
            },
        };
        let thread = self.inner.thread.lock().expect("nothing panics with it").take();
        if let Some(thread) = thread {
            let _ = thread.join(); // it has nothing left to do
        }
        outcome
    }

    async fn request(&self, task: Task) -> Result<(), StoreError> {
        let (send, receive) = oneshot::channel();
        self.push(task, Box::new(move |outcome| drop(send.send(outcome))));
        receive.await.unwrap_or(Err(StoreError::Closed))
    }

    fn push(&self, task: Task, done: Done) {
        self.inner.shared.push(Request { task, done });
        self.inner.work();
    }
}

impl Inner {
    fn begin_closing(&self) {
        self.shared.begin_closing();
        self.work();
    }

    /// Inline, somebody has to do the work.
    fn work(&self) {
        if self.mode == Mode::Inline {
            assert!(!space::is_reading(), "a write from inside a read would wait for that read");
            self.shared.drain_inline();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Not joined: the last handle may go in a callback on the very thread, or on a runtime.
        self.shared.begin_closing();
        if self.mode == Mode::Inline && !space::is_reading() {
            self.shared.drain_inline();
        }
    }
}

enum Message {
    /// The store as a whole failed.
    Failed(StoreError),
}

struct Store;

impl Actor for Store {
    type Msg = Message;
    type State = StoreHandle;
    type Arguments = StoreHandle;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        store: StoreHandle,
    ) -> Result<StoreHandle, ActorProcessingErr> {
        store.on_failure(move |error| {
            if myself.cast(Message::Failed(error)).is_err() {
                tracing::debug!("the store failed after its actor had stopped");
            }
        });
        Ok(store)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        _: &mut StoreHandle,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Failed(error) => Err(error.into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Message>,
        store: &mut StoreHandle,
    ) -> Result<(), ActorProcessingErr> {
        Ok(store.close(STOP_TIMEOUT).await?)
    }
}

fn check_name(name: &[u8]) -> Result<(), StoreError> {
    if name.first() == Some(&0) { Err(StoreError::Reserved { space: name.to_vec() }) } else { Ok(()) }
}

/// Runs a call into an engine; its panic is a failure like any other.
fn catch<T>(what: &'static str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(StoreError::Panicked { what, message: panic_message(&*panic) }))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
