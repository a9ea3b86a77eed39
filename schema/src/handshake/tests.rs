//! Handshakes that pass, step by step, and all the ways in which they must not.

use proptest::prelude::*;

use super::*;
use crate::GroupId;
use crate::key::{Signature, SigningKey};
use crate::limits::HANDSHAKE_BYTES_MAX;
use crate::signed::Envelope;
use crate::wire::hello::{Hello, HelloGroup};
use crate::wire::link::{ByeReason, DeclineReason, Join};

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

fn terms() -> Terms {
    Terms { network: "garden".into(), revocations: [3; 32], features: 0b101 }
}

fn dial(identity: DeviceIdentity) -> (Handshake, Vec<u8>) {
    Handshake::initiator(identity, terms(), [7; 32], None)
}

fn listen(identity: DeviceIdentity) -> Handshake {
    Handshake::responder(identity, terms(), [9; 32])
}

type Outcome = Result<(Established, Records), HandshakeError>;

/// Every message of a handshake in the order in which it is sent.
struct Transcript {
    initiator: Outcome,
    responder: Outcome,
    messages: Vec<Vec<u8>>,
}

/// Runs ada → ben; `tamper` sees every message on its way.
fn run(expected: Option<DeviceId>, tamper: impl FnMut(usize, &mut Vec<u8>)) -> Transcript {
    let dialled = Handshake::initiator(ada(), terms(), [7; 32], expected);
    between(dialled, listen(ben()), tamper)
}

