//! An ordered byte stream: a WebSocket in life, memory in tests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub mod framing;
pub mod memory;
pub mod websocket;

/// A future in a box, so that a transport can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to reach other nodes and to be reached.
pub trait Transport: Send + Sync + 'static {
    /// Opens a stream to a listener. The caller sets the deadline.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Stream, TransportError>>;

    /// Begins to listen.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>>;
}

/// Where others reach this node; dropping it ends that.
pub trait Listener: Send + 'static {
    /// The address to dial: what was asked for, with what the system chose filled in.
    fn address(&self) -> &str;

    /// Waits for the next stream. A stream is not lost when the wait is given up.
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream, TransportError>>;
}

/// Bytes both ways, in order, without loss until the stream ends. Dropping both halves ends it.
pub struct Stream {
    /// What the peer sends.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What is sent to the peer.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Where the peer is, without what differs from one dial to the next (a port): streams are counted by it.
    pub peer: String,
}

/// Several transports at once: an address is for the one whose scheme it begins with, one without a scheme for the first.
#[derive(Clone)]
pub struct Transports(Vec<(&'static str, Arc<dyn Transport>)>);

impl Transports {
    /// Begins with the transport for addresses like `scheme://…`.
    pub fn new(scheme: &'static str, transport: impl Transport) -> Self {
        Self(vec![(scheme, Arc::new(transport))])
    }

    /// Adds another.
    #[must_use]
    pub fn and(mut self, scheme: &'static str, transport: impl Transport) -> Self {
        self.0.push((scheme, Arc::new(transport)));
        self
    }

    fn of(&self, address: &str) -> Result<&dyn Transport, TransportError> {
        let found = match address.split_once("://") {
            Some((scheme, _)) => self.0.iter().find(|(known, _)| *known == scheme),
            None => self.0.first(),
        };
        let unknown = || TransportError::Address { address: address.to_owned() };
        found.map(|(_, transport)| &**transport).ok_or_else(unknown)
    }
}

impl Transport for Transports {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move { self.of(address)?.dial(address).await })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move { self.of(address)?.listen(address).await })
    }
}

/// Why there is no stream or no listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The text is no address of this transport; check its spelling.
    #[error("{address:?} is no address; write it as ws://HOST:PORT")]
    Address {
        /// The text.
        address: String,
    },
    /// Nobody listens there, or no way leads there; may be different later.
    #[error("nobody answers at {address}; does a node listen there, and does a firewall let it through?")]
    Unreachable {
        /// Who was dialled.
        address: String,
    },
    /// The host has no address; check its spelling, and that this device is online.
    #[error("the host of {address} is not known; check its spelling, and that this device is online")]
    UnknownHost {
        /// Who was dialled.
        address: String,
    },
    /// Somebody takes the call there and hangs up; may be different later.
    #[error("who answers at {address} hangs up at once; try again later, or check host and port")]
    HungUp {
        /// Who was dialled.
        address: String,
    },
    /// Somebody answers there, but not as this transport does; check the address.
    #[error("who answers at {address} speaks no {expected}; check host and port")]
    Foreign {
        /// Who was dialled.
        address: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Somebody listens there already; choose another port.
    #[error("{address} is in use; choose another port, or 0 for any that is free")]
    InUse {
        /// The address.
        address: String,
    },
    /// The listener has ended.
    #[error("listener is closed")]
    Closed,
    /// The system refuses the address.
    #[error("{address} cannot be listened on: {kind}")]
    Io {
        /// The address.
        address: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
}
