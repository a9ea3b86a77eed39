//! The folder of a database on disk: private, locked while open, durable names.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::error::OpenError;

/// Locks the folder, which is created if absent, through its file `lock`, until the result is dropped.
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

/// Creates the folder, accessible by its owner alone: rows are stored in plain text, and engines create
/// their files with the system's default mode.
fn make_folder(path: &Path) -> std::io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

/// Makes the names in a folder durable. Only Unix can; elsewhere the file system's journal is trusted.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// The error of opening a file or folder.
pub(super) fn io_error(path: &Path, cause: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), cause }
}
