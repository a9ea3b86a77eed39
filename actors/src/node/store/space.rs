//! Reading a space through a handle that `close` can take back.
//!
//! A live clone of an engine's space would keep the database locked, so the engine's space lies in a cell, and is
//! only lent for the length of a closure. A read holds the cell's gate together with other reads; the writer takes
//! it alone for the moment of `apply`, so that nobody sees half a batch.

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::StoreError;
use super::engine::{self, Batch, Scan, Space};

/// Reads one space and names it in writes. Cheap to clone; answers `Closed` once the store is closed.
#[derive(Clone)]
pub struct SpaceHandle {
    pub(super) cell: Arc<SpaceCell>,
}

impl SpaceHandle {
    /// The name that the space was opened by.
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

    /// Shows `look` one consistent state of the space; no write happens meanwhile. Reads may nest.
    ///
    /// The one writer thread waits for it, and so does every space: page through long scans, wait for nothing
    /// inside, and do not write from inside.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::Dropped`].
    pub fn read<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> Result<T, StoreError> {
        // A second read lock on one thread waits for a waiting writer, which waits for the first: take one only.
        let outermost = READING.with_borrow(|cells| !cells.contains(&self.cell.address()));
        let _gate = outermost.then(|| self.cell.gate.read().unwrap_or_else(PoisonError::into_inner));
        let _reading = outermost.then(|| Reading::begin(self.cell.address()));
        let space = self.cell.state().space(&self.cell.name)?;
        Ok(look(&View { space: &*space }))
    }

    /// Takes writes again after one failed; call it when what is stored was loaded afresh. Writes that were
    /// submitted before are refused still, whenever their turn comes.
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

/// One consistent state of a space, for the length of a [`SpaceHandle::read`].
pub struct View<'a> {
    space: &'a dyn Space,
}

impl View<'_> {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] concerns this value alone.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.space.get(key)
    }

    /// Entries between the bounds, from either end.
    pub fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan<'_> {
        self.space.scan(from, to)
    }

    /// Entries whose keys begin with `prefix`, from either end.
    pub fn prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let (from, to) = engine::prefix_bounds(prefix);
        self.space.scan(from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice))
    }
}

/// What all handles of one space share.
pub(super) struct SpaceCell {
    pub(super) name: Vec<u8>,
    /// Held by every read, alone by the writer.
    gate: RwLock<()>,
    state: Mutex<State>,
}

struct State {
    access: Access,
    poisoned: bool,
    /// Counts resets: a write submitted before the last one is refused.
    epoch: u64,
}

enum Access {
    /// Cloned only under the gate, so that none is left once the gate was taken alone.
    Open(Arc<dyn Space>),
    Dropped,
    Closed,
}

impl State {
    fn space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        match &self.access {
            Access::Open(space) => Ok(space.clone()),
            Access::Dropped => Err(StoreError::Dropped { space: name.to_vec() }),
            Access::Closed => Err(StoreError::Closed),
        }
    }
}

impl SpaceCell {
    pub(super) fn new(name: &[u8], space: Arc<dyn Space>) -> Self {
        let state = State { access: Access::Open(space), poisoned: false, epoch: 0 };
        Self { name: name.to_vec(), gate: RwLock::new(()), state: Mutex::new(state) }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Applies a batch that was submitted in `epoch`, or refuses it for one that failed before it.
    pub(super) fn apply(&self, batch: &Batch, epoch: u64) -> Result<(), StoreError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
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
        let applied = super::catch("write", || space.apply(batch));
        if applied.is_err() {
            self.state().poisoned = true;
        }
        applied
    }

    /// Takes the engine's space back from every handle, once the reads under way have ended.
    pub(super) fn revoke(&self, dropped: bool) {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.state().access = if dropped { Access::Dropped } else { Access::Closed };
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

/// Whether this thread is inside a [`SpaceHandle::read`].
pub(super) fn is_reading() -> bool {
    READING.with_borrow(|cells| !cells.is_empty())
}

/// Marks a cell as being read by this thread, also while a panic unwinds.
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
