//! Errors of links: listening, dialling, and waiting for others.

use std::error::Error as _;

use actors::node::connection_manager::LinkEnd;
use schema::DeviceId;

use super::{DialError, ErrorKind, ListenError, call_kind, transport_kind};

/// A wait for a group to be in sync ended without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// No device of the group is linked: [connect](crate::Node::connect) to one.
    #[error("nobody is connected")]
    NobodyConnected,
    /// Devices of members are linked, and none announces the group: they left it, or removed this user. In
    /// the second case an Admin's [`add_member`](crate::Group::add_member) admits this user again.
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
    /// All devices are in sync, and the deadline passed before every row could be read.
    #[error("in sync, but {rows} rows are still being read")]
    Materialising {
        /// The number of rows.
        rows: usize,
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
