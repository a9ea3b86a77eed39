//! The public door: what the database promises, and the first running example.
#![doc = ""]
#![doc = include_str!("../README.md")]

#[cfg(feature = "control")]
#[doc(hidden)] // for the program, its tests and its fuzz target
pub mod control;
mod error;
mod group;
mod invite;
mod node;
#[cfg(feature = "sim")]
pub mod sim;
pub mod table;

pub use actors::edit::RowEdit;
pub use actors::node::Branch;
pub use actors::node::connection_manager::{LinkEnd, LinkStatus};
pub use actors::node::event::Event;
pub use actors::node::group::cut::DamagedDocument;
pub use actors::node::group::documents::{Kept, Rejudged, Snapshot};
pub use actors::node::group::{GroupStatus, PeerStatus};
pub use actors::node::membership::{
    Declined, Device, GroupInfo, GroupState, Invitation, MemberDevice, MemberOp, Silent,
};
pub use actors::node::store::Durability;

/// Storage engines: those that come with the crate, and the traits to implement another.
pub mod engine {
    pub use actors::node::store::engine::{
        Batch, Engine, Entry, KEY_BYTES_MAX, Mode, OpenEngine, Scan, Space, VALUE_BYTES_MAX, Write,
    };
    pub use actors::node::store::memory::{MemoryDisk, MemoryEngine};
    pub use actors::node::store::{OpenError, SledOptions, StoreError};
}
pub use schema::admission::Refusal;
pub use schema::ledger::{Act, Contestable, InviteStanding, Role, Standing};
pub use schema::wire::link::DeclineReason;
pub use schema::wire::ticket::{Ticket, TicketError};
pub use schema::words::{Words, WordsError};
pub use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, Timestamp, UserId};

pub use crate::error::{
    BackupError, ConnectError, Error, ErrorKind, GroupError, JoinError, OpenError, ReadError, SyncError,
    Waiting, WriteError,
};
pub use crate::group::members::{MemberChange, MembersTable, MembersWatch};
pub use crate::group::people::Member;
pub use crate::group::{Explanation, Group, RowState, Synced};
pub use crate::invite::InviteOptions;
pub use crate::node::{Backup, EndedLink, GroupReport, Node, NodeBuilder, NodeStatus};
pub use crate::table::counter::Counter;
pub use crate::table::history::Revision;
pub use crate::table::row::RowError;
pub use crate::table::text::Text;
pub use crate::table::watch::{RowChange, Watch};
pub use crate::table::{PutMany, Row, Rows, Table, TableName};
