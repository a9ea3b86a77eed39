//! One space in one sled tree. Big values are split into parts, so that no page outgrows the log.
//!
//! Keys, by their first byte: 1 + key → the record of the value; 2 + name → one part; 3 + key → nothing, a
//! mark that the value of this key is split (all marks are held in memory). A record: body, one byte of kind,
//! CRC-32 over the stored key and all bytes before. Kind 0: the body is the value. Kind 1: the body is the
//! value's length (8 bytes, little endian), then the 32-byte names of its parts. The name of a part hashes
//! its owner, its position and its content: a part never changes and never has two owners.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use schema::id::hash;

use super::super::engine::{self, Batch, Entry, Scan, Space, Write};
use super::super::error::StoreError;
use super::Health;
use super::undo::{Replaced, Undo};

/// Values above this are split into parts of this size, bytes: 17 of them, a full leaf about to split, stay
/// in sled's log.
pub(super) const PART_BYTES: usize = 64 << 10;

const KEY: u8 = 1;
const PART: u8 = 2;
const MARK: u8 = 3;
const WHOLE: u8 = 0;
const SPLIT: u8 = 1;

type Name = [u8; 32];

pub(super) struct SledSpace {
    name: Vec<u8>,
    tree: sled::Tree,
    health: Arc<Health>,
    undo: Arc<Undo>,
    /// Keys with split values.
    split: Mutex<BTreeSet<Vec<u8>>>,
}

/// A record with the right checksum.
enum Record {
    Whole(Vec<u8>),
    Split { bytes: u64, parts: Vec<Name> },
}

impl SledSpace {
    pub(super) fn open(
        name: &[u8],
        tree: sled::Tree,
        health: Arc<Health>,
        undo: Arc<Undo>,
    ) -> Result<Self, StoreError> {
        let marks = health.read("read the marks of a space", || {
            tree.range([MARK]..[MARK + 1]).keys().map(|key| Ok(key?[1..].to_vec())).collect()
        })?;
        Ok(Self { name: name.to_vec(), tree, health, undo, split: Mutex::new(marks) })
    }

    fn damaged(&self, key: &[u8]) -> StoreError {
        StoreError::Damaged { space: self.name.clone(), key: key.to_vec() }
    }

    /// One stored value. A page that sled finds damaged counts as damage of this value.
    fn stored(&self, tag: u8, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let read = self.health.read("read", || match self.tree.get(tagged(tag, key)) {
            Err(sled::Error::Corruption { .. }) => Ok(None),
            read => read.map(Some),
        });
        read?.ok_or_else(|| self.damaged(key))
    }

    fn record(&self, key: &[u8], stored: &[u8]) -> Result<Record, StoreError> {
        parse(&tagged(KEY, key), stored).ok_or_else(|| self.damaged(key))
    }

    fn value(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (bytes, parts) = match self.record(key, stored)? {
            Record::Whole(value) => return Ok(value),
            Record::Split { bytes, parts } => (bytes, parts),
        };
        let mut value = Vec::with_capacity(parts.len() * PART_BYTES);
        for name in &parts {
            let part = self.stored(PART, name).map_err(|error| match error {
                StoreError::Damaged { .. } => self.damaged(key),
                other => other,
            })?;
            let part = part.as_deref().and_then(|part| engine::unseal(name, part));
            value.extend_from_slice(part.ok_or_else(|| self.damaged(key))?);
        }
        if u64::try_from(value.len()) == Ok(bytes) { Ok(value) } else { Err(self.damaged(key)) }
    }

    /// The parts of the current value of `key`. The parts of a damaged record are unknown and stay as
    /// garbage, since a damaged value must stay replaceable.
    fn parts_of(&self, key: &[u8]) -> Result<BTreeSet<Name>, StoreError> {
        let record = self.stored(KEY, key).and_then(|stored| match stored {
            Some(stored) => self.record(key, &stored).map(Some),
            None => Ok(None),
        });
        match record {
            Ok(Some(Record::Split { parts, .. })) => Ok(parts.into_iter().collect()),
            Ok(Some(Record::Whole(_)) | None) | Err(StoreError::Damaged { .. }) => Ok(BTreeSet::new()),
            Err(other) => Err(other),
        }
    }

    /// The stored values of `keys`; a damaged one cannot be rolled back and is left out.
    fn replaced_by<'k>(&self, keys: impl Iterator<Item = &'k Vec<u8>>) -> Result<Replaced, StoreError> {
        let mut replaced = Replaced::new();
        for key in keys {
            let read = self.health.read("read", || match self.tree.get(key) {
                Err(sled::Error::Corruption { .. }) => Ok(None),
                read => read.map(Some),
            });
            replaced.extend(read?.map(|value| (key.clone(), value)));
        }
        Ok(replaced)
    }

    fn entry(&self, key: &[u8], stored: &[u8]) -> Result<Entry, StoreError> {
        Ok((key.to_vec(), self.value(key, stored)?))
    }
}

