//! The promises of links over real sockets: the loopback, free ports, real time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peerbase_actors as actors;

use actors::clock::Clock;
use actors::node::connection_manager::{ConnectError, LinkEnd, ListenError};
use actors::transport::framing::StreamError;
use actors::transport::memory::MemoryNetwork;
use actors::transport::websocket::WebSockets;
use actors::transport::{Listener, Stream, Transport, TransportError, Transports};
use futures_util::{SinkExt, StreamExt};
use schema::handshake::{Handshake, HandshakeError, RecordError, Terms};
use schema::limits::{
    DIAL_TIMEOUT, FRAME_BYTES_MAX, HALF_OPEN_MAX, HANDSHAKE_TIMEOUT, PING_EVERY, WEBSOCKET_MESSAGE_BYTES_MAX,
};
use schema::wire::link::{ByeReason, LinkFrame};
use testkit::link::{HandmadeLink, HandmadeStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Peer, identity};

const ANY_PORT: &str = "127.0.0.1:0";
/// Extra time for a busy machine.
const SLACK: Duration = Duration::from_secs(4);
const GIBIBYTE_IN_FRAGMENTS: usize = (1 << 30) / (WEBSOCKET_MESSAGE_BYTES_MAX / 2);
/// The upgrade request of a WebSocket dialler.
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

/// Sends a frame in each direction and waits until both have arrived.
async fn exchange(ada: &Peer, ben: &Peer, body: &[u8]) {
    ada.link_to(ben).await.send(group(body)).unwrap();
    ben.link_to(ada).await.send(group(body)).unwrap();
    for peer in [ada, ben] {
        peer.board.wait(&peer.clock, |_| peer.board.bodies().contains(&body.to_vec())).await;
    }
}

/// The host and port of a `ws://` address.
fn host_and_port(address: &str) -> &str {
    address.strip_prefix("ws://").unwrap()
}

/// Both ends of one stream, and its listener.
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
    // The first read upgrades the socket; without it the dialler would wait.
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
    assert_eq!(ada.reader.read(&mut end).await.unwrap(), 0, "the peer has ended the stream");
}

#[tokio::test]
async fn a_listener_knows_its_port_and_the_peer_of_a_stream_has_none() {
    let (ada, ben, listener) = joined().await;
    assert!(listener.address().starts_with("ws://127.0.0.1:"));
    assert!(!listener.address().ends_with(":0"));
    assert_eq!(ada.source.address, listener.address());
    assert_eq!(ben.source.address, "ws://127.0.0.1");
}

