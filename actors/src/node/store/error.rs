//! Why the store could not read, write or open.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a read or a write did not happen. Cheap to clone: one failed barrier answers many callers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was closed; open it again.
    #[error("the store is closed")]
    Closed,
    /// The store did not close in time; it goes on closing.
    #[error("the store did not close in time")]
    CloseTimedOut,
    /// The space was dropped; open it again to begin an empty one.
    #[error("space {} was dropped", .space.escape_ascii())]
    Dropped {
        /// Which space.
        space: Vec<u8>,
    },
    /// An earlier batch of this space failed; reload what is stored, then `reset` the space.
    #[error("an earlier batch of space {} failed", .space.escape_ascii())]
    Poisoned {
        /// Which space.
        space: Vec<u8>,
    },
    /// This one value is damaged; quarantine what it belongs to.
    #[error("value of key {} in space {} is damaged", .key.escape_ascii(), .space.escape_ascii())]
    Damaged {
        /// Which space.
        space: Vec<u8>,
        /// Which key.
        key: Vec<u8>,
    },
    /// Names that begin with NUL belong to the store itself.
    #[error("space name {} is reserved", .space.escape_ascii())]
    Reserved {
        /// Which space.
        space: Vec<u8>,
    },
    /// Cut the key: nothing was written.
    #[error("key of {got} bytes where at most {max} are allowed")]
    KeyTooLong {
        /// Bytes at hand.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Split the value: nothing was written.
    #[error("value of {got} bytes where at most {max} are allowed")]
    ValueTooLong {
        /// Bytes at hand.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The engine or the disk below it failed.
    #[error("could not {what}")]
    Engine {
        /// What was tried.
        what: &'static str,
        /// What the engine said.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The engine panicked: a broken invariant or a damaged file.
    #[error("engine panicked: could not {what}: {message}")]
    Panicked {
        /// What was tried.
        what: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The store failed earlier and refuses what follows; reopen it.
    #[error("the store failed earlier")]
    Failed {
        /// The first failure.
        #[source]
        cause: Arc<StoreError>,
    },
}

impl StoreError {
    /// Wraps what an engine said about `what` it tried.
    pub fn engine(what: &'static str, cause: impl Into<io::Error>) -> Self {
        Self::Engine { what, cause: Arc::new(cause.into()) }
    }

    /// What every later call answers once this has failed the store.
    pub(super) fn later(&self) -> Self {
        match self {
            Self::Failed { .. } => self.clone(),
            first => Self::Failed { cause: Arc::new(first.clone()) },
        }
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another part of this one, has it open; close it there.
    #[error("database {} is in use", .path.display())]
    Locked {
        /// The database's folder.
        path: PathBuf,
    },
    /// Another version of this program wrote it; use that one.
    #[error("database has format {found}, this program reads format {supported}")]
    Format {
        /// The version on disk.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The files are not what they were when they were written; restore a backup or join again.
    #[error("database {} is damaged: {what}", .path.display())]
    Damaged {
        /// The database's folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file system refused: rights, space, or a folder that is none.
    #[error("could not open database {}", .path.display())]
    Io {
        /// The file or folder in question.
        path: PathBuf,
        /// What the file system said.
        #[source]
        cause: io::Error,
    },
    /// The engine opened but did not work.
    #[error("database opened but does not answer")]
    Store(#[from] StoreError),
}
