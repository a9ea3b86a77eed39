//! Opening, then Auth; nothing else passes before both.
//!
//! Shape (authority 3.10 without Noise, which will take the place of the openings and of `h`): the initiator sends its
//! opening; the responder its own and its Auth; the initiator its Auth. Bytes in, bytes out; the caller keeps time.
//! Until Noise is inside, a link is authenticated but not private.

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::device::{DeviceCert, DeviceIdentity};
use crate::frame::LinkFrame;
use crate::id::hash;
use crate::key::{self, BadSignature, Signature};
use crate::signed::{Envelope, Record, Signed, SignedError};
use crate::{DeviceId, UserId};

/// The protocol that this build speaks; there is no falling back to an older one.
pub const PROTOCOL_VERSION: u16 = 1;
/// Largest message of a handshake, bytes: an Auth with the longest certificate, with room for what Noise adds.
pub const HANDSHAKE_BYTES_MAX: usize = 1024;
const KIND: &str = "handshake";

/// The first message each way.
#[derive(Encode, Decode)]
struct Opening {
    version: u16,
    nonce: [u8; 32],
    /// The device's X25519 public key, which its certificate must name.
    static_key: [u8; 32],
}

/// Proves who speaks on a link: a certificate, and a live signature by the certified device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Auth {
    /// A signed [`DeviceCert`].
    pub certificate: Envelope,
    /// By the device, over role byte ‖ h ‖ device ‖ peer's static key.
    pub signature: Signature,
}

/// Which side of a link this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRole {
    /// It dialled.
    Initiator,
    /// It listened.
    Responder,
}

impl LinkRole {
    /// What stands for the role in hashes: 0 or 1.
    pub fn byte(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }

    /// The other side's role.
    pub fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A peer that has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Whose device it is.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The user's word for the device.
    pub certificate: Signed<DeviceCert>,
}

/// What a handshake yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Who is at the other side.
    pub peer: PeerIdentity,
    /// The handshake's hash: the same on both sides, different on every link.
    pub h: [u8; 32],
    /// Our side.
    pub role: LinkRole,
}

/// What one step asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Messages to send, in order.
    pub send: Vec<Vec<u8>>,
    /// Both sides' Auth has passed, or will pass at the peer once `send` arrives.
    pub established: Option<Established>,
}

