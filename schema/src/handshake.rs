//! The handshake of a link: Noise, then one Auth frame in each direction.
//!
//! The messages with their Noise tokens; payloads are empty (authority 3.10):
//! ```text
//! -> e        <- e, ee, s, es        -> s, se        -> record: Auth        <- record: Auth
//! ```
//! On the stream each message follows its length (u16, big endian); afterwards come [`Records`]. The machine
//! maps bytes to bytes; its caller provides lengths, time and randomness. The responder reveals its identity
//! only after it has verified the initiator's.

use zeroize::Zeroizing;

use crate::codec::{self, DecodeError};
use crate::device::DeviceIdentity;
use crate::key::{AgreementKey, BadSignature};
use crate::limits::HANDSHAKE_BYTES_MAX;
use crate::signed::{Record, Signed, SignedError};
use crate::wire::auth::Auth;
use crate::wire::device::DeviceCert;
use crate::wire::link::LinkFrame;
use crate::{DeviceId, UserId};

mod auth;
mod noise;
mod record;
mod resolver;

use auth::Binding;
use noise::{Mismatch, Noise, Split};
pub use record::{RECORD_TAG_BYTES, RecordCipher, RecordError, Records};

/// The version of the protocol. It is part of Noise's prologue, so that peers of other versions fail the
/// handshake; there is no fallback.
pub const PROTOCOL: &str = "peerbase/2";

/// The parameters of a handshake: the network, equal on both sides, and what this side offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Name of the network; devices of different networks cannot connect. Empty by default.
    pub network: String,
    /// Digest of the device revocations that this side knows; zeros where it does not tell.
    pub revocations: [u8; 32],
    /// Optional features beyond version 1, one bit each. None is defined yet.
    pub features: u64,
}

/// A side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRole {
    /// The side that dialled.
    Initiator,
    /// The side that listened.
    Responder,
}

impl LinkRole {
    /// Returns the byte of the role in hashes: 0 or 1.
    pub fn byte(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }

    /// Returns the other side's role.
    pub fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A peer with a proven identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The device's user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The user's certificate for the device.
    pub certificate: Signed<DeviceCert>,
    /// Digest of the device revocations that the peer knows; zeros where it does not tell.
    pub revocations: [u8; 32],
    /// Optional features of the peer beyond version 1, one bit each; unknown bits are ignored.
    pub features: u64,
}

/// The result of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The peer.
    pub peer: PeerIdentity,
    /// The handshake's hash: the same on both sides, different on every link.
    pub h: [u8; 32],
    /// This side's role.
    pub role: LinkRole,
}

/// The result of one step.
#[derive(Debug, Default)]
pub struct Step {
    /// Messages to send, in order.
    pub send: Vec<Vec<u8>>,
    /// Set once the peer's Auth is verified, and ours is sent or in `send`. Frames that follow use these
    /// ciphers.
    pub established: Option<(Established, Records)>,
}

