//! An engine in memory, whose simulated disk can lose power on command.
//!
//! A [`MemoryDisk`] outlives the engines that open it, as a disk outlives processes. [`MemoryDisk::crash`]
//! undoes every write that was applied but not flushed, and the engine that was open then fails from there
//! on.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::engine::{self, Batch, Engine, Entry, Mode, OpenEngine, Scan, Space, Write};
use super::error::{OpenError, StoreError};

type Name = Vec<u8>;
type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The contents of an in-memory database between two opens. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    platters: Arc<RwLock<Platters>>,
}

#[derive(Default)]
struct Platters {
    /// Sealed values of every space, flushed or not.
    spaces: BTreeMap<Name, Map>,
    /// Steps that undo the writes since the last flush, newest last.
    undo: Vec<Undo>,
    /// Number of opens and crashes; an engine of an earlier one fails.
    generation: u64,
    open: bool,
    /// Flushes until the planned crash, if one is planned.
    flushes_left: Option<u64>,
}

enum Undo {
    Opened { space: Name },
    Dropped { space: Name, held: Map },
    Wrote { space: Name, key: Vec<u8>, before: Option<Vec<u8>> },
}

impl MemoryDisk {
    /// Opens the database on this disk.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while another engine has it open.
    pub fn open(&self) -> Result<MemoryEngine, OpenError> {
        let mut platters = self.write();
        if platters.open {
            return Err(OpenError::Locked { path: "memory".into() });
        }
        platters.open = true;
        platters.generation += 1;
        Ok(MemoryEngine { disk: self.clone(), generation: platters.generation })
    }

    /// Cuts the power: undoes the writes that were not flushed. The engine that was open answers `Closed`
    /// from now on.
    pub fn crash(&self) {
        let mut platters = self.write();
        platters.generation += 1;
        platters.open = false;
        while let Some(undo) = platters.undo.pop() {
            match undo {
                Undo::Opened { space } => drop(platters.spaces.remove(&space)),
                Undo::Dropped { space, held } => drop(platters.spaces.insert(space, held)),
                Undo::Wrote { space, key, before } => {
                    let map = platters.spaces.get_mut(&space).expect("undone in reverse order");
                    match before {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
            }
        }
    }

    /// Plans a crash right after the n-th flush from now, 1 is the next: the engine that is open then answers
    /// `Closed`.
    pub fn crash_after_flush(&self, n: u64) {
        self.write().flushes_left = Some(n);
    }

    /// Flips a bit of a stored value, as failing hardware would; returns false if there is no such value.
    pub fn damage(&self, space: &[u8], key: &[u8]) -> bool {
        let mut platters = self.write();
        let byte = platters.spaces.get_mut(space).and_then(|map| map.get_mut(key)?.first_mut());
        byte.map(|byte| *byte ^= 1).is_some()
    }

    /// Flips a bit of every stored value whose key begins with `prefix`; returns their number.
    pub fn damage_all(&self, space: &[u8], prefix: &[u8]) -> usize {
        let mut platters = self.write();
        let values = platters.spaces.get_mut(space).into_iter().flatten();
        let bytes =
            values.filter(|(key, _)| key.starts_with(prefix)).filter_map(|(_, value)| value.first_mut());
        bytes.map(|byte| *byte ^= 1).count()
    }

    fn read(&self) -> RwLockReadGuard<'_, Platters> {
        self.platters.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Platters> {
        self.platters.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenEngine for MemoryDisk {
    fn open_in(&self, _: &Path) -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(self.open()?))
    }

    fn exists_in(&self, _: &Path) -> bool {
        !self.read().spaces.is_empty()
    }

    fn mode(&self) -> Mode {
        Mode::Inline
    }
}

/// An open in-memory database; see [`MemoryDisk::open`].
pub struct MemoryEngine {
    disk: MemoryDisk,
    generation: u64,
}

impl Drop for MemoryEngine {
    fn drop(&mut self) {
        let mut platters = self.disk.write();
        if platters.generation == self.generation {
            platters.open = false;
            platters.generation += 1;
        }
    }
}

impl Engine for MemoryEngine {
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        let mut platters = self.disk.write();
        check_generation(&platters, self.generation)?;
        if !platters.spaces.contains_key(name) {
            platters.spaces.insert(name.to_vec(), Map::new());
            platters.undo.push(Undo::Opened { space: name.to_vec() });
        }
        Ok(Arc::new(MemorySpace {
            disk: self.disk.clone(),
            generation: self.generation,
            name: name.to_vec(),
        }))
    }

    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        let mut platters = self.disk.write();
        check_generation(&platters, self.generation)?;
        if let Some(held) = platters.spaces.remove(name) {
            platters.undo.push(Undo::Dropped { space: name.to_vec(), held });
        }
        Ok(())
    }

    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let platters = self.disk.read();
        check_generation(&platters, self.generation)?;
        Ok(platters.spaces.keys().cloned().collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut platters = self.disk.write();
        check_generation(&platters, self.generation)?;
        platters.undo.clear();
        platters.flushes_left = platters.flushes_left.map(|left| left.saturating_sub(1));
        if platters.flushes_left == Some(0) {
            platters.flushes_left = None;
            platters.generation += 1;
            platters.open = false;
        }
        Ok(())
    }
}

fn check_generation(platters: &Platters, generation: u64) -> Result<(), StoreError> {
    if platters.generation == generation { Ok(()) } else { Err(StoreError::Closed) }
}

