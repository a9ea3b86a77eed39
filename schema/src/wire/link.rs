//! Every frame that crosses a link.
//!
//! Shape in the records of a link: length (u32, big endian, at most `FRAME_BYTES_MAX`) ‖ kind (one byte) ‖ body; what
//! is encoded here is kind and body. Kinds: 0 Auth, 1 Hello, 2 Present, 3 Group, 4 Ping, 5 Pong, 6 Bye, 7 Join, 8 Declined.

use std::fmt;

use bincode::{Decode, Encode};

use crate::GroupId;
use crate::codec::{self, DecodeError};
use crate::key::Signature;
use crate::limits::FRAME_BYTES_MAX;
use crate::signed::Envelope;
use crate::wire::auth::Auth;
use crate::wire::hello::Hello;

/// What one device says to another over a link.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum LinkFrame {
    /// Proves who speaks; the handshake's, and never sent after it.
    Auth(Auth),
    /// Which groups the sender would talk about.
    Hello(Hello),
    /// Membership ops that the sender believes the receiver lacks, to be judged before anything else.
    Present {
        /// The group to whose ledger they belong.
        group: GroupId,
        /// In causal order.
        ops: Vec<Envelope>,
        /// The pages, in order, of manifests that they name; of large ones, and of those known to all, none.
        manifests: Vec<Vec<Vec<u8>>>,
    },
    /// A frame of one group's session.
    Group {
        /// Running index in the list of groups that the *receiver's* Hellos gave: only who was told of it can use it.
        channel: u32,
        /// An encoded session frame, opaque to the link.
        body: Vec<u8>,
    },
    /// Asks for a Pong.
    Ping {
        /// To be returned.
        nonce: u64,
    },
    /// Answers a Ping.
    Pong {
        /// The Ping's.
        nonce: u64,
    },
    /// The last frame: says why the link ends.
    Bye {
        /// Why.
        reason: ByeReason,
    },
    /// Redeems a ticket. Who may let the sender in answers with a Hello.
    Join(Join),
    /// Answers a Join whose proof holds and that comes too late. Nobody else is told anything.
    Declined {
        /// `H("token", group ‖ h ‖ role byte of the sender)`.
        token: [u8; 32],
        /// The Join's.
        invite: [u8; 32],
        /// Why.
        reason: DeclineReason,
    },
}

/// The holder of a ticket asks to be let in (authority 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Join {
    /// `H("token", group ‖ h ‖ role byte of the sender)`: who does not know the group learns nothing.
    pub token: [u8; 32],
    /// `H("token", invite ‖ h ‖ "invite")`: nor does who does not know the invitation.
    pub invite: [u8; 32],
    /// Of the [`InviteProof`](crate::ledger::InviteProof) for the sender's user and device.
    pub signature: Signature,
}

/// Why a ticket lets nobody in any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum DeclineReason {
    /// An Admin closed the invitation, or it is void.
    Closed,
    /// As many as it is for have come.
    UsedUp,
    /// It is older than it may be, by the clock of who was asked.
    Expired,
    /// An Admin removed this user before: a person has to decide.
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

/// Why a device ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ByeReason {
    /// Another link to the same device is kept.
    Duplicate,
    /// The node closes.
    Shutdown,
    /// The node has as many links as it may.
    Full,
    /// The receiver broke a rule of the protocol.
    Protocol,
    /// The receiver has no business here (any more); which rule says so stays unsaid (authority 3.9).
    NotAuthorized,
    /// The person at the other side took the address back.
    Disconnected,
    /// The link's keys have lasted long enough: it is to be dialled again.
    Renew,
}

impl LinkFrame {
    /// The frame's name, for errors and logs.
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

    /// Kind and body. Whoever builds a frame keeps it within `FRAME_BYTES_MAX`.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads one whole frame.
    ///
    /// # Errors
    /// [`DecodeError`] for a frame that is too long, malformed, of an unknown kind, or followed by anything.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, FRAME_BYTES_MAX)
    }
}

