//! An engine for tests that wraps another and injects faults into the n-th read, write or flush.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Batch, Engine, Scan, Space};
use super::error::StoreError;

/// A script of faults. Reads of one key, writes and flushes are counted from the call that adds a fault: 1 is
/// the next. Clones share the script.
#[derive(Clone, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    reads: u64,
    writes: u64,
    flushes: u64,
    failing_reads: BTreeSet<u64>,
    write_faults: BTreeMap<u64, WriteFault>,
    flush_faults: BTreeMap<u64, FlushFault>,
}

#[derive(Clone, Copy)]
enum WriteFault {
    Fail,
    Tear { kept: usize },
    Drop,
}

#[derive(Clone, Copy)]
enum FlushFault {
    Fail,
    Drop,
}

impl Faults {
    /// The n-th read of a key from now fails.
    pub fn fail_read(&self, n: u64) {
        let mut script = self.script();
        let at = script.reads + n;
        script.failing_reads.insert(at);
    }

    /// The n-th write from now fails and changes nothing.
    pub fn fail_write(&self, n: u64) {
        self.write_fault(n, WriteFault::Fail);
    }

    /// The n-th write from now applies the first `kept` puts and removes of its batch, then fails.
    pub fn tear_write(&self, n: u64, kept: usize) {
        self.write_fault(n, WriteFault::Tear { kept });
    }

    /// The n-th write from now reports success and changes nothing.
    pub fn drop_write(&self, n: u64) {
        self.write_fault(n, WriteFault::Drop);
    }

    /// The n-th flush from now fails.
    pub fn fail_flush(&self, n: u64) {
        let mut script = self.script();
        let at = script.flushes + n;
        script.flush_faults.insert(at, FlushFault::Fail);
    }

    /// The n-th flush from now reports success and makes nothing durable.
    pub fn drop_flush(&self, n: u64) {
        let mut script = self.script();
        let at = script.flushes + n;
        script.flush_faults.insert(at, FlushFault::Drop);
    }

    fn write_fault(&self, n: u64, fault: WriteFault) {
        let mut script = self.script();
        let at = script.writes + n;
        script.write_faults.insert(at, fault);
    }

    fn fails_next_read(&self) -> bool {
        let mut script = self.script();
        script.reads += 1;
        let at = script.reads;
        script.failing_reads.remove(&at)
    }

    fn next_write(&self) -> Option<WriteFault> {
        let mut script = self.script();
        script.writes += 1;
        let at = script.writes;
        script.write_faults.remove(&at)
    }

    fn next_flush(&self) -> Option<FlushFault> {
        let mut script = self.script();
        script.flushes += 1;
        let at = script.flushes;
        script.flush_faults.remove(&at)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine that follows a script of faults.
pub struct FaultyEngine<E> {
    engine: E,
    faults: Faults,
}

impl<E: Engine> FaultyEngine<E> {
    /// Wraps `engine`; keep a clone of `faults` to write the script.
    pub fn new(engine: E, faults: Faults) -> Self {
        Self { engine, faults }
    }
}

#[doc(hidden)] // the users of `peerbase` cannot name it
impl<E: Engine> Engine for FaultyEngine<E> {
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        Ok(Arc::new(FaultySpace { space: self.engine.open_space(name)?, faults: self.faults.clone() }))
    }

    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        self.engine.drop_space(name)
    }

    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.engine.spaces()
    }

    fn flush(&self) -> Result<(), StoreError> {
        match self.faults.next_flush() {
            None => self.engine.flush(),
            Some(FlushFault::Fail) => Err(injected("flush")),
            Some(FlushFault::Drop) => Ok(()),
        }
    }
}

struct FaultySpace {
    space: Arc<dyn Space>,
    faults: Faults,
}

impl Space for FaultySpace {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.faults.fails_next_read() { Err(injected("read")) } else { self.space.get(key) }
    }

    fn scan<'a>(&'a self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan<'a> {
        self.space.scan(from, to)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        match self.faults.next_write() {
            None => self.space.apply(batch),
            Some(WriteFault::Fail) => Err(injected("write")),
            Some(WriteFault::Tear { kept }) => {
                self.space.apply(&batch.iter().take(kept).cloned().collect())?;
                Err(injected("write the rest"))
            }
            Some(WriteFault::Drop) => Ok(()),
        }
    }
}

fn injected(what: &'static str) -> StoreError {
    StoreError::engine(what, io::Error::other("injected fault"))
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Fixture, conformance};
    use super::super::memory::{MemoryDisk, MemoryEngine};
    use super::*;

    struct Faultless(MemoryDisk);

    impl Fixture for Faultless {
        type Engine = FaultyEngine<MemoryEngine>;

        fn open(&self) -> Self::Engine {
            FaultyEngine::new(self.0.open().unwrap(), Faults::default())
        }

        fn damage(&self, space: &[u8], key: &[u8]) {
            Fixture::damage(&self.0, space, key);
        }
    }

    conformance!(Faultless(MemoryDisk::default()));

    fn three() -> Batch {
        let mut batch = Batch::default();
        batch.put("a", "1");
        batch.put("b", "2");
        batch.put("c", "3");
        batch
    }

    fn written(fault: impl FnOnce(&Faults)) -> (Result<(), StoreError>, usize, Result<(), StoreError>) {
        let faults = Faults::default();
        let engine = FaultyEngine::new(MemoryDisk::default().open().unwrap(), faults.clone());
        let space = engine.open_space(b"garden").unwrap();
        space.apply(&Batch::default()).unwrap();
        fault(&faults);
        let first = space.apply(&three());
        let found = space.scan(Bound::Unbounded, Bound::Unbounded).count();
        (first, found, space.apply(&three()))
    }

    #[test]
    fn the_next_write_fails_and_the_one_after_does_not() {
        let (first, found, second) = written(|faults| faults.fail_write(1));
        assert!(matches!(first, Err(StoreError::Engine { .. })));
        assert_eq!(found, 0);
        assert!(second.is_ok());
    }

    #[test]
    fn the_second_write_fails() {
        let (first, found, second) = written(|faults| faults.fail_write(2));
        assert!(first.is_ok() && second.is_err());
        assert_eq!(found, 3);
    }

    #[test]
    fn a_torn_write_applies_the_beginning_of_its_batch() {
        let (first, found, _) = written(|faults| faults.tear_write(1, 2));
        assert!(first.is_err());
        assert_eq!(found, 2);
    }

    #[test]
    fn a_dropped_write_reports_success_and_changes_nothing() {
        let (first, found, _) = written(|faults| faults.drop_write(1));
        assert!(first.is_ok());
        assert_eq!(found, 0);
    }

    #[test]
    fn a_dropped_flush_reports_success_and_its_writes_are_lost_in_a_crash() {
        let (disk, faults) = (MemoryDisk::default(), Faults::default());
        let engine = FaultyEngine::new(disk.open().unwrap(), faults.clone());
        let space = engine.open_space(b"garden").unwrap();
        engine.flush().unwrap();
        faults.drop_flush(1);
        faults.fail_flush(2);

        space.apply(&three()).unwrap();
        engine.flush().unwrap();
        assert!(engine.flush().is_err());

        disk.crash();
        let engine = disk.open().unwrap();
        assert_eq!(engine.open_space(b"garden").unwrap().get(b"a").unwrap(), None);
    }
}
