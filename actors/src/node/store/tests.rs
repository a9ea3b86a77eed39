//! The promises of the store above its engine. This file holds the helpers of the tests.

mod actor;
mod close;
mod failure;
mod reading;
mod writing;

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::engine::Space;
use super::faulty::{Faults, FaultyEngine};
use super::memory::MemoryEngine;
use super::own_space::{OWN_SPACE, STATE_KEY};
use super::*;

const SOON: Duration = Duration::from_secs(20);
const BUFFERED: Durability = Durability::Buffered { every: Duration::from_secs(3600) };

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

fn text(space: &SpaceHandle, key: &str) -> Option<String> {
    space.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
}

fn faulty(mode: Mode) -> (StoreHandle, Faults, MemoryDisk) {
    let (disk, faults) = (MemoryDisk::default(), Faults::default());
    let engine = FaultyEngine::new(disk.open().unwrap(), faults.clone());
    (StoreHandle::over(engine, mode).unwrap(), faults, disk)
}

/// An engine whose flush waits for the test, which so controls what is queued meanwhile.
struct Slow<E> {
    engine: E,
    flushing: mpsc::Sender<()>,
    permits: Mutex<mpsc::Receiver<()>>,
}

impl<E: Engine> Engine for Slow<E> {
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        self.engine.open_space(name)
    }

    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        self.engine.drop_space(name)
    }

    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.engine.spaces()
    }

    fn flush(&self) -> Result<(), StoreError> {
        let _ = self.flushing.send(());
        let _ = self.permits.lock().unwrap().recv(); // once the test has ended, every flush ends
        self.engine.flush()
    }
}

/// A store over a [`Slow`] engine; a receiver of each flush that begins; a sender that ends one.
fn slow() -> (StoreHandle, mpsc::Receiver<()>, mpsc::Sender<()>) {
    slow_over(MemoryDisk::default().open().unwrap())
}

fn slow_over(engine: impl Engine) -> (StoreHandle, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (flushing, begun) = mpsc::channel();
    let (permit, permits) = mpsc::channel();
    permit.send(()).unwrap(); // for the flush of the open
    let engine = Slow { engine, flushing, permits: Mutex::new(permits) };
    let store = StoreHandle::over(engine, Mode::Threaded).unwrap();
    begun.recv().unwrap();
    (store, begun, permit)
}
