//! Link frames: the messages that two devices exchange on an encrypted link.
//!
//! A frame is one kind byte and a body. On the link it follows its length (u32, big endian, at most
//! [`FRAME_BYTES_MAX`]). Kinds: 0 Auth, 1 Hello, 2 Present, 3 Group, 4 Ping, 5 Pong, 6 Bye, 7 Join, 8
//! Declined.

use std::fmt;

use bincode::{Decode, Encode};

use crate::GroupId;
use crate::codec::{self, DecodeError};
use crate::key::Signature;
use crate::limits::FRAME_BYTES_MAX;
use crate::signed::Envelope;
use crate::wire::auth::Auth;
use crate::wire::hello::Hello;

/// A message from one device to the other.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum LinkFrame {
    /// Proves the sender's identity; part of the handshake, a protocol error after it.
    Auth(Auth),
    /// Announces groups; a group opens on the link once both sides have announced it.
    Hello(Hello),
    /// Carries the ops by which the sender is a member of a group that the receiver may not know it for.
    Present {
        /// The group of the ledger.
        group: GroupId,
        /// Membership ops in causal order.
        ops: Vec<Envelope>,
        /// Pages of the manifests that the ops name, in order; left out where large or known to every member.
        manifests: Vec<Vec<Vec<u8>>>,
    },
    /// Carries a frame of one group.
    Group {
        /// Position in the list of groups that the *receiver's* Hellos announced, so that a peer can address
        /// only groups that were announced to it.
        channel: u32,
        /// An encoded [`GroupFrame`](super::group::GroupFrame).
        body: Vec<u8>,
    },
    /// Asks for a Pong.
    Ping {
        /// The Pong repeats it.
        nonce: u64,
    },
    /// Answers a Ping.
    Pong {
        /// The nonce of the Ping.
        nonce: u64,
    },
    /// Ends the link; the last frame of its sender.
    Bye {
        /// The cause.
        reason: ByeReason,
    },
    /// Redeems a ticket. A device that may admit the sender answers with a Hello.
    Join(Join),
    /// Refuses a Join whose proof is valid but whose invitation no longer admits. An invalid proof gets no
    /// answer.
    Declined {
        /// `H("token", group ‖ h ‖ role byte of the sender)`.
        token: [u8; 32],
        /// The invite token of the Join.
        invite: [u8; 32],
        /// The cause.
        reason: DeclineReason,
    },
}

/// Redeems a ticket (authority 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Join {
    /// `H("token", group ‖ h ‖ role byte of the sender)`, which only a device that knows the group can
    /// recognise.
    pub token: [u8; 32],
    /// `H("token", invite ‖ h ‖ "invite")`, which only a device that knows the invitation can recognise.
    pub invite: [u8; 32],
    /// Signature of the [`InviteProof`](crate::ledger::InviteProof) for the sender's user and device.
    pub signature: Signature,
}

/// The cause for which an invitation admits no more users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum DeclineReason {
    /// An Admin closed the invitation, or it is void.
    Closed,
    /// It has admitted as many users as it is for.
    UsedUp,
    /// It has expired, by the clock of the device that was asked.
    Expired,
    /// An Admin removed this user before: only another Admin's decision admits them again.
    Removed,
}

impl fmt::Display for DeclineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the invitation was closed",
            Self::UsedUp => "the ticket is used up",
            Self::Expired => "the ticket has expired",
            Self::Removed => "this user was removed from the group before",
        })
    }
}

/// The cause for which a device ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum ByeReason {
    /// The sender keeps another link to the same device.
    Duplicate,
    /// The sender closes its node.
    Shutdown,
    /// The sender has no link to spare.
    Full,
    /// The receiver violated the protocol.
    Protocol,
    /// The two share no group (any more); which rule decides so is not disclosed (authority 3.9).
    NotAuthorized,
    /// The user at the other end disconnected this peer by hand.
    Disconnected,
    /// The link's keys have reached the end of their life: dial again.
    Renew,
    /// The sender had kept the link, and now needs its room for another one.
    Displaced,
}

impl LinkFrame {
    /// Returns the name of the kind, for errors and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Auth(_) => "auth",
            Self::Hello(_) => "hello",
            Self::Present { .. } => "present",
            Self::Group { .. } => "group",
            Self::Ping { .. } => "ping",
            Self::Pong { .. } => "pong",
            Self::Bye { .. } => "bye",
            Self::Join(_) => "join",
            Self::Declined { .. } => "declined",
        }
    }

    /// Encodes kind and body. The caller keeps the frame within [`FRAME_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes one whole frame.
    ///
    /// # Errors
    /// [`DecodeError`] for a frame that is too long, malformed, of an unknown kind, or followed by other
    /// bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, FRAME_BYTES_MAX)
    }
}

