//! A device vouches for its newest change, and so for the whole chain below it.
//!
//! A tip's payload has a fixed width. The wire and the disk carry only the fields that cannot be derived; the
//! payload is rebuilt before it is verified (authority 3.0).

use bincode::{Decode, Encode};

use crate::id::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId};
use crate::key::{self, BadSignature, Signature, SigningKey};

const KIND: &str = "tip";
const VERSION: u8 = 1;

/// Bytes of a payload: version, group, document, replica, device, grant, incarnation, seq, change.
const PAYLOAD_BYTES: usize = 1 + 5 * 32 + 2 * 8 + 32;

/// The author of a chain of changes. Together with a group and a document it gives a replica id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Author {
    /// The device that writes.
    pub device: DeviceId,
    /// The op that gave its user the role under which it writes.
    pub grant: OpId,
    /// A random number that the device drew for this series of chains.
    pub incarnation: u64,
}

/// A device's signature over the newest change of one of its chains, not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Tip {
    /// The author of the chain.
    pub author: Author,
    /// The sequence number of the change, from 1.
    pub seq: u64,
    /// The change.
    pub change: ChangeHash,
    /// By the author's device.
    pub signature: Signature,
}

impl Tip {
    /// Signs a change of our own; `key` is that of `author.device`.
    pub fn sign(
        group: GroupId,
        document: DocumentId,
        author: Author,
        seq: u64,
        change: ChangeHash,
        key: &SigningKey,
    ) -> Self {
        debug_assert_eq!(key.public(), author.device.0, "a tip is signed by its device");
        let replica = replica(group, document, author);
        let payload = payload(group, document, replica, author, seq, change);
        Self { author, seq, change, signature: key.sign(KIND, &payload) }
    }

    /// The replica that it vouches for, if it belongs to this document.
    pub fn replica(&self, group: GroupId, document: DocumentId) -> ReplicaId {
        replica(group, document, self.author)
    }

    /// Checks the signature for one document of one group.
    ///
    /// # Errors
    /// [`BadSignature`], also when the tip belongs to another document or group.
    pub fn verify(&self, group: GroupId, document: DocumentId) -> Result<VerifiedTip, BadSignature> {
        let replica = self.replica(group, document);
        let payload = payload(group, document, replica, self.author, self.seq, self.change);
        key::verify(KIND, &payload, &self.author.device.0, &self.signature)?;
        Ok(VerifiedTip { tip: *self, replica })
    }

    /// Trusts a tip from our own store: it was verified before it was stored, and records carry checksums.
    pub fn trust_stored(self, group: GroupId, document: DocumentId) -> VerifiedTip {
        VerifiedTip { replica: self.replica(group, document), tip: self }
    }
}

fn replica(group: GroupId, document: DocumentId, author: Author) -> ReplicaId {
    ReplicaId::of(group, document, author.device, author.grant, author.incarnation)
}

fn payload(
    group: GroupId,
    document: DocumentId,
    replica: ReplicaId,
    author: Author,
    seq: u64,
    change: ChangeHash,
) -> Vec<u8> {
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
    payload.push(VERSION);
    for id in [group.0, document.0, replica.0, author.device.0, author.grant.0] {
        payload.extend(id);
    }
    payload.extend(author.incarnation.to_be_bytes());
    payload.extend(seq.to_be_bytes());
    payload.extend(change.0);
    debug_assert_eq!(payload.len(), PAYLOAD_BYTES);
    payload
}

/// A tip whose signature was verified for its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifiedTip {
    tip: Tip,
    replica: ReplicaId,
}

impl VerifiedTip {
    /// The replica that it vouches for.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The tip, as it is sent and stored.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    const GARDEN: GroupId = GroupId([1; 32]);
    const ROW: DocumentId = DocumentId([2; 32]);

    fn ada() -> (SigningKey, Author) {
        let key = SigningKey::from_seed([3; 32]);
        let author = Author { device: DeviceId(key.public()), grant: OpId([4; 32]), incarnation: 5 };
        (key, author)
    }

    #[test]
    fn the_payload_has_not_moved() {
        let (_, author) = ada();
        let replica = replica(GARDEN, ROW, author);
        let payload = payload(GARDEN, ROW, replica, author, 6, ChangeHash([7; 32]));

        let expected = [
            "01".to_owned(),
            "01".repeat(32),
            "02".repeat(32),
            GOLDEN_REPLICA.to_owned(),
            GOLDEN_DEVICE.to_owned(),
            "04".repeat(32),
            "0000000000000005".to_owned(),
            "0000000000000006".to_owned(),
            "07".repeat(32),
        ];
        assert_eq!(HEXLOWER.encode(&payload), expected.concat());
    }

    const GOLDEN_REPLICA: &str = "65ed8badad2d7b5d2c19f7c65ea3be6cbfdf3209b307b3dd81f12fd0cfbcc29a";
    const GOLDEN_DEVICE: &str = "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1";

    #[test]
    fn a_tip_holds_for_its_document_alone() {
        let (key, author) = ada();
        let tip = Tip::sign(GARDEN, ROW, author, 6, ChangeHash([7; 32]), &key);

        let verified = tip.verify(GARDEN, ROW).unwrap();
        assert_eq!(verified, tip.trust_stored(GARDEN, ROW));
        assert_eq!(verified.replica(), tip.replica(GARDEN, ROW));
        assert!(tip.verify(GARDEN, DocumentId([9; 32])).is_err());
        assert!(tip.verify(GroupId([9; 32]), ROW).is_err());
    }

    #[test]
    fn no_field_of_a_tip_can_be_changed() {
        let (key, author) = ada();
        let tip = Tip::sign(GARDEN, ROW, author, 6, ChangeHash([7; 32]), &key);
        let ben = DeviceId(SigningKey::from_seed([8; 32]).public());

        let forged = [
            Tip { author: Author { device: ben, ..author }, ..tip },
            Tip { author: Author { grant: OpId([5; 32]), ..author }, ..tip },
            Tip { author: Author { incarnation: 6, ..author }, ..tip },
            Tip { seq: 7, ..tip },
            Tip { change: ChangeHash([8; 32]), ..tip },
        ];
        for tip in forged {
            assert!(tip.verify(GARDEN, ROW).is_err());
        }
    }

    #[test]
    fn a_tip_survives_the_wire() {
        let (key, author) = ada();
        let tip = Tip::sign(GARDEN, ROW, author, 6, ChangeHash([7; 32]), &key);

        let bytes = crate::codec::encode(&tip);

        assert_eq!(bytes.len(), 32 + 32 + 1 + 1 + 32 + 64);
        assert_eq!(crate::codec::decode(&bytes, 200), Ok(tip));
    }
}
