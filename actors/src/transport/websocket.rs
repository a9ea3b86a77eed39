//! A stream in the binary messages of a WebSocket (RFC 6455), over TCP: `ws://HOST:PORT`.
//!
//! A message is a chunk of the stream; the boundaries of messages have no meaning. The stream is encrypted by
//! the handshake inside it, not by this transport. An accepted socket is upgraded by the first read of its
//! stream, so that a slow dialler blocks no other and counts as half-open.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, Stream as _, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

use crate::clock::Clock;
use crate::transport::framing::StreamError;
use crate::transport::{BoxFuture, Listener, Source, Stream, Transport, TransportError};
use schema::limits::WEBSOCKET_MESSAGE_BYTES_MAX;

const SCHEME: &str = "ws://";
/// Longest message that we send, bytes: a full record.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Bytes read or written with one system call: a few records.
const BUFFER_BYTES: usize = 128 << 10;
/// Unsent bytes above which the writer waits for the peer to read.
const WRITE_BUFFER_BYTES_MAX: usize = BUFFER_BYTES + 2 * CHUNK_BYTES_MAX;
/// Pause after the system failed to accept a socket, until one may be free.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Limits instead of the library's defaults, which accept messages of 64 MiB and buffer writes without a
/// bound.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .accept_unmasked_frames(false)
}

type Socket = WebSocketStream<TcpStream>;
type Upgrade = BoxFuture<'static, Result<Socket, Error>>;

/// WebSockets over TCP. Dials `ws://HOST:PORT`; listens at that or at `HOST:PORT`, where port 0 means any
/// free port.
#[derive(Clone, Debug)]
pub struct WebSockets {
    clock: Clock,
}

impl WebSockets {
    /// WebSockets over the system's network.
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl Transport for WebSockets {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move {
            let host = host_and_port(address)?;
            let request = address.into_client_request().map_err(|_| no_address(address))?;
            let unreachable = |_| TransportError::Unreachable { address: address.to_owned() };
            let unknown = || TransportError::UnknownHost { address: address.to_owned() };
            let hosts: Vec<SocketAddr> = lookup_host(host).await.map_err(|_| unknown())?.collect();
            if hosts.is_empty() {
                return Err(unknown());
            }
            let socket = TcpStream::connect(&hosts[..]).await.map_err(unreachable)?;
            socket.set_nodelay(true).map_err(unreachable)?;
            match client_async_with_config(request, socket, Some(limits())).await {
                Ok((socket, _)) => Ok(stream(socket, address.to_owned())),
                Err(Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete)) => {
                    Err(TransportError::HungUp { address: address.to_owned() })
                }
                Err(_) => Err(TransportError::Foreign { address: address.to_owned(), expected: "WebSocket" }),
            }
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let bare = address.strip_prefix(SCHEME).unwrap_or(address);
            let local =
                host_and_port(&format!("{SCHEME}{bare}")).map_err(|_| no_address(address))?.to_owned();
            let listener = TcpListener::bind(local).await.map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => TransportError::InUse { address: address.to_owned() },
                kind => TransportError::Io { address: address.to_owned(), kind },
            })?;
            let refused =
                |error: io::Error| TransportError::Io { address: address.to_owned(), kind: error.kind() };
            let bound = listener.local_addr().map_err(refused)?;
            let address = format!("{SCHEME}{bound}");
            Ok(Box::new(WebSocketListener { clock: self.clock.clone(), listener, address })
                as Box<dyn Listener>)
        })
    }

    fn dialable(&self, bound: &str) -> Vec<String> {
        dialable(bound)
    }
}

fn no_address(address: &str) -> TransportError {
    TransportError::Address { address: address.to_owned() }
}

/// `ws://HOST:PORT` → `HOST:PORT`; no path, no user, no default port.
fn host_and_port(address: &str) -> Result<&str, TransportError> {
    let host_and_port = address.strip_prefix(SCHEME).map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let is_valid = |host_and_port: &&str| {
        let (host, port) = host_and_port.rsplit_once(':').unwrap_or_default();
        let is_ipv6 = host.starts_with('[') && host.ends_with(']');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || is_ipv6 && "[:]".contains(c);
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok()
    };
    host_and_port.filter(is_valid).ok_or_else(|| no_address(address))
}

