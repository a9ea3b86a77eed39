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

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;

#[doc(inline)]
pub use actors::call::CallError;
#[doc(inline)]
pub use actors::edit::EditError;
#[doc(inline)]
pub use actors::identity::IdentityError;
#[doc(inline)]
pub use actors::node::StartError;
use actors::node::connection_manager::LinkEnd;
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
use schema::ledger::Role;
#[doc(inline)]
pub use schema::ledger::{Invalid as InvalidOp, Refusal as OpRefusal};
#[doc(inline)]
pub use schema::mnemonic::MnemonicError;
#[doc(inline)]
pub use schema::signed::SignedError;
use schema::wire::link::DeclineReason;
#[doc(inline)]
pub use schema::wire::ticket::TicketError;
use schema::{DeviceId, GroupId, UserId};

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
            Self::Commit(CommitError::Store(error)) => store_kind(error),
            Self::Commit(_) => ErrorKind::Invalid,
            Self::Call(error) => call_kind(error),
        }
    }
}

/// Finding, founding or changing a group failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// This user takes no part in such a group: [`Node::request_group`](crate::Node::request_group) or a
    /// ticket asks to.
    #[error("no group {0}; `request_group` asks to join one")]
    Unknown(GroupId),
    /// The name is longer than 256 bytes: choose a shorter one.
    #[error("group name of {bytes} bytes, at most {max} are allowed")]
    Name {
        /// Length of the name, bytes.
        bytes: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The node has as many groups as it may: leave one.
    #[error("{max} groups are as many as a node holds")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The group failed too often and serves no more until the node is opened again.
    #[error("group {0} failed and serves no more until the node is opened again")]
    Failed(GroupId),
    /// The group is this user's personal group, which cannot be left.
    #[error("the personal group cannot be left")]
    Personal,
    /// No such device is known here: [`Group::devices`](crate::Group::devices) lists those of a group,
    /// [`Node::devices`](crate::Node::devices) those of this user.
    #[error("device {0} is not known as one of this user")]
    UnknownDevice(DeviceId),
    /// Several users certify the device: name the one meant with
    /// [`DeviceRevocation::of`](crate::group::DeviceRevocation::of).
    #[error("device {device} is certified by {} users; name the one whose device is revoked", .users.len())]
    SharedDevice {
        /// The device.
        device: DeviceId,
        /// The users who certify it, by id.
        users: Vec<UserId>,
    },
    /// A device cannot revoke itself: call this on another device of the same user.
    #[error("this device cannot revoke itself; do it from another device of this user")]
    OwnDevice,
    /// There is a recovery key already: use its words, or [replace](crate::Node::replace_recovery) it.
    #[error("there is a recovery key already, of user {}", .user.short())]
    HasRecovery {
        /// The recovery user.
        user: UserId,
    },
    /// The stored id of the recovery key was not read.
    #[error("recovery key was not read")]
    Recovery(#[source] Box<ReadError>),
    /// The stored id of the recovery key is not signed by this user: another person may control one of their
    /// devices. [Revoke](crate::Node::revoke_device) that device, and
    /// [replace](crate::Node::replace_recovery) the key.
    #[error("recovery key is stored as {user:?}, which this user did not sign; replace the key")]
    RecoveryUser {
        /// The stored id, as text.
        user: String,
    },
    /// A user cannot block themselves: [`Node::revoke_device`](crate::Node::revoke_device) ends a device of
    /// theirs.
    #[error("this user cannot block themselves; a device of theirs is revoked")]
    BlockSelf,
    /// The list of blocked users was not read.
    #[error("blocked users were not read")]
    Contacts(#[source] Box<ReadError>),
    /// The invitation would admit nobody: it has no uses, no time, or a role below Reader.
    #[error("invitation would admit nobody")]
    Invitation,
    /// The rules forbid the change of membership, or it failed: the cause tells which, and what to do.
    #[error("membership was not changed")]
    Change(#[source] Box<ChangeError>),
    /// A row of the personal group, which records this user's decisions, was not written.
    #[error("personal group was not written")]
    Intent(#[source] Box<WriteError>),
    /// The node did not answer: try again, unless it is closed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl GroupError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownDevice(_) => ErrorKind::NotFound,
            Self::Name { .. }
            | Self::Full { .. }
            | Self::Invitation
            | Self::OwnDevice
            | Self::SharedDevice { .. }
            | Self::BlockSelf
            | Self::Personal
            | Self::HasRecovery { .. } => ErrorKind::Invalid,
            Self::Recovery(error) | Self::Contacts(error) => error.kind(),
            Self::RecoveryUser { .. } => ErrorKind::Damaged,
            Self::Failed(_) => ErrorKind::Failed,
            Self::Change(error) => change_kind(error),
            Self::Call(error) => call_kind(error),
            Self::Intent(error) => error.kind(),
        }
    }
}

impl From<ChangeError> for GroupError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Change(ChangeRefusal::UnknownDevice(device)) => Self::UnknownDevice(device),
            ChangeError::Change(ChangeRefusal::OwnDevice) => Self::OwnDevice,
            error => Self::Change(Box::new(error)),
        }
    }
}