/// Prints sizes, not contents: user data and large bodies stay out of logs.
impl fmt::Debug for LinkFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auth(_) => write!(f, "Auth"),
            Self::Hello(hello) => write!(f, "Hello({} groups)", hello.groups.len()),
            Self::Present { group, ops, .. } => write!(f, "Present({group:?}, {} ops)", ops.len()),
            Self::Group { channel, body } => write!(f, "Group({channel}, {} bytes)", body.len()),
            Self::Ping { nonce } => write!(f, "Ping({nonce})"),
            Self::Pong { nonce } => write!(f, "Pong({nonce})"),
            Self::Bye { reason } => write!(f, "Bye({reason:?})"),
            Self::Join(_) => write!(f, "Join"),
            Self::Declined { reason, .. } => write!(f, "Declined({reason:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::hello::HelloGroup;

    const DECLINE_REASONS: [DeclineReason; 4] =
        [DeclineReason::Closed, DeclineReason::UsedUp, DeclineReason::Expired, DeclineReason::Removed];

    #[test]
    fn a_frame_prints_sizes_not_contents() {
        let frame = LinkFrame::Group { channel: 3, body: b"secret".to_vec() };
        assert_eq!(format!("{frame:?}"), "Group(3, 6 bytes)");
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert!(matches!(LinkFrame::decode(&[9]), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_decoding() {
        let frame = LinkFrame::Group { channel: 0, body: vec![0; FRAME_BYTES_MAX] }.encode();
        let got = frame.len();
        assert_eq!(LinkFrame::decode(&frame), Err(DecodeError::TooLong { got, max: FRAME_BYTES_MAX }));
    }

    fn signatures() -> impl Strategy<Value = Signature> {
        vec(any::<u8>(), 64).prop_map(|bytes| Signature(bytes.try_into().unwrap()))
    }

    fn envelopes() -> impl Strategy<Value = Envelope> {
        (vec(any::<u8>(), 0..300), signatures())
            .prop_map(|(payload, signature)| Envelope { payload, signature })
    }

    fn frames() -> impl Strategy<Value = LinkFrame> {
        let groups = any::<([u8; 32], [u8; 32])>().prop_map(|(token, hash)| HelloGroup { token, hash });
        let reasons = prop::sample::select(vec![
            ByeReason::Duplicate,
            ByeReason::Shutdown,
            ByeReason::Full,
            ByeReason::Protocol,
            ByeReason::NotAuthorized,
            ByeReason::Disconnected,
            ByeReason::Renew,
            ByeReason::Displaced,
        ]);
        prop_oneof![
            (envelopes(), any::<([u8; 32], u64)>(), signatures()).prop_map(
                |(certificate, (revocations, features), signature)| {
                    LinkFrame::Auth(Auth { certificate, revocations, features, signature })
                }
            ),
            vec(groups, 0..20).prop_map(|groups| LinkFrame::Hello(Hello { groups })),
            (any::<[u8; 32]>(), vec(envelopes(), 0..5), vec(vec(vec(any::<u8>(), 0..9), 0..3), 0..3))
                .prop_map(|(group, ops, manifests)| LinkFrame::Present {
                    group: GroupId(group),
                    ops,
                    manifests
                }),
            (any::<u32>(), vec(any::<u8>(), 0..2_000))
                .prop_map(|(channel, body)| LinkFrame::Group { channel, body }),
            any::<u64>().prop_map(|nonce| LinkFrame::Ping { nonce }),
            any::<u64>().prop_map(|nonce| LinkFrame::Pong { nonce }),
            reasons.prop_map(|reason| LinkFrame::Bye { reason }),
            (any::<[[u8; 32]; 2]>(), signatures()).prop_map(|([token, invite], signature)| {
                LinkFrame::Join(Join { token, invite, signature })
            }),
            (any::<[[u8; 32]; 2]>(), prop::sample::select(DECLINE_REASONS.to_vec()))
                .prop_map(|([token, invite], reason)| LinkFrame::Declined { token, invite, reason }),
        ]
    }

    proptest! {
        #[test]
        fn a_frame_survives_encoding(frame in frames()) {
            let bytes = frame.encode();
            prop_assert_eq!(LinkFrame::decode(&bytes), Ok(frame));
        }

        #[test]
        fn bytes_behind_a_frame_are_refused(frame in frames()) {
            let bytes = [&frame.encode()[..], b"x"].concat();
            prop_assert_eq!(LinkFrame::decode(&bytes), Err(DecodeError::TrailingBytes { extra: 1 }));
        }

        #[test]
        fn a_truncated_frame_is_refused(frame in frames(), cut in any::<prop::sample::Index>()) {
            let bytes = frame.encode();
            prop_assert!(LinkFrame::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = LinkFrame::decode(&bytes);
        }
    }
}
