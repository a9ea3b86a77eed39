//! The engine on sled 0.34, made safe against power cuts, damage and stale locks.
//!
//! As shipped, sled's flush ends in `sync_file_range`, and page images above a quarter of a segment go to
//! files that it never syncs. So segments are 8 MiB, no stored value is above 64 KiB (see `sled/space.rs`),
//! every flush ends in our own `fdatasync` of the log, and every flush checks that the folder of spilled
//! pages is empty.
//!
//! If the newest part of its log is damaged, sled keeps the older part and reports nothing. The store's note
//! of a clean close is then gone too, and the node treats the open like one after a crash.
//!
//! The folder holds `lock` (locked while open), `format` (the version of the other files), and sled's `db`,
//! `conf`, `snap.*` and `blobs/`. A space is a tree named `s` + name.

mod files;
mod space;
mod undo;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use self::files::SpillWatch;
use self::space::SledSpace;
use self::undo::Undo;
use super::engine::{Engine, OpenEngine, Space};
use super::error::{OpenError, StoreError, panic_message};
use super::folder;

/// Size of a segment of sled's log, bytes; the second largest that sled allows. Page images up to a quarter
/// of it stay in the log, and 17 values of 64 KiB fit into that.
const SEGMENT_BYTES: usize = 8 << 20;
/// First byte of the name of a space's tree; sled's own default tree begins with `_`.
const SPACE_TAG: u8 = b's';

/// Key in sled's default tree: present once the database was made.
const MADE: &[u8] = b"made";

/// The sled engine's options.
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// Page cache, bytes. The process grows by about this much plus 40 to 100 MB.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

impl OpenEngine for SledOptions {
    fn open_in(&self, folder: &Path) -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(SledEngine::open(folder, self)?))
    }

    fn exists_in(&self, folder: &Path) -> bool {
        [files::FORMAT_FILE, "db"].iter().any(|file| folder.join(file).exists())
    }
}

/// An open sled database. Dropping it, after its spaces, closes it and frees its lock.
pub struct SledEngine {
    /// None only during `drop`.
    db: Option<sled::Db>,
    /// A second handle of sled's log, for `fdatasync`.
    log: File,
    health: Arc<Health>,
    undo: Arc<Undo>,
    spills: SpillWatch,
    path: PathBuf,
    /// The last field, so that it is dropped after the others.
    _lock: File,
}

impl SledEngine {
    /// Opens the database in `path`, which is created if absent.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while it is open elsewhere, [`OpenError::Format`] if another version wrote it,
    /// [`OpenError::Damaged`] if its files were changed.
    pub fn open(path: &Path, options: &SledOptions) -> Result<Self, OpenError> {
        let lock = folder::lock(path)?;
        let known = files::has_format(path)?;
        let config = sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None); // the store orders every barrier
        let db = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(opened) => opened.map_err(|error| open_error(path, error))?,
            Err(panic) => return Err(damaged(path, &panic_message(&*panic))),
        };
        let log = files::sync_new_files(path)?;
        let spills = SpillWatch::new(path)?;
        let (health, undo) = (Arc::default(), Arc::default());
        let engine = Self { db: Some(db), log, health, undo, spills, path: path.to_owned(), _lock: lock };
        engine.check_made(known)?;
        Ok(engine)
    }

    /// Detects a log that was emptied, which sled treats as a new one.
    ///
    /// A first open writes a mark into the database, then the format record beside it. So a folder with the
    /// record but without the mark has lost everything; a folder with the mark alone crashed during its first
    /// open, unless the database has spaces.
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

    fn make_durable(&self) -> Result<(), StoreError> {
        // First, since it fails if the folder was moved: nothing of this round has reached the log yet.
        self.health.write("find the database's folder", || Ok(self.spills.sync()?))?;
        self.health.write("flush", || self.db().flush())?;
        self.health.write("sync the log", || Ok(self.log.sync_data()?))?;
        self.health.write("sync spilled pages", || Ok(self.spills.sync()?)).map(drop)
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("only drop takes the database")
    }
}

#[doc(hidden)] // the users of `peerbase` cannot name it
impl Engine for SledEngine {
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError> {
        let tree = self.health.write("open a space", || self.db().open_tree(tree_name(name)))?;
        Ok(Arc::new(SledSpace::open(name, tree, self.health.clone(), self.undo.clone())?))
    }

    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError> {
        self.undo.forget(&tree_name(name));
        self.health.write("drop a space", || self.db().drop_tree(tree_name(name))).map(drop)
    }

    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let names = self.health.read("list the spaces", || Ok(self.db().tree_names()))?;
        let mut spaces: Vec<_> =
            names.iter().filter_map(|name| Some(name.strip_prefix(&[SPACE_TAG])?.to_vec())).collect();
        spaces.sort_unstable();
        Ok(spaces)
    }

    fn begin_round(&self) {
        self.undo.begin_round();
    }

    fn flush(&self) -> Result<(), StoreError> {
        let flushed = self.make_durable();
        match flushed {
            Ok(()) => self.undo.clear(),
            // sled writes on when it is dropped, so refused writes would be there after the next open.
            Err(_) => self.undo.roll_back(),
        }
        flushed
    }

    #[cfg(unix)]
    fn file_identity(&self) -> Option<Vec<u8>> {
        use std::os::unix::fs::MetadataExt;

        // A moved file keeps inode and time of creation, a copy has others. The device number is left out: it
        // may change when a disk is mounted again.
        let log = self.log.metadata().ok()?;
        let made = log.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let made = made.map_or(0, |made| made.as_nanos());
        Some([&log.ino().to_be_bytes()[..], &made.to_be_bytes()].concat())
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        // Its trees would keep the database open.
        self.undo.clear();
        let db = self.db.take();
        // sled's own drop panics if its last fsync fails.
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!(path = %self.path.display(), "sled panicked while it was closed");
        }
        // A task of sled's thread pool may hold the file a moment longer.
        if !files::wait_until_free(&self.path) {
            tracing::error!(path = %self.path.display(), "sled's file is still locked after it was closed");
        }
    }
}

fn tree_name(space: &[u8]) -> Vec<u8> {
    [&[SPACE_TAG], space].concat()
}

/// The first failure of sled or the disk; sled must be opened again after one.
#[derive(Default)]
struct Health {
    failed: OnceLock<StoreError>,
}

impl Health {
    /// Runs a call that reads. Damage is an error of that call alone; any other failure makes later writes
    /// fail.
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

    /// Runs a call that writes, unless a call has failed before.
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
        // sled's errors for files that are too short or malformed.
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
