//! What the tests of changes share: people, random histories of real documents, and chunks made by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod history;
pub mod raw;

use peerbase_schema::key::SigningKey;
use peerbase_schema::tip::{Author, Tip, VerifiedTip};
use peerbase_schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId};

pub const GARDEN: GroupId = GroupId([1; 32]);
pub const ROW: DocumentId = DocumentId([2; 32]);

/// ada, ben and cid.
pub const ADA: u8 = 0;
pub const BEN: u8 = 1;
pub const CID: u8 = 2;

pub fn key(person: u8) -> SigningKey {
    SigningKey::from_seed([person + 1; 32])
}

pub fn author(person: u8) -> Author {
    Author { device: DeviceId(key(person).public()), grant: OpId([person; 32]), incarnation: 7 }
}

pub fn replica(person: u8) -> ReplicaId {
    let Author { device, grant, incarnation } = author(person);
    ReplicaId::of(GARDEN, ROW, device, grant, incarnation)
}

pub fn tip(person: u8, seq: u64, change: ChangeHash) -> VerifiedTip {
    let tip = Tip::sign(GARDEN, ROW, author(person), seq, change, &key(person));
    tip.verify(GARDEN, ROW).unwrap()
}

/// As if verified: signatures are the tests of `tip.rs`.
pub fn quick_tip(person: u8, seq: u64, change: ChangeHash) -> VerifiedTip {
    let signature = peerbase_schema::key::Signature([0; 64]);
    Tip { author: author(person), seq, change, signature }.trust_stored(GARDEN, ROW)
}

pub fn to_automerge(hash: ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(hash.0)
}

pub fn from_automerge(hash: automerge::ChangeHash) -> ChangeHash {
    ChangeHash(hash.0)
}