fn between(
    (mut initiator, first): (Handshake, Vec<u8>),
    mut responder: Handshake,
    mut tamper: impl FnMut(usize, &mut Vec<u8>),
) -> Transcript {
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
fn both_sides_learn_the_others_identity() {
    let run = run(Some(ben().device()), |_, _| {});

    let (at_ada, at_ben) = (run.initiator.unwrap().0, run.responder.unwrap().0);
    assert_eq!((at_ada.peer.user, at_ada.peer.device), (ben().user(), ben().device()));
    assert_eq!((at_ben.peer.user, at_ben.peer.device), (ada().user(), ada().device()));
    assert_eq!(at_ada.h, at_ben.h);
    assert_eq!((at_ada.role, at_ben.role), (LinkRole::Initiator, LinkRole::Responder));
    assert_eq!((at_ada.peer.features, at_ada.peer.revocations), (0b101, [3; 32]));
    assert!(run.messages.iter().all(|message| message.len() <= HANDSHAKE_BYTES_MAX));
}

#[test]
fn records_are_encrypted_in_both_directions() {
    let run = run(None, |_, _| {});
    let ((_, mut ada), (_, mut ben)) = (run.initiator.unwrap(), run.responder.unwrap());
    for (from, to) in [(&mut ada.send, &mut ben.receive), (&mut ben.send, &mut ada.receive)] {
        let mut record = b"a word between us".to_vec();
        let tag = from.seal(&mut record).unwrap();
        assert_ne!(record, b"a word between us");
        record.extend(tag);
        assert_eq!(to.open(&mut record).unwrap(), b"a word between us");
    }
    let mut own = b"mine".to_vec();
    let tag = ada.send.seal(&mut own).unwrap();
    own.extend(tag);
    assert_eq!(ada.receive.open(&mut own), Err(RecordError::Tampered), "what is sent back does not open");
}

/// The messages that each step sends, and the step at which a side is established.
#[test]
fn each_step_of_both_sides_is_as_specified() {
    let (mut initiator, first) = dial(ada());
    let mut responder = listen(ben());
    let mut step = |responds: bool, message: &[u8]| {
        let machine = if responds { &mut responder } else { &mut initiator };
        let Step { send, established } = machine.step(message).unwrap();
        (send, established.is_some())
    };
    let lengths = |sent: &[Vec<u8>]| sent.iter().map(Vec::len).collect::<Vec<_>>();

    assert_eq!(first.len(), 32, "e");
    let (second, done) = step(true, &first);
    assert_eq!((lengths(&second), done), (vec![32 + 48 + 16], false), "e, ee, s, es");
    let (third, done) = step(false, &second[0]);
    let auth = third[1].len();
    assert_eq!((lengths(&third), done), (vec![48 + 16, auth], false), "s, se; Auth");
    let (nothing, done) = step(true, &third[0]);
    assert_eq!((lengths(&nothing), done), (vec![], false), "who is not known is told nothing");
    let (fourth, done) = step(true, &third[1]);
    assert_eq!((lengths(&fourth), done), (vec![auth], true), "Auth");
    let (nothing, done) = step(false, &fourth[0]);
    assert_eq!((lengths(&nothing), done), (vec![], true));

    for machine in [&mut initiator, &mut responder] {
        assert_eq!(machine.step(&first).err(), Some(HandshakeError::Over));
    }
}

#[test]
fn messages_carry_no_payload() {
    let mut noise = Noise::new(LinkRole::Initiator, &ada().agreement, [7; 32].into(), b"peerbase/2garden");
    let loaded = noise.write(b"hello").ok().unwrap();
    assert_eq!(listen(ben()).step(&loaded).err(), Some(HandshakeError::Noise { message: 1 }));
}

#[test]
fn a_failed_handshake_is_over() {
    let mut responder = listen(ben());
    let first = dial(ada()).1;
    assert_eq!(responder.step(&first[1..]).err(), Some(HandshakeError::Noise { message: 1 }));
    assert_eq!(responder.step(&first).err(), Some(HandshakeError::Over));
}

#[test]
fn the_same_randomness_gives_the_same_bytes_and_other_randomness_another_link() {
    let one = run(None, |_, _| {});
    let same = run(None, |_, _| {});
    assert_eq!(one.messages, same.messages);
    let dialled = Handshake::initiator(ada(), terms(), [8; 32], None);
    let other = between(dialled, listen(ben()), |_, _| {});
    assert_ne!(one.initiator.unwrap().0.h, other.initiator.unwrap().0.h);
}

#[test]
fn an_eavesdropper_learns_no_identity() {
    let wire = run(None, |_, _| {}).messages.concat();
    for identity in [ada(), ben()] {
        let DeviceCert { user, device, agreement, .. } = identity.certificate.record();
        for known in [user.as_bytes(), device.as_bytes(), agreement] {
            assert!(!wire.windows(32).any(|window| window == known));
        }
    }
}

/// Authority 4.2, scenario 23: old prologue.
#[test]
fn another_version_or_network_fails_the_handshake() {
    for network in ["", "Garden", "garden2"] {
        let other = Terms { network: network.into(), ..terms() };
        let run = between(dial(ada()), Handshake::responder(ben(), other, [9; 32]), |_, _| {});
        assert_eq!(run.initiator.err(), Some(HandshakeError::Noise { message: 2 }));
        assert_eq!(run.messages.len(), 2, "nothing was said to it");
    }
    let old = Noise::new(LinkRole::Responder, &ben().agreement, [9; 32].into(), b"peerbase/1garden");
    let mut responder = listen(ben());
    responder.state = State::AwaitFirst(old);
    let run = between(dial(ada()), responder, |_, _| {});
    assert_eq!(run.initiator.err(), Some(HandshakeError::Noise { message: 2 }));
}

#[test]
fn a_device_does_not_link_to_itself() {
    let run = between(dial(ada()), listen(ada()), |_, _| {});
    assert_eq!(run.initiator.err(), Some(HandshakeError::OwnDevice));
    assert!(run.responder.is_err());
}

#[test]
fn another_device_than_the_dialled_one_is_refused() {
    let cid = device(3).device();
    let refused = HandshakeError::UnexpectedDevice { expected: cid, got: ben().device() };
    assert_eq!(run(Some(cid), |_, _| {}).initiator.err(), Some(refused));
}

/// A peer that speaks Noise by hand and sends what it likes in the place of Auth. The handmade peer of the
/// test kit cannot do it: outside this module the handshake machine alone steps Noise.
struct Mallory {
    split: Split,
    ben: Handshake,
}

impl Mallory {
    /// As far as Auth, with ben, under `agreement`.
    fn meets_ben(agreement: &AgreementKey, ephemeral: u8) -> Self {
        let mut ben = listen(ben());
        let mut noise =
            Noise::new(LinkRole::Initiator, agreement, [ephemeral; 32].into(), b"peerbase/2garden");
        let first = noise.write(&[]).ok().unwrap();
        let second = ben.step(&first).unwrap().send.remove(0);
        noise.read(&second).ok().unwrap();
        ben.step(&noise.write(&[]).ok().unwrap()).unwrap();
        Self { split: noise.split().ok().unwrap(), ben }
    }

    fn says(mut self, frame: &LinkFrame) -> Result<Step, HandshakeError> {
        let mut record = frame.encode();
        let tag = self.split.records.send.seal(&mut record).unwrap();
        record.extend(tag);
        self.ben.step(&record)
    }

    fn auth(&self, identity: &DeviceIdentity, terms: &Terms) -> Auth {
        let binding =
            Binding { role: LinkRole::Initiator, h: self.split.h, reader_static: self.split.peer_static };
        Auth::sign(identity, terms, binding)
    }
}

fn bad_signature() -> HandshakeError {
    HandshakeError::Signature(BadSignature { kind: "handshake" })
}

#[test]
fn a_valid_auth_passes() {
    let mallory = Mallory::meets_ben(&device(3).agreement, 7);
    let auth = mallory.auth(&device(3), &terms());
    let step = mallory.says(&LinkFrame::Auth(auth)).unwrap();
    assert_eq!(step.established.unwrap().0.peer.device, device(3).device());
    assert_eq!(step.send.len(), 1);
}

/// Authority 4.2, scenario 23: relay Auth from another session.
#[test]
fn an_auth_of_another_link_proves_nothing() {
    let earlier = Mallory::meets_ben(&ada().agreement, 7);
    let relayed = earlier.auth(&ada(), &terms());
    // Even where the thief has the X25519 key, so that only h differs.
    let now = Mallory::meets_ben(&ada().agreement, 8);
    assert_eq!(now.says(&LinkFrame::Auth(relayed.clone())).err(), Some(bad_signature()));
    // And where he has not.
    let now = Mallory::meets_ben(&device(3).agreement, 8);
    assert_eq!(now.says(&LinkFrame::Auth(relayed)).err(), Some(HandshakeError::StaticKey));
}

/// Authority 4.2, scenario 23: reflect own frames.
#[test]
fn a_reflected_auth_proves_nothing() {
    let mut sent = Vec::new();
    let run = run(None, |at, message| {
        sent.push(message.clone());
        match at {
            // ben's message for ada's: her own first; her Auth for his.
            1 => *message = sent[0].clone(),
            4 => *message = sent[3].clone(),
            _ => {}
        }
    });
    assert_eq!(run.initiator.err(), Some(HandshakeError::Noise { message: 2 }));

    let mut sent = Vec::new();
    let run = self::run(None, |at, message| {
        sent.push(message.clone());
        if at == 4 {
            *message = sent[3].clone();
        }
    });
    assert_eq!(run.initiator.err(), Some(HandshakeError::Record(RecordError::Tampered)));

    // An Auth as ben would sign it, from somebody who has all his keys but dials: the role byte says so.
    let mallory = Mallory::meets_ben(&ada().agreement, 7);
    let binding =
        Binding { role: LinkRole::Responder, h: mallory.split.h, reader_static: mallory.split.peer_static };
    let reflected = Auth::sign(&ada(), &terms(), binding);
    assert_eq!(mallory.says(&LinkFrame::Auth(reflected)).err(), Some(bad_signature()));
}

/// Authority 4.2, scenario 23: present Eve's cert over Bob's DH key.
#[test]
fn the_certificate_of_another_device_proves_nothing() {
    // Mallory's X25519 key, ada's certificate.
    let mallory = Mallory::meets_ben(&device(3).agreement, 7);
    let auth = mallory.auth(&ada(), &terms());
    assert_eq!(mallory.says(&LinkFrame::Auth(auth)).err(), Some(HandshakeError::StaticKey));

    // Mallory certifies ada's X25519 key for a device of his own, without having it.
    let user = SigningKey::from_seed([3; 32]);
    let eve = DeviceIdentity::certify(&user, SigningKey::from_seed([4; 32]), ada().agreement, "eve");
    let mallory = Mallory::meets_ben(&device(3).agreement, 7);
    let auth = mallory.auth(&eve, &terms());
    assert_eq!(mallory.says(&LinkFrame::Auth(auth)).err(), Some(HandshakeError::StaticKey));

    // He has stolen the X25519 key, but not the signing key.
    let thief = DeviceIdentity { signing: device(3).signing, ..ada() };
    let mallory = Mallory::meets_ben(&ada().agreement, 7);
    let auth = mallory.auth(&thief, &terms());
    assert_eq!(mallory.says(&LinkFrame::Auth(auth)).err(), Some(bad_signature()));

    // A certificate that another than its user signed.
    let mallory = Mallory::meets_ben(&ada().agreement, 7);
    let mut auth = mallory.auth(&ada(), &terms());
    auth.certificate.signature = Signature([1; 64]);
    let refused = mallory.says(&LinkFrame::Auth(auth)).err();
    assert!(matches!(refused, Some(HandshakeError::Certificate(_))), "{refused:?}");
}

/// Authority 4.2, scenario 23: strip features.
#[test]
fn a_removed_feature_is_an_error() {
    let mallory = Mallory::meets_ben(&ada().agreement, 7);
    let stripped = Auth { features: 0, ..mallory.auth(&ada(), &terms()) };
    assert_eq!(mallory.says(&LinkFrame::Auth(stripped)).err(), Some(bad_signature()));
}

/// Somebody between the two who speaks Noise with each cannot pass either's Auth on.
#[test]
fn a_man_in_the_middle_is_detected() {
    let mallory = Mallory::meets_ben(&device(3).agreement, 7);
    // Ada signs for mallory's static key and for her link to him.
    let binding =
        Binding { role: LinkRole::Initiator, h: [1; 32], reader_static: device(3).agreement.public() };
    let passed_on = Auth::sign(&ada(), &terms(), binding);
    assert_eq!(mallory.says(&LinkFrame::Auth(passed_on)).err(), Some(HandshakeError::StaticKey));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Authority 4.1, H1. Whatever is said in the place of Auth, under keys that are in order, is neither
    /// read nor answered.
    #[test]
    fn h1_nothing_but_auth_is_read_or_answered_before_auth(
        kind in 0..8_u8,
        ephemeral: u8,
        ids in any::<[[u8; 32]; 2]>(),
        number: u64,
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let [token, hash] = ids;
        let signature = Signature([7; 64]);
        let frame = match kind {
            0 => LinkFrame::Hello(Hello { groups: vec![HelloGroup { token, hash }] }),
            1 => LinkFrame::Present {
                group: GroupId(token),
                ops: vec![Envelope { payload: body, signature }],
                manifests: Vec::new(),
            },
            2 => LinkFrame::Group { channel: 7, body },
            3 => LinkFrame::Ping { nonce: number },
            4 => LinkFrame::Pong { nonce: number },
            5 => LinkFrame::Bye { reason: ByeReason::Full },
            6 => LinkFrame::Join(Join { token, invite: hash, signature }),
            _ => LinkFrame::Declined { token, invite: hash, reason: DeclineReason::Closed },
        };
        let mallory = Mallory::meets_ben(&device(3).agreement, ephemeral);
        let refused = HandshakeError::BeforeAuth { kind: frame.kind() };
        prop_assert_eq!(mallory.says(&frame).err(), Some(refused));
    }

    /// Authority 4.1, H5. Whichever bit is flipped under way, the side that would be deceived notices.
    #[test]
    fn h5_a_flipped_bit_is_an_error(message in 0_usize..5, bit in any::<prop::sample::Index>()) {
        let run = run(None, |at, bytes| {
            if at == message {
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        });
        prop_assert!(run.messages.len() > message, "nothing fails before the flipped bit");
        prop_assert!(run.initiator.is_err());
        prop_assert_eq!(run.responder.is_err(), message < 4, "the last one is for the initiator alone");
    }

    /// Authority 4.1, H2. For arbitrary devices and terms both ends agree on the result.
    #[test]
    fn h2_both_ends_agree(
        seeds in (1_u8..50, 51_u8..100),
        ephemerals in any::<([u8; 32], [u8; 32])>(),
        network in "[a-z]{0,9}",
        features in any::<(u64, u64)>(),
    ) {
        let (one, other) = (device(seeds.0), device(seeds.1));
        let terms = |features| Terms { network: network.clone(), revocations: [0; 32], features };
        let dialled = Handshake::initiator(one.clone(), terms(features.0), ephemerals.0, None);
        let run = between(
            dialled,
            Handshake::responder(other.clone(), terms(features.1), ephemerals.1),
            |_, _| {},
        );
        let (at_one, at_other) = (run.initiator.unwrap().0, run.responder.unwrap().0);
        prop_assert_eq!(at_one.h, at_other.h);
        prop_assert_eq!(at_one.role, at_other.role.peer());
        prop_assert_eq!((at_one.peer.device, at_one.peer.features), (other.device(), features.1));
        prop_assert_eq!((at_other.peer.device, at_other.peer.features), (one.device(), features.0));
        prop_assert_eq!(at_one.peer.certificate, other.certificate);
        prop_assert_eq!(at_other.peer.certificate, one.certificate);
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), stage in 0_usize..4) {
        // A first message may be any 32 bytes; it is the third that proves them.
        prop_assume!(stage > 0 || bytes.len() != 32);
        let mut replaced = false;
        let run = run(None, |at, message| {
            if at == stage {
                replaced = *message != bytes;
                *message = bytes.clone();
            }
        });
        prop_assert!(!replaced || run.initiator.is_err() || run.responder.is_err());
    }
}
