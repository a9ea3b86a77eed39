//! Errors of reading, writing and opening the store, and calls into an engine whose panics become errors.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

/// Error of a read or a write. Cheap to clone: one failed barrier answers many callers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was closed; open it again.
    #[error("the store is closed")]
    Closed,
    /// The store did not close in time; it continues to close.
    #[error("the store did not close in time")]
    CloseTimedOut,
    /// The space was dropped; open it again to begin an empty one.
    #[error("space {} was dropped", .space.escape_ascii())]
    Dropped {
        /// The name of the space.
        space: Vec<u8>,
    },
    /// An earlier batch of this space failed; reload the stored state, then `reset` the space.
    #[error("an earlier batch of space {} failed", .space.escape_ascii())]
    Poisoned {
        /// The name of the space.
        space: Vec<u8>,
    },
    /// This one value is damaged; quarantine the object that it belongs to.
    #[error("value of key {} in space {} is damaged", .key.escape_ascii(), .space.escape_ascii())]
    Damaged {
        /// The name of the space.
        space: Vec<u8>,
        /// The key of the value.
        key: Vec<u8>,
    },
    /// The name begins with NUL; such names belong to the store itself.
    #[error("space name {} is reserved", .space.escape_ascii())]
    Reserved {
        /// The name of the space.
        space: Vec<u8>,
    },
    /// The key is too long; nothing was written.
    #[error("key of {got} bytes where at most {max} are allowed")]
    KeyTooLong {
        /// Length of the key, bytes.
        got: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The value is too long; nothing was written.
    #[error("value of {got} bytes where at most {max} are allowed")]
    ValueTooLong {
        /// Length of the value, bytes.
        got: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The engine or the disk below it failed.
    #[error("could not {what}")]
    Engine {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The engine's error.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The engine panicked: a broken invariant or a damaged file.
    #[error("engine panicked: could not {what}: {message}")]
    Panicked {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The store failed earlier and refuses every later call; open it again.
    #[error("the store failed earlier")]
    Failed {
        /// The first failure.
        #[source]
        cause: Arc<StoreError>,
    },
}

impl StoreError {
    /// Wraps an engine's error; `what` is the operation, as a verb phrase.
    pub fn engine(what: &'static str, cause: impl Into<io::Error>) -> Self {
        Self::Engine { what, cause: Arc::new(cause.into()) }
    }

    /// The error that every later call returns once this one has failed the store.
    pub(super) fn later(&self) -> Self {
        match self {
            Self::Failed { .. } => self.clone(),
            first => Self::Failed { cause: Arc::new(first.clone()) },
        }
    }
}

/// Error of opening a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another part of this one, has the database open; close it there.
    #[error("database {} is in use", .path.display())]
    Locked {
        /// The database's folder.
        path: PathBuf,
    },
    /// Another version of this program wrote the database; use that version.
    #[error("database has format {found}, this program reads format {supported}")]
    Format {
        /// The version on disk.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The files have changed since they were written; restore a backup or join the groups again.
    #[error("database {} is damaged: {what}", .path.display())]
    Damaged {
        /// The database's folder.
        path: PathBuf,
        /// A description of the damage.
        what: String,
    },
    /// The file system refused: missing permission, a full disk, or a path that is no folder.
    #[error("could not open database {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The file system's error.
        #[source]
        cause: io::Error,
    },
    /// The engine opened, but its first read or write failed.
    #[error("database opened, but its first read or write failed")]
    Store(#[from] StoreError),
}

/// Calls into an engine; a panic there becomes an error. `what` is the operation, as a verb phrase.
pub(super) fn catch<T>(
    what: &'static str,
    call: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(StoreError::Panicked { what, message: panic_message(&*panic) }))
}

/// The text of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
