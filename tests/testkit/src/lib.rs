//! Fixtures shared by the tests of every crate and by the fuzz targets: three devices that write one row, and
//! change chunks assembled byte by byte, dear ones op by op, and [`hostile`] peers by kind.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be built fails the test")]

pub mod dear;
pub mod gate;
pub mod gate_steps;
pub mod golden;
#[cfg(feature = "link")]
pub mod handmade;
pub mod hostile;
pub mod identity;
pub mod ledger_side;
#[cfg(feature = "link")]
pub mod link;
pub mod raw;
pub mod rows;

use schema::key::{Signature, SigningKey};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId};

/// The group of every fixture.
pub const GARDEN: GroupId = GroupId([1; 32]);
/// The row that all three devices write.
pub const ROW: DocumentId = DocumentId([2; 32]);

/// Ada's device.
pub const ADA: u8 = 0;
/// Ben's device.
pub const BEN: u8 = 1;
/// Cid's device.
pub const CID: u8 = 2;

/// The signing key of a person's device.
pub fn key(person: u8) -> SigningKey {
    SigningKey::from_seed([person + 1; 32])
}

/// A person's device with its grant.
pub fn author(person: u8) -> Author {
    Author { device: DeviceId(key(person).public()), grant: OpId([person; 32]), incarnation: 7 }
}

/// The replica under which a person's device writes [`ROW`].
pub fn replica(person: u8) -> ReplicaId {
    let Author { device, grant, incarnation } = author(person);
    ReplicaId::of(GARDEN, ROW, device, grant, incarnation)
}

/// A tip with a real signature.
pub fn tip(person: u8, seq: u64, change: ChangeHash) -> VerifiedTip {
    let tip = Tip::sign(GARDEN, ROW, author(person), seq, change, &key(person));
    tip.verify(GARDEN, ROW).unwrap()
}

/// A tip without a signature, treated as verified: signing thousands would dominate a property test.
pub fn unsigned_tip(person: u8, seq: u64, change: ChangeHash) -> VerifiedTip {
    let signature = Signature([0; 64]);
    Tip { author: author(person), seq, change, signature }.trust_stored(GARDEN, ROW)
}
