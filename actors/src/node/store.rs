//! One writer thread performs every write of the node.
//!
//! Parent: [`node`](super). Children: none. Restart: none; a store that failed escalates and the node stops.
//!
//! Writes are submitted and answered later, in order (see `store/writer.rs`). Reads go straight to the engine
//! through handles that closing revokes (see `store/space.rs`). Engines stand behind the traits in
//! `store/engine.rs`; this file alone lists them and picks the default. `store/conformance.rs` tests each of
//! them against the same promises.

pub mod engine;
pub mod faulty;
pub mod memory;
pub mod sled;

mod copy;
mod error;
mod folder;
mod own_space;
mod queue;
mod request;
mod shared;
mod space;
mod spaces;
mod writer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use schema::limits::STOP_TIMEOUT;
use tokio::sync::oneshot;

pub use self::copy::{Copied, CopyError};
pub use self::engine::{Batch, Mode, OpenEngine};
pub use self::error::{OpenError, StoreError};
pub use self::request::Durability;
pub use self::sled::SledOptions;
pub use self::space::{SpaceHandle, View};

use self::engine::Engine;
use self::memory::MemoryDisk;
use self::own_space::OWN_SPACE;
use self::request::{Done, Request, Task};
use self::shared::Shared;
use self::writer::Writer;
use crate::meter::StoreMeters;
use crate::watchdog::Progress;

/// The engine of a database on disk whose owner chose none.
pub fn default_engine() -> Arc<dyn OpenEngine> {
    Arc::new(SledOptions::default())
}

/// Opens spaces, submits writes, closes. Cheap to clone; dropping the last clone closes the store, after
/// everything that was submitted.
#[derive(Clone)]
pub struct StoreHandle {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    opened_cleanly: bool,
    crashes: u64,
    work: Work,
}

/// The place where the writer runs.
enum Work {
    Threaded(Mutex<Option<JoinHandle<()>>>),
    /// None while a caller performs a round, and once closed.
    Inline(Mutex<Option<Writer>>),
}

