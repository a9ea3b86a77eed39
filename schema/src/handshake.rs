//! Noise, then Auth; nothing else passes before both.
//!
//! Shape (authority 3.10), a message with its sender's Noise tokens each; payloads are empty:
//! ```text
//! -> e        <- e, ee, s, es        -> s, se        -> record: Auth        <- record: Auth
//! ```
//! Everything on a link is a length (u16, big endian) and a message; [`Records`] follow. Bytes in, bytes out; the
//! caller keeps the length, the time and the randomness. The responder says who it is once it knows to whom.

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

/// The protocol that this build speaks; there is no falling back to an older one. Another one fails like another
/// network: neither side learns which it was.
pub const PROTOCOL: &str = "peerbase/1";

/// What both sides of a link must say alike, and what this side offers beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Devices of different networks do not understand each other. Empty: the network of those who did not choose.
    pub network: String,
    /// Of the device revocations that this side knows; zeros where it does not say.
    pub revocations: [u8; 32],
    /// What this side can do beyond version 1, a bit each. None is defined yet.
    pub features: u64,
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
    /// Of the device revocations that it knows; zeros where it does not say.
    pub revocations: [u8; 32],
    /// What it can do beyond version 1, a bit each; unknown ones mean nothing.
    pub features: u64,
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
#[derive(Debug, Default)]
pub struct Step {
    /// Messages to send, in order.
    pub send: Vec<Vec<u8>>,
    /// The peer's Auth has passed; ours has, or will once `send` arrives. What follows is under these ciphers.
    pub established: Option<(Established, Records)>,
}

/// Why a handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer speaks something else, another version or in another network; or somebody between changed a byte.
    #[error(
        "message {message} of 3 is none of this protocol and network; do both sides run the same version?"
    )]
    Noise {
        /// Which message, from 1.
        message: u8,
    },
    /// What came in the place of Auth does not open.
    #[error("auth does not open")]
    Record(#[source] RecordError),
    /// The bytes in the first record are no frame.
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
    #[error("this device answers there itself; name the address of another")]
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
    /// The responder, before the first message.
    AwaitFirst(Noise),
    /// The initiator, before the second.
    AwaitSecond(Noise),
    /// The responder, before the third.
    AwaitThird(Noise),
    /// Noise is through.
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
    /// Starts as the side that dialled; `ephemeral` is fresh randomness, `expected` whom it dialled if it knows.
    /// Also returns the first message to send.
    pub fn initiator(
        identity: DeviceIdentity,
        terms: Terms,
        ephemeral: [u8; 32],
        expected: Option<DeviceId>,
    ) -> (Self, Vec<u8>) {
        let mut noise = Self::noise(LinkRole::Initiator, &identity.agreement, &terms, ephemeral);
        let Ok(first) = noise.write(&[]) else { unreachable!("the first message rests on nothing") };
        let state = State::AwaitSecond(noise);
        (Self { identity, terms, role: LinkRole::Initiator, expected, state }, first)
    }

    /// Starts as the side that was dialled; `ephemeral` is fresh randomness.
    pub fn responder(identity: DeviceIdentity, terms: Terms, ephemeral: [u8; 32]) -> Self {
        let noise = Self::noise(LinkRole::Responder, &identity.agreement, &terms, ephemeral);
        let state = State::AwaitFirst(noise);
        Self { identity, terms, role: LinkRole::Responder, expected: None, state }
    }

    fn noise(role: LinkRole, agreement: &AgreementKey, terms: &Terms, ephemeral: [u8; 32]) -> Noise {
        let prologue = [PROTOCOL, &terms.network].concat();
        Noise::new(role, agreement, Zeroizing::new(ephemeral), prologue.as_bytes())
    }

    /// Takes one message of the peer.
    ///
    /// # Errors
    /// [`HandshakeError`] names what the peer failed; the handshake is then over, and nothing of ours was sent since.
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
                // Else the responder would notice first, and we would dial ourselves again and again.
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
