//! Handshakes that pass, step by step, and all the ways in which they must not.

use proptest::prelude::*;

use super::*;
use crate::frame::{ByeReason, Hello};
use crate::key::{AgreementKey, SigningKey};

fn device(seed: u8) -> DeviceIdentity {
    let user = SigningKey::from_seed([seed; 32]);
    let signing = SigningKey::from_seed([seed + 100; 32]);
    DeviceIdentity::certify(&user, signing, AgreementKey::from_seed([seed + 50; 32]), "laptop")
}

fn ada() -> DeviceIdentity {
    device(1)
}

fn ben() -> DeviceIdentity {
    device(2)
}

/// Every message of a handshake in the order in which it is sent, with its way.
struct Transcript {
    initiator: Result<Established, HandshakeError>,
    responder: Result<Established, HandshakeError>,
    messages: Vec<Vec<u8>>,
}

/// Runs ada → ben; `tamper` sees every message on its way.
fn run(expected: Option<DeviceId>, mut tamper: impl FnMut(usize, &mut Vec<u8>)) -> Transcript {
    let (mut initiator, first) = Handshake::initiator(ada(), [7; 32], expected);
    let mut responder = Handshake::responder(ben(), [9; 32]);
    let mut ends = [None, None];
    let mut messages = Vec::new();
    let mut queue = std::collections::VecDeque::from([(LinkRole::Responder, first)]);
    while let Some((to, mut message)) = queue.pop_front() {
        messages.push(message.clone());
        tamper(messages.len() - 1, &mut message);
        let machine = if to == LinkRole::Initiator { &mut initiator } else { &mut responder };
        let end = &mut ends[usize::from(to.byte())];
        match machine.step(&message) {
            Ok(step) => {
                queue.extend(step.send.into_iter().map(|sent| (to.peer(), sent)));
                if let Some(established) = step.established {
                    *end = Some(Ok(established));
                }
            }
            Err(error) => *end = Some(end.take().filter(Result::is_err).unwrap_or(Err(error))),
        }
    }
    let [initiator, responder] = ends.map(|end| end.unwrap_or(Err(HandshakeError::Over)));
    Transcript { initiator, responder, messages }
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let run = run(Some(ben().device()), |_, _| {});

    let (at_ada, at_ben) = (run.initiator.unwrap(), run.responder.unwrap());
    assert_eq!((at_ada.peer.user, at_ada.peer.device), (ben().user(), ben().device()));
    assert_eq!((at_ben.peer.user, at_ben.peer.device), (ada().user(), ada().device()));
    assert_eq!(at_ada.h, at_ben.h);
    assert_eq!((at_ada.role, at_ben.role), (LinkRole::Initiator, LinkRole::Responder));
    assert!(run.messages.iter().all(|message| message.len() <= HANDSHAKE_BYTES_MAX));
}

#[test]
fn four_messages_in_one_and_a_half_round_trips() {
    let (mut initiator, opening) = Handshake::initiator(ada(), [7; 32], None);
    let mut responder = Handshake::responder(ben(), [9; 32]);

    let answer = responder.step(&opening).unwrap();
    assert_eq!((answer.send.len(), answer.established), (2, None));
    let opened = initiator.step(&answer.send[0]).unwrap();
    assert_eq!((opened.send.len(), opened.established), (1, None));
    let passed = initiator.step(&answer.send[1]).unwrap();
    assert!(passed.send.is_empty() && passed.established.is_some());
    let passed = responder.step(&opened.send[0]).unwrap();
    assert!(passed.send.is_empty() && passed.established.is_some());

    assert_eq!(initiator.step(&opening), Err(HandshakeError::Over));
    assert_eq!(responder.step(&opening), Err(HandshakeError::Over));
}

#[test]
fn the_opening_has_not_moved() {
    let (_, opening) = Handshake::initiator(ada(), [7; 32], None);
    let golden = [&[1][..], &[7; 32], &AgreementKey::from_seed([51; 32]).public()].concat();
    assert_eq!(opening, golden);
}

