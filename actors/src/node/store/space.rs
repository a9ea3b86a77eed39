//! Reads of a space, through a handle that closing can revoke.
//!
//! A live clone of an engine's space would keep the database locked. So the engine's space lies in a cell and
//! is lent for the length of a closure. Reads share the cell's lock; the writer holds it exclusively during
//! `apply`, so that no read sees half a batch.

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::engine::{self, Batch, Scan, Space};
use super::error::{StoreError, catch};
use super::queue::Queue;
use super::request::{Request, Task};

/// Reads one space and addresses it in writes. Cheap to clone; answers `Closed` once the store is closed.
#[derive(Clone)]
pub struct SpaceHandle {
    pub(super) cell: Arc<SpaceCell>,
}

impl SpaceHandle {
    /// The name of the space.
    pub fn name(&self) -> &[u8] {
        &self.cell.name
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] concerns this value alone.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|view| view.get(key))?
    }

    /// Calls `look` with one consistent state of the space; no write happens meanwhile. Reads may nest.
    ///
    /// The one writer thread waits for the read, and with it every space: page through long scans, do not
    /// wait and do not write inside.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::Dropped`].
    pub fn read<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> Result<T, StoreError> {
        // A second read lock on one thread would wait for a waiting writer, which waits for the first: lock
        // once.
        let outermost = READING.with_borrow(|cells| !cells.contains(&self.cell.address()));
        let _lock = outermost.then(|| self.cell.lock.read().unwrap_or_else(PoisonError::into_inner));
        let _reading = outermost.then(|| Reading::begin(self.cell.address()));
        let space = self.cell.state().space(&self.cell.name)?;
        Ok(look(&View { space: &*space, cell: &self.cell }))
    }

    /// Accepts writes again after one failed; call it once the stored state was loaded again. Writes that
    /// were submitted before stay refused, also those that are still queued.
    pub fn reset(&self) {
        let mut state = self.cell.state();
        state.epoch += 1;
        state.poisoned = false;
    }
}

impl std::fmt::Debug for SpaceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SpaceHandle({})", self.cell.name.escape_ascii())
    }
}

/// One consistent state of a space, during a [`SpaceHandle::read`].
pub struct View<'a> {
    space: &'a dyn Space,
    cell: &'a SpaceCell,
}

impl View<'_> {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] concerns this value alone.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.space.get(key).inspect_err(|error| self.cell.doubt(error))
    }

    /// Entries between the bounds, from either end.
    pub fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan<'_> {
        let doubt =
            |entry: &Result<_, _>| entry.as_ref().err().into_iter().for_each(|error| self.cell.doubt(error));
        Box::new(self.space.scan(from, to).inspect(doubt))
    }

    /// Entries whose keys begin with `prefix`, from either end.
    pub fn prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let (from, to) = engine::prefix_bounds(prefix);
        self.scan(from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice))
    }
}

/// State that all handles of one space share.
pub(super) struct SpaceCell {
    pub(super) name: Vec<u8>,
    /// Shared by reads, exclusive for the writer.
    lock: RwLock<()>,
    state: Mutex<State>,
    queue: Arc<Queue>,
}

struct State {
    access: Access,
    poisoned: bool,
    /// Number of resets: a write that was submitted before the last one is refused.
    epoch: u64,
}

/// The engine's space, or the reason why it is gone.
pub(super) enum Access {
    /// Cloned only under the lock, so that no clone is left while the lock is held exclusively.
    Open(Arc<dyn Space>),
    Dropped,
    Closed,
    /// The barrier failed: the space may show writes that were refused.
    Failed(StoreError),
}

impl State {
    fn space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        match &self.access {
            Access::Open(space) => Ok(space.clone()),
            Access::Dropped => Err(StoreError::Dropped { space: name.to_vec() }),
            Access::Closed => Err(StoreError::Closed),
            Access::Failed(error) => Err(error.clone()),
        }
    }
}

impl SpaceCell {
    pub(super) fn new(name: &[u8], space: Arc<dyn Space>, queue: Arc<Queue>) -> Self {
        let state = State { access: Access::Open(space), poisoned: false, epoch: 0 };
        Self { name: name.to_vec(), lock: RwLock::new(()), state: Mutex::new(state), queue }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Applies a batch that was submitted in `epoch`; refuses it if an earlier batch failed.
    pub(super) fn apply(&self, batch: &Batch, epoch: u64) -> Result<(), StoreError> {
        let _lock = self.lock.write().unwrap_or_else(PoisonError::into_inner);
        let space = {
            let state = self.state();
            if state.poisoned || state.epoch != epoch {
                return Err(StoreError::Poisoned { space: self.name.clone() });
            }
            state.space(&self.name)?
        };
        if batch.is_empty() {
            return Ok(());
        }
        let applied = catch("write", || space.apply(batch));
        if applied.is_err() {
            self.state().poisoned = true;
        }
        applied
    }

    /// Revokes the engine's space from every handle, once the reads in progress have ended. `access` is not
    /// [`Access::Open`].
    pub(super) fn revoke(&self, access: Access) {
        let _lock = self.lock.write().unwrap_or_else(PoisonError::into_inner);
        self.state().access = access;
    }

    /// Has the writer find out, after a read that failed, whether the engine still works: a node that writes
    /// nothing would live on with one that does not.
    fn doubt(&self, error: &StoreError) {
        if matches!(error, StoreError::Engine { .. } | StoreError::Panicked { .. }) {
            // A store that is closing needs no answer.
            let _ = self.queue.push(Request { task: Task::Barrier, done: Box::new(|_| ()) });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

thread_local! {
    /// The cells that this thread is reading.
    static READING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Returns true if this thread is inside a [`SpaceHandle::read`].
pub(super) fn is_reading() -> bool {
    READING.with_borrow(|cells| !cells.is_empty())
}

/// Marks a cell as being read by this thread, until dropped; also while a panic unwinds.
struct Reading;

impl Reading {
    fn begin(cell: usize) -> Self {
        READING.with_borrow_mut(|cells| cells.push(cell));
        Self
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Outermost reads of different cells end in reverse order.
        READING.with_borrow_mut(|cells| cells.pop());
    }
}
