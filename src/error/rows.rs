//! Errors of reading and writing rows.

use schema::document::Refusal;

use super::{
    CallError, CommitError, ErrorKind, NameError, RowError, RowRecordError, StoreError, call_kind, store_kind,
};

/// Reading a row or a table failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The table name or row key is invalid: choose another one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The row does not decode into the row type: another app or version wrote it. Read it with the type that
    /// it was written with, or as a map of JSON values.
    #[error("row {key:?} of {table:?} does not decode")]
    Row {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// The field that does not fit, and the reason.
        #[source]
        cause: Box<RowError>,
    },
    /// The store failed, or the node is closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored row is damaged: the next peer that has it sends it again.
    #[error("stored row is damaged")]
    Damaged(#[source] RowRecordError),
    /// The group did not answer: try again, unless the node is closed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ReadError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) => ErrorKind::Invalid,
            Self::Row { .. } | Self::Damaged(_) => ErrorKind::Damaged,
            Self::Store(error) => store_kind(error),
            Self::Call(error) => call_kind(error),
        }
    }
}

/// Writing a row failed. Nothing was written, except after [`WriteError::Call`], which leaves that open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no row under this key to change: [`put`](crate::Table::put) makes one.
    #[error("no row {key:?} in {table:?}")]
    NotFound {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// The row has other heads than expected, because somebody changed it: read it again.
    #[error("row {key:?} of {table:?} moved")]
    Moved {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// The value cannot be stored, or the edit does not fit the row: the cause names the field.
    #[error("value for row {key:?} of {table:?} cannot be stored")]
    Value {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The field that cannot be stored, and the reason.
        #[source]
        cause: Box<RowError>,
    },
    /// The row that the write starts from was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group refused the commit, or could not store it.
    #[error(transparent)]
    Commit(CommitError),
    /// The group did not answer in time: the write may or may not happen. Read the row before trying again.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl WriteError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Moved { .. }
            | Self::Commit(CommitError::Moved { .. } | CommitError::Quarantined { .. }) => ErrorKind::Busy,
            Self::Value { .. } => ErrorKind::Invalid,
            Self::Read(error) => error.kind(),
            Self::Commit(CommitError::NotAllowed) => ErrorKind::NotAllowed,
            Self::Commit(CommitError::Refused { cause, .. }) => match **cause {
                Refusal::NotAllowed { .. } | Refusal::UnknownAuthor { .. } | Refusal::BeyondCut { .. } => {
                    ErrorKind::NotAllowed
                }
                _ => ErrorKind::Failed,
            },
            Self::Commit(CommitError::Unmaterialised { .. }) => ErrorKind::Failed,
            Self::Commit(CommitError::Store(error)) => store_kind(error),
            Self::Commit(_) => ErrorKind::Invalid,
            Self::Call(error) => call_kind(error),
        }
    }
}