#[tokio::test]
async fn a_port_in_use_and_wrong_addresses_are_reported() {
    let ada = start("ada", 1).await;
    let ben = start("ben", 2).await;
    let used = ben.manager.listen(host_and_port(ada.address())).await;
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
async fn an_address_without_a_listener_is_unreachable() {
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
async fn schemes_choose_the_transport() {
    let clock = Clock::real();
    let network = MemoryNetwork::seeded(clock.clone(), 7);
    let both = Transports::new("ws", sockets()).and("memory", network.host("ada"));
    let ada = Peer::over(Arc::new(both), &clock, "ada", 1, ANY_PORT).await;
    let ben = start("ben", 2).await;
    let cid = Peer::start(&network, &clock, "cid", 3).await;

    ada.manager.connect(ben.address()).await.unwrap();
    ada.manager.connect(cid.address()).await.unwrap();

    exchange(&ada, &ben, b"over a socket").await;
    exchange(&ada, &cid, b"through memory").await;
    let refused = ada.manager.connect("pigeon://dan").await;
    assert!(matches!(
        refused,
        Err(ConnectError::Link { end: LinkEnd::Dial(TransportError::Address { .. }), .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_devices_open_a_link_exchange_frames_and_close_it() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    assert_eq!(ada.manager.connect(ben.address()).await.unwrap(), ben.device());
    assert_eq!(ada.link_to(&ben).await.h(), ben.link_to(&ada).await.h());
    exchange(&ada, &ben, b"hello").await;

    let link = ada.link_to(&ben).await;
    let body = |number: usize| number.to_be_bytes().repeat(number % 10_000);
    for number in 0..500 {
        link.send(group(body(number))).unwrap();
    }
    ben.board.wait(&ben.clock, |calls| calls.len() >= 502).await;
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

/// Opens a link of ada and ben, runs the attack on ada, and checks that the link still works.
async fn with_honest_link(attack: impl AsyncFn(&Peer)) {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    ben.manager.connect(ada.address()).await.unwrap();
    let link = ada.link_to(&ben).await;

    attack(&ada).await;

    assert!(!link.is_closed());
    exchange(&ada, &ben, b"after the attack").await;
}

/// Waits for an ended connection after the first `before` ones, which must be mallory's, and returns its
/// reason.
async fn next_end(ada: &Peer, before: usize) -> LinkEnd {
    ada.until(|| async { ada.manager.ends().await.unwrap().len() > before }).await;
    let ended = ada.manager.ends().await.unwrap().pop().unwrap();
    assert_eq!(ended.address, "ws://127.0.0.1");
    ended.end
}

#[tokio::test]
async fn a_dialler_that_is_no_websocket_is_disconnected() {
    let broken = |kind| LinkEnd::Stream(StreamError::Broken { kind });
    let foreign = LinkEnd::Stream(StreamError::Transport { expected: "a WebSocket, from its first line on" });
    with_honest_link(async |ada| {
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
            let mut socket = TcpStream::connect(host_and_port(ada.address())).await.unwrap();
            socket.write_all(said).await.unwrap();
            socket.shutdown().await.unwrap();
            assert_eq!(next_end(ada, at).await, end, "{at}");
        }
    })
    .await;
}

/// An upgraded WebSocket whose frames the test writes itself.
async fn upgraded(peer: &Peer) -> TcpStream {
    let mut socket = TcpStream::connect(host_and_port(peer.address())).await.unwrap();
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
async fn messages_that_carry_no_stream_end_the_connection() {
    with_honest_link(async |ada| {
        let oversized = WEBSOCKET_MESSAGE_BYTES_MAX + 1;
        let unmasked = [0x82, 0x05, 0, 3, 1, 2, 3];
        let frames = LinkEnd::Stream(StreamError::Transport { expected: "WebSocket frames" });
        for (at, (said, end)) in [
            (
                message(1, 5, b"hello"),
                LinkEnd::Stream(StreamError::Transport { expected: "binary WebSocket messages" }),
            ),
            (
                message(2, u64::try_from(oversized).unwrap(), b""),
                LinkEnd::Stream(StreamError::TooLong { got: oversized, max: WEBSOCKET_MESSAGE_BYTES_MAX }),
            ),
            (
                message(2, 1 << 30, b""),
                LinkEnd::Stream(StreamError::TooLong { got: 1 << 30, max: WEBSOCKET_MESSAGE_BYTES_MAX }),
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
            socket.write_all(&message(9, 0, b"")).await.unwrap(); // a ping is harmless
            socket.write_all(&said).await.unwrap();
            socket.shutdown().await.unwrap();
            assert_eq!(next_end(ada, at).await, end, "{at}");
        }
    })
    .await;
}

#[tokio::test]
async fn websocket_pings_are_answered_beside_the_stream() {
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
async fn a_protocol_error_after_the_handshake_ends_only_that_link() {
    with_honest_link(async |ada| {
        let over = sockets();
        let meet = || HandmadeLink::dial(&over, ada.address(), identity(9));

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

/// Takes as long as `HANDSHAKE_TIMEOUT`, in real time.
#[tokio::test]
async fn slow_diallers_are_bounded_and_disconnected_in_time() {
    with_honest_link(async |ada| {
        let began = ada.clock.instant();
        let mut slow = Vec::new();
        for at in 0..=HALF_OPEN_MAX {
            let mut socket = TcpStream::connect(host_and_port(ada.address())).await.unwrap();
            let said = [b"", &b"GET"[..], UPGRADE.as_bytes()][at % 3];
            socket.write_all(said).await.unwrap();
            slow.push(socket);
        }
        assert!(matches!(slow[0].read(&mut [0; 1]).await, Ok(0) | Err(_)), "the oldest gives way");
        assert!(ada.clock.instant() - began < Duration::from_secs(4));

        ada.until_ended(|ended| ended.end == LinkEnd::HandshakeTimeout).await;
        let lasted = ada.clock.instant() - began;
        assert!((HANDSHAKE_TIMEOUT..HANDSHAKE_TIMEOUT + SLACK).contains(&lasted), "{lasted:?}");
    })
    .await;
}

/// Accepts connections at a free port and runs `answer` on each.
async fn server<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    Clock::real().spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            Clock::real().spawn(answer(socket));
        }
    });
    address
}

/// A server that sends `words` to each dialler and reads until the dialler closes.
async fn server_sending(words: impl Into<Vec<u8>>) -> String {
    let words = words.into();
    server(move |mut socket| {
        let words = words.clone();
        async move {
            let _ = socket.write_all(&words).await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

/// A WebSocket server that runs `answer` on each stream.
async fn websocket_server<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(HandmadeStream) -> F + Send + 'static,
) -> String {
    let mut listener = sockets().listen(ANY_PORT).await.unwrap();
    let address = listener.address().to_owned();
    Clock::real().spawn(async move {
        while let Ok(stream) = listener.accept().await {
            Clock::real().spawn(answer(HandmadeStream { stream }));
        }
    });
    address
}

/// Dials `address`, which must fail within seconds, and returns the reason.
async fn refused(ada: &Peer, address: &str) -> LinkEnd {
    let began = ada.clock.instant();
    match ada.manager.connect(address).await {
        Err(ConnectError::Link { address: named, end }) => {
            assert_eq!(named, address);
            assert!(ada.clock.instant() - began < DIAL_TIMEOUT + HANDSHAKE_TIMEOUT + SLACK);
            end
        }
        other => panic!("{address}: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_in_another_protocol_is_reported() {
    with_honest_link(async |ada| {
        for words in [
            &b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 099 Never\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03",
            &[0xff; 1_000],
        ] {
            let address = server_sending(words).await;
            let foreign = TransportError::Foreign { address: address.clone(), expected: "WebSocket" };
            assert_eq!(refused(ada, &address).await, LinkEnd::Dial(foreign), "{}", words.escape_ascii());
        }
    })
    .await;
}

#[tokio::test]
async fn an_endless_header_is_refused_early() {
    with_honest_link(async |ada| {
        let address = server(async |mut socket: TcpStream| {
            let line = b"x-line: and another\r\n".repeat(1_000);
            let _ = socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
            while socket.write_all(&line).await.is_ok() {}
        })
        .await;
        let began = ada.clock.instant();
        let foreign = TransportError::Foreign { address: address.clone(), expected: "WebSocket" };
        assert_eq!(refused(ada, &address).await, LinkEnd::Dial(foreign));
        assert!(ada.clock.instant() - began < SLACK, "long before the dial times out");

        let mut socket = TcpStream::connect(host_and_port(ada.address())).await.unwrap();
        let line = b"x-line: and another\r\n".repeat(1_000);
        socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while socket.write_all(&line).await.is_ok() {}
        let before = ada.manager.ends().await.unwrap().len();
        assert!(before <= 2);
        let ends = || async { ada.manager.ends().await.unwrap().len() == 2 };
        ada.until(ends).await;
        let foreign =
            LinkEnd::Stream(StreamError::Transport { expected: "a WebSocket, from its first line on" });
        assert_eq!(ada.manager.ends().await.unwrap()[1].end, foreign);
    })
    .await;
}

#[tokio::test]
async fn a_closed_connection_is_distinguished_from_an_unreachable_address() {
    with_honest_link(async |ada| {
        let hangs_up = server(async |socket: TcpStream| drop(socket)).await;
        let resets = server(async |mut socket: TcpStream| {
            let _ = socket.read(&mut [0; 1]).await;
            socket.set_zero_linger().unwrap();
        })
        .await;
        for address in [hangs_up, resets] {
            let hung_up = TransportError::HungUp { address: address.clone() };
            assert_eq!(refused(ada, &address).await, LinkEnd::Dial(hung_up));
        }
        let free = TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap();
        let address = format!("ws://{free}");
        let unreachable = TransportError::Unreachable { address: address.clone() };
        assert_eq!(refused(ada, &address).await, LinkEnd::Dial(unreachable));
    })
    .await;
}

#[tokio::test]
async fn an_unknown_host_and_the_own_address_are_reported() {
    with_honest_link(async |ada| {
        // A label has at most 63 letters, so no resolver is queried.
        let address = format!("ws://{}.invalid:80", "a".repeat(64));
        let unknown = TransportError::UnknownHost { address: address.clone() };
        assert_eq!(refused(ada, &address).await, LinkEnd::Dial(unknown));

        let own = ada.address().to_owned();
        assert_eq!(refused(ada, &own).await, LinkEnd::Handshake(HandshakeError::OwnDevice));
    })
    .await;
}

#[tokio::test]
async fn a_malformed_answer_in_the_handshake_is_reported() {
    with_honest_link(async |ada| {
        let ended = websocket_server(async |mut mallory: HandmadeStream| drop(mallory.receive().await)).await;
        let cut_short = websocket_server(async |mut mallory: HandmadeStream| {
            mallory.receive().await;
            mallory.stream.writer.write_all(&[0, 96, 1, 2, 3]).await.unwrap();
            mallory.stream.writer.flush().await.unwrap();
        })
        .await;
        let second = websocket_server(async |mut mallory: HandmadeStream| {
            mallory.receive().await;
            mallory.send(&[9; 96]).await;
            mallory.receive().await;
        })
        .await;
        let auth = websocket_server(async |mut mallory: HandmadeStream| {
            let (mut machine, first) = responder(&mut mallory).await;
            mallory.send(&machine.step(&first).unwrap().send[0]).await;
            mallory.send(&[9; 300]).await;
            while mallory.receive().await.is_some() {}
        })
        .await;
        let tampered = LinkEnd::Handshake(HandshakeError::Record(RecordError::Tampered));
        for (address, end) in [
            (ended, LinkEnd::Stream(StreamError::Ended)),
            (cut_short, LinkEnd::Stream(StreamError::CutShort)),
            (second, LinkEnd::Handshake(HandshakeError::Noise { message: 2 })),
            (auth, tampered.clone()),
        ] {
            assert_eq!(refused(ada, &address).await, end);
        }

        // The same from a dialler: the third message, then Auth.
        let before = ada.manager.ends().await.unwrap().len();
        let mut mallory = HandmadeStream::dial(&sockets(), ada.address()).await;
        let (_, first) = Handshake::initiator(identity(9), Terms::default(), [7; 32], None);
        mallory.send(&first).await;
        mallory.receive().await.unwrap();
        mallory.send(&[9; 64]).await;
        assert_eq!(next_end(ada, before).await, LinkEnd::Handshake(HandshakeError::Noise { message: 3 }));

        let mut mallory = HandmadeStream::dial(&sockets(), ada.address()).await;
        let (mut machine, first) = Handshake::initiator(identity(9), Terms::default(), [7; 32], None);
        mallory.send(&first).await;
        let step = machine.step(&mallory.receive().await.unwrap()).unwrap();
        mallory.send(&step.send[0]).await;
        mallory.send(&[9; 300]).await;
        assert_eq!(next_end(ada, before + 1).await, tampered);
        assert_eq!(mallory.receive().await, None);
    })
    .await;
}

/// Mallory's side of a handshake that the peer began, and the first message.
async fn responder(mallory: &mut HandmadeStream) -> (Handshake, Vec<u8>) {
    let first = mallory.receive().await.unwrap();
    (Handshake::responder(identity(9), Terms::default(), [7; 32]), first)
}

#[tokio::test]
async fn a_message_of_a_gibibyte_is_refused_while_it_arrives() {
    let too_long = |end| match end {
        LinkEnd::Stream(StreamError::TooLong { got, max: WEBSOCKET_MESSAGE_BYTES_MAX }) => {
            got <= 2 * WEBSOCKET_MESSAGE_BYTES_MAX
        }
        _ => false,
    };
    with_honest_link(async |ada| {
        // One message in fragments of 64 KiB, first from a dialler, then from a server.
        let mut socket = upgraded(ada).await;
        let fragment = |opcode: u8, mask: &[u8]| {
            let length = u64::try_from(WEBSOCKET_MESSAGE_BYTES_MAX / 2).unwrap().to_be_bytes();
            let masked = if mask.is_empty() { 0x7f } else { 0xff };
            [&[opcode, masked][..], &length, mask, &[0; WEBSOCKET_MESSAGE_BYTES_MAX / 2]].concat()
        };
        socket.write_all(&fragment(2, &[0; 4])).await.unwrap();
        let mut sent = 1;
        while sent < GIBIBYTE_IN_FRAGMENTS && socket.write_all(&fragment(0, &[0; 4])).await.is_ok() {
            sent += 1;
        }
        assert!(sent < GIBIBYTE_IN_FRAGMENTS, "all of it was accepted");
        let end = next_end(ada, 0).await;
        assert!(too_long(end.clone()), "{end:?}");

        let address = server(move |socket| {
            let (first, more) = (fragment(2, &[]), fragment(0, &[]));
            async move {
                let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap().into_inner();
                let _ = socket.write_all(&first).await;
                while socket.write_all(&more).await.is_ok() {}
            }
        })
        .await;
        let end = refused(ada, &address).await;
        assert!(too_long(end.clone()), "{end:?}");

        // Messages of zeros: the first is no handshake message.
        let mut socket = upgraded(ada).await;
        let zeros = message(2, 64 << 10, &[0; 64 << 10]);
        while socket.write_all(&zeros).await.is_ok() {}
        assert_eq!(next_end(ada, 2).await, LinkEnd::Handshake(HandshakeError::Noise { message: 1 }));

        let address = server(async |socket: TcpStream| {
            let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
            let _ = socket.send("hello".into()).await;
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
        let text = LinkEnd::Stream(StreamError::Transport { expected: "binary WebSocket messages" });
        assert_eq!(refused(ada, &address).await, text);
    })
    .await;
}

/// Upgrades the socket and sends empty messages and pings without an end.
async fn send_empty_messages(socket: TcpStream) {
    let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap().into_inner();
    let nothing = [0x82, 0, 0x89, 0].repeat(1_000);
    while socket.write_all(&nothing).await.is_ok() {
        Clock::real().sleep(Duration::from_millis(10)).await;
    }
}

async fn send_header_slowly(mut socket: TcpStream) {
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" {
        let _ = socket.write_all(&[*byte]).await;
        Clock::real().sleep(Duration::from_millis(300)).await;
    }
}

/// Each peer stalls at another point, all at once. Takes as long as a dial and a handshake may, in real time.
#[tokio::test]
async fn a_stalling_peer_is_given_up_in_time() {
    with_honest_link(async |ada| {
        // No connection is accepted: the backlog of the listener is full.
        let full = TcpSocket::new_v4().unwrap();
        full.bind(ANY_PORT.parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let connect = format!("ws://{}", full.local_addr().unwrap());
        let mut queue = Vec::new();
        for _ in 0..2 {
            queue.push(TcpStream::connect(host_and_port(&connect)).await.unwrap());
        }
        let upgrade = server_sending("").await;
        let drips = server(send_header_slowly).await;
        let second = websocket_server(async |mut mallory: HandmadeStream| {
            mallory.receive().await;
            mallory.receive().await;
        })
        .await;
        let auth = websocket_server(async |mut mallory: HandmadeStream| {
            let (mut machine, first) = responder(&mut mallory).await;
            mallory.send(&machine.step(&first).unwrap().send[0]).await;
            while mallory.receive().await.is_some() {}
        })
        .await;
        let empty = server(send_empty_messages).await;
        // Two diallers.
        let began = ada.clock.instant();
        let mut third = HandmadeStream::dial(&sockets(), ada.address()).await;
        let (_, first) = Handshake::initiator(identity(9), Terms::default(), [7; 32], None);
        third.send(&first).await;
        third.receive().await.unwrap();
        let mut fourth = HandmadeStream::dial(&sockets(), ada.address()).await;
        let (mut machine, first) = Handshake::initiator(identity(9), Terms::default(), [7; 32], None);
        fourth.send(&first).await;
        let step = machine.step(&fourth.receive().await.unwrap()).unwrap();
        fourth.send(&step.send[0]).await;

        let ends = tokio::join!(
            refused(ada, &connect),
            refused(ada, &upgrade),
            refused(ada, &drips),
            refused(ada, &second),
            refused(ada, &auth),
            refused(ada, &empty),
            third.receive(),
            fourth.receive(),
        );
        let (dial, handshake) = (LinkEnd::DialTimeout, LinkEnd::HandshakeTimeout);
        let expected = (
            dial.clone(),
            dial.clone(),
            dial,
            handshake.clone(),
            handshake.clone(),
            handshake.clone(),
            None,
            None,
        );
        assert_eq!(ends, expected);
        let lasted = ada.clock.instant() - began;
        assert!(lasted < DIAL_TIMEOUT.max(HANDSHAKE_TIMEOUT) + SLACK, "{lasted:?}");
        let accepted = ada.manager.ends().await.unwrap();
        let accepted = accepted.iter().filter(|e| e.address == "ws://127.0.0.1" && e.end == handshake);
        assert_eq!(accepted.count(), 2, "stalling diallers");
    })
    .await;
}

/// A silent peer on a real socket; virtual time after the handshake.
#[tokio::test]
async fn a_peer_that_is_silent_after_the_handshake_is_disconnected_after_three_pings() {
    with_honest_link(async |ada| {
        let _mallory = HandmadeLink::dial(&sockets(), ada.address(), identity(9)).await;
        ada.until(|| async { ada.linked().await.len() == 2 }).await;

        tokio::time::pause();
        for _ in 0..5 * PING_EVERY.as_secs() {
            tokio::time::advance(Duration::from_secs(1)).await;
            // Everything that is ready runs before the next second, so that no other peer counts as silent:
            // after work on another thread the runtime polls the sockets, and on the loopback written bytes
            // can be read at once.
            for _ in 0..20 {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "a real thread, for real sockets under a paused clock"
                )]
                tokio::task::spawn_blocking(|| ()).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        tokio::time::resume();

        assert_eq!(next_end(ada, 0).await, LinkEnd::Silent);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_stream_of_tiny_frames_blocks_no_other_link() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    ben.manager.connect(ada.address()).await.unwrap();
    let link = ada.link_to(&ben).await;
    let mut mallory = HandmadeLink::dial(&sockets(), ada.address(), identity(9)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    // An unknown channel and an empty body: the smallest frame.
    let tiny = LinkFrame::Group { channel: 0, body: Vec::new() }.encode();
    let tiny = [&u32::try_from(tiny.len()).unwrap().to_be_bytes()[..], &tiny].concat();
    let flood = Clock::real().spawn(async move {
        let mut sent = 0;
        while !stopped.load(Ordering::SeqCst) {
            mallory.send_record(&tiny.repeat(100)).await;
            sent += 100;
        }
        sent
    });
    ada.board.wait(&ada.clock, |calls| calls.len() > 10_000).await;

    for round in 0..20_u8 {
        let began = ada.clock.instant();
        exchange(&ada, &ben, &[round]).await;
        let took = ada.clock.instant() - began;
        assert!(took < SLACK, "{took:?} in round {round}");
    }

    stop.store(true, Ordering::SeqCst);
    assert!(flood.await.unwrap() > 10_000);
    assert!(!link.is_closed());
}

/// An error with its causes, as a command line shows it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn errors_name_the_address_and_give_advice() {
    let (ada, ben) = (start("ada", 1).await, start("ben", 2).await);
    let told = async |address: &str| chain(&ada.manager.connect(address).await.unwrap_err());
    let free = TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap();
    let (closed, foreign) = (format!("ws://{free}"), server_sending("SSH-2.0-OpenSSH_9.2p1\r\n").await);
    let hangs_up = server(async |socket: TcpStream| drop(socket)).await;
    let unknown = format!("ws://{}.invalid:80", "a".repeat(64));
    let own = ada.address();
    let garbage = websocket_server(async |mut mallory: HandmadeStream| {
        mallory.receive().await;
        mallory.send(&[9; 96]).await;
    })
    .await;
    for (address, words) in [
        ("basil", "peer was not reached: \"basil\" is no address; write it as ws://HOST:PORT".to_owned()),
        (
            &closed,
            format!(
                "peer was not reached: no answer at {closed}; does a node listen there, and does a firewall \
                 let it through?"
            ),
        ),
        (
            &unknown,
            format!(
                "peer was not reached: the host of {unknown} is unknown; check its spelling, and that this \
                 device is online"
            ),
        ),
        (
            &foreign,
            format!("peer was not reached: {foreign} does not answer with WebSocket; check host and port"),
        ),
        (
            &hangs_up,
            format!(
                "peer was not reached: {hangs_up} closes the connection at once; try again later, or check \
                 host and port"
            ),
        ),
        (
            own,
            "peer did not prove its identity: this device answers there itself; name the address of \
             another"
                .into(),
        ),
        (
            &garbage,
            "peer did not prove its identity: message 2 of 3 does not belong to this protocol and network; \
             do both sides run the same version?"
                .into(),
        ),
    ] {
        assert_eq!(told(address).await, format!("no link to {address}: {words}"));
    }

    let used = chain(&ben.manager.listen(host_and_port(own)).await.unwrap_err());
    let port = host_and_port(own);
    assert_eq!(
        used,
        format!("cannot listen: {port} is in use; choose another port, or 0 for any that is free")
    );
    // An address of the documentation network (RFC 5737), which no machine has.
    let elsewhere = chain(&ben.manager.listen("192.0.2.1:0").await.unwrap_err());
    assert_eq!(elsewhere, "cannot listen: the system refuses 192.0.2.1:0: address not available");
}

#[test]
fn the_reasons_for_ended_links_are_explained() {
    let by_peer = |reason| LinkEnd::ClosedByPeer { reason };
    for (end, words) in [
        (LinkEnd::DialTimeout, "no answer within 5s; is a node there, and does a firewall let it through?"),
        (
            LinkEnd::HandshakeTimeout,
            "peer did not prove its identity within 5s; is it a node, and the line fast enough?",
        ),
        (LinkEnd::Silent, "peer is silent: it missed three pings"),
        (
            LinkEnd::Stranger,
            "no group in common for 10s; an Admin of the group must add the other side first",
        ),
        (LinkEnd::Stream(StreamError::CutShort), "stream from the peer failed: stream ended within a frame"),
        (
            by_peer(ByeReason::Full),
            "closed by the peer: the node has as many links as it may; try again later",
        ),
        (
            by_peer(ByeReason::Displaced),
            "closed by the peer: the node has as many links as it may, and another one needed the room",
        ),
        (
            by_peer(ByeReason::NotAuthorized),
            "closed by the peer: no group in common; an Admin of the group must add the other side first",
        ),
    ] {
        assert_eq!(chain(&end), words);
        let error = ConnectError::Link { address: "ws://ada:1".into(), end };
        assert_eq!(chain(&error), format!("no link to ws://ada:1: {words}"));
    }
}
