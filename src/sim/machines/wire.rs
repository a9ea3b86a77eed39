//! Changes and tips of the machine world as they cross a link: headers without content.

use schema::change::ChangeHeader;
use schema::document::{DocumentRef, Signer};
use schema::id::hash;
use schema::key::Signature;
use schema::limits::{CHARGE_OF_CHANGE, CHARGE_OF_OP};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::LinkFrame;
use schema::wire::session::{SessionFrame, UnitTip, Units};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, codec};

/// The table of all rows.
pub(super) const TABLE: &str = "world";

/// A message from one peer to another.
#[derive(Clone)]
pub(super) enum Parcel {
    /// A frame of the link.
    Link(LinkFrame),
    /// A frame of the ledger session, under the receiver's number for the group.
    Ledger(u32, LedgerFrame),
    /// A frame of the documents' session, under the receiver's number for the group.
    Frame(u32, SessionFrame),
    /// Units outside any session.
    Slipped(Units),
}

impl Parcel {
    /// The bytes of a parcel, for the trace.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Link(frame) => frame.encode(),
            Self::Ledger(_, frame) => codec::encode(frame),
            Self::Frame(_, frame) => codec::encode(frame),
            Self::Slipped(units) => codec::encode(units),
        }
    }
}

/// A header on the wire: replica, seq, start op, dependencies and content.
pub(super) type WireChange = ([u8; 32], u64, u64, Vec<[u8; 32]>, u64);

/// The header of a wire change; its time holds the content.
pub(super) fn header(wire: &WireChange) -> ChangeHeader {
    let (replica, seq, start_op, deps, content) = wire;
    let numbers = [*seq, *start_op, *content].map(u64::to_be_bytes);
    ChangeHeader {
        hash: ChangeHash(hash("world-change", &[replica, numbers.as_flattened(), deps.as_flattened()])),
        replica: ReplicaId(*replica),
        seq: *seq,
        start_op: *start_op,
        ops: 1,
        deps: deps.iter().map(|dep| ChangeHash(*dep)).collect(),
        time: i64::from_ne_bytes(content.to_ne_bytes()),
        references: Vec::new(),
        continues: false,
        needs_objects: false,
        charge: CHARGE_OF_CHANGE + CHARGE_OF_OP,
    }
}

pub(super) fn wire(header: &ChangeHeader) -> WireChange {
    let content = u64::from_ne_bytes(header.time.to_ne_bytes());
    let deps = header.deps.iter().map(|dep| dep.0).collect();
    (header.replica.0, header.seq, header.start_op, deps, content)
}

/// The message of a unit.
pub(super) fn message<'a>(headers: impl IntoIterator<Item = &'a ChangeHeader>) -> Vec<u8> {
    codec::encode(&headers.into_iter().map(wire).collect::<Vec<_>>())
}

/// The changes of a unit.
pub(super) fn read(message: &[u8]) -> Vec<ChangeHeader> {
    let wires: Vec<WireChange> = codec::decode(message, usize::MAX).expect("we encoded it");
    wires.iter().map(header).collect()
}

/// The world's signature: a hash keyed by the device. No peer of the world signs for another device.
pub(super) fn sign(author: Author, document: DocumentId, seq: u64, change: ChangeHash) -> Tip {
    let half = hash(
        "world-sig",
        &[
            &author.device.0,
            &author.grant.0,
            &author.incarnation.to_be_bytes(),
            &document.0,
            &seq.to_be_bytes(),
            &change.0,
        ],
    );
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half);
    Tip { author, seq, change, signature: Signature(signature) }
}

/// The key of a device: its holder signs for that device.
pub(super) struct Key(pub(super) DeviceId);

impl Signer for Key {
    fn device(&self) -> DeviceId {
        self.0
    }

    fn sign(&self, document: DocumentRef, author: Author, seq: u64, change: ChangeHash) -> Tip {
        sign(author, document.document, seq, change)
    }

    fn verify(&self, document: DocumentRef, tip: &Tip) -> Option<VerifiedTip> {
        verify(document.group, document.document, tip)
    }
}

/// Verifies that a tip is signed by its device.
pub(super) fn verify(group: GroupId, document: DocumentId, tip: &Tip) -> Option<VerifiedTip> {
    if sign(tip.author, document, tip.seq, tip.change) == *tip {
        Some(tip.trust_stored(group, document))
    } else {
        None
    }
}

/// The form of a tip in a unit.
pub(super) fn unit_tip(tip: &Tip, authors: &mut Vec<(DeviceId, OpId)>) -> UnitTip {
    let author = (tip.author.device, tip.author.grant);
    let place = authors.iter().position(|known| *known == author).unwrap_or_else(|| {
        authors.push(author);
        authors.len() - 1
    });
    let author = u32::try_from(place).expect("a world has few authors");
    UnitTip { author, incarnation: tip.author.incarnation, seq: tip.seq, signature: tip.signature }
}