#[test]
fn another_version_is_named() {
    let run = run(None, |at, message| {
        if at == 0 {
            message[0] = 2;
        }
    });
    assert_eq!(run.responder, Err(HandshakeError::Version { ours: 1, theirs: 2 }));
}

#[test]
fn a_device_does_not_link_to_itself() {
    let (mut initiator, opening) = Handshake::initiator(ada(), [7; 32], None);
    let mut responder = Handshake::responder(ada(), [9; 32]);
    let answer = responder.step(&opening).unwrap();
    initiator.step(&answer.send[0]).unwrap();
    assert_eq!(initiator.step(&answer.send[1]), Err(HandshakeError::OwnDevice));
}

#[test]
fn another_device_than_the_dialled_one_is_refused() {
    let cid = device(3).device();
    let refused = HandshakeError::UnexpectedDevice { expected: cid, got: ben().device() };
    assert_eq!(run(Some(cid), |_, _| {}).initiator, Err(refused));
}

#[test]
fn nothing_but_auth_is_read_before_auth() {
    for frame in [
        LinkFrame::Hello(Hello::default()),
        LinkFrame::Ping { nonce: 1 },
        LinkFrame::Group { channel: 0, body: vec![1] },
        LinkFrame::Bye { reason: ByeReason::Full },
    ] {
        let mut responder = Handshake::responder(ben(), [9; 32]);
        responder.step(&Handshake::initiator(ada(), [7; 32], None).1).unwrap();
        assert_eq!(responder.step(&frame.encode()), Err(HandshakeError::BeforeAuth { kind: frame.kind() }));
    }
}

#[test]
fn an_auth_of_another_link_proves_nothing() {
    let earlier = run(None, |_, _| {}).messages;
    let auth_of_ada = earlier.last().unwrap();
    let mut responder = Handshake::responder(ben(), [10; 32]);
    responder.step(&earlier[0]).unwrap();
    assert!(matches!(responder.step(auth_of_ada), Err(HandshakeError::Signature(_))));
}

#[test]
fn an_auth_sent_back_proves_nothing() {
    let mut responder = Handshake::responder(ben(), [9; 32]);
    let (_, opening) = Handshake::initiator(ben(), [7; 32], None);
    let own = responder.step(&opening).unwrap().send.remove(1);
    assert!(matches!(responder.step(&own), Err(HandshakeError::Signature(_))));
}

#[test]
fn anothers_certificate_proves_nothing() {
    let thief = DeviceIdentity {
        signing: device(3).signing,
        agreement: device(3).agreement,
        certificate: ada().certificate,
    };
    let (mut initiator, opening) = Handshake::initiator(thief, [7; 32], None);
    let mut responder = Handshake::responder(ben(), [9; 32]);
    let answer = responder.step(&opening).unwrap();
    let auth = initiator.step(&answer.send[0]).unwrap().send.remove(0);
    assert!(matches!(responder.step(&auth), Err(HandshakeError::Signature(_))));
}

#[test]
fn the_static_key_is_the_certified_one() {
    let mut responder = Handshake::responder(ben(), [9; 32]);
    let (mut initiator, mut opening) = Handshake::initiator(ada(), [7; 32], None);
    opening[40] ^= 1;
    let answer = responder.step(&opening).unwrap();
    let auth = initiator.step(&answer.send[0]).unwrap().send.remove(0);
    assert_eq!(responder.step(&auth), Err(HandshakeError::StaticKey));
}

proptest! {
    /// Whichever bit is flipped under way, the side that would be deceived notices.
    #[test]
    fn a_flipped_bit_is_an_error(message in 0_usize..4, bit in any::<prop::sample::Index>()) {
        let run = run(None, |at, bytes| {
            if at == message {
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        });
        prop_assert!(run.messages.len() > message, "nothing fails before the flipped bit");
        prop_assert!(run.initiator.is_err() || run.responder.is_err());
        if message == 0 {
            prop_assert!(run.initiator.is_err() && run.responder.is_err(), "everything later rests on the first");
        }
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assume!(bytes.len() != 65);
        prop_assert!(Handshake::responder(ben(), [9; 32]).step(&bytes).is_err());
    }
}
