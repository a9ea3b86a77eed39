#![doc = include_str!("../README.md")]

mod error;
mod group;
mod invite;
mod node;
#[cfg(feature = "sim")]
pub mod sim;
pub mod table;

pub use actors::edit::RowEdit;
pub use actors::node::Branch;
pub use actors::node::event::Event;
pub use actors::node::group::PeerStatus;
pub use actors::node::membership::{GroupInfo, GroupState};
pub use actors::node::store::Durability;
pub use schema::frame::DeclineReason;
pub use schema::ledger::Role;
pub use schema::ticket::{Ticket, TicketError};
pub use schema::{ChangeHash, DeviceId, GroupId, UserId};

pub use crate::error::{
    ConnectError, Error, ErrorKind, GroupError, JoinError, OpenError, ReadError, SyncError, Waiting,
    WriteError,
};
pub use crate::group::{Group, Synced};
pub use crate::invite::InviteOptions;
pub use crate::node::{Node, NodeBuilder};
pub use crate::table::counter::Counter;
pub use crate::table::history::Revision;
pub use crate::table::row::RowError;
pub use crate::table::text::Text;
pub use crate::table::watch::{RowChange, Watch};
pub use crate::table::{Row, Rows, Table, TableName};
