//! Transports: ordered byte streams over WebSockets, or over memory in tests.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub mod framing;
pub mod memory;
pub mod websocket;

/// A boxed future: transports are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Dials other nodes and listens for them.
pub trait Transport: Send + Sync + 'static {
    /// Opens a stream to a listener. The caller sets a deadline.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Stream, TransportError>>;

    /// Starts to listen.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>>;

    /// The addresses at which others may dial a listener: its own, unless it listens at every address of the
    /// machine.
    fn dialable(&self, bound: &str) -> Vec<String> {
        vec![bound.to_owned()]
    }
}

/// Accepts streams from other nodes until it is dropped.
pub trait Listener: Send + 'static {
    /// The requested address, with the port that the system chose.
    fn address(&self) -> &str;

    /// Waits for the next stream. Cancel safe: no stream is lost if the future is dropped.
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream, TransportError>>;
}

/// Bytes in both directions, in order and without loss until the stream ends. Dropping both halves ends it.
pub struct Stream {
    /// Bytes from the peer.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Bytes to the peer.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The peer's end.
    pub source: Source,
}

/// The other end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The peer's address without its port, which differs from dial to dial; of a dialled stream the address
    /// that was dialled.
    pub address: String,
    /// The network that the address belongs to.
    pub prefix: Prefix,
}

/// The network that an address belongs to: one sender can use every address in it, so sockets are counted by
/// it and not by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prefix {
    /// The first 24 bits of an IPv4 address.
    V4([u8; 3]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
    /// An address with a name instead of a number: it stands for itself.
    Named(String),
}

impl Source {
    /// The source of an address that has no numbers.
    pub fn named(address: String) -> Self {
        Self { prefix: Prefix::Named(address.clone()), address }
    }
}

impl From<IpAddr> for Prefix {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Several transports: the scheme of an address chooses one, and an address without a scheme belongs to the
/// first.
#[derive(Clone)]
pub struct Transports(Vec<(&'static str, Arc<dyn Transport>)>);

impl Transports {
    /// The transport for addresses `scheme://…`.
    pub fn new(scheme: &'static str, transport: impl Transport) -> Self {
        Self(vec![(scheme, Arc::new(transport))])
    }

    /// Adds the transport for addresses `scheme://…`.
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

    fn dialable(&self, bound: &str) -> Vec<String> {
        self.of(bound).map(|transport| transport.dialable(bound)).unwrap_or_default()
    }
}

/// Error of dialling or listening.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The text is no address of a transport; check its spelling.
    #[error("{address:?} is no address; write it as ws://HOST:PORT")]
    Address {
        /// The text.
        address: String,
    },
    /// Nothing listens there, or the network is down; may succeed later.
    #[error("no answer at {address}; does a node listen there, and does a firewall let it through?")]
    Unreachable {
        /// The dialled address.
        address: String,
    },
    /// The host has no address; check its spelling, and that this device is online.
    #[error("the host of {address} is unknown; check its spelling, and that this device is online")]
    UnknownHost {
        /// The dialled address.
        address: String,
    },
    /// A server accepts the connection and closes it at once; may succeed later.
    #[error("{address} closes the connection at once; try again later, or check host and port")]
    HungUp {
        /// The dialled address.
        address: String,
    },
    /// A server answers there, but with another protocol; check the address.
    #[error("{address} does not answer with {expected}; check host and port")]
    Foreign {
        /// The dialled address.
        address: String,
        /// The expected protocol.
        expected: &'static str,
    },
    /// Another program listens there already; choose another port.
    #[error("{address} is in use; choose another port, or 0 for any that is free")]
    InUse {
        /// The address.
        address: String,
    },
    /// The listener has ended.
    #[error("listener is closed")]
    Closed,
    /// The system refuses to listen at the address.
    #[error("the system refuses {address}: {kind}")]
    Io {
        /// The address.
        address: String,
        /// The system's error.
        kind: io::ErrorKind,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(ip: &str) -> Prefix {
        ip.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn addresses_of_one_network_have_one_prefix() {
        assert_eq!(prefix("192.0.2.1"), prefix("192.0.2.254"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.3.1"));
        assert_eq!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:1:ffff::9"));
        assert_ne!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:2::1"));
        assert_eq!(prefix("::ffff:192.0.2.7"), prefix("192.0.2.1"), "a mapped address counts as IPv4");
    }
}
