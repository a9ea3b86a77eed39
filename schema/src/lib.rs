//! What peers agree on; no I/O, no clock, no randomness of its own.
//!
//! Ids, keys, signed records, the ledger and its rules, the reader of changes, wire frames and the session
//! machine. Two devices that run this crate decide everything alike.

pub mod change;
pub mod codec;
pub mod device;
pub mod digest;
pub mod document;
pub mod gate;
pub mod handshake;
pub mod id;
pub mod key;
pub mod ledger;
pub mod limits;
pub mod mnemonic;
pub mod session;
pub mod signed;
pub mod time;
pub mod tip;
pub mod value;
pub mod wire;

pub use id::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, UserId};
pub use time::Timestamp;
