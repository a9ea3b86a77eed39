//! The signed records of a ledger: ops about members, devices, invitations and the group's description.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError as BadBytes, EncodeError};
use bincode::{Decode, Encode};

use crate::codec;
use crate::id::{DeviceId, GroupId, OpId, UserId, hash};
use crate::key::{self, BadSignature, Signature, SigningKey};
use crate::ledger::manifest::ManifestRef;
use crate::limits::{
    FOUNDERS_MAX, GROUP_NAME_BYTES_MAX, META_KEY_BYTES_MAX, META_VALUE_BYTES_MAX, OP_BYTES_MAX,
    OP_PARENTS_MAX,
};
use crate::signed::{Envelope, Record, Signed, SignedError};
use crate::wire::device::{DeviceCert, malformed};

/// A user's role in a group; the greater role may do more. One byte on the wire, the number as given here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum Role {
    /// Not a member, or no longer one.
    #[default]
    None = 0,
    /// Reads rows.
    Reader = 20,
    /// Reads and writes rows.
    Writer = 40,
    /// Also invites and removes members up to Admin.
    Admin = 60,
    /// Also makes and removes Owners.
    Owner = 80,
    /// Only a senior founder can act on a Founder.
    Founder = 100,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Reader, Self::Writer, Self::Admin, Self::Owner, Self::Founder];

    /// The role with that number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }

    /// The role's number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl Encode for Role {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.number().encode(encoder)
    }
}

impl<Context> Decode<Context> for Role {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BadBytes> {
        let number = u8::decode(decoder)?;
        Self::from_number(number).ok_or_else(|| BadBytes::OtherString(format!("role {number}")))
    }
}

bincode::impl_borrow_decode!(Role);

/// One membership op (authority 3.0), signed by its author's user or device key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Op {
    /// The record's version, 1.
    pub version: u8,
    /// The group it belongs to; zeros in a Create, whose own id becomes the group's.
    pub group: GroupId,
    /// The newest ops that the author takes into account, sorted; none in a Create.
    pub parents: Vec<OpId>,
    /// The user in whose name the op is signed.
    pub author: UserId,
    /// The key that signs.
    pub by: By,
    /// The content.
    pub body: Body,
}

/// The key that signs an op.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum By {
    /// The author's user key.
    User,
    /// A device of the author; the envelope is its [`DeviceCert`].
    Device(Envelope),
}

/// The content of an op.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Body {
    /// Founds the group.
    Create {
        /// Random bytes that keep two groups of the same founders and name apart; zeros in a personal group.
        nonce: [u8; 32],
        /// One to four distinct users, the most senior first.
        founders: Vec<UserId>,
        /// The group's first name.
        name: String,
    },
    /// Sets a user's role.
    SetRole {
        /// The target.
        user: UserId,
        /// The target's role from now on.
        role: Role,
        /// The changes of the target that stay accepted; present exactly if the role goes from Writer or
        /// above to below Writer.
        cut: Option<ManifestRef>,
        /// The invitation that the user redeemed.
        via: Option<InviteProof>,
    },
    /// Revokes a device.
    RevokeDevice {
        /// The target.
        user: UserId,
        /// The revoked device.
        device: DeviceId,
        /// The changes of the device that stay accepted; `None`: all.
        cut: Option<ManifestRef>,
    },
    /// Extends the cut of a revocation.
    Amnesty {
        /// The SetRole or RevokeDevice.
        revocation: OpId,
        /// The changes that stay accepted after all.
        manifest: ManifestRef,
    },
    /// Opens an invitation, which the holder of the secret of `key` redeems.
    OpenInvite {
        /// Verifying key of the invitation.
        key: [u8; 32],
        /// The highest role that it grants, at most Writer.
        max_role: Role,
        /// Number of users that it may admit.
        uses: u16,
        /// Time at which an Admin's device should stop accepting it, ms since the Unix epoch; no rule reads
        /// it.
        hint_expiry: u64,
    },
    /// Closes an invitation.
    CloseInvite {
        /// Its OpenInvite.
        invite: OpId,
    },
    /// Sets an entry of the group's description. `name` is the group's name; an op under `merge` only joins
    /// heads.
    SetMeta {
        /// At most 64 bytes.
        key: String,
        /// At most 4 KiB.
        value: Vec<u8>,
    },
}