impl StoreHandle {
    /// Opens the database in `folder`, which is created if absent. Blocks: call it off the runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path, engine: &dyn OpenEngine) -> Result<Self, OpenError> {
        Ok(Self::start_writer(engine.open_in(folder)?, engine.mode())?)
    }

    /// Opens a database in memory, which is gone once it is closed.
    pub fn in_memory() -> Self {
        let engine = MemoryDisk::default().open().expect("the disk is new, so no other engine has it open");
        Self::over(engine, Mode::Inline).expect("memory does not fail")
    }

    /// Opens a store over an open engine.
    ///
    /// # Errors
    /// [`StoreError`] if the first read or write fails.
    pub fn over(engine: impl Engine, mode: Mode) -> Result<Self, StoreError> {
        Self::start_writer(Box::new(engine), mode)
    }

    fn start_writer(engine: Box<dyn Engine>, mode: Mode) -> Result<Self, StoreError> {
        let opened = own_space::note_open(&*engine)?;
        let shared = Arc::new(Shared::new(engine, opened.space));
        let writer = Writer::new(shared.clone());
        let work = match mode {
            Mode::Inline => Work::Inline(Mutex::new(Some(writer))),
            Mode::Threaded => {
                let abandoned = shared.clone();
                let spawned = thread::Builder::new().name("peerbase-store".into()).spawn(move || {
                    if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                        abandoned.abandon();
                    }
                });
                let thread = spawned.map_err(|cause| StoreError::engine("start the writer thread", cause))?;
                Work::Threaded(Mutex::new(Some(thread)))
            }
        };
        let (opened_cleanly, crashes) = (opened.cleanly, opened.crashes);
        Ok(Self { inner: Arc::new(Inner { shared, opened_cleanly, crashes, work }) })
    }

    /// Returns true if everything that was written before this open is here: the last close was clean, or
    /// this is the first open.
    pub fn opened_cleanly(&self) -> bool {
        self.inner.opened_cleanly
    }

    /// Number of opens of this database that followed anything but a clean close, or that were of a copy of
    /// its files. Writes that were durable under another count may have been followed by writes that are lost
    /// or elsewhere.
    pub fn crashes(&self) -> u64 {
        self.inner.crashes
    }

    /// Opens a space, which is empty if there is none of that name.
    ///
    /// # Errors
    /// [`StoreError::Reserved`] for names that begin with NUL; else closed or failed.
    pub fn space(&self, name: &[u8]) -> Result<SpaceHandle, StoreError> {
        check_name(name)?;
        Ok(SpaceHandle { cell: self.inner.shared.spaces.cell(name)? })
    }

    /// The names of all spaces, sorted.
    ///
    /// # Errors
    /// [`StoreError`] when closed or failed.
    pub fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut names = self.inner.shared.spaces.names()?;
        names.retain(|name| name != OWN_SPACE);
        Ok(names)
    }

    /// Removes a space, after the writes that were submitted before, and returns once that is durable. Its
    /// handles answer [`StoreError::Dropped`] from then on.
    ///
    /// # Errors
    /// [`StoreError`] when reserved, closed or failed.
    pub async fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        self.request(Task::DropSpace { name: name.to_vec() }).await
    }

    /// Queues a batch. Never waits; batches are applied and answered in the order in which they were
    /// submitted.
    ///
    /// `done` runs on the writer thread (inline: on the caller; at once if the store is closed), after the
    /// barrier or, if buffered, after the batch is applied. It must only send messages. A batch that fails
    /// poisons its space: later ones are refused until [`SpaceHandle::reset`].
    ///
    /// The queue has no bound of its own: callers bound their unanswered writes (one request per caller,
    /// permits for input from peers), and [`queued_bytes`](Self::queued_bytes) shows the sum.
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
    /// [`StoreError`]; the batch is then not readable. After the next open it is absent, unless the store as
    /// a whole failed and its engine could not roll it back.
    pub async fn write(&self, space: &SpaceHandle, batch: Batch) -> Result<(), StoreError> {
        let (send, receive) = oneshot::channel();
        self.submit(space, batch, Durability::Immediate, move |outcome| drop(send.send(outcome)));
        receive.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Returns once everything that was submitted before is durable, buffered writes too.
    ///
    /// # Errors
    /// [`StoreError`] when closed or failed.
    pub async fn barrier(&self) -> Result<(), StoreError> {
        self.request(Task::Barrier).await
    }

    /// Keys and values of batches that are not answered yet, bytes.
    pub fn queued_bytes(&self) -> usize {
        usize::try_from(self.inner.shared.meters.queued_bytes.get()).unwrap_or(usize::MAX)
    }

    /// The meters of this store.
    pub fn meters(&self) -> Arc<StoreMeters> {
        self.inner.shared.meters.clone()
    }

    /// Calls `listener` once the store as a whole fails (its barrier failed), at once if it has. A later
    /// listener replaces an earlier one. It must only send a message.
    pub fn on_failure(&self, listener: impl FnOnce(StoreError) + Send + 'static) {
        self.inner.shared.on_failure(Box::new(listener));
    }

    /// Notes the rounds of the writer in `progress`.
    pub(crate) fn watch(&self, progress: Progress) {
        // A store has one node.
        let _ = self.inner.shared.progress.set(progress);
    }

    /// Starts the actor that represents the store in the supervision tree: it fails when the store does, and
    /// closes the store when it is stopped.
    ///
    /// # Errors
    /// [`SpawnErr`] when the parent has ended.
    pub async fn start(&self, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Store, self.clone(), parent).await?;
        Ok(actor.get_cell())
    }

    /// Performs what is queued, flushes, notes the clean close, revokes every handle and frees the database's
    /// lock; all of that has happened when it returns. Later calls answer [`StoreError::Closed`]; a second
    /// close waits for the first.
    ///
    /// # Errors
    /// [`StoreError::CloseTimedOut`] if that takes longer than `deadline` (a read that does not end); closing
    /// continues. [`StoreError::Failed`] if the store had failed: it is closed, but not cleanly.
    pub async fn close(&self, deadline: Duration) -> Result<(), StoreError> {
        self.inner.begin_closing();
        let mut closed = self.inner.shared.closed();
        // An inline store is closed already, and there may be no timer.
        let known = closed.borrow_and_update().clone();
        let outcome = match known {
            Some(outcome) => outcome,
            None => match tokio::time::timeout(deadline, closed.wait_for(Option::is_some)).await {
                Ok(outcome) => {
                    outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(StoreError::Closed))
                }
                Err(_) => return Err(StoreError::CloseTimedOut),
            },
        };
        if let Some(thread) = self.inner.thread() {
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
        self.inner.drain_inline();
    }
}

impl Inner {
    fn begin_closing(&self) {
        self.shared.queue.begin_closing();
        self.drain_inline();
    }

    /// Performs what is queued on this thread if the store is inline.
    ///
    /// # Panics
    /// From inside a read, for which the write would wait.
    fn drain_inline(&self) {
        if let Work::Inline(idle) = &self.work {
            assert!(!space::is_reading(), "a write from inside a read would wait for that read");
            self.drain(idle);
        }
    }

    /// Lends the writer to this thread until nothing is queued. A caller that finds none leaves its request
    /// to the caller that has it, which may be the same thread further up the stack.
    fn drain(&self, idle: &Mutex<Option<Writer>>) {
        let idle = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Checked again after the writer is back: a request may have been queued just before.
        while self.shared.queue.has_work() {
            let Some(writer) = idle().take() else { return };
            let writer = writer.drain();
            *idle() = writer;
        }
    }

    /// Takes the writer thread, if the store has one and nobody has joined it yet.
    fn thread(&self) -> Option<JoinHandle<()>> {
        match &self.work {
            Work::Threaded(thread) => thread.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Work::Inline(_) => None,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.begin_closing();
        // The thread is not joined: the last handle may be dropped in a callback on that thread, or on a
        // runtime.
        if let Work::Inline(idle) = &self.work
            && !space::is_reading()
        {
            self.drain(idle);
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