/// The reason why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer has another protocol, version or network, or a byte was changed on the way.
    #[error(
        "message {message} of 3 does not belong to this protocol and network; do both sides run the \
         same version?"
    )]
    Noise {
        /// Number of the message, from 1.
        message: u8,
    },
    /// The record in the place of Auth does not open.
    #[error("auth does not open")]
    Record(#[source] RecordError),
    /// The first record is not a frame.
    #[error("malformed auth")]
    Auth(#[source] DecodeError),
    /// The peer sent another frame in the place of Auth.
    #[error("{kind} frame before auth")]
    BeforeAuth {
        /// Kind of the frame.
        kind: &'static str,
    },
    /// The certificate is not signed by the user that it names.
    #[error("peer's certificate does not hold")]
    Certificate(#[source] SignedError),
    /// The certificate names another X25519 key than the peer's.
    #[error("peer's static key is not the certified one")]
    StaticKey,
    /// The signature is not by the certified device, or not for this link and side.
    #[error("peer's proof does not hold")]
    Signature(#[source] BadSignature),
    /// The peer is this device.
    #[error("this device answers there itself; name the address of another")]
    OwnDevice,
    /// Another device than the expected one answers.
    #[error("expected {expected:?}, got {got:?}")]
    UnexpectedDevice {
        /// The expected device.
        expected: DeviceId,
        /// The device that answered.
        got: DeviceId,
    },
    /// A message arrived after the end or the failure of the handshake.
    #[error("the handshake is over")]
    Over,
}

enum State {
    /// Responder: awaits the first message.
    AwaitFirst(Noise),
    /// Initiator: awaits the second message.
    AwaitSecond(Noise),
    /// Responder: awaits the third message.
    AwaitThird(Noise),
    /// Noise is complete; awaits the peer's Auth.
    AwaitAuth(Split),
    Over,
}

/// One side of one handshake.
pub struct Handshake {
    identity: DeviceIdentity,
    terms: Terms,
    role: LinkRole,
    expected: Option<DeviceId>,
    state: State,
}

impl Handshake {
    /// Starts as the side that dialled, and returns the first message to send. `ephemeral` is fresh
    /// randomness, `expected` the device that was dialled, if known.
    pub fn initiator(
        identity: DeviceIdentity,
        terms: Terms,
        ephemeral: [u8; 32],
        expected: Option<DeviceId>,
    ) -> (Self, Vec<u8>) {
        let mut noise = Self::noise(LinkRole::Initiator, &identity.agreement, &terms, ephemeral);
        let Ok(first) = noise.write(&[]) else { unreachable!("the first message needs no key of the peer") };
        let state = State::AwaitSecond(noise);
        (Self { identity, terms, role: LinkRole::Initiator, expected, state }, first)
    }

    /// Starts as the side that listened. `ephemeral` is fresh randomness.
    pub fn responder(identity: DeviceIdentity, terms: Terms, ephemeral: [u8; 32]) -> Self {
        let noise = Self::noise(LinkRole::Responder, &identity.agreement, &terms, ephemeral);
        let state = State::AwaitFirst(noise);
        Self { identity, terms, role: LinkRole::Responder, expected: None, state }
    }

    fn noise(role: LinkRole, agreement: &AgreementKey, terms: &Terms, ephemeral: [u8; 32]) -> Noise {
        let prologue = [PROTOCOL, &terms.network].concat();
        Noise::new(role, agreement, Zeroizing::new(ephemeral), prologue.as_bytes())
    }

    /// Handles one message of the peer.
    ///
    /// # Errors
    /// [`HandshakeError`]; the handshake is then over, and nothing is sent.
    pub fn step(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        let failed = |message| move |Mismatch| HandshakeError::Noise { message };
        let mut step = Step::default();
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitFirst(mut noise) => {
                noise.read_bare(message).map_err(failed(1))?;
                step.send.push(noise.write(&[]).map_err(failed(1))?);
                self.state = State::AwaitThird(noise);
            }
            State::AwaitSecond(mut noise) => {
                noise.read_bare(message).map_err(failed(2))?;
                step.send.push(noise.write(&[]).map_err(failed(2))?);
                let mut secured = noise.split().map_err(failed(2))?;
                // Otherwise only the responder would notice, and this side would dial itself again.
                if secured.peer_static == self.own_static() {
                    return Err(HandshakeError::OwnDevice);
                }
                step.send.push(self.auth(&mut secured));
                self.state = State::AwaitAuth(secured);
            }
            State::AwaitThird(mut noise) => {
                noise.read_bare(message).map_err(failed(3))?;
                self.state = State::AwaitAuth(noise.split().map_err(failed(3))?);
            }
            State::AwaitAuth(mut secured) => {
                let peer = self.check(message, &mut secured)?;
                if self.role == LinkRole::Responder {
                    step.send.push(self.auth(&mut secured));
                }
                let Split { h, records, .. } = secured;
                step.established = Some((Established { peer, h, role: self.role }, records));
            }
            State::Over => return Err(HandshakeError::Over),
        }
        Ok(step)
    }

    fn own_static(&self) -> [u8; 32] {
        self.identity.certificate.record().agreement
    }

    fn auth(&self, secured: &mut Split) -> Vec<u8> {
        let binding = Binding { role: self.role, h: secured.h, reader_static: secured.peer_static };
        let mut auth = LinkFrame::Auth(Auth::sign(&self.identity, &self.terms, binding)).encode();
        let tag = secured.records.send.seal(&mut auth).expect("an Auth fits the first record");
        auth.extend_from_slice(&tag);
        auth
    }

    fn check(&self, message: &[u8], secured: &mut Split) -> Result<PeerIdentity, HandshakeError> {
        let mut message = message.to_vec();
        let frame = secured.records.receive.open(&mut message).map_err(HandshakeError::Record)?;
        let auth = match codec::decode(frame, HANDSHAKE_BYTES_MAX).map_err(HandshakeError::Auth)? {
            LinkFrame::Auth(auth) => auth,
            other => return Err(HandshakeError::BeforeAuth { kind: other.kind() }),
        };
        let binding = Binding { role: self.role.peer(), h: secured.h, reader_static: self.own_static() };
        let peer = auth.check(binding, &secured.peer_static)?;
        if peer.device == self.identity.device() {
            return Err(HandshakeError::OwnDevice);
        }
        match self.expected.filter(|expected| *expected != peer.device) {
            Some(expected) => Err(HandshakeError::UnexpectedDevice { expected, got: peer.device }),
            None => Ok(peer),
        }
    }
}

const _: () = assert!(
    DeviceCert::BYTES_MAX + 2 * 64 + 32 + 9 + 8 + RECORD_TAG_BYTES <= HANDSHAKE_BYTES_MAX,
    "an Auth must fit"
);

#[cfg(test)]
mod tests;
