//! The files around sled's own: the format record, and the files that sled leaves unsynced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::super::error::OpenError;
use super::super::folder::{io_error, sync_folder};
use super::damaged;

/// Version of everything in the folder: sled's files, the names of trees, the records in them.
pub(super) const FORMAT: u32 = 4;
/// Name of the format record. It is written last: its presence shows that everything else is complete.
pub(super) const FORMAT_FILE: &str = "format";
const FORMAT_HEAD: &str = "peerbase store format ";

/// Attempts, 1 ms apart, to find sled's file unlocked after sled was closed.
const FREE_TRIES: u32 = 5_000;

/// Returns true if the folder has a format record of this version.
pub(super) fn has_format(path: &Path) -> Result<bool, OpenError> {
    let file = path.join(FORMAT_FILE);
    let unreadable = || damaged(path, "its format record is unreadable");
    match fs::read_to_string(&file) {
        Ok(text) => match text.strip_prefix(FORMAT_HEAD).and_then(|text| text.trim_end().parse().ok()) {
            Some(FORMAT) => Ok(true),
            Some(found) => Err(OpenError::Format { found, supported: FORMAT }),
            None => Err(unreadable()),
        },
        Err(cause) if cause.kind() == ErrorKind::InvalidData => Err(unreadable()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(io_error(&file, cause)),
    }
}

/// Writes the format record, durably and atomically.
pub(super) fn write_format(path: &Path) -> Result<(), OpenError> {
    let (draft, file) = (path.join("format.new"), path.join(FORMAT_FILE));
    let write = || {
        let mut written = File::create(&draft)?;
        writeln!(written, "{FORMAT_HEAD}{FORMAT}")?;
        written.sync_all()?;
        fs::rename(&draft, &file)?;
        sync_folder(path)
    };
    write().map_err(|cause| io_error(&file, cause))
}

/// Syncs the files and folders that sled creates and never syncs, so that no file name is lost in a power
/// cut; returns the log.
pub(super) fn sync_new_files(path: &Path) -> Result<File, OpenError> {
    let sync = |file: PathBuf| -> Result<File, OpenError> {
        let opened = OpenOptions::new().read(true).write(true).open(&file);
        let synced = opened.and_then(|opened| opened.sync_all().map(|()| opened));
        synced.map_err(|cause| io_error(&file, cause))
    };
    sync(path.join("conf"))?;
    let log = sync(path.join("db"))?;
    for folder in [Some(path.join("blobs")), Some(path.to_owned()), path.parent().map(Path::to_owned)] {
        // The parent of a bare name is "", the current folder.
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| ".".into());
        sync_folder(&folder).map_err(|cause| io_error(&folder, cause))?;
    }
    Ok(log)
}

/// Waits until sled's own lock is free; returns false if it is still held after 5 s.
pub(super) fn wait_until_free(path: &Path) -> bool {
    let file = path.join("db");
    (0..FREE_TRIES).any(|_| match File::open(&file).map(|log| log.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
        Ok(Ok(()) | Err(TryLockError::Error(_))) | Err(_) => true,
    })
}

/// Watches the folder into which sled writes page images that are too big for its log, and which it never
/// syncs.
///
/// Our limits keep the folder empty. If sled spills a page all the same, its file is synced before the
/// barrier returns, so that acknowledged writes survive; only a power cut before the barrier could leave a
/// log that names an empty file.
pub(super) struct SpillWatch {
    folder: PathBuf,
    /// Modification time of the folder at the last check: one `stat` per flush shows that nothing changed.
    seen: Mutex<Option<SystemTime>>,
}

impl SpillWatch {
    pub(super) fn new(path: &Path) -> Result<Self, OpenError> {
        let watch = Self { folder: path.join("blobs"), seen: Mutex::new(None) };
        watch.sync().map_err(|cause| io_error(&watch.folder, cause))?;
        Ok(watch)
    }

    /// Syncs the spilled files if the folder changed since the last call; returns their number.
    pub(super) fn sync(&self) -> io::Result<usize> {
        let changed = fs::metadata(&self.folder)?.modified().ok();
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if changed.is_some() && *seen == changed {
            return Ok(0);
        }
        let mut spilled = 0_usize;
        for entry in fs::read_dir(&self.folder)? {
            OpenOptions::new().read(true).write(true).open(entry?.path())?.sync_all()?;
            spilled += 1;
        }
        if spilled > 0 {
            tracing::error!(spilled, "sled spilled pages beside its log; please report this");
            sync_folder(&self.folder)?;
        }
        *seen = changed;
        Ok(spilled)
    }
}

impl Drop for SpillWatch {
    fn drop(&mut self) {
        // Two changes within one tick of the file system's clock look like one: check again, regardless of
        // the time.
        *self.seen.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "could not look for spilled pages");
        }
    }
}
