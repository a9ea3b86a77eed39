//! The promises of links, over the memory network and in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerbase_actors as actors;

use actors::clock::Clock;
use actors::node::connection_manager::{ConnectError, Link, LinkClosed, LinkEnd, ListenError};
use actors::transport::framing::StreamError;
use actors::transport::memory::MemoryNetwork;
use actors::transport::{Transport, TransportError};
use schema::handshake::{Handshake, HandshakeError, LinkRole, RecordError, Terms};
use schema::limits::{
    FRAME_BYTES_MAX, HALF_OPEN_MAX, HANDSHAKE_BYTES_MAX, HANDSHAKE_TIMEOUT, LINK_AGE_MAX, LINKS_MAX,
    MAILBOX_BYTES_MAX, OUTBOUND_BYTES_MAX, OUTBOUND_FRAMES_MAX, PING_EVERY, STOP_TIMEOUT, STRANGER_LINKS_MAX,
    STRANGER_TIMEOUT,
};
use schema::wire::auth::Auth;
use schema::wire::hello::{Hello, HelloGroup};
use schema::wire::link::{ByeReason, LinkFrame};
use testkit::link::{HandmadeLink, HandmadeStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Call, DEADLINE, PANIC_CHANNEL, Peer, identity};

fn net(seed: u64) -> (MemoryNetwork, Clock) {
    let clock = Clock::simulated(seed);
    (MemoryNetwork::seeded(clock.clone(), seed).latency_ms(5..80), clock)
}

async fn two(seed: u64) -> (MemoryNetwork, Peer, Peer) {
    let (network, clock) = net(seed);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let ben = Peer::start(&network, &clock, "ben", 2).await;
    (network, ada, ben)
}

fn group(channel: u32, body: impl Into<Vec<u8>>) -> LinkFrame {
    LinkFrame::Group { channel, body: body.into() }
}

