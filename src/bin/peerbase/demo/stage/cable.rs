//! A cable between two nodes that can be pulled: a small TCP relay that counts the bytes it carries.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The size of one copy, bytes.
const CHUNK_BYTES: usize = 16 << 10;
/// The pause after the system had no free socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A relay from an address of its own to a node's. Dropping it ends its connections.
pub(crate) struct Cable {
    address: String,
    inside: Arc<Inside>,
    /// The task that accepts, and with it all others.
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Inside {
    /// The connections; none while the cable is pulled.
    connections: Mutex<Option<JoinSet<()>>>,
    bytes: AtomicU64,
}

impl Cable {
    /// Lays a cable to `address` (`ws://HOST:PORT`), plugged in.
    pub(crate) async fn lay(clock: &Clock, address: &str) -> io::Result<Self> {
        let target = address.strip_prefix("ws://").unwrap_or(address).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("ws://{}", listener.local_addr()?);
        let inside = Arc::new(Inside::default());
        let mut accepting = JoinSet::new();
        clock.spawn_in(&mut accepting, accept(clock.clone(), listener, target, inside.clone()));
        let cable = Self { address, inside, _accepting: accepting };
        cable.plug_in();
        Ok(cable)
    }

    /// The address to dial.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Bytes carried so far, both ways together.
    pub(crate) fn bytes(&self) -> u64 {
        self.inside.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_plugged_in(&self) -> bool {
        self.inside.connections().is_some()
    }

    /// Ends all connections; a new one is closed at once.
    pub(crate) fn pull(&self) {
        // Dropping the tasks closes their sockets.
        *self.inside.connections() = None;
    }

    /// Lets connections through again.
    pub(crate) fn plug_in(&self) {
        self.inside.connections().get_or_insert_default();
    }
}

impl Inside {
    fn connections(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies until the end of `from`.
    async fn copy(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = from.read(&mut chunk).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&chunk[..read]).await?;
            self.bytes.fetch_add(u64::try_from(read).expect("a chunk"), Ordering::Relaxed);
        }
    }
}

/// Accepts connections. The port stays bound while the cable is pulled, or another program might get it.
async fn accept(clock: Clock, listener: TcpListener, target: String, inside: Arc<Inside>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            clock.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Some(connections) = inside.connections().as_mut() {
            clock.spawn_in(connections, carry(socket, target.clone(), inside.clone()));
        }
    }
}

/// Carries one connection in both directions; when one breaks, the other ends too.
async fn carry(mut near: TcpStream, target: String, inside: Arc<Inside>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    // Without `nodelay` rows are slower, not lost.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_out, near_in), (far_out, far_in)) = (near.split(), far.split());
    // Both ends see the error when they read.
    let _ = tokio::try_join!(inside.copy(near_out, far_in), inside.copy(far_out, near_in));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    /// Nothing on the loopback takes longer.
    const DEADLINE: Duration = Duration::from_secs(10);

    async fn dial(cable: &Cable) -> TcpStream {
        TcpStream::connect(cable.address().strip_prefix("ws://").unwrap()).await.unwrap()
    }

    /// Reads to the end: a connection that was cut may end as one that was closed, or as one that was reset.
    async fn rest(socket: &mut TcpStream) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, socket.read_to_end(&mut rest)).await.expect("it ends");
        rest
    }

    #[tokio::test]
    async fn a_cable_carries_counts_is_pulled_and_carries_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cable =
            Cable::lay(&Clock::real(), &format!("ws://{}", listener.local_addr().unwrap())).await.unwrap();

        let mut near = dial(&cable).await;
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(b"basil").await.unwrap();
        let mut five = [0; 5];
        far.read_exact(&mut five).await.unwrap();
        far.write_all(b"rope").await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!((&five, &rest(&mut near).await[..]), (b"basil", &b"rope"[..]));
        assert_eq!(cable.bytes(), 9);

        let mut near = dial(&cable).await;
        let (mut far, _) = listener.accept().await.unwrap();
        cable.pull();
        assert_eq!((rest(&mut near).await, rest(&mut far).await), (vec![], vec![]), "open connections end");
        assert!(rest(&mut dial(&cable).await).await.is_empty(), "a new connection is closed");
        assert!(!cable.is_plugged_in());

        cable.plug_in();
        let mut near = dial(&cable).await;
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(b"again").await.unwrap();
        far.read_exact(&mut five).await.unwrap();
        assert_eq!((&five, cable.bytes()), (b"again", 14));
    }
}
