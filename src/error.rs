//! Every public error and what the caller can do about it.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;

use actors::call::CallError;
use actors::node::group::documents::CommitError;
use actors::node::membership::{ChangeError, ChangeRefusal};
use actors::node::store::StoreError;
use actors::transport::TransportError;
use schema::ledger::Role;
use schema::wire::link::DeclineReason;
use schema::{DeviceId, GroupId, UserId};

use crate::table::row::RowError;

/// Any error of this crate, for programs that treat them alike.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A row was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A group or its membership was not changed.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A group was not joined.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A group is not in sync.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// An address was not listened on or dialled.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No backup was made.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// What kind of trouble an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller gave something that cannot be: a name, a key, a value, a path.
    Invalid,
    /// What was asked for is not here.
    NotFound,
    /// The rules of the group say no.
    NotAllowed,
    /// Something moved meanwhile, or somebody did not answer: the same call may succeed now.
    Busy,
    /// The node was closed.
    Closed,
    /// What is stored cannot be read.
    Damaged,
    /// The disk or the machine failed.
    Failed,
}

impl Error {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Group(error) => error.kind(),
            Self::Join(error) => error.kind(),
            Self::Sync(_) => ErrorKind::Busy,
            Self::Connect(error) => error.kind(),
            Self::Backup(error) => error.kind(),
        }
    }

    /// Whether the same call may succeed later without anything being repaired.
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Busy
    }
}

/// Why a database did not open. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store did not open: see the cause.
    #[error(transparent)]
    Store(#[from] actors::node::store::OpenError),
    /// The identity file is missing, damaged or of an unknown version: restore it from a backup.
    #[error(transparent)]
    Identity(#[from] actors::identity::IdentityError),
    /// The folder cannot be made or read.
    #[error("folder {path} is not usable")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A branch of the node did not start.
    #[error("node did not start")]
    Start(#[source] actors::node::StartError),
}

impl OpenError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        use actors::node::store::OpenError as Store;
        match self {
            Self::Store(Store::Locked { .. }) => ErrorKind::Busy,
            Self::Identity(actors::identity::IdentityError::Exists { .. }) => ErrorKind::Invalid,
            Self::Store(_) | Self::Identity(_) => ErrorKind::Damaged,
            Self::Folder { .. } => ErrorKind::Invalid,
            Self::Start(_) => ErrorKind::Failed,
        }
    }
}

/// Why a row was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The table name or row key cannot be one.
    #[error(transparent)]
    Place(#[from] actors::node::group::rows::PlaceError),
    /// The row does not decode into the row type: it is remote input, or another app wrote it.
    #[error("row {key:?} of {table:?} does not decode")]
    Row {
        /// The row's table.
        table: String,
        /// The row's key.
        key: String,
        /// Which part of it does not.
        #[source]
        cause: Box<RowError>,
    },
    /// The store failed, or the node was closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored row is damaged.
    #[error("stored row is damaged")]
    Damaged(#[source] actors::node::group::rows::RowRecordError),
    /// The group's actor did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ReadError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Place(_) => ErrorKind::Invalid,
            Self::Row { .. } | Self::Damaged(_) => ErrorKind::Damaged,
            Self::Store(error) => store_kind(error),
            Self::Call(error) => call_kind(error),
        }
    }
}

