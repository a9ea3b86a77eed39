//! sled 0.34 made safe against power cuts, damage and forgotten locks.
//!
//! As shipped, sled's flush ends in `sync_file_range`, and page images above a quarter of a segment go to files that
//! it never syncs. So segments are 8 MiB, no stored value is above 64 KiB (see `sled/space.rs`), every flush ends in our
//! own `fdatasync` of the log, and the folder of spilled pages is watched to stay empty.
//!
//! What sled cannot tell: of a log that is damaged in its newest part it keeps what came before, and says nothing.
//! The store's note of a clean close is then gone too, and the node treats it like any crash.
//!
//! The folder: `lock` (held while open), `format` (the version of what follows), and sled's `db`, `conf`, `snap.*`
//! and `blobs/`. A space is a tree named `s` + name.

mod files;
mod space;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use self::files::SpillWatch;
use self::space::SledSpace;
use super::engine::{Engine, Space};
use super::{OpenError, StoreError, panic_message};

/// sled's largest but one: a page image stays in the log up to a quarter of it, and 17 values of 64 KiB fit there.
const SEGMENT_BYTES: usize = 8 << 20;
/// The trees of spaces; sled's own default tree begins with `_`.
const SPACE_TAG: u8 = b's';

/// In sled's default tree: the database was made.
const MADE: &[u8] = b"made";

/// How much memory sled may use.
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// Page cache, bytes. The process grows by about this and 40-100 MB.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// An open sled database. Dropping it, after its spaces, closes it and frees its lock.
pub struct SledEngine {
    /// Taken in `drop` alone.
    db: Option<sled::Db>,
    /// sled's log, by a handle of our own, for `fdatasync`.
    log: File,
    health: Arc<Health>,
    spills: SpillWatch,
    path: PathBuf,
    /// Last, so that it is freed after everything else.
    _lock: File,
}

impl SledEngine {
    /// Opens the database in `path`, which is created when absent.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while it is open elsewhere, [`OpenError::Format`] when another version wrote it,
    /// [`OpenError::Damaged`] when its files are not what they were.
    pub fn open(path: &Path, options: &SledOptions) -> Result<Self, OpenError> {
        let lock = files::lock(path)?;
        let known = files::has_format(path)?;
        let config = sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None); // the barrier is ours to order
        let db = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(opened) => opened.map_err(|error| open_error(path, error))?,
            Err(panic) => return Err(damaged(path, &panic_message(&*panic))),
        };
        let log = files::sync_new_files(path)?;
        let spills = SpillWatch::new(path)?;
        let engine =
            Self { db: Some(db), log, health: Arc::default(), spills, path: path.to_owned(), _lock: lock };
        engine.check_made(known)?;
        Ok(engine)
    }

    /// sled takes a log that was emptied for a new one, and goes on. So a mark is made in the database first, then
    /// the format record beside it: a folder with the record and without the mark has lost everything. One that has the
    /// mark alone was ended at its first open, unless there is something in it.
    fn check_made(&self, known: bool) -> Result<(), OpenError> {
        let made = self.health.read("read the mark", || self.db().contains_key(MADE))?;
        match (known, made) {
            (true, true) => Ok(()),
            (true, false) => Err(damaged(&self.path, "its log was emptied")),
            (false, true)
                if !self.spaces().map_err(|error| damaged(&self.path, &error.to_string()))?.is_empty() =>
            {
                Err(damaged(&self.path, "its format record is missing"))
            }
            (false, _) => {
                self.health.write("make the mark", || self.db().insert(MADE, &[]))?;
                self.flush()?;
                files::write_format(&self.path)
            }
        }
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("the database is taken in drop alone")
    }
}

impl Engine for SledEngine {
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        let tree = self.health.write("open a space", || self.db().open_tree(tree_name(name)))?;
        Ok(Arc::new(SledSpace::open(name, tree, self.health.clone())?))
    }

    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        self.health.write("drop a space", || self.db().drop_tree(tree_name(name))).map(drop)
    }

    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let names = self.health.read("list the spaces", || Ok(self.db().tree_names()))?;
        let mut spaces: Vec<_> =
            names.iter().filter_map(|name| Some(name.strip_prefix(&[SPACE_TAG])?.to_vec())).collect();
        spaces.sort_unstable();
        Ok(spaces)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.health.write("flush", || self.db().flush())?;
        self.health.write("sync the log", || Ok(self.log.sync_data()?))?;
        self.health.write("sync spilled pages", || Ok(self.spills.sync()?)).map(drop)
    }

    #[cfg(unix)]
    fn place(&self) -> Option<Vec<u8>> {
        use std::os::unix::fs::MetadataExt;

        // A file that is moved keeps both, a copy has neither; number and device of a disk may change with the weather.
        let log = self.log.metadata().ok()?;
        let made = log.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let made = made.map_or(0, |made| made.as_nanos());
        Some([&log.ino().to_be_bytes()[..], &made.to_be_bytes()].concat())
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled unwraps an fsync while it is dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!(path = %self.path.display(), "sled panicked while it was closed");
        }
        // A writer of sled's thread pool may hold its file a moment longer.
        if !files::wait_until_free(&self.path) {
            tracing::error!(path = %self.path.display(), "sled's file is still locked after it was closed");
        }
    }
}

/// Whether a database was made, or begun, in `path`.
pub(super) fn exists(path: &Path) -> bool {
    [files::FORMAT_FILE, "db"].iter().any(|file| path.join(file).exists())
}

fn tree_name(space: &[u8]) -> Vec<u8> {
    [&[SPACE_TAG], space].concat()
}

/// The first failure of the disk below; sled must be opened again after one.
#[derive(Default)]
struct Health {
    failed: OnceLock<StoreError>,
}

impl Health {
    /// Runs a call that reads. Damage is the caller's to place; a failing disk ends writing.
    fn read<T>(&self, what: &'static str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        let error = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error @ sled::Error::Corruption { .. })) => return Err(StoreError::engine(what, error)),
            Ok(Err(error)) => StoreError::engine(what, error),
            Err(panic) => StoreError::Panicked { what, message: panic_message(&*panic) },
        };
        let _ = self.failed.set(error.clone());
        Err(error)
    }

    /// Runs a call that writes, unless one has failed before.
    fn write<T>(&self, what: &'static str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        if let Some(first) = self.failed.get() {
            return Err(first.later());
        }
        let done = self.read(what, call);
        if let Err(error) = &done {
            let _ = self.failed.set(error.clone());
        }
        done
    }
}

fn open_error(path: &Path, error: sled::Error) -> OpenError {
    use std::io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match error {
        sled::Error::Io(cause) if cause.to_string().starts_with("could not acquire lock") => {
            OpenError::Locked { path: path.to_owned() }
        }
        // What sled says of files that are too short or make no sense.
        sled::Error::Io(cause)
            if matches!(cause.kind(), InvalidData | InvalidInput | Other | UnexpectedEof) =>
        {
            damaged(path, &cause.to_string())
        }
        sled::Error::Io(cause) => OpenError::Io { path: path.to_owned(), cause },
        other => damaged(path, &other.to_string()),
    }
}

fn damaged(path: &Path, what: &str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests;