struct MemorySpace {
    disk: MemoryDisk,
    generation: u64,
    name: Name,
}

impl MemorySpace {
    /// Calls `look` with the entries, under the lock.
    fn look<T>(&self, look: impl FnOnce(&Map) -> T) -> Result<T, StoreError> {
        let platters = self.disk.read();
        check_generation(&platters, self.generation)?;
        let map = platters.spaces.get(&self.name);
        map.map(look).ok_or_else(|| StoreError::Dropped { space: self.name.clone() })
    }

    fn unseal(&self, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let value = engine::unseal(key, sealed).map(<[u8]>::to_vec);
        value.ok_or_else(|| StoreError::Damaged { space: self.name.clone(), key: key.to_vec() })
    }
}

impl Space for MemorySpace {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.look(|map| map.get(key).map(|sealed| self.unseal(key, sealed)).transpose())?
    }

    fn scan<'a>(&'a self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan<'a> {
        Box::new(Steps {
            space: self,
            from: from.map(<[u8]>::to_vec),
            to: to.map(<[u8]>::to_vec),
            ended: false,
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        batch.check()?;
        let mut platters = self.disk.write();
        check_generation(&platters, self.generation)?;
        let Platters { spaces, undo, .. } = &mut *platters;
        let Some(map) = spaces.get_mut(&self.name) else {
            return Err(StoreError::Dropped { space: self.name.clone() });
        };
        for write in batch.iter() {
            let (key, before) = match write {
                Write::Put { key, value } => (key, map.insert(key.clone(), engine::seal(key, value.clone()))),
                Write::Remove { key } => (key, map.remove(key)),
            };
            undo.push(Undo::Wrote { space: self.name.clone(), key: key.clone(), before });
        }
        Ok(())
    }
}

/// A scan that locks the disk for one step at a time.
struct Steps<'a> {
    space: &'a MemorySpace,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    ended: bool,
}

impl Steps<'_> {
    fn step(&mut self, front: bool) -> Option<Result<Entry, StoreError>> {
        let (from, to) = (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice));
        if self.ended || engine::bounds_cross(from, to) {
            return None;
        }
        let found = self.space.look(|map| {
            let mut range = map.range::<[u8], _>((from, to));
            let (key, sealed) = if front { range.next() } else { range.next_back() }?;
            Some((key.clone(), self.space.unseal(key, sealed)))
        });
        match found {
            Ok(Some((key, value))) => {
                let bound = if front { &mut self.from } else { &mut self.to };
                *bound = Bound::Excluded(key.clone());
                Some(value.map(|value| (key, value)))
            }
            Ok(None) => None,
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

impl DoubleEndedIterator for Steps<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Fixture, conformance};
    use super::*;

    impl Fixture for MemoryDisk {
        type Engine = MemoryEngine;

        fn open(&self) -> MemoryEngine {
            MemoryDisk::open(self).unwrap()
        }

        fn damage(&self, space: &[u8], key: &[u8]) {
            assert!(MemoryDisk::damage(self, space, key));
        }
    }

    conformance!(MemoryDisk::default());

    fn put(space: &dyn Space, key: &str, value: &str) {
        let mut batch = Batch::default();
        batch.put(key, value);
        space.apply(&batch).unwrap();
    }

    #[test]
    fn a_crash_undoes_the_writes_since_the_last_flush() {
        let disk = MemoryDisk::default();
        let engine = disk.open().unwrap();
        let garden = engine.open_space(b"garden").unwrap();
        put(&*garden, "rose", "red");
        put(&*engine.open_space(b"house").unwrap(), "door", "green");
        engine.flush().unwrap();
        put(&*garden, "rose", "yellow");
        put(&*garden, "rose", "blue");
        put(&*garden, "lily", "white");
        engine.drop_space(b"house").unwrap();
        put(&*engine.open_space(b"house").unwrap(), "door", "brown");
        put(&*engine.open_space(b"shed").unwrap(), "spade", "new");

        disk.crash();

        let engine = disk.open().unwrap();
        assert_eq!(engine.spaces().unwrap(), [&b"garden"[..], b"house"]);
        let garden = engine.open_space(b"garden").unwrap();
        assert_eq!(garden.get(b"rose").unwrap().unwrap(), b"red");
        assert_eq!(garden.get(b"lily").unwrap(), None);
        assert_eq!(engine.open_space(b"house").unwrap().get(b"door").unwrap().unwrap(), b"green");
    }

    #[test]
    fn an_engine_that_crashed_cannot_touch_the_disk_again() {
        let disk = MemoryDisk::default();
        let before = disk.open().unwrap();
        let garden = before.open_space(b"garden").unwrap();
        before.flush().unwrap();
        disk.crash();
        let after = disk.open().unwrap();

        let mut batch = Batch::default();
        batch.put("rose", "red");
        assert!(matches!(garden.apply(&batch), Err(StoreError::Closed)));
        assert!(matches!(garden.get(b"rose"), Err(StoreError::Closed)));
        drop((garden, before));

        assert!(matches!(disk.open(), Err(OpenError::Locked { .. })), "the new engine still has it open");
        after.flush().unwrap();
    }

    #[test]
    fn a_disk_is_open_once_at_a_time() {
        let disk = MemoryDisk::default();
        let engine = disk.open().unwrap();
        assert!(matches!(disk.open(), Err(OpenError::Locked { .. })));
        drop(engine);
        assert!(disk.open().is_ok());
    }
}