/// A proof by the holder of an invitation's secret, which names the joining user and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct InviteProof {
    /// The OpenInvite.
    pub invite: OpId,
    /// The joiner's device.
    pub device: DeviceId,
    /// The invitation key's signature over group, invite, user and device.
    pub signature: Signature,
}

impl InviteProof {
    /// Signs the proof that redeems an invitation for `user`.
    pub fn sign(key: &SigningKey, group: GroupId, invite: OpId, user: UserId, device: DeviceId) -> Self {
        let signature = key.sign("invite", &Self::payload(group, invite, user, device));
        Self { invite, device, signature }
    }

    /// Checks the proof against the invitation's key.
    ///
    /// # Errors
    /// [`BadSignature`] if it was made for another group, invitation, user or device.
    pub fn verify(&self, key: &[u8; 32], group: GroupId, user: UserId) -> Result<(), BadSignature> {
        key::verify("invite", &Self::payload(group, self.invite, user, self.device), key, &self.signature)
    }

    fn payload(group: GroupId, invite: OpId, user: UserId, device: DeviceId) -> [u8; 128] {
        let mut payload = [0; 128];
        for (part, bytes) in payload.chunks_exact_mut(32).zip([group.0, invite.0, user.0, device.0]) {
            part.copy_from_slice(&bytes);
        }
        payload
    }
}

impl Op {
    /// The id of this op, before or after it is signed: the signature is no part of it.
    pub fn id(&self) -> OpId {
        OpId(hash(Self::KIND, &[&codec::encode(self)]))
    }

    /// The certificate of the signing device, unverified; `None` when the user key signs.
    pub(crate) fn certificate(&self) -> Option<DeviceCert> {
        match &self.by {
            By::User => None,
            By::Device(envelope) => codec::decode(&envelope.payload, DeviceCert::BYTES_MAX).ok(),
        }
    }

    /// The manifest whose pages must be stored before this op is admitted.
    pub fn manifest(&self) -> Option<&ManifestRef> {
        match &self.body {
            Body::SetRole { cut, .. } | Body::RevokeDevice { cut, .. } => cut.as_ref(),
            Body::Amnesty { manifest, .. } => Some(manifest),
            _ => None,
        }
    }