impl Space for SledSpace {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.stored(KEY, key)?.map(|stored| self.value(key, &stored)).transpose()
    }

    fn scan<'a>(&'a self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan<'a> {
        if engine::bounds_cross(from, to) {
            return Box::new(std::iter::empty());
        }
        let from = match from {
            Bound::Unbounded => Bound::Included(vec![KEY]),
            bound => bound.map(|key| tagged(KEY, key)),
        };
        let to = match to {
            Bound::Unbounded => Bound::Excluded(vec![KEY + 1]),
            bound => bound.map(|key| tagged(KEY, key)),
        };
        Box::new(Steps { space: self, steps: Some(self.tree.range::<Vec<u8>, _>((from, to))) })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        batch.check()?;
        // sled's batch has no order; ours has: the last write to a key wins.
        let last: BTreeMap<&[u8], Option<&[u8]>> = batch.iter().map(Write::parts).collect();
        let mut split = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        let mut marked = Vec::new();
        let mut writes = BTreeMap::new();
        for (&key, &value) in &last {
            let was_split = split.contains(key);
            let is_split = value.is_some_and(|value| value.len() > PART_BYTES);
            let mut old_parts = if was_split { self.parts_of(key)? } else { BTreeSet::new() };

            let stored_key = tagged(KEY, key);
            match value {
                Some(value) if is_split => {
                    let mut body =
                        u64::try_from(value.len()).expect("a value fits memory").to_le_bytes().to_vec();
                    for (name, part) in cut(key, value) {
                        body.extend_from_slice(&name);
                        if !old_parts.remove(&name) {
                            writes.insert(tagged(PART, &name), Some(engine::seal(&name, part.to_vec())));
                        }
                    }
                    let record = record(&stored_key, body, SPLIT);
                    writes.insert(stored_key, Some(record));
                }
                Some(value) => {
                    let record = record(&stored_key, value.to_vec(), WHOLE);
                    writes.insert(stored_key, Some(record));
                }
                None => drop(writes.insert(stored_key, None)),
            }
            for name in old_parts {
                writes.insert(tagged(PART, &name), None);
            }
            match (was_split, is_split) {
                (false, true) => writes.insert(tagged(MARK, key), Some(Vec::new())),
                (true, false) => writes.insert(tagged(MARK, key), None),
                _ => continue,
            };
            marked.push((key, is_split));
        }
        self.undo.record(&self.tree, self.replaced_by(writes.keys())?);
        let mut sled_batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => sled_batch.insert(key, value),
                None => sled_batch.remove(key),
            }
        }
        self.health.write("write", || self.tree.apply_batch(sled_batch))?;
        for (key, is_split) in marked {
            if is_split {
                split.insert(key.to_vec())
            } else {
                split.remove(key)
            };
        }
        Ok(())
    }
}

fn tagged(tag: u8, key: &[u8]) -> Vec<u8> {
    [&[tag], key].concat()
}

fn record(stored_key: &[u8], mut body: Vec<u8>, kind: u8) -> Vec<u8> {
    body.reserve_exact(5);
    body.push(kind);
    engine::seal(stored_key, body)
}

fn parse(stored_key: &[u8], stored: &[u8]) -> Option<Record> {
    let (kind, body) = engine::unseal(stored_key, stored)?.split_last()?;
    match *kind {
        WHOLE => Some(Record::Whole(body.to_vec())),
        SPLIT => {
            let (bytes, names) = body.split_first_chunk::<8>()?;
            let (names, rest) = names.as_chunks::<32>();
            let split = Record::Split { bytes: u64::from_le_bytes(*bytes), parts: names.to_vec() };
            rest.is_empty().then_some(split)
        }
        _ => None,
    }
}

fn cut<'a>(key: &[u8], value: &'a [u8]) -> impl Iterator<Item = (Name, &'a [u8])> {
    let owner = hash("stored key", &[key]);
    value.chunks(PART_BYTES).enumerate().map(move |(position, part)| {
        let position = u64::try_from(position).expect("a count fits").to_le_bytes();
        (hash("stored part", &[&owner, &position, part]), part)
    })
}

struct Steps<'a> {
    space: &'a SledSpace,
    /// None after an error of sled, whose iterator would return it again and again.
    steps: Option<sled::Iter>,
}

impl Steps<'_> {
    fn step(
        &mut self,
        step: impl FnOnce(&mut sled::Iter) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Option<Result<Entry, StoreError>> {
        let steps = self.steps.as_mut()?;
        match self.space.health.read("scan", || step(steps).transpose()) {
            Ok(Some((key, stored))) => Some(self.space.entry(&key[1..], &stored)),
            Ok(None) => None,
            Err(error) => {
                self.steps = None;
                Some(Err(error))
            }
        }
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(sled::Iter::next)
    }
}

impl DoubleEndedIterator for Steps<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(sled::Iter::next_back)
    }
}