/// Why a row was not written; unless [`WriteError::Call`] says otherwise, nothing happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no such row to update.
    #[error("no row {key:?} in {table:?}")]
    NotFound {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// The row has moved since the heads that `update_if` was given.
    #[error("row {key:?} of {table:?} moved")]
    Moved {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// The value cannot be stored.
    #[error("value for row {key:?} of {table:?} cannot be stored")]
    Value {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Which part of it cannot.
        #[source]
        cause: Box<RowError>,
    },
    /// The row, which the write starts from, was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group refused the commit.
    #[error(transparent)]
    Commit(CommitError),
    /// Nobody answered in time: the write may or may not happen.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl WriteError {
    /// What kind of trouble it is.
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

/// Why a group was not found, made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// This user takes part in no such group.
    #[error("no group {0}; `request_group` asks to join one")]
    Unknown(GroupId),
    /// The name is longer than 256 bytes.
    #[error("group name of {bytes} bytes, at most {max} are allowed")]
    Name {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The node has as many groups as it may.
    #[error("{max} groups are as many as a node holds")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The group failed too often and is out of service until the node is opened again.
    #[error("group {0} failed and is out of service")]
    Failed(GroupId),
    /// The personal group is this user's own: nobody leaves it.
    #[error("the personal group cannot be left")]
    Personal,
    /// No device of this user by that id is known here: [`Node::devices`](crate::Node::devices) lists those that are.
    #[error("device {0} is not known as one of this user")]
    UnknownDevice(DeviceId),
    /// A device is not taken back by itself: open the node on another one.
    #[error("this device cannot revoke itself; do it from another device of this user")]
    OwnDevice,
    /// There is a recovery key already: use its words, or [replace](crate::Node::replace_recovery) it.
    #[error("there is a recovery key already, of user {}", .user.short())]
    HasRecovery {
        /// The recovery user.
        user: UserId,
    },
    /// What is remembered of the recovery key cannot be read.
    #[error("what is remembered of the recovery key was not read")]
    Recovery(#[source] Box<ReadError>),
    /// What is remembered of the recovery key was not signed by this user: one of their devices may be in other hands.
    /// Take it back, and [replace](crate::Node::replace_recovery) the key.
    #[error("recovery key is remembered as {user:?}, which this user did not sign; replace the key")]
    RecoveryUser {
        /// What stands there.
        user: String,
    },
    /// Nobody is a stranger to themselves: [`Node::revoke_device`](crate::Node::revoke_device) takes a device back.
    #[error("this user cannot block themselves; a device of theirs is revoked")]
    BlockSelf,
    /// What is remembered of other users cannot be read.
    #[error("what is remembered of other users was not read")]
    Contacts(#[source] Box<ReadError>),
    /// The invitation would let nobody in: it has no uses, no time, or a role below Reader.
    #[error("invitation that lets nobody in")]
    Invitation,
    /// The rules say no, or the change could not be made.
    #[error("membership was not changed")]
    Change(#[source] Box<ChangeError>),
    /// The intent was not written.
    #[error("intent to take part was not written")]
    Intent(#[source] Box<WriteError>),
    /// The node did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl GroupError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownDevice(_) => ErrorKind::NotFound,
            Self::Name { .. }
            | Self::Full { .. }
            | Self::Invitation
            | Self::OwnDevice
            | Self::BlockSelf
            | Self::Personal
            | Self::HasRecovery { .. } => ErrorKind::Invalid,
            Self::Recovery(error) | Self::Contacts(error) => error.kind(),
            Self::RecoveryUser { .. } => ErrorKind::Damaged,
            Self::Failed(_) => ErrorKind::Failed,
            Self::Change(error) => match &**error {
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
            },
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

/// Why a group was not joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Nobody has let this user in yet. The wish and the ticket are kept, and every Admin's device that is met is asked,
    /// also after the next open: wait for [`Event::Joined`](crate::Event::Joined), or leave the group.
    #[error("not yet let into group {group}: {why}")]
    Pending {
        /// The group.
        group: GroupId,
        /// What is missing.
        why: Waiting,
    },
    /// The ticket came too late: ask for another.
    #[error("not let into group {group}: {reason}")]
    Declined {
        /// The group.
        group: GroupId,
        /// Why.
        reason: DeclineReason,
    },
    /// This user is in the group already, and the ticket is for more: ask an Admin for the role.
    #[error("already in group {group} as {role:?}; the ticket is for {ticket:?}: ask an admin for that role")]
    AlreadyIn {
        /// The group.
        group: GroupId,
        /// This user's role.
        role: Role,
        /// What the ticket is for.
        ticket: Role,
    },
    /// The wish was taken back meanwhile: the group was left.
    #[error("group {group} was left before anybody let this user in")]
    Withdrawn {
        /// The group.
        group: GroupId,
    },
    /// The group was not asked for.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The node was closed.
    #[error("node is closed")]
    Closed,
}

/// What a pending group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Nobody answers at the ticket's addresses.
    NotReached,
    /// The inviter's device was reached and has not answered.
    Unanswered,
    /// Somebody let this user in whose ledger is older than the ticket: a newer one must come first.
    OldLedger,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReached => "the inviter's device was not reached",
            Self::Unanswered => "the inviter's device has not answered",
            Self::OldLedger => "whoever answered has an old list of members",
        })
    }
}

impl JoinError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Pending { .. } => ErrorKind::Busy,
            Self::Declined { .. } | Self::AlreadyIn { .. } => ErrorKind::NotAllowed,
            Self::Withdrawn { .. } => ErrorKind::NotFound,
            Self::Group(error) => error.kind(),
            Self::Closed => ErrorKind::Closed,
        }
    }
}

/// Why a group is not known to be in sync with anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// No device of the group is connected.
    #[error("nobody is connected")]
    NobodyConnected,
    /// Members' devices are met, and none of them speaks of the group: they left it, or this user is out of it. An
    /// Admin's `set_role` lets them in again.
    #[error("{} devices of members are met and do not speak of this group: they left it, or you are out of it", with.len())]
    Silent {
        /// The devices.
        with: Vec<DeviceId>,
    },
    /// The deadline came first.
    #[error("not in sync with {} of {connected} connected devices", with.len())]
    Behind {
        /// The devices that were not.
        with: Vec<DeviceId>,
        /// How many are connected.
        connected: usize,
    },
}

/// Why an address cannot be listened on or dialled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// See the cause.
    #[error(transparent)]
    Connect(#[from] actors::node::connection_manager::ConnectError),
    /// See the cause.
    #[error(transparent)]
    Listen(#[from] actors::node::connection_manager::ListenError),
}

impl ConnectError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        use actors::node::connection_manager::{ConnectError as Connect, LinkEnd, ListenError};
        match self {
            Self::Connect(Connect::Call(error)) | Self::Listen(ListenError::Call(error)) => call_kind(error),
            // Nobody is there, or has no time: somebody may be later.
            Self::Connect(error) => match error.source().and_then(|cause| cause.downcast_ref()) {
                Some(LinkEnd::Dial(error)) => transport_kind(error, ErrorKind::Busy),
                _ => ErrorKind::Busy,
            },
            Self::Listen(ListenError::Transport(error)) => transport_kind(error, ErrorKind::Failed),
            Self::Listen(_) => ErrorKind::Busy,
        }
    }
}

/// Why there is no backup. Nothing that looks like one was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The folder holds something already: name a new one.
    #[error("folder {} is not empty; a backup wants a new one", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made or written: see the cause.
    #[error("folder {} is not usable", .path.display())]
    Folder {
        /// The folder, or what beside it was in the way.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The identity was not written: see the cause.
    #[error(transparent)]
    Identity(#[from] actors::identity::IdentityError),
    /// The database was not copied: see the cause.
    #[error("database was not copied")]
    Copy(#[from] actors::node::store::CopyError),
}

impl BackupError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        use actors::node::store::CopyError;
        match self {
            Self::NotEmpty { .. } | Self::Folder { .. } => ErrorKind::Invalid,
            Self::Copy(CopyError::Read(error) | CopyError::Write(error)) => store_kind(error),
            Self::Identity(_) | Self::Copy(_) => ErrorKind::Failed,
        }
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