    /// Checks that need no other op: version, sizes, order.
    fn check_shape(&self) -> Result<(), String> {
        let founding = matches!(self.body, Body::Create { .. });
        if self.version != 1 {
            return Err(format!("version {}", self.version));
        }
        if founding != (self.group == GroupId([0; 32])) || founding != self.parents.is_empty() {
            return Err("a Create, and nothing else, has neither group nor parents".into());
        }
        if self.parents.len() > OP_PARENTS_MAX {
            return Err(format!("{} parents", self.parents.len()));
        }
        if !self.parents.is_sorted_by(|a, b| a < b) {
            return Err("parents out of order".into());
        }
        match &self.body {
            Body::Create { founders, name, .. } => {
                let distinct = (1..founders.len()).all(|i| !founders[..i].contains(&founders[i]));
                if !(1..=FOUNDERS_MAX).contains(&founders.len()) || !distinct {
                    return Err(format!("{} founders, or one of them twice", founders.len()));
                }
                if !founders.contains(&self.author) {
                    return Err("author is not a founder".into());
                }
                if name.len() > GROUP_NAME_BYTES_MAX {
                    return Err(format!("name of {} bytes", name.len()));
                }
            }
            Body::SetMeta { key, value }
                if key.len() > META_KEY_BYTES_MAX || value.len() > META_VALUE_BYTES_MAX =>
            {
                return Err(format!("key of {} and value of {} bytes", key.len(), value.len()));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Record for Op {
    const KIND: &'static str = "op";
    const BYTES_MAX: usize = OP_BYTES_MAX;

    fn signer(&self) -> Result<[u8; 32], SignedError> {
        self.check_shape().map_err(|what| malformed(Self::KIND, what))?;
        let By::Device(envelope) = &self.by else { return Ok(self.author.0) };
        let certificate = Signed::<DeviceCert>::verify(envelope.clone())?;
        if certificate.record().user != self.author {
            return Err(SignedError::Certificate);
        }
        Ok(certificate.record().device.0)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn ada() -> UserId {
        UserId(SigningKey::from_seed([1; 32]).public())
    }

    fn op(body: Body) -> Op {
        let parents = vec![OpId([3; 32])];
        Op { version: 1, group: GroupId([2; 32]), parents, author: ada(), by: By::User, body }
    }

    fn create() -> Op {
        let body = Body::Create { nonce: [7; 32], founders: vec![ada()], name: "garden".into() };
        Op { group: GroupId([0; 32]), parents: Vec::new(), ..op(body) }
    }

    fn removal() -> Op {
        let cut = Some(ManifestRef { root: [5; 32], entries: 300 });
        op(Body::SetRole { user: UserId([4; 32]), role: Role::Reader, cut, via: None })
    }

    /// The encoded bytes in hex, with runs of 32 equal bytes and ada's key abbreviated.
    fn abbreviated(op: &Op) -> String {
        let mut hex = HEXLOWER.encode(&codec::encode(op));
        hex = hex.replace(&ada().to_string(), " author ");
        for byte in 0..8 {
            hex = hex.replace(&format!("{byte:02x}").repeat(32), &format!(" {byte}x32 "));
        }
        hex.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ops_encode_to_golden_bytes() {
        assert_eq!(abbreviated(&create()), "01 0x32 00 author 0000 7x32 01 author 0667617264656e");
        assert_eq!(
            create().id().to_string(),
            "68774c9c1bf88da84050fbe093bd5829c7dd6866570eb6fd50f7576edee530d7"
        );
        assert_eq!(abbreviated(&removal()), "01 2x32 01 3x32 author 0001 4x32 1401 5x32 fb2c0100");
        assert_eq!(
            removal().id().to_string(),
            "fa7898d92de83c2ab9d9e0462756a4c50f0cfcb75971ac76d64cbf6739c059e5"
        );
    }

    #[test]
    fn an_unknown_role_number_is_refused() {
        assert_eq!(codec::decode::<Role>(&[60], 1), Ok(Role::Admin));
        assert!(codec::decode::<Role>(&[61], 1).is_err());
        assert!(Role::ALL.is_sorted());
    }

    #[test]
    fn a_malformed_op_has_no_signer() {
        let founders =
            |founders| Op { body: Body::Create { nonce: [0; 32], founders, name: "x".into() }, ..create() };
        let malformed_ops = [
            Op { version: 2, ..create() },
            Op { parents: vec![OpId([3; 32])], ..create() },
            Op { group: GroupId([2; 32]), ..create() },
            Op { author: UserId([4; 32]), ..create() },
            founders(Vec::new()),
            founders(vec![ada(), ada()]),
            founders(vec![ada(), UserId([1; 32]), UserId([2; 32]), UserId([3; 32]), UserId([4; 32])]),
            Op { parents: vec![OpId([3; 32]), OpId([2; 32])], ..removal() },
            Op { parents: vec![OpId([3; 32]); 2], ..removal() },
            Op {
                parents: (0..=u8::MAX).map(|n| OpId([n; 32])).chain([OpId([0xff; 32])]).collect(),
                ..removal()
            },
            Op { parents: Vec::new(), ..removal() },
            Op { group: GroupId([0; 32]), ..removal() },
        ];
        for op in malformed_ops {
            assert!(op.signer().is_err(), "{op:?}");
        }
        assert_eq!(create().signer(), Ok(ada().0));
        assert_eq!(removal().signer(), Ok(ada().0));
    }
}
