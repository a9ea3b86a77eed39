//! The files around sled's own: lock, format version, and what must be synced besides the log.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::super::OpenError;
use super::damaged;

/// The version of everything in the folder: sled's, the trees' names, the records in them.
pub(super) const FORMAT: u32 = 2;
/// Made last, so that it says that all else was made.
pub(super) const FORMAT_FILE: &str = "format";
const FORMAT_HEAD: &str = "peerbase store format ";

/// How often, 1 ms apart, to look whether sled has let go of its file.
const FREE_TRIES: u32 = 5_000;

/// Takes the folder, made when absent, for this engine alone.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    make_folder(path).map_err(|cause| io_error(path, cause))?;
    let file = path.join("lock");
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
    let lock = options.map_err(|cause| io_error(&file, cause))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(io_error(&file, cause)),
    }
}

/// Makes the folder for its user alone: rows lie in it as they are, and sled's files get the system's usual mode.
fn make_folder(path: &Path) -> std::io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

/// Whether the folder says that it holds a database, of our format.
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

/// Says that the folder holds a database of our format, durably, whole or not at all.
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

/// Syncs what sled makes and never syncs, so that a power cut cannot take a file name away; gives the log.
pub(super) fn sync_new_files(path: &Path) -> Result<File, OpenError> {
    let sync = |file: PathBuf| -> Result<File, OpenError> {
        let opened = OpenOptions::new().read(true).write(true).open(&file);
        let synced = opened.and_then(|opened| opened.sync_all().map(|()| opened));
        synced.map_err(|cause| io_error(&file, cause))
    };
    sync(path.join("conf"))?;
    let log = sync(path.join("db"))?;
    for folder in [Some(path.join("blobs")), Some(path.to_owned()), path.parent().map(Path::to_owned)] {
        // The parent of a bare name is "", which is here.
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| ".".into());
        sync_folder(&folder).map_err(|cause| io_error(&folder, cause))?;
    }
    Ok(log)
}

/// Makes names in a folder durable. Only Unix can; elsewhere the file system's journal must do.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Waits until nobody holds sled's own lock, and says whether it came to that.
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

fn io_error(path: &Path, cause: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), cause }
}

/// Watches the folder where sled puts page images that are too big for its log, and never syncs them.
///
/// Our limits keep it empty. Should a page slip through, its file is synced before the barrier returns, which keeps
/// what was acknowledged; only a cut *before* the barrier could then leave a log that names a file without content.
pub(super) struct SpillWatch {
    folder: PathBuf,
    /// When an entry was last made or removed there: one `stat` a flush tells that nothing happened.
    seen: Mutex<Option<SystemTime>>,
}

impl SpillWatch {
    pub(super) fn new(path: &Path) -> Result<Self, OpenError> {
        let watch = Self { folder: path.join("blobs"), seen: Mutex::new(None) };
        watch.sync().map_err(|cause| io_error(&watch.folder, cause))?;
        Ok(watch)
    }

    /// Syncs what was spilled, when something changed since the last call; says how many files.
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
        // Two changes within one tick of the file system's clock look like one; look once more, whatever the clock says.
        *self.seen.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "could not look for spilled pages");
        }
    }
}