impl From<WriteError> for GroupError {
    fn from(error: WriteError) -> Self {
        Self::Intent(Box::new(error))
    }
}

/// Joining a group failed, or is not finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The group has not admitted this user yet. The intent and the ticket are stored, and every linked
    /// device of an Admin is asked, also after the next open: wait for
    /// [`Event::Joined`](crate::Event::Joined), or leave the group.
    #[error("not yet admitted to group {group}: {why}")]
    Pending {
        /// The group.
        group: GroupId,
        /// The step that is missing.
        why: Waiting,
    },
    /// The inviter refuses the ticket: ask for another one.
    #[error("not admitted to group {group}: {reason}")]
    Declined {
        /// The group.
        group: GroupId,
        /// The inviter's reason.
        reason: DeclineReason,
    },
    /// This user is a member already, with a lower role than the ticket's: ask an Admin for the role.
    #[error("already in group {group} as {role:?}; the ticket is for {ticket:?}: ask an admin for that role")]
    AlreadyIn {
        /// The group.
        group: GroupId,
        /// This user's role.
        role: Role,
        /// The role of the ticket.
        ticket: Role,
    },
    /// The group was left while this call waited.
    #[error("group {group} was left before it admitted this user")]
    Left {
        /// The group.
        group: GroupId,
    },
    /// The group could not be asked for.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The node was closed while this call waited.
    #[error("node is closed")]
    Closed,
}

/// The step that a [pending](JoinError::Pending) admission waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// No link to the inviter's device: nothing answers at the ticket's addresses.
    NotReached,
    /// The inviter's device is linked and has not answered.
    Unanswered,
    /// A member's device answered whose ledger is older than the ticket: a newer ledger must arrive first.
    OldLedger,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReached => "the inviter's device was not reached",
            Self::Unanswered => "the inviter's device has not answered",
            Self::OldLedger => "the device that answered has an old list of members",
        })
    }
}

impl JoinError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Pending { .. } => ErrorKind::Busy,
            Self::Declined { .. } | Self::AlreadyIn { .. } => ErrorKind::NotAllowed,
            Self::Left { .. } => ErrorKind::NotFound,
            Self::Group(error) => error.kind(),
            Self::Closed => ErrorKind::Closed,
        }
    }
}

/// A wait for a group to be in sync ended without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// No device of the group is linked: [connect](crate::Node::connect) to one.
    #[error("nobody is connected")]
    NobodyConnected,
    /// Devices of members are linked, and none announces the group: they left it, or removed this user. In
    /// the second case an Admin's [`set_role`](crate::Group::set_role) admits this user again.
    #[error(
        "{} devices of members are linked and do not announce this group: they left it, or you were removed",
        with.len()
    )]
    Silent {
        /// The devices.
        with: Vec<DeviceId>,
    },
    /// The deadline passed first: wait longer, or see [`Group::status`](crate::Group::status).
    #[error("not in sync with {} of {connected} connected devices", with.len())]
    Behind {
        /// The devices that are not in sync.
        with: Vec<DeviceId>,
        /// Number of linked devices of the group.
        connected: usize,
    },
}

impl SyncError {
    /// Returns the sort of the error: always [`ErrorKind::Busy`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Busy
    }
}

/// Listening or dialling failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Dialling failed: the cause names the reason. The address is dialled again later.
    #[error(transparent)]
    Connect(#[from] DialError),
    /// Listening failed: the cause names the reason.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl ConnectError {
    /// Returns the sort of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect(DialError::Call(error)) | Self::Listen(ListenError::Call(error)) => {
                call_kind(error)
            }
            // The peer does not answer now; it may later.
            Self::Connect(error) => match error.source().and_then(|cause| cause.downcast_ref()) {
                Some(LinkEnd::Dial(error)) => transport_kind(error, ErrorKind::Busy),
                _ => ErrorKind::Busy,
            },
            Self::Listen(ListenError::Transport(error)) => transport_kind(error, ErrorKind::Failed),
            Self::Listen(_) => ErrorKind::Busy,
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