/// What people write stays out of logs, and a megabyte too.
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
    use data_encoding::HEXLOWER;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::hello::HelloGroup;

    const DECLINE_REASONS: [DeclineReason; 4] =
        [DeclineReason::Closed, DeclineReason::UsedUp, DeclineReason::Expired, DeclineReason::Removed];

    fn check(frame: LinkFrame, golden: &str) {
        let golden = golden.replace([' ', '|'], "");
        assert_eq!(HEXLOWER.encode(&frame.encode()), golden);
        assert_eq!(LinkFrame::decode(&HEXLOWER.decode(golden.as_bytes()).unwrap()), Ok(frame));
    }

    #[test]
    fn the_wire_has_not_moved() {
        let signature = Signature([0xab; 64]);
        let sig = "ab".repeat(64);
        let ones = "01".repeat(32);
        let twos = "02".repeat(32);
        let op = Envelope { payload: vec![1, 2], signature };
        check(
            LinkFrame::Auth(Auth { certificate: op.clone(), revocations: [2; 32], features: 9, signature }),
            &format!("00 | 02 0102 | {sig} | {twos} | 09 | {sig}"),
        );
        let group = HelloGroup { token: [1; 32], hash: [2; 32] };
        check(LinkFrame::Hello(Hello { groups: vec![group] }), &format!("01 | 01 | {ones} | {twos}"));
        check(
            LinkFrame::Present { group: GroupId([1; 32]), ops: vec![op], manifests: vec![vec![vec![7]]] },
            &format!("02 | {ones} | 01 | 02 0102 | {sig} | 01 | 01 | 01 07"),
        );
        check(LinkFrame::Group { channel: 300, body: vec![9, 8, 7] }, "03 | fb 2c01 | 03 090807");
        check(LinkFrame::Ping { nonce: 7 }, "04 | 07");
        check(LinkFrame::Pong { nonce: u64::MAX }, "05 | fd ffffffffffffffff");
        check(LinkFrame::Bye { reason: ByeReason::Duplicate }, "06 | 00");
        check(LinkFrame::Bye { reason: ByeReason::Shutdown }, "06 | 01");
        check(LinkFrame::Bye { reason: ByeReason::Full }, "06 | 02");
        check(LinkFrame::Bye { reason: ByeReason::Protocol }, "06 | 03");
        check(LinkFrame::Bye { reason: ByeReason::NotAuthorized }, "06 | 04");
        check(LinkFrame::Bye { reason: ByeReason::Disconnected }, "06 | 05");
        check(LinkFrame::Bye { reason: ByeReason::Renew }, "06 | 06");
        check(
            LinkFrame::Join(Join { token: [2; 32], invite: [1; 32], signature }),
            &format!("07 | {twos} | {ones} | {sig}"),
        );
        for (number, reason) in DECLINE_REASONS.into_iter().enumerate() {
            check(
                LinkFrame::Declined { token: [1; 32], invite: [2; 32], reason },
                &format!("08 | {ones} | {twos} | 0{number}"),
            );
        }
    }

    #[test]
    fn a_frame_does_not_print_what_it_carries() {
        let frame = LinkFrame::Group { channel: 3, body: b"secret".to_vec() };
        assert_eq!(format!("{frame:?}"), "Group(3, 6 bytes)");
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert!(matches!(LinkFrame::decode(&[9]), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_unread() {
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
        fn frames_survive_the_wire(frame in frames()) {
            let bytes = frame.encode();
            prop_assert_eq!(LinkFrame::decode(&bytes), Ok(frame));
        }

        #[test]
        fn nothing_may_follow_a_frame(frame in frames()) {
            let bytes = [&frame.encode()[..], b"x"].concat();
            prop_assert_eq!(LinkFrame::decode(&bytes), Err(DecodeError::TrailingBytes { extra: 1 }));
        }

        #[test]
        fn a_frame_cut_short_is_refused(frame in frames(), cut in any::<prop::sample::Index>()) {
            let bytes = frame.encode();
            prop_assert!(LinkFrame::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = LinkFrame::decode(&bytes);
        }
    }
}
