//! The floor of the benches: a bare sled with our engine's options, and seeded rows.

#![allow(dead_code, reason = "each bench uses its part")]

pub(crate) mod attestation;

use std::fs::{File, OpenOptions};
use std::path::Path;

use schema::id::hash;

/// The options of the sled engine: without them sled does not survive a power cut, and is no fair floor.
const SEGMENT_BYTES: usize = 8 << 20;
const CACHE_BYTES: u64 = 64 << 20;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// One tree of a bare sled, and its log for `fdatasync`.
pub(crate) struct Raw {
    db: sled::Db,
    pub(crate) tree: sled::Tree,
    log: File,
}

impl Raw {
    pub(crate) fn open(path: &Path) -> Self {
        let config = sled::Config::new().path(path).segment_size(SEGMENT_BYTES).cache_capacity(CACHE_BYTES);
        let db = config.flush_every_ms(None).open().expect("a fresh folder");
        let tree = db.open_tree("bench").expect("a fresh database");
        let log = OpenOptions::new().write(true).open(path.join("db")).expect("sled's log is there");
        Self { db, tree, log }
    }

    /// Applies entries as one batch.
    pub(crate) fn apply(&self, entries: &[Entry]) {
        let mut batch = sled::Batch::default();
        for (key, value) in entries {
            batch.insert(key.as_slice(), value.as_slice());
        }
        self.tree.apply_batch(batch).expect("the disk works");
    }

    /// Makes what was applied durable.
    pub(crate) fn barrier(&self) {
        self.db.flush().expect("the disk works");
        self.log.sync_data().expect("the disk works");
    }
}

/// Returns letters that do not compress, the same for the same number.
pub(crate) fn text(number: u64, bytes: usize) -> String {
    let block = |part: usize| hash("bench", &[&number.to_be_bytes(), &part.to_be_bytes()]);
    let letters = (0..bytes.div_ceil(32)).flat_map(block).map(|byte| char::from(b'a' + byte % 26));
    letters.take(bytes).collect()
}
