//! The open engine and its open spaces, until closing revokes both.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::engine::{Engine, Space};
use super::error::{StoreError, catch};
use super::queue::Queue;
use super::space::{Access, SpaceCell};

pub(super) struct Spaces {
    /// None once closed. Only `close` locks it for writing.
    engine: RwLock<Option<Box<dyn Engine>>>,
    cells: Mutex<BTreeMap<Vec<u8>, Arc<SpaceCell>>>,
    /// The error of every later read, once the barrier has failed.
    failed: OnceLock<StoreError>,
    /// The store's own space; None once closed.
    own: Mutex<Option<Arc<dyn Space>>>,
    queue: Arc<Queue>,
}

impl Spaces {
    pub(super) fn new(engine: Box<dyn Engine>, own: Arc<dyn Space>, queue: Arc<Queue>) -> Self {
        let (engine, own) = (RwLock::new(Some(engine)), Mutex::new(Some(own)));
        Self { engine, cells: Mutex::default(), failed: OnceLock::new(), own, queue }
    }

    /// Lends the engine to `call`.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or the error of `call`.
    pub(super) fn with_engine<T>(
        &self,
        call: impl FnOnce(&dyn Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        call(&**engine.as_ref().ok_or(StoreError::Closed)?)
    }

    /// The cell of a space, which is opened if it is not open yet.
    pub(super) fn cell(&self, name: &[u8]) -> Result<Arc<SpaceCell>, StoreError> {
        // The engine is locked before the cells, in the order in which `close` locks them: no cell is made
        // meanwhile.
        self.with_engine(|engine| {
            let mut cells = self.cells();
            if let Some(cell) = cells.get(name) {
                return Ok(cell.clone());
            }
            self.check()?;
            let cell = Arc::new(SpaceCell::new(name, engine.open_space(name)?, self.queue.clone()));
            cells.insert(name.to_vec(), cell.clone());
            Ok(cell)
        })
    }

    /// The names of all spaces, the store's own too.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.check()?;
        self.with_engine(Engine::spaces)
    }

    /// Answers every later read with `error`, once the reads in progress have ended: the engine may show
    /// writes that are about to be refused.
    pub(super) fn fail_all(&self, error: &StoreError) {
        let cells: Vec<_> = {
            // Set under the lock of the cells, so that no cell is made open afterwards.
            let cells = self.cells();
            let _ = self.failed.set(error.clone());
            cells.values().cloned().collect()
        };
        for cell in cells {
            cell.revoke(Access::Failed(error.clone()));
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Removes a space from the engine. Its handles answer [`StoreError::Dropped`] from then on.
    pub(super) fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        // The cell stays listed until the engine is done; else the name could be opened again meanwhile.
        self.cell(name)?.revoke(Access::Dropped);
        let dropped = catch("drop a space", || self.with_engine(|engine| engine.drop_space(name)));
        self.cells().remove(name);
        dropped
    }

    /// The store's own space; none once closed.
    pub(super) fn own(&self) -> Option<Arc<dyn Space>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the store's own space, for the last write into it.
    pub(super) fn take_own(&self) -> Option<Arc<dyn Space>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Invalidates every handle after the reads in progress.
    pub(super) fn invalidate_all(&self) {
        // Out of the lock: a read that must end first may be opening another space.
        let cells = mem::take(&mut *self.cells());
        for cell in cells.into_values() {
            cell.revoke(Access::Closed);
        }
    }

    /// Closes the engine, which frees its lock, and invalidates handles opened since the last
    /// [`invalidate_all`](Self::invalidate_all).
    pub(super) fn close(&self) {
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        self.invalidate_all(); // without an engine nothing more can be opened
        drop(engine);
    }

    fn cells(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Arc<SpaceCell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
