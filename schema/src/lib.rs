//! The rules on which peers agree, without I/O, clock or randomness.
//!
//! Ids, keys, signed records, the ledger and its rules, the reader of changes, admission, wire frames and the
//! session machines. Two devices that run this crate decide alike.
//!
//! An inner crate of `peerbase`, without semver: depend on `peerbase` alone.

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
pub use time::{Moment, Timestamp};
