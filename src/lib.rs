//! An embedded, offline-first database for groups of people.
//!
//! A *group* is a database with members. Every device of every member holds it whole, so reads and writes are
//! local. Devices meet over WebSockets, prove their identity by key, and merge their rows by CRDT
//! (Automerge). There is no server, no account and no password.
//!
//! ```
//! use std::time::Duration;
//! use peerbase::{Node, Role, TableName};
//!
//! #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct Task { title: String, done: bool }
//! const TASKS: TableName<Task> = TableName::new("tasks");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ada = Node::in_memory().await?; // `Node::builder("./ada").open()` keeps it on the disk
//! ada.listen("127.0.0.1:0").await?;
//! let garden = ada.create_group("Garden club").await?;
//! let key = garden.table(TASKS).insert(&Task { title: "water the basil".into(), done: false }).await?;
//! let ticket = garden.invite(Role::Writer).await?; // text to pass on in private
//!
//! let ben = Node::in_memory().await?;
//! let bens = ben.join(&ticket).await?;
//! bens.synced(Duration::from_secs(10)).await?;
//! bens.table(TASKS).update(&key, |task| task.done = true).await?;
//! bens.synced(Duration::from_secs(10)).await?;
//!
//! assert!(garden.table(TASKS).get(&key)?.is_some_and(|task| task.done));
//! # ada.close().await;
//! # ben.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Nouns
//!
//! - A [`Node`] is this device's open database: its identity, its groups, its links to other devices
//!   ([`node`]).
//! - A [`Group`] has members and tables. It invites, removes, and waits until others have what it has
//!   ([`group`]).
//! - A [`Table`] holds typed rows: any type with serde. [`table`] lists how each type of field merges.
//!
//! [`error`] holds every error with what to do about it; [`Error`] unites them. The `sim` module (feature
//! `sim`) runs many nodes on a virtual network, for tests.
//!
//! # Promises
//!
//! - A write that was acknowledged is on the disk ([`Durability`] trades this for speed).
//! - Rows merge field by field, and a merge of valid rows decodes.
//! - Each change is signed by its device and checked by every device that receives it, against a ledger of
//!   members from which all devices derive the same roster.
//! - Rows travel over third devices: what ada writes reaches cid through ben.
//! - A removal ends what the removed member may write, on every device that receives it. It cannot undo what
//!   that member has read.
//! - A failure stays where it is: a damaged row, document or group leaves the others in service.
//!
//! # Runtime
//!
//! Calls that are `async` need a tokio runtime with time and I/O enabled. Reads ([`Table::get`],
//! [`Table::iter`], [`Table::list`]) are synchronous and may touch the disk: long scans belong on a blocking
//! thread.
//!
//! # Features
//!
//! Features only add.
//!
//! | feature | gives | on by default |
//! |---|---|---|
//! | `cli` | the `peerbase` program; libraries that embed Peerbase set `default-features = false` | yes |
//! | `control` | the socket between the program and a running node, outside semver | with `cli` |
//! | `sim` | the `sim` module: many real nodes on one virtual network with one seed | no |
//! | `defects` | rules that can be broken on purpose, for demo and simulator; never for data | with `sim` |
//!
//! The minimum supported Rust version is 1.90. This crate follows semver; `peerbase-schema` and
//! `peerbase-actors`, which it is built of, do not: depend on this crate alone.

#[cfg(feature = "control")]
#[doc(hidden)] // for the program, its tests and its fuzz target
pub mod control;
pub mod engine;
pub mod error;
pub mod group;
#[cfg(doctest)]
mod guide;
mod invite;
pub mod node;
#[cfg(feature = "sim")]
pub mod sim;
pub mod table;

#[doc(inline)]
pub use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, Timestamp, UserId};

#[doc(inline)]
pub use crate::error::{
    BackupError, ConnectError, Error, ErrorKind, GroupError, JoinError, OpenError, ReadError, SyncError,
    WriteError,
};
#[doc(inline)]
pub use crate::group::{Group, GroupInfo, GroupState, InviteOptions, Member, Role, Synced, Ticket};
#[doc(inline)]
pub use crate::node::{Durability, Event, Node, NodeBuilder, NodeEnd, Remedy};
#[doc(inline)]
pub use crate::table::{Counter, Row, RowChange, RowEdit, Table, TableName, Text, Watch};
