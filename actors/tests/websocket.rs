//! What links promise over real sockets: the loopback, free ports, real time.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of tests for code")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use peerbase_actors as actors;

use actors::clock::Clock;
use actors::node::connection_manager::{ConnectError, LinkEnd, ListenError};
use actors::transport::framing::StreamError;
use actors::transport::memory::MemoryNetwork;
use actors::transport::websocket::{MESSAGE_BYTES_MAX, WebSockets};
use actors::transport::{Listener, Stream, Transport, TransportError, Transports};
use schema::frame::{ByeReason, LinkFrame};
use schema::handshake::{HandshakeError, RecordError};
use schema::limits::{FRAME_BYTES_MAX, HALF_OPEN_PER_PEER_MAX, HANDSHAKE_TIMEOUT};
use support::{Mallory, Peer, identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANY_PORT: &str = "127.0.0.1:0";
/// A word about `ws://`, from the dialler.
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: ada\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn sockets() -> WebSockets {
    WebSockets::new(Clock::real())
}

async fn start(name: &'static str, seed: u8) -> Peer {
    Peer::over(Arc::new(sockets()), &Clock::real(), name, seed, ANY_PORT).await
}

fn group(body: impl Into<Vec<u8>>) -> LinkFrame {
    LinkFrame::Group { channel: 1, body: body.into() }
}

async fn talk(ada: &Peer, ben: &Peer, word: &[u8]) {
    ada.link_to(ben).await.send(group(word)).unwrap();
    ben.link_to(ada).await.send(group(word)).unwrap();
    for peer in [ada, ben] {
        peer.board.wait(&peer.clock, |_| peer.board.bodies().contains(&word.to_vec())).await;
    }
}

/// The host and port of a `ws://` address.
fn place(address: &str) -> &str {
    address.strip_prefix("ws://").unwrap()
}

/// Both ends of one stream, and what it was accepted by.
async fn joined() -> (Stream, Stream, Box<dyn Listener>) {
    let mut listener = sockets().listen(ANY_PORT).await.unwrap();
    let address = listener.address().to_owned();
    let dial = Clock::real().spawn(async move {
        let mut dialled = sockets().dial(&address).await.unwrap();
        dialled.writer.write_all(b"!").await.unwrap();
        dialled.writer.flush().await.unwrap();
        dialled
    });
    let mut accepted = listener.accept().await.unwrap();
    // Whoever reads upgrades; else the dialler would wait.
    assert_eq!(accepted.reader.read_u8().await.unwrap(), b'!');
    (dial.await.unwrap(), accepted, listener)
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_in_order() {
    let (mut ada, mut ben, _listener) = joined().await;
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();

    let copy = sent.clone();
    let writer = Clock::real().spawn(async move {
        for part in copy.chunks(99_999) {
            ada.writer.write_all(part).await.unwrap();
        }
        ada.writer.shutdown().await.unwrap();
        ada
    });
    let mut received = Vec::new();
    ben.reader.read_to_end(&mut received).await.unwrap();
    assert!(received == sent);

    let mut ada = writer.await.unwrap();
    let mut end = [0; 1];
    drop(ben);
    assert_eq!(ada.reader.read(&mut end).await.unwrap(), 0, "the peer has gone");
}

#[tokio::test]
async fn a_listener_tells_its_port_and_a_stream_tells_no_port() {
    let (ada, ben, listener) = joined().await;
    assert!(listener.address().starts_with("ws://127.0.0.1:"));
    assert!(!listener.address().ends_with(":0"));
    assert_eq!(ada.peer, listener.address());
    assert_eq!(ben.peer, "ws://127.0.0.1");
}

#[tokio::test]
async fn a_port_in_use_and_wrong_addresses_are_named() {
    let ada = start("ada", 1).await;
    let ben = start("ben", 2).await;
    let used = ben.manager.listen(place(ada.address())).await;
    assert!(matches!(used, Err(ListenError::Transport(TransportError::InUse { .. }))), "{used:?}");
    for wrong in ["127.0.0.1", "pigeon://127.0.0.1:0", "ws://127.0.0.1:0/path"] {
        let refused = ben.manager.listen(wrong).await;
        assert!(
            matches!(refused, Err(ListenError::Transport(TransportError::Address { .. }))),
            "{refused:?}"
        );
    }
    let refused = ben.manager.connect("ws://nobody").await;
    assert!(matches!(
        refused,
        Err(ConnectError::Link { end: LinkEnd::Dial(TransportError::Address { .. }), .. })
    ));
}

#[tokio::test]
async fn an_address_without_anybody_is_unreachable() {
    let ada = start("ada", 1).await;
    let free = TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap();
    let refused = ada.manager.connect(&format!("ws://{free}")).await;
    assert!(
        matches!(
            refused,
            Err(ConnectError::Link { end: LinkEnd::Dial(TransportError::Unreachable { .. }), .. })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn somebody_who_speaks_no_websocket_is_named() {
    let ada = start("ada", 1).await;
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    Clock::real().spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    let refused = ada.manager.connect(&address).await;
    let foreign = TransportError::Foreign { address, expected: "WebSocket" };
    assert!(
        matches!(&refused, Err(ConnectError::Link { end: LinkEnd::Dial(error), .. }) if *error == foreign),
        "{refused:?}"
    );
}

#[tokio::test]
async fn schemes_choose_the_transport() {
    let clock = Clock::real();
    let network = MemoryNetwork::seeded(clock.clone(), 7);
    let both = Transports::new("ws", sockets()).and("memory", network.host("ada"));
    let ada = Peer::over(Arc::new(both), &clock, "ada", 1, ANY_PORT).await;
    let ben = start("ben", 2).await;
    let cid = Peer::start(&network, &clock, "cid", 3).await;

    ada.manager.connect(ben.address()).await.unwrap();
    ada.manager.connect(cid.address()).await.unwrap();

    talk(&ada, &ben, b"over a socket").await;
    talk(&ada, &cid, b"through memory").await;
    let refused = ada.manager.connect("pigeon://dan").await;
    assert!(matches!(
        refused,
        Err(ConnectError::Link { end: LinkEnd::Dial(TransportError::Address { .. }), .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_devices_meet_talk_and_part() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    assert_eq!(ada.manager.connect(ben.address()).await.unwrap(), ben.device());
    assert_eq!(ada.link_to(&ben).await.h(), ben.link_to(&ada).await.h());
    talk(&ada, &ben, b"hello").await;

    let link = ada.link_to(&ben).await;
    let body = |number: usize| number.to_be_bytes().repeat(number % 10_000);
    for number in 0..500 {
        link.send(group(body(number))).unwrap();
    }
    ben.board.wait(&ben.clock, |heard| heard.len() >= 502).await;
    assert!(ben.board.bodies().into_iter().skip(1).eq((0..500).map(body)));

    ada.stop().await;
    ben.until_ended(|ended| ended.end == LinkEnd::ClosedByPeer { reason: ByeReason::Shutdown }).await;
    ben.stop().await;
}

#[tokio::test]
async fn a_restarted_manager_keeps_the_port_that_the_system_chose() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    ben.manager.stop().await;
    ben.start_manager().await;
    assert_eq!(ada.manager.connect(ben.address()).await.unwrap(), ben.device());
    assert_eq!(ben.manager.listen(ANY_PORT).await.unwrap(), ben.address());
}

/// ada and ben are linked; then mallory does his worst, and afterwards they can still talk.
async fn beside(attack: impl AsyncFn(&Peer)) {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    ben.manager.connect(ada.address()).await.unwrap();
    let link = ada.link_to(&ben).await;

    attack(&ada).await;

    assert!(!link.is_closed());
    talk(&ada, &ben, b"still here").await;
}

/// Waits for an end that came since `before`, and takes it for mallory's.
async fn next_end(ada: &Peer, before: usize) -> LinkEnd {
    ada.until(|| async { ada.manager.ends().await.unwrap().len() > before }).await;
    let ended = ada.manager.ends().await.unwrap().pop().unwrap();
    assert_eq!(ended.address, "ws://127.0.0.1");
    ended.end
}

#[tokio::test]
async fn a_dialler_that_is_no_websocket_is_let_go() {
    let broken = |kind| LinkEnd::Stream(StreamError::Broken { kind });
    let foreign = LinkEnd::Stream(StreamError::Transport { expected: "a WebSocket, from its first line on" });
    beside(async |ada| {
        let no_upgrade = b"GET / HTTP/1.1\r\nHost: ada\r\n\r\n";
        let garbage = [0xff; 100];
        for (at, (said, end)) in [
            (&no_upgrade[..], foreign.clone()),
            (&garbage[..], foreign.clone()),
            (&b"GET / HT"[..], broken(std::io::ErrorKind::UnexpectedEof)),
            (&b""[..], broken(std::io::ErrorKind::UnexpectedEof)),
        ]
        .into_iter()
        .enumerate()
        {
            let mut socket = TcpStream::connect(place(ada.address())).await.unwrap();
            socket.write_all(said).await.unwrap();
            socket.shutdown().await.unwrap();
            assert_eq!(next_end(ada, at).await, end, "{at}");
        }
    })
    .await;
}

/// A WebSocket, from here on spoken by hand.
async fn upgraded(peer: &Peer) -> TcpStream {
    let mut socket = TcpStream::connect(place(peer.address())).await.unwrap();
    socket.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
    socket
}

/// One frame of RFC 6455 §5.2, final, masked with zeros.
fn message(opcode: u8, claimed: u64, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0xff][..], &claimed.to_be_bytes(), &[0; 4], payload].concat()
}

#[tokio::test]
async fn messages_that_carry_no_stream_end_it() {
    beside(async |ada| {
        let oversized = MESSAGE_BYTES_MAX + 1;
        let unmasked = [0x82, 0x05, 0, 3, 1, 2, 3];
        let frames = LinkEnd::Stream(StreamError::Transport { expected: "WebSocket frames" });
        for (at, (said, end)) in [
            (
                message(1, 5, b"hello"),
                LinkEnd::Stream(StreamError::Transport { expected: "binary WebSocket messages" }),
            ),
            (
                message(2, u64::try_from(oversized).unwrap(), b""),
                LinkEnd::Stream(StreamError::TooLong { got: oversized, max: MESSAGE_BYTES_MAX }),
            ),
            (
                message(2, 1 << 30, b""),
                LinkEnd::Stream(StreamError::TooLong { got: 1 << 30, max: MESSAGE_BYTES_MAX }),
            ),
            (unmasked.to_vec(), frames.clone()),
            (message(3, 0, b""), frames),
            (message(8, 0, b""), LinkEnd::Stream(StreamError::Ended)),
            (message(2, 3, b"\x00\x20x"), LinkEnd::Stream(StreamError::CutShort)),
            (message(2, 7, b"\x00\x05hello"), LinkEnd::Handshake(HandshakeError::Noise { message: 1 })),
        ]
        .into_iter()
        .enumerate()
        {
            let mut socket = upgraded(ada).await;
            socket.write_all(&message(9, 0, b"")).await.unwrap(); // a ping hurts nobody
            socket.write_all(&said).await.unwrap();
            socket.shutdown().await.unwrap();
            assert_eq!(next_end(ada, at).await, end, "{at}");
        }
    })
    .await;
}

#[tokio::test]
async fn pings_of_websocket_are_answered_beside_the_stream() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    let mut socket = upgraded(&ada).await;
    socket.write_all(&message(9, 3, b"hey")).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(&[0x8a, 3, b'h', b'e', b'y']) {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0, "{}", answer.escape_ascii());
    }
    ben.manager.connect(ada.address()).await.unwrap();
}

#[tokio::test]
async fn what_a_device_breaks_after_the_handshake_ends_its_link_alone() {
    beside(async |ada| {
        let over = sockets();
        let meet = || Mallory::meet(&over, ada.address(), identity(9));

        let mut mallory = meet().await;
        mallory.send_record(&(1_u32 << 30).to_be_bytes()).await;
        let too_long = StreamError::TooLong { got: 1 << 30, max: FRAME_BYTES_MAX };
        assert_eq!(next_end(ada, 0).await, LinkEnd::Stream(too_long));

        let mut mallory = meet().await;
        mallory.send_record(b"\x00\x00\x00\x09half").await;
        drop(mallory);
        assert_eq!(next_end(ada, 1).await, LinkEnd::Stream(StreamError::CutShort));

        let mut mallory = meet().await;
        mallory.send_raw(&[&[0, 100][..], &[5; 100]].concat()).await;
        let tampered = LinkEnd::Stream(StreamError::Record(RecordError::Tampered));
        assert_eq!(next_end(ada, 2).await, tampered);
        assert_eq!(mallory.receive().await, None);

        let mut mallory = meet().await;
        mallory.send(&[0xff; 100]).await;
        assert!(matches!(next_end(ada, 3).await, LinkEnd::Frame(_)));
        let bye = LinkFrame::Bye { reason: ByeReason::Protocol }.encode();
        assert_eq!(mallory.receive().await, Some(bye));
    })
    .await;
}

/// The one test that takes as long as a handshake may, in real time.
#[tokio::test]
async fn diallers_that_dawdle_are_few_and_let_go_in_time() {
    beside(async |ada| {
        let began = ada.clock.instant();
        let mut dawdlers = Vec::new();
        for at in 0..HALF_OPEN_PER_PEER_MAX {
            let mut socket = TcpStream::connect(place(ada.address())).await.unwrap();
            let said = [b"", &b"GET"[..], UPGRADE.as_bytes()][at % 3];
            socket.write_all(said).await.unwrap();
            dawdlers.push(socket);
        }
        let mut one_more = TcpStream::connect(place(ada.address())).await.unwrap();
        assert!(matches!(one_more.read(&mut [0; 1]).await, Ok(0) | Err(_)), "closed at once");
        assert!(ada.clock.instant() - began < Duration::from_secs(2));

        assert_eq!(next_end(ada, HALF_OPEN_PER_PEER_MAX - 1).await, LinkEnd::HandshakeTimeout);
        let lasted = ada.clock.instant() - began;
        assert!(
            (HANDSHAKE_TIMEOUT..HANDSHAKE_TIMEOUT + Duration::from_secs(2)).contains(&lasted),
            "{lasted:?}"
        );
    })
    .await;
}