/// Sends a frame in each direction and waits until both have arrived.
async fn exchange(ada: &Peer, ben: &Peer, body: &[u8]) {
    ada.link_to(ben).await.send(group(1, body)).unwrap();
    ben.link_to(ada).await.send(group(1, body)).unwrap();
    for peer in [ada, ben] {
        peer.board.wait(&peer.clock, |_| peer.board.bodies().contains(&body.to_vec())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_devices_open_a_link_and_exchange_frames() {
    let (_network, ada, ben) = two(7).await;

    assert_eq!(ada.manager.connect("memory://ben").await.unwrap(), ben.device());
    let (at_ada, at_ben) = (ada.link_to(&ben).await, ben.link_to(&ada).await);
    let hello = LinkFrame::Hello(Hello { groups: vec![HelloGroup { token: [1; 32], hash: [2; 32] }] });
    at_ada.send(hello.clone()).unwrap();
    at_ada.send(group(0, "to ben")).unwrap();
    at_ben.send(group(0, "to ada")).unwrap();

    let up_to_ben = Call::Up(at_ben.id(), ada.device());
    let expected = [up_to_ben, Call::Frame(at_ben.id(), hello), Call::Frame(at_ben.id(), group(0, "to ben"))];
    ben.board.wait(&ben.clock, |calls| calls.len() == 3).await;
    assert_eq!(ben.board.calls(), expected);
    ada.board.wait(&ada.clock, |calls| calls.contains(&Call::Frame(at_ada.id(), group(0, "to ada")))).await;
    assert_eq!(at_ada.h(), at_ben.h());
    assert_eq!((at_ada.role(), at_ben.role()), (LinkRole::Initiator, LinkRole::Responder));
    assert_eq!(at_ada.peer().user, ben.identity.user());
}

#[tokio::test(start_paused = true)]
async fn a_partition_ends_links_and_they_open_again_when_it_heals() {
    let (network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    exchange(&ada, &ben, b"before").await;
    let before = ada.link_to(&ben).await;

    network.partition(&[&["ada"], &["ben"]]);
    ada.until_linked(&[]).await;
    ben.until_linked(&[]).await;
    assert!(before.is_closed());
    assert_eq!(before.send(group(1, "too late")), Err(LinkClosed));
    ada.clock.sleep(Duration::from_secs(300)).await;
    network.heal();

    exchange(&ada, &ben, b"after").await;
    let after = ada.link_to(&ben).await;
    assert_ne!((after.id(), after.h()), (before.id(), before.h()));
    let downs = ada.board.calls().into_iter().filter(|call| matches!(call, Call::Down(..))).count();
    assert_eq!(downs, 1, "failed dials are not reported to the owner of links");
}

#[tokio::test(start_paused = true)]
async fn meters_count_links_frames_and_ends() {
    let (network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    exchange(&ada, &ben, &[1; 1_000]).await;
    for peer in [&ada, &ben] {
        assert_eq!((peer.meters.open.get(), peer.meters.opened.get()), (1, 1));
        assert!(peer.meters.sent_frames.get() >= 1 && peer.meters.sent_bytes.get() > 1_000);
        assert!(peer.meters.received_frames.get() >= 1 && peer.meters.received_bytes.get() > 1_000);
    }

    network.cut("ada", "ben");
    ada.until_linked(&[]).await;

    assert_eq!((ada.meters.open.get(), ada.meters.ended_stream.get()), (0, 1));
    ada.clock.sleep(Duration::from_secs(10)).await;
    assert!(ada.meters.ended_unreached.get() >= 1, "it has dialled again");
    assert_eq!(ada.meters.opened.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_network_causes_a_dial_at_once() {
    let (network, ada, ben) = two(7).await;
    network.cut("ada", "ben");
    let refused = ada.manager.connect("memory://ben").await;
    assert!(matches!(
        refused,
        Err(ConnectError::Link { end: LinkEnd::Dial(TransportError::Unreachable { .. }), .. })
    ));
    ada.clock.sleep(Duration::from_secs(300)).await;
    network.heal();
    let healed = ada.clock.instant();

    ada.manager.network_changed().unwrap();

    ada.until_linked(&[&ben]).await;
    assert!(ada.clock.instant() - healed < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_address_is_not_dialled_again() {
    let (_network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    ben.until_linked(&[&ada]).await;

    ada.manager.disconnect("memory://ben").await.unwrap();

    let told = LinkEnd::ClosedByPeer { reason: ByeReason::Disconnected };
    ben.until_ended(|ended| ended.end == told).await;
    ada.clock.sleep(Duration::from_secs(300)).await;
    assert_eq!((ada.linked().await, ben.linked().await), (vec![], vec![]));
}

/// Opens a link of ada and ben, runs the attack on ada, and checks that the link still works.
async fn with_honest_link(attack: impl AsyncFn(&MemoryNetwork, &Peer)) {
    let (network, ada, ben) = two(7).await;
    ben.manager.connect("memory://ada").await.unwrap();
    let link = ada.link_to(&ben).await;

    attack(&network, &ada).await;

    assert!(!link.is_closed());
    exchange(&ada, &ben, b"after the attack").await;
}

async fn ends_with(ada: &Peer, end: LinkEnd) {
    let ended = ada.until_ended(|ended| ended.end == end).await;
    assert_eq!(ended.address, "memory://mallory");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_in_the_handshake_is_disconnected() {
    with_honest_link(async |network, ada| {
        let began = ada.clock.instant();
        let _mallory = HandmadeStream::dial(&network.host("mallory"), "memory://ada").await;
        ends_with(ada, LinkEnd::HandshakeTimeout).await;
        assert!(ada.clock.instant() - began < HANDSHAKE_TIMEOUT + Duration::from_secs(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_garbage_is_disconnected() {
    with_honest_link(async |network, ada| {
        let host = network.host("mallory");
        // "GE" read as a length is 18 245 bytes.
        let mut mallory = HandmadeStream::dial(&host, "memory://ada").await;
        mallory.stream.writer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let too_long = StreamError::TooLong { got: 18_245, max: HANDSHAKE_BYTES_MAX };
        ends_with(ada, LinkEnd::Stream(too_long)).await;

        let mut mallory = HandmadeStream::dial(&host, "memory://ada").await;
        mallory.send(b"hello").await;
        ends_with(ada, LinkEnd::Handshake(HandshakeError::Noise { message: 1 })).await;
        assert_eq!(mallory.receive().await, None);

        let mut mallory = HandmadeStream::dial(&host, "memory://ada").await;
        mallory.send(&[9; 32]).await;
        assert_eq!(mallory.receive().await.unwrap().len(), 96);
        mallory.send(&[9; 64]).await;
        ends_with(ada, LinkEnd::Handshake(HandshakeError::Noise { message: 3 })).await;

        let mut mallory = HandmadeLink::dial(&host, "memory://ada", identity(9)).await;
        mallory.send(&[0xff; 100]).await;
        ada.until_ended(|ended| matches!(ended.end, LinkEnd::Frame(_))).await;
        let bye = LinkFrame::Bye { reason: ByeReason::Protocol }.encode();
        assert_eq!(mallory.receive().await, Some(bye), "the peer is sent the reason");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_a_gibibyte_is_refused_when_it_is_announced() {
    with_honest_link(async |network, ada| {
        let mut mallory = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
        mallory.send_record(&(1_u32 << 30).to_be_bytes()).await;
        let too_long = StreamError::TooLong { got: 1 << 30, max: FRAME_BYTES_MAX };
        ends_with(ada, LinkEnd::Stream(too_long)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_within_a_frame_is_distinguished_from_one_that_ends_between_frames() {
    with_honest_link(async |network, ada| {
        let host = network.host("mallory");
        let mut mallory = HandmadeLink::dial(&host, "memory://ada", identity(9)).await;
        mallory.send_record(b"\x00\x00\x00\x09half").await;
        drop(mallory);
        ends_with(ada, LinkEnd::Stream(StreamError::CutShort)).await;

        drop(HandmadeLink::dial(&host, "memory://ada", identity(9)).await);
        ends_with(ada, LinkEnd::Stream(StreamError::Ended)).await;
    })
    .await;
}

/// Authority 4.1, H5, on a real link.
#[tokio::test(start_paused = true)]
async fn a_changed_skipped_or_unencrypted_record_ends_the_link() {
    with_honest_link(async |network, ada| {
        let host = network.host("mallory");
        let ping = [&2_u32.to_be_bytes()[..], &LinkFrame::Ping { nonce: 1 }.encode()].concat();
        let length = |record: &[u8]| u16::try_from(record.len()).unwrap().to_be_bytes();
        let ends = async |wire: &[u8], mut mallory: HandmadeLink| {
            let before = ada.manager.ends().await.unwrap().len();
            mallory.send_raw(wire).await;
            ada.until(|| async { ada.manager.ends().await.unwrap().len() > before }).await;
            assert_eq!(mallory.receive().await, None, "the peer is sent nothing");
            ada.manager.ends().await.unwrap().pop().unwrap().end
        };
        let tampered = LinkEnd::Stream(StreamError::Record(RecordError::Tampered));

        let mut mallory = HandmadeLink::dial(&host, "memory://ada", identity(9)).await;
        let mut changed = mallory.seal(&ping);
        changed[3] ^= 1;
        assert_eq!(ends(&[&length(&changed)[..], &changed].concat(), mallory).await, tampered);

        let mut mallory = HandmadeLink::dial(&host, "memory://ada", identity(9)).await;
        let _left_out = mallory.seal(&ping);
        let next = mallory.seal(&ping);
        assert_eq!(ends(&[&length(&next)[..], &next].concat(), mallory).await, tampered);

        let mallory = HandmadeLink::dial(&host, "memory://ada", identity(9)).await;
        let plain = LinkFrame::Ping { nonce: 1 }.encode();
        let short = LinkEnd::Stream(StreamError::Record(RecordError::Length { got: plain.len() }));
        assert_eq!(ends(&[&length(&plain)[..], &plain].concat(), mallory).await, short);
    })
    .await;
}

/// Authority 4.1, H1 and scenario 23: a peer that fails Auth is sent no frame, and none of its frames is
/// read.
#[tokio::test(start_paused = true)]
async fn no_frame_is_sent_or_read_before_auth() {
    with_honest_link(async |network, ada| {
        let mut mallory = HandmadeStream::dial(&network.host("mallory"), "memory://ada").await;
        let (mut machine, first) =
            Handshake::initiator(identity(9), Terms { features: 1, ..Terms::default() }, [7; 32], None);
        mallory.send(&first).await;
        let second = mallory.receive().await.unwrap();
        let step = machine.step(&second).unwrap();
        mallory.send(&step.send[0]).await;
        // An Auth whose features were changed after encryption does not decrypt.
        let mut auth = step.send[1].clone();
        let features = auth.len() - 16 - 64 - 1;
        auth[features] ^= 1;
        mallory.send(&auth).await;

        ends_with(ada, LinkEnd::Handshake(HandshakeError::Record(RecordError::Tampered))).await;
        assert_eq!(mallory.receive().await, None, "no Auth is sent either");
        let up = ada.board.calls().iter().filter(|call| matches!(call, Call::Up(..))).count();
        assert_eq!(up, 1, "only the link to ben");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_eavesdropper_sees_no_plain_text() {
    let clock = Clock::simulated(7);
    let network = MemoryNetwork::seeded(clock.clone(), 7);
    let mut listener = network.host("tap").listen("memory://tap").await.unwrap();
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let ben = Peer::start(&network, &clock, "ben", 2).await;
    // All bytes between ada and ben pass the tap.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (host, wire, tapped) = (network.host("tap"), seen.clone(), clock.clone());
    clock.spawn(async move {
        let dialled = listener.accept().await.unwrap();
        let onward = host.dial("memory://ben").await.unwrap();
        for (mut from, mut to) in [(dialled.reader, onward.writer), (onward.reader, dialled.writer)] {
            let wire = wire.clone();
            tapped.spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(more @ 1..) = from.read(&mut buffer).await {
                    wire.lock().unwrap().extend_from_slice(&buffer[..more]);
                    to.write_all(&buffer[..more]).await.unwrap();
                }
            });
        }
    });
    ada.manager.connect("memory://tap").await.unwrap();

    exchange(&ada, &ben, b"water the basil at noon").await;

    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() > 500, "{} bytes passed", seen.len());
    for secret in [&b"basil"[..], ada.device().as_bytes(), ben.device().as_bytes()] {
        assert!(!seen.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_day_a_link_is_opened_again_with_fresh_keys() {
    let (_network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    let before = ada.link_to(&ben).await;

    ada.clock.sleep(LINK_AGE_MAX - Duration::from_secs(60)).await;
    assert!(!before.is_closed());
    ada.clock.sleep(Duration::from_secs(120)).await;

    let worn =
        |end: &LinkEnd| matches!(end, LinkEnd::Worn | LinkEnd::ClosedByPeer { reason: ByeReason::Renew });
    ada.until_ended(|ended| worn(&ended.end)).await;
    ben.until_ended(|ended| worn(&ended.end)).await;
    exchange(&ada, &ben, b"a new day").await;
    assert_ne!(ada.link_to(&ben).await.h(), before.h());
}

#[tokio::test(start_paused = true)]
async fn an_auth_after_the_handshake_ends_the_link() {
    with_honest_link(async |network, ada| {
        let mut mallory = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
        let signature = schema::key::Signature([0; 64]);
        let certificate = schema::signed::Envelope { payload: vec![], signature };
        let auth = Auth { certificate, revocations: [0; 32], features: 0, signature };
        mallory.send(&LinkFrame::Auth(auth).encode()).await;
        ends_with(ada, LinkEnd::UnexpectedFrame { kind: "auth" }).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_disconnected_after_three_pings() {
    with_honest_link(async |network, ada| {
        let began = ada.clock.instant();
        let _mallory = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
        ends_with(ada, LinkEnd::Silent).await;
        let lasted = (ada.clock.instant() - began).as_secs();
        assert!((45..=76).contains(&lasted), "{lasted} s");
    })
    .await;
}

/// Authority 3.9: the owner of links decides whether a group is shared.
#[tokio::test(start_paused = true)]
async fn a_link_without_a_shared_group_ends_and_one_with_a_group_stays() {
    let (_network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    let link = ada.link_to(&ben).await;
    // Until it is set, a group counts as shared.
    ada.clock.sleep(4 * STRANGER_TIMEOUT).await;
    for _ in 0..10 {
        link.set_shares_group(false);
        ada.clock.sleep(STRANGER_TIMEOUT * 9 / 10).await;
        link.set_shares_group(true);
        ada.clock.sleep(STRANGER_TIMEOUT).await;
    }
    assert!(!link.is_closed());

    let began = ada.clock.instant();
    link.set_shares_group(false);
    ada.clock.sleep(STRANGER_TIMEOUT / 2).await;
    link.set_shares_group(false);
    ada.until_ended(|ended| ended.end == LinkEnd::Stranger).await;

    let lasted = ada.clock.instant() - began;
    assert!((STRANGER_TIMEOUT..STRANGER_TIMEOUT + Duration::from_secs(1)).contains(&lasted), "{lasted:?}");
    let told = LinkEnd::ClosedByPeer { reason: ByeReason::NotAuthorized };
    ben.until_ended(|ended| ended.end == told).await;
}

/// The pause before the next dial grows from 1 s to 60 s, however long the link lasted.
#[tokio::test(start_paused = true)]
async fn strangers_are_dialled_with_growing_pauses_whichever_side_ends_the_link() {
    for ada_decides in [true, false] {
        let (_network, ada, ben) = two(7).await;
        ada.manager.connect("memory://ben").await.unwrap();
        let (host, guest) = if ada_decides { (&ada, &ben) } else { (&ben, &ada) };
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let link = host.link_to(guest).await;
            host.clock.sleep(Duration::from_secs(120)).await;
            link.set_shares_group(false);
            host.until(|| async { link.is_closed() }).await;
            let began = host.clock.instant();
            host.until_linked(&[guest]).await;
            pauses.push((host.clock.instant() - began).as_secs());
        }
        assert!(pauses[0] <= 1, "{pauses:?}");
        assert!(pauses[7..].iter().all(|pause| (29..=62).contains(pause)), "{pauses:?}");
    }
}

/// Queued frames of one group delay those of another by at most one turn, and pings not at all.
#[tokio::test(start_paused = true)]
async fn bulk_of_one_group_delays_neither_another_group_nor_a_ping() {
    let clock = Clock::simulated(7);
    let network = MemoryNetwork::seeded(clock.clone(), 7).latency_ms(1_000..1_001);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let ben = Peer::start(&network, &clock, "ben", 2).await;
    ada.manager.connect("memory://ben").await.unwrap();
    let link = ada.link_to(&ben).await;

    let bulk = 40;
    for _ in 0..bulk {
        link.send(group(1, vec![b'b'; 512 << 10])).unwrap();
    }
    for number in 0..100_u8 {
        link.send(group(2, [number])).unwrap();
    }
    ben.board.wait(&ben.clock, |_| ben.board.bodies().contains(&vec![99])).await;

    let small: Vec<u8> = ben.board.bodies().iter().filter(|body| body.len() == 1).map(|b| b[0]).collect();
    assert!(small.into_iter().eq(0..100), "in order");
    let before = ben.board.bodies().iter().filter(|body| body.len() > 1).count();
    assert!(before <= 2, "{before} of {bulk} frames of the other group arrived before");
    // The bulk takes more than a minute; pings and pongs overtake it.
    ben.board.wait(&ben.clock, |_| ben.board.bodies().len() == bulk + 100).await;
    assert!(link.latency().unwrap() < Duration::from_secs(15), "{:?}", link.latency());
    assert!(!link.is_closed());
}

#[tokio::test(start_paused = true)]
async fn pings_are_jittered_around_their_interval() {
    let (network, ada, _ben) = two(7).await;
    let mut mallory = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
    let mut gaps = Vec::new();
    let mut before = ada.clock.instant();
    while gaps.len() < 20 {
        let frame = LinkFrame::decode(&mallory.receive().await.unwrap()).unwrap();
        let LinkFrame::Ping { nonce } = frame else { continue };
        mallory.send(&LinkFrame::Pong { nonce }.encode()).await;
        gaps.push(ada.clock.instant() - before);
        before = ada.clock.instant();
    }
    let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
    assert!(*least >= PING_EVERY * 3 / 4 - Duration::from_millis(200), "{least:?}");
    assert!(*most <= PING_EVERY * 5 / 4 + Duration::from_millis(200), "{most:?}");
    assert!(*most - *least > PING_EVERY / 5, "no jitter: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn however_many_handshakes_are_half_open_the_next_dialler_is_accepted_at_once() {
    // Without latency, so that no handshake times out meanwhile.
    let clock = Clock::simulated(7);
    let network = MemoryNetwork::seeded(clock.clone(), 7);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let mut stalled = Vec::new();
    for number in 0..3 * HALF_OPEN_MAX {
        let host = network.host(&format!("host {}", number % 60));
        stalled.push(HandmadeStream::dial(&host, "memory://ada").await);
        let began = clock.instant();
        if number % 32 == 31 {
            let cid = HandmadeLink::dial(&network.host("cid"), "memory://ada", identity(9)).await;
            let waited = clock.instant() - began;
            assert!(waited < Duration::from_secs(1), "{waited:?} beside {number} others");
            drop(cid);
        }
    }
    ada.until(|| async { ada.meters.dropped_half_open.get() >= 2 * HALF_OPEN_MAX as u64 }).await;
    let mut first = stalled.swap_remove(0);
    assert_eq!(first.receive().await, None, "the oldest has ended");
    let last = stalled.len() - 1;
    let receives = stalled[last].receive();
    assert!(clock.timeout(HANDSHAKE_TIMEOUT / 2, receives).await.is_err(), "the newest has not");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_disconnected_when_its_queue_is_full() {
    with_honest_link(async |network, ada| {
        let mallory = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
        ada.until(|| async { ada.linked().await.len() == 2 }).await;
        let links = ada.manager.links().await.unwrap();
        let link = links.iter().find(|link| link.peer().device == identity(9).device()).unwrap();

        let frame = group(0, vec![0; FRAME_BYTES_MAX - 100]);
        let sent = (0..1_000).take_while(|_| link.send(frame.clone()).is_ok()).count();

        assert!((60..=66).contains(&sent), "{sent} frames");
        assert!(link.queued_bytes() <= OUTBOUND_BYTES_MAX);
        ada.until_ended(|ended| matches!(ended.end, LinkEnd::Overflow { .. })).await;
        drop(mallory);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_floods_pings_and_reads_no_answer_is_disconnected() {
    with_honest_link(async |network, ada| {
        let mut mallory = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
        let ping = LinkFrame::Ping { nonce: 7 }.encode();
        let ping = [&u32::try_from(ping.len()).unwrap().to_be_bytes()[..], &ping].concat();
        // Enough to fill the pipe and the queue behind it with answers.
        let most = 3 * (OUTBOUND_FRAMES_MAX + (256 << 10) / ping.len());
        let mut sent = 0;
        while ada.linked().await.len() == 2 && sent < most {
            mallory.send_record(&ping.repeat(1_000)).await;
            ada.clock.sleep(Duration::from_millis(100)).await;
            sent += 1_000;
        }
        ada.until_ended(|ended| matches!(ended.end, LinkEnd::Overflow { .. })).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn half_open_handshakes_from_one_network_displace_each_other_only() {
    // Without latency, so that no handshake times out meanwhile.
    let clock = Clock::simulated(7);
    let network = MemoryNetwork::seeded(clock.clone(), 7);
    let _ada = Peer::start(&network, &clock, "ada", 1).await;
    let elsewhere = HandmadeStream::dial(&network.host("cid"), "memory://ada").await;
    let mut stalled = Vec::new();
    for _ in 0..HALF_OPEN_MAX {
        stalled.push(HandmadeStream::dial(&network.host("mallory"), "memory://ada").await);
    }
    let began = clock.instant();
    assert_eq!(stalled.remove(0).receive().await, None);
    assert!(clock.instant() - began < Duration::from_secs(1), "at once, not at the timeout");
    let met = elsewhere.complete(identity(8), [7; 32]).await;
    drop(met);
}

#[tokio::test(start_paused = true)]
async fn a_full_node_refuses_new_links_and_keeps_its_own() {
    let (network, clock) = net(7);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let mut crowd = Vec::new();
    for seed in 0..LINKS_MAX {
        let identity = identity(100 + u8::try_from(seed).unwrap());
        crowd.push(HandmadeLink::dial(&network.host("crowd"), "memory://ada", identity).await);
    }
    ada.until(|| async { ada.linked().await.len() == LINKS_MAX }).await;

    let mut one_more = HandmadeLink::dial(&network.host("cid"), "memory://ada", identity(3)).await;

    assert_eq!(one_more.receive().await, Some(LinkFrame::Bye { reason: ByeReason::Full }.encode()));
    assert_eq!(ada.linked().await.len(), LINKS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_full_node_still_dials_and_the_displaced_peer_is_told() {
    let (network, clock) = net(7);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let dan = Peer::start(&network, &clock, "dan", 2).await;
    let mut crowd = Vec::new();
    for seed in 0..LINKS_MAX {
        let identity = identity(100 + u8::try_from(seed).unwrap());
        crowd.push(HandmadeLink::dial(&network.host("crowd"), "memory://ada", identity).await);
    }
    ada.until(|| async { ada.linked().await.len() == LINKS_MAX }).await;

    assert_eq!(ada.manager.connect("memory://dan").await.unwrap(), dan.device());

    let newest = crowd.last_mut().unwrap();
    assert_eq!(newest.receive().await, Some(LinkFrame::Bye { reason: ByeReason::Displaced }.encode()));
    ada.until_ended(|ended| ended.end == LinkEnd::Closed { reason: ByeReason::Displaced }).await;
    assert_eq!((ada.linked().await.len(), ada.meters.displaced.get()), (LINKS_MAX, 1));
}

#[tokio::test(start_paused = true)]
async fn sixty_strangers_leave_room_and_one_who_is_admitted_counts_as_a_member() {
    let (network, clock) = net(7);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    (100..160).for_each(|seed| ada.board.estrange(identity(seed).user()));
    let mut strangers = Vec::new();
    for seed in 100..160 {
        strangers.push(HandmadeLink::dial(&network.host("crowd"), "memory://ada", identity(seed)).await);
    }
    clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(ada.linked().await.len(), STRANGER_LINKS_MAX);
    let refused = strangers[0].receive().await;
    assert_eq!(refused, Some(LinkFrame::Bye { reason: ByeReason::Displaced }.encode()));
    let mut members = Vec::new();
    for seed in 10..10 + u8::try_from(LINKS_MAX - STRANGER_LINKS_MAX).unwrap() {
        members.push(HandmadeLink::dial(&network.host("crowd"), "memory://ada", identity(seed)).await);
    }
    ada.until(|| async { ada.linked().await.len() == LINKS_MAX }).await;
    members.push(HandmadeLink::dial(&network.host("crowd"), "memory://ada", identity(90)).await);
    ada.until(|| async { ada.linked().await.contains(&identity(90).device()) }).await;
    assert_eq!(ada.linked().await.len(), LINKS_MAX, "a stranger gave way");
}

#[tokio::test(start_paused = true)]
async fn a_flood_beyond_the_mailbox_waits_and_no_frame_is_lost() {
    let (_network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    let link = ada.link_to(&ben).await;
    let body = |number: usize| number.to_be_bytes().repeat(32_000 / 8);
    let count = 3 * MAILBOX_BYTES_MAX / 32_000;

    ben.board.hold();
    for number in 0..count {
        link.send(group(0, body(number))).unwrap();
    }
    // Longer than three pings: a blocked reader does not count its peer as silent.
    ada.clock.sleep(Duration::from_secs(200)).await;
    let arrived: usize = ben.board.bodies().iter().map(Vec::len).sum();
    assert!(arrived <= MAILBOX_BYTES_MAX && arrived > MAILBOX_BYTES_MAX * 9 / 10, "{arrived} bytes");
    assert!(link.queued_bytes() > MAILBOX_BYTES_MAX);
    ben.board.release();

    ben.board.wait(&ben.clock, |_| ben.board.bodies().len() == count).await;
    assert!(ben.board.bodies().into_iter().eq((0..count).map(body)), "every frame, in order");
    assert!(!link.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_callback_of_one_link_ends_only_that_link() {
    let (network, ada, ben) = two(7).await;
    let cid = Peer::start(&network, &ada.clock, "cid", 3).await;
    ben.manager.connect("memory://ada").await.unwrap();
    cid.manager.connect("memory://ada").await.unwrap();
    let to_ben = ada.link_to(&ben).await;
    ada.until_linked(&[&ben, &cid]).await;

    ben.link_to(&ada).await.send(group(PANIC_CHANNEL, "boom")).unwrap();

    ada.board.wait(&ada.clock, |calls| calls.contains(&Call::Down(to_ben.id(), LinkEnd::Crashed))).await;
    ada.until_ended(|ended| ended.end == LinkEnd::Crashed).await;
    ada.until_linked(&[&ben, &cid]).await;
    assert_ne!(ada.link_to(&ben).await.id(), to_ben.id(), "ben has dialled again");
    let downs = ada.board.calls().into_iter().filter(|call| matches!(call, Call::Down(..))).count();
    assert_eq!(downs, 1, "the link to cid is unaffected");
    assert_eq!(*ada.child_ends.lock().unwrap(), [""; 0], "the manager is unaffected");
}

#[tokio::test(start_paused = true)]
async fn crossing_dials_leave_one_link() {
    for seed in 0..20 {
        let (_network, ada, ben) = two(seed).await;

        let (one, other) =
            tokio::join!(ada.manager.connect("memory://ben"), ben.manager.connect("memory://ada"));

        assert_eq!((one.unwrap(), other.unwrap()), (ben.device(), ada.device()), "seed {seed}");
        ada.clock.sleep(Duration::from_secs(60)).await;
        let (at_ada, at_ben) = (ada.manager.links().await.unwrap(), ben.manager.links().await.unwrap());
        assert_eq!((at_ada.len(), at_ben.len()), (1, 1), "seed {seed}");
        assert_eq!(at_ada[0].h(), at_ben[0].h(), "seed {seed}");
        let ada_dialled = at_ada[0].role() == LinkRole::Initiator;
        assert_eq!(ada_dialled, ada.device() < ben.device(), "seed {seed}");
        exchange(&ada, &ben, b"one link").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_dials_again_replaces_its_dead_link() {
    let (network, clock) = net(7);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let silent = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;
    ada.until(|| async { ada.linked().await.len() == 1 }).await;
    let first = ada.manager.links().await.unwrap().remove(0);

    let _again = HandmadeLink::dial(&network.host("mallory"), "memory://ada", identity(9)).await;

    ada.until(|| async { ada.manager.links().await.unwrap().iter().any(|link| link.id() != first.id()) })
        .await;
    assert_eq!(ada.linked().await, [identity(9).device()]);
    assert!(first.is_closed());
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn wrong_addresses_are_reported_and_not_dialled_again() {
    let (_network, ada, _ben) = two(7).await;
    let refused = ada.manager.connect("memory://ada").await;
    assert!(
        matches!(refused, Err(ConnectError::Link { end: LinkEnd::Handshake(HandshakeError::OwnDevice), .. })),
        "{refused:?}"
    );
    let refused = ada.manager.connect("pigeon://ben").await;
    assert!(matches!(
        refused,
        Err(ConnectError::Link { end: LinkEnd::Dial(TransportError::Address { .. }), .. })
    ));
    let refused = ada.manager.listen("memory://ben").await;
    assert!(matches!(refused, Err(ListenError::Transport(TransportError::Address { .. }))));

    ada.clock.sleep(HANDSHAKE_TIMEOUT).await;
    let ends = ada.manager.ends().await.unwrap().len();
    ada.clock.sleep(Duration::from_secs(300)).await;
    assert_eq!(ada.manager.ends().await.unwrap().len(), ends);
}

#[tokio::test(start_paused = true)]
async fn only_the_expected_device_is_accepted() {
    let (_network, ada, ben) = two(7).await;
    let cid = identity(3).device();
    let refused = ada.manager.connect_to("memory://ben", cid).await;
    let unexpected = HandshakeError::UnexpectedDevice { expected: cid, got: ben.device() };
    assert!(
        matches!(
            &refused,
            Err(ConnectError::Link { end: LinkEnd::Handshake(error), .. }) if *error == unexpected
        ),
        "{refused:?}"
    );
    assert_eq!(ada.manager.connect_to("memory://ben", ben.device()).await.unwrap(), ben.device());
}

#[tokio::test(start_paused = true)]
async fn a_failed_listener_listens_again() {
    let (network, ada, ben) = two(7).await;
    network.close_listeners("ben");
    assert_eq!(ada.manager.connect("memory://ben").await.unwrap(), ben.device());
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_keeps_failing_fails_the_manager() {
    let (network, _ada, ben) = two(7).await;
    for _ in 0..5 {
        network.close_listeners("ben");
        ben.clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(*ben.child_ends.lock().unwrap(), ["listener is closed"]);

    ben.start_manager().await;

    assert_eq!(ben.manager.listen("memory://ben").await.unwrap(), "memory://ben");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_manager_listens_and_dials_at_the_same_addresses() {
    let (_network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    let before = ada.link_to(&ben).await.id();
    ada.manager.stop().await;
    ben.until_linked(&[]).await;

    ada.start_manager().await;

    ada.until_linked(&[&ben]).await;
    assert!(ada.link_to(&ben).await.id() > before, "a link id is not used twice");
    ben.manager.connect("memory://ada").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_task_or_stream_is_left_after_a_stop() {
    let (network, ada, ben) = two(7).await;
    ada.manager.connect("memory://ben").await.unwrap();
    ada.manager.connect("memory://nobody").await.unwrap_err();
    let stalled = HandmadeStream::dial(&network.host("mallory"), "memory://ada").await;
    exchange(&ada, &ben, b"hello").await;
    let began = ada.clock.instant();

    ada.stop().await;

    assert!(ada.clock.instant() - began < STOP_TIMEOUT);
    ben.until_ended(|ended| ended.end == LinkEnd::ClosedByPeer { reason: ByeReason::Shutdown }).await;
    assert!(ada.manager.links().await.is_err());
    assert!(matches!(ada.board.calls().last(), Some(Call::Down(..))));
    ben.stop().await;
    drop(stalled);
    let metrics = tokio::runtime::Handle::current().metrics();
    ada.clock
        .timeout(DEADLINE, async {
            while metrics.num_alive_tasks() > 0 {
                ada.clock.sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} tasks are left", metrics.num_alive_tasks()));
    assert_eq!(network.open_streams(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_work_in_real_time_on_several_threads() {
    let clock = Clock::real();
    let network = MemoryNetwork::seeded(clock.clone(), 7);
    let ada = Peer::start(&network, &clock, "ada", 1).await;
    let ben = Peer::start(&network, &clock, "ben", 2).await;
    let (one, other) = tokio::join!(ada.manager.connect("memory://ben"), ben.manager.connect("memory://ada"));
    assert_eq!((one.unwrap(), other.unwrap()), (ben.device(), ada.device()));
    let survives = |links: Vec<Link>| {
        let dialled = links.iter().map(|link| link.role() == LinkRole::Initiator);
        dialled.collect::<Vec<bool>>()
    };
    ada.until(|| async { survives(ada.manager.links().await.unwrap()) == [ada.device() < ben.device()] })
        .await;
    ben.until(|| async { survives(ben.manager.links().await.unwrap()) == [ben.device() < ada.device()] })
        .await;

    let link = ada.link_to(&ben).await;
    let body = |number: usize| number.to_be_bytes().repeat(number % 100);
    for number in 0..10_000 {
        link.send(group(0, body(number))).unwrap();
    }

    ben.board.wait(&clock, |_| ben.board.bodies().len() == 10_000).await;
    assert!(ben.board.bodies().into_iter().eq((0..10_000).map(body)));
    ada.stop().await;
    ben.stop().await;
    assert_eq!(network.open_streams(), 0);
}

/// Three devices with loss, a partition, a crash and many frames.
fn scenario(seed: u64) -> ([u8; 32], Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Clock::simulated(seed);
        let network = MemoryNetwork::seeded(clock.clone(), seed).latency_ms(5..80).loss(0.05).recorded();
        let ada = Peer::start(&network, &clock, "ada", 1).await;
        let ben = Peer::start(&network, &clock, "ben", 2).await;
        let cid = Peer::start(&network, &clock, "cid", 3).await;
        for (from, to) in [(&ada, "memory://ben"), (&ben, "memory://ada"), (&cid, "memory://ada")] {
            from.manager.connect(to).await.unwrap();
        }
        clock.sleep(Duration::from_secs(100)).await;
        ada.until_linked(&[&ben, &cid]).await;
        exchange(&ada, &ben, &[1; 100_000]).await;
        network.partition(&[&["ada"], &["ben", "cid"]]);
        clock.sleep(Duration::from_secs(100)).await;
        network.heal();
        ada.until_linked(&[&ben, &cid]).await;
        network.crash("ada");
        ada.until_linked(&[&ben, &cid]).await;
        exchange(&ada, &cid, &[2; 100_000]).await;
        for peer in [ada, ben, cid] {
            peer.stop().await;
        }
        (network.trace_hash(), network.trace_lines())
    })
}

#[test]
fn equal_seeds_give_equal_traces() {
    let (hash, lines) = scenario(42);
    let (again, same_lines) = scenario(42);
    let differs = lines.iter().zip(&same_lines).position(|(one, other)| one != other);
    assert_eq!(differs, None, "{:?}", differs.map(|at| (&lines[at], &same_lines[at])));
    assert_eq!(again, hash);
    assert_ne!(scenario(43).0, hash);
    assert!(lines.len() > 100, "the trace is not empty");
}
