//! Errors of opening a database and of copying it.

use std::path::PathBuf;

use super::{CopyError, ErrorKind, IdentityError, StartError, StoreOpenError, store_kind};

/// Opening a database failed; the database is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store did not open: another process has it open, or its files are damaged or of another format.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// The identity file is missing, damaged or of another version: restore it from a backup. Or the folder
    /// of a [restored user](crate::NodeBuilder::restore_user) has one already: name a new folder.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The folder cannot be made or read: check the path and its permissions.
    #[error("folder {} is not usable", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: std::io::Error,
    },
    /// A part of the node did not start: the cause names the failure.
    #[error("node did not start")]
    Start(#[source] StartError),
}

impl OpenError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(StoreOpenError::Locked { .. }) => ErrorKind::Busy,
            Self::Identity(IdentityError::Exists { .. }) => ErrorKind::Invalid,
            Self::Store(_) | Self::Identity(_) => ErrorKind::Damaged,
            Self::Folder { .. } => ErrorKind::Invalid,
            Self::Start(_) => ErrorKind::Failed,
        }
    }
}

/// Making a backup failed. No backup exists, nor a part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The folder is not empty: name a new one.
    #[error("folder {} is not empty; a backup needs a new one", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made or written: check the path, its permissions and the free space.
    #[error("folder {} is not usable", .path.display())]
    Folder {
        /// The folder, or the file beside it that is in the way.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: std::io::Error,
    },
    /// The identity file was not written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The database was not copied.
    #[error("database was not copied")]
    Copy(#[from] CopyError),
}

impl BackupError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotEmpty { .. } | Self::Folder { .. } => ErrorKind::Invalid,
            Self::Copy(CopyError::Read(error) | CopyError::Write(error)) => store_kind(error),
            Self::Identity(_) | Self::Copy(_) => ErrorKind::Failed,
        }
    }
}