/// The bound address. If that means every address of this machine, instead the addresses from which the
/// machine reaches others; its loopback if it is offline.
fn dialable(bound: &str) -> Vec<String> {
    let local = bound.strip_prefix(SCHEME).and_then(|local| local.parse::<SocketAddr>().ok());
    let Some(local) = local.filter(|local| local.ip().is_unspecified()) else {
        return vec![bound.to_owned()];
    };
    let v4 = outward((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into());
    // By default systems accept IPv4 too on a listener at every IPv6 address.
    let v6 = local.is_ipv6().then(|| {
        let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        outward((Ipv6Addr::UNSPECIFIED, 0).into(), (documentation, 9).into())
    });
    let found: Vec<IpAddr> = [v4, v6.flatten()].into_iter().flatten().collect();
    let found = if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found };
    found.into_iter().map(|ip| format!("{SCHEME}{}", SocketAddr::new(ip, local.port()))).collect()
}

/// Our address on the route to `target`, from the system's routing table; no packet is sent.
fn outward(any: SocketAddr, target: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

struct WebSocketListener {
    clock: Clock,
    listener: TcpListener,
    address: String,
}

impl Listener for WebSocketListener {
    fn address(&self) -> &str {
        &self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(async move {
            loop {
                match self.listener.accept().await {
                    Ok((socket, from)) => {
                        // A failure makes the stream slower, not wrong.
                        let _ = socket.set_nodelay(true);
                        return Ok(accepted(socket, from));
                    }
                    Err(error) => {
                        tracing::warn!(address = %self.address, %error, "could not accept a socket");
                        self.clock.sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }
}

fn accepted(socket: TcpStream, from: SocketAddr) -> Stream {
    let (send, receive) = oneshot::channel();
    let upgrade = Box::pin(accept_async_with_config(socket, Some(limits())));
    Stream {
        reader: Box::new(Reader::Upgrading { upgrade, writer: Some(send) }),
        writer: Box::new(Writer::Waiting(receive)),
        source: Source { address: format!("{SCHEME}{}", from.ip().to_canonical()), prefix: from.ip().into() },
    }
}

fn stream(socket: Socket, address: String) -> Stream {
    let (sink, stream) = socket.split();
    let reader = Reader::Open { stream, rest: Bytes::new() };
    let writer = Box::new(Writer::Open(sink));
    Stream { reader: Box::new(reader), writer, source: Source::named(address) }
}

/// The stream of the peer's messages.
enum Reader {
    /// The dialler has not yet requested a WebSocket; the writer waits for its half.
    Upgrading { upgrade: Upgrade, writer: Option<oneshot::Sender<SplitSink<Socket, Message>>> },
    /// The socket is upgraded; `rest` is the unread part of the last message.
    Open { stream: SplitStream<Socket>, rest: Bytes },
    /// No further message follows.
    Ended,
}

impl Reader {
    /// Waits for unread bytes; none at the end of the stream.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<&mut Bytes>>> {
        loop {
            match self {
                Self::Upgrading { upgrade, writer } => {
                    let socket = ready!(upgrade.as_mut().poll(context)).map_err(upgrade_error)?;
                    let (sink, stream) = socket.split();
                    if let Some(writer) = writer.take() {
                        // Fails if the writer was dropped.
                        let _ = writer.send(sink);
                    }
                    *self = Self::Open { stream, rest: Bytes::new() };
                }
                Self::Open { rest, .. } if !rest.is_empty() => break,
                Self::Open { stream, rest } => match ready!(Pin::new(stream).poll_next(context)) {
                    Some(Ok(Message::Binary(bytes))) => *rest = bytes,
                    // The library answers pings.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                        *self = Self::Ended;
                        let error = StreamError::Transport { expected: "binary WebSocket messages" };
                        return Poll::Ready(Err(error.into()));
                    }
                    Some(Ok(Message::Close(_)))
                    | Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))
                    | None => *self = Self::Ended,
                    Some(Err(error)) => {
                        *self = Self::Ended;
                        return Poll::Ready(Err(io_error(error)));
                    }
                },
                Self::Ended => return Poll::Ready(Ok(None)),
            }
        }
        match self {
            Self::Open { rest, .. } => Poll::Ready(Ok(Some(rest))),
            Self::Upgrading { .. } | Self::Ended => Poll::Ready(Ok(None)),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(rest) = ready!(self.poll_rest(context))? {
            let taken = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest.split_to(taken));
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes the stream as messages.
enum Writer {
    /// The reader has not yet upgraded the socket.
    Waiting(oneshot::Receiver<SplitSink<Socket, Message>>),
    /// The socket is upgraded.
    Open(SplitSink<Socket, Message>),
}

impl Writer {
    fn poll_open(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut SplitSink<Socket, Message>>>> {
        if let Self::Waiting(sink) = self {
            let sink = ready!(Pin::new(sink).poll(context));
            *self = Self::Open(sink.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?);
        }
        match self {
            Self::Open(sink) => Poll::Ready(Ok(Pin::new(sink))),
            Self::Waiting(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut sink = ready!(self.poll_open(context))?;
        ready!(sink.as_mut().poll_ready(context)).map_err(io_error)?;
        let chunk = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
        sink.start_send(Message::Binary(Bytes::copy_from_slice(chunk))).map_err(io_error)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?.poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            // The socket is not upgraded, so there is nothing to close.
            Self::Waiting(_) => Poll::Ready(Ok(())),
            Self::Open(sink) => Pin::new(sink).poll_close(context).map_err(io_error),
        }
    }
}

fn upgrade_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::Protocol(ProtocolError::HandshakeIncomplete) => io::ErrorKind::UnexpectedEof.into(),
        _ => StreamError::Transport { expected: "a WebSocket, from its first line on" }.into(),
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing) => {
            io::ErrorKind::BrokenPipe.into()
        }
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            StreamError::TooLong { got: size, max: max_size }.into()
        }
        _ => StreamError::Transport { expected: "WebSocket frames" }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_at_every_address_is_dialable_at_specific_ones() {
        for bound in ["ws://0.0.0.0:7654", "ws://[::]:7654"] {
            let found = dialable(bound);
            assert!(!found.is_empty());
            for address in found {
                let local: SocketAddr = host_and_port(&address).unwrap().parse().unwrap();
                assert!(!local.ip().is_unspecified() && local.port() == 7654, "{address}");
            }
        }
        for bound in ["ws://127.0.0.1:7654", "ws://garden.example.org:80", "memory://ada"] {
            assert_eq!(dialable(bound), [bound]);
        }
    }

    #[test]
    fn every_limit_differs_from_the_librarys_default() {
        let (ours, theirs) = (limits(), WebSocketConfig::default());
        assert_ne!(ours.read_buffer_size, 0);
        assert!(ours.max_write_buffer_size < theirs.max_write_buffer_size);
        assert!(ours.max_write_buffer_size > ours.write_buffer_size);
        assert!(ours.max_message_size < theirs.max_message_size && ours.max_message_size.is_some());
        assert!(ours.max_frame_size < theirs.max_frame_size && ours.max_frame_size.is_some());
        assert!(!ours.accept_unmasked_frames);
        // A limit that a newer version adds would show up here.
        let listed = format!("{ours:?}").matches(": ").count();
        assert_eq!(listed, 6, "{ours:?}");
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (address, expected) in [
            ("ws://127.0.0.1:80", "127.0.0.1:80"),
            ("ws://garden.example.org:4000/", "garden.example.org:4000"),
            ("ws://[::1]:0", "[::1]:0"),
        ] {
            assert_eq!(host_and_port(address), Ok(expected));
        }
        for wrong in [
            "",
            "ws://",
            "ws://host",
            "ws://:80",
            "ws://host:",
            "ws://host:65536",
            "ws://host:80/path",
            "ws://ada@host:80",
            "ws://a b:80",
            "ws://::1:80",
            "wss://host:80",
            "memory://ada",
            "host:80",
        ] {
            assert_eq!(host_and_port(wrong), Err(no_address(wrong)));
        }
    }
}