/// Why a handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The opening is not one.
    #[error("malformed opening")]
    Opening(#[source] DecodeError),
    /// The peer speaks another version of the protocol; one of the two needs an update.
    #[error("peer speaks protocol version {theirs}, this device {ours}")]
    Version {
        /// Our version.
        ours: u16,
        /// The peer's version.
        theirs: u16,
    },
    /// The bytes after the opening are no frame.
    #[error("malformed auth")]
    Auth(#[source] DecodeError),
    /// The peer sent something else where only Auth may stand.
    #[error("{kind} frame before auth")]
    BeforeAuth {
        /// What the peer sent.
        kind: &'static str,
    },
    /// The certificate is not by the user whom it names.
    #[error("peer's certificate does not hold")]
    Certificate(#[source] SignedError),
    /// The certificate is for another X25519 key than the one that the peer uses.
    #[error("peer's static key is not the certified one")]
    StaticKey,
    /// The signature is not by the certified device, for this link and this side of it.
    #[error("peer's proof does not hold")]
    Signature(#[source] BadSignature),
    /// We reached ourselves.
    #[error("the peer is this device")]
    OwnDevice,
    /// Another device answers where one was dialled by id.
    #[error("expected {expected:?}, got {got:?}")]
    UnexpectedDevice {
        /// Who was dialled.
        expected: DeviceId,
        /// Who answered.
        got: DeviceId,
    },
    /// A message after the end of the handshake, or after its failure.
    #[error("the handshake is over")]
    Over,
}

enum State {
    AwaitOpening,
    AwaitAuth { h: [u8; 32], peer_static: [u8; 32] },
    Over,
}

/// One side of one handshake.
pub struct Handshake {
    identity: DeviceIdentity,
    nonce: [u8; 32],
    role: LinkRole,
    expected: Option<DeviceId>,
    state: State,
}

impl Handshake {
    /// Starts as the side that dialled; `nonce` is fresh randomness, `expected` whom it dialled if it knows.
    /// Also returns the first message to send.
    pub fn initiator(
        identity: DeviceIdentity,
        nonce: [u8; 32],
        expected: Option<DeviceId>,
    ) -> (Self, Vec<u8>) {
        let machine =
            Self { identity, nonce, role: LinkRole::Initiator, expected, state: State::AwaitOpening };
        let opening = machine.opening();
        (machine, opening)
    }

    /// Starts as the side that was dialled; `nonce` is fresh randomness.
    pub fn responder(identity: DeviceIdentity, nonce: [u8; 32]) -> Self {
        Self { identity, nonce, role: LinkRole::Responder, expected: None, state: State::AwaitOpening }
    }

    /// Takes one message of the peer.
    ///
    /// # Errors
    /// [`HandshakeError`] names what the peer failed; the handshake is then over.
    pub fn step(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitOpening => self.opened(message),
            State::AwaitAuth { h, peer_static } => self.authenticated(message, h, peer_static),
            State::Over => Err(HandshakeError::Over),
        }
    }

    fn opened(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        let peer: Opening = codec::decode(message, HANDSHAKE_BYTES_MAX).map_err(HandshakeError::Opening)?;
        if peer.version != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { ours: PROTOCOL_VERSION, theirs: peer.version });
        }
        let (initiator, responder) = match self.role {
            LinkRole::Initiator => (&self.nonce, &peer.nonce),
            LinkRole::Responder => (&peer.nonce, &self.nonce),
        };
        let h = hash(KIND, &[initiator, responder, &PROTOCOL_VERSION.to_be_bytes()]);
        let mut send = Vec::new();
        if self.role == LinkRole::Responder {
            send.push(self.opening());
        }
        send.push(self.auth(&h, &peer.static_key));
        self.state = State::AwaitAuth { h, peer_static: peer.static_key };
        Ok(Step { send, established: None })
    }

    // Authority 3.10, checks in its order; whether the peer is blocked or revoked is for those above the link.
    fn authenticated(
        &self,
        message: &[u8],
        h: [u8; 32],
        peer_static: [u8; 32],
    ) -> Result<Step, HandshakeError> {
        let auth = match codec::decode(message, HANDSHAKE_BYTES_MAX).map_err(HandshakeError::Auth)? {
            LinkFrame::Auth(auth) => auth,
            other => return Err(HandshakeError::BeforeAuth { kind: other.kind() }),
        };
        let certificate =
            Signed::<DeviceCert>::verify(auth.certificate).map_err(HandshakeError::Certificate)?;
        let DeviceCert { user, device, agreement: dh, .. } = *certificate.record();
        if dh != peer_static {
            return Err(HandshakeError::StaticKey);
        }
        let own_static = self.identity.certificate.record().agreement;
        let proof = proof(self.role.peer(), &h, device, &own_static);
        key::verify(KIND, &proof, device.as_bytes(), &auth.signature).map_err(HandshakeError::Signature)?;
        if device == self.identity.device() {
            return Err(HandshakeError::OwnDevice);
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != device) {
            return Err(HandshakeError::UnexpectedDevice { expected, got: device });
        }
        let peer = PeerIdentity { user, device, certificate };
        Ok(Step { send: Vec::new(), established: Some(Established { peer, h, role: self.role }) })
    }

    fn opening(&self) -> Vec<u8> {
        let static_key = self.identity.certificate.record().agreement;
        codec::encode(&Opening { version: PROTOCOL_VERSION, nonce: self.nonce, static_key })
    }

    fn auth(&self, h: &[u8; 32], peer_static: &[u8; 32]) -> Vec<u8> {
        let proof = proof(self.role, h, self.identity.device(), peer_static);
        let signature = self.identity.signing.sign(KIND, &proof);
        LinkFrame::Auth(Auth { certificate: self.identity.certificate.envelope().clone(), signature })
            .encode()
    }
}

/// What a device signs: its side of this link, with this peer. The role byte forbids reflection.
fn proof(role: LinkRole, h: &[u8; 32], device: DeviceId, peer_static: &[u8; 32]) -> Vec<u8> {
    [&[role.byte()][..], h, device.as_bytes(), peer_static].concat()
}

const _: () = assert!(DeviceCert::BYTES_MAX + 2 * 64 + 8 <= HANDSHAKE_BYTES_MAX, "an Auth must fit");

#[cfg(test)]
mod tests;
