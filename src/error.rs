//! Every public error and what the caller can do about it.
//!
//! Each noun has one enum; [`Error`] unites them for programs that treat them alike. A variant names the
//! event and carries the ids and numbers involved; its cause is in [`source`](std::error::Error::source).
//! Every enum has `kind()`, which says what sort of remedy may help: see [`ErrorKind`].
//!
//! ```
//! # use peerbase::{ErrorKind, Node, TableName};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let garden = Node::in_memory().await?.create_group("Garden club").await?;
//! let plants = garden.table(TableName::<String>::new("plants"));
//! let refused = plants.update("basil", |plant| plant.push('!')).await.unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::NotFound);
//! # Ok(())
//! # }
//! ```

mod database;
mod group;
mod join;
mod network;
mod rows;

#[doc(inline)]
pub use actors::call::CallError;
#[doc(inline)]
pub use actors::edit::EditError;
#[doc(inline)]
pub use actors::identity::IdentityError;
#[doc(inline)]
pub use actors::node::StartError;
#[doc(inline)]
pub use actors::node::connection_manager::{ConnectError as DialError, ListenError};
#[doc(inline)]
pub use actors::node::group::documents::CommitError;
#[doc(inline)]
pub use actors::node::group::replica::ReadError as DocumentError;
#[doc(inline)]
pub use actors::node::group::rows::{NameError, RowRecordError};
#[doc(inline)]
pub use actors::node::membership::{ChangeError, ChangeRefusal};
#[doc(inline)]
pub use actors::node::store::{CopyError, OpenError as StoreOpenError, StoreError};
#[doc(inline)]
pub use actors::transport::TransportError;
#[doc(inline)]
pub use actors::transport::framing::StreamError;
#[doc(inline)]
pub use schema::change::{ChangeError as ChunkError, Fault as ChunkFault};
#[doc(inline)]
pub use schema::codec::DecodeError;
#[doc(inline)]
pub use schema::handshake::HandshakeError;
#[doc(inline)]
pub use schema::handshake::RecordError;
#[doc(inline)]
pub use schema::id::ParseIdError;
#[doc(inline)]
pub use schema::key::BadSignature;
#[doc(inline)]
pub use schema::ledger::{Invalid as InvalidOp, Refusal as OpRefusal};
#[doc(inline)]
pub use schema::mnemonic::MnemonicError;
#[doc(inline)]
pub use schema::signed::SignedError;
#[doc(inline)]
pub use schema::wire::ticket::TicketError;

pub use self::database::{BackupError, OpenError};
pub use self::group::GroupError;
pub use self::join::{JoinError, Waiting};
pub use self::network::{ConnectError, SyncError};
pub use self::rows::{ReadError, WriteError};
#[doc(inline)]
pub use crate::table::row::{RowError, RowProblem};

/// Any error of this crate, for programs that treat them alike.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Opening the database failed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading rows failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing rows failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Finding, founding or changing a group failed.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Joining a group failed.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Waiting for a group to be in sync failed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// Listening or dialling failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Making a backup failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// The sort of an error, by the remedy that may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is invalid: a name, a key, a value, a path. Call again with another one.
    Invalid,
    /// The group, row, device, invitation or op does not exist here.
    NotFound,
    /// The rules of the group forbid it: this user's role is too low, or the invitation is used up.
    NotAllowed,
    /// A row moved meanwhile, or a peer or actor did not answer in time: the same call may succeed later.
    Busy,
    /// The node is closed: open it again.
    Closed,
    /// Stored data is damaged: wait for a peer that has it, or restore a backup.
    Damaged,
    /// The disk, the operating system or this program failed: the causes and the log tell more.
    Failed,
}

impl Error {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Group(error) => error.kind(),
            Self::Join(error) => error.kind(),
            Self::Sync(error) => error.kind(),
            Self::Connect(error) => error.kind(),
            Self::Backup(error) => error.kind(),
        }
    }

    /// Returns true if the same call may succeed later without a repair: the kind is [`ErrorKind::Busy`].
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Busy
    }
}

fn change_kind(error: &ChangeError) -> ErrorKind {
    match error {
        ChangeError::Change(refusal) => match refusal {
            ChangeRefusal::UnknownGroup(_)
            | ChangeRefusal::UnknownOp(_)
            | ChangeRefusal::UnknownInvite(_)
            | ChangeRefusal::NotAMember(_)
            | ChangeRefusal::NotContestable(_)
            | ChangeRefusal::NotVoided(_) => ErrorKind::NotFound,
            ChangeRefusal::NotAbove { .. } => ErrorKind::Invalid,
            _ => ErrorKind::NotAllowed,
        },
        ChangeError::Refused(_) | ChangeError::NeedsCut { .. } => ErrorKind::NotAllowed,
        ChangeError::Unsettled(_) => ErrorKind::Busy,
        ChangeError::Damaged { .. } => ErrorKind::Damaged,
        ChangeError::Store(error) => store_kind(error),
        ChangeError::Call(error) => call_kind(error),
        _ => ErrorKind::Failed,
    }
}

fn transport_kind(error: &TransportError, otherwise: ErrorKind) -> ErrorKind {
    match error {
        TransportError::Address { .. } => ErrorKind::Invalid,
        _ => otherwise,
    }
}

fn store_kind(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::Closed => ErrorKind::Closed,
        StoreError::Damaged { .. } => ErrorKind::Damaged,
        _ => ErrorKind::Failed,
    }
}

fn call_kind(error: &CallError) -> ErrorKind {
    match error {
        CallError::TimedOut | CallError::Restarting => ErrorKind::Busy,
        _ => ErrorKind::Closed,
    }
}
