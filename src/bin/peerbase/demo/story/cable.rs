//! A way between two nodes that can be pulled: a small TCP relay that counts what it carries.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is carried at once, bytes.
const CHUNK_BYTES: usize = 16 << 10;
/// How long to wait when the system has no socket to give: one may become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Leads from an address of its own to a node's. Dropping it ends what runs through it.
pub(super) struct Cable {
    address: String,
    inside: Arc<Inside>,
    /// The task that accepts, and with it all others.
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Inside {
    /// What runs through it; none while it is pulled.
    connections: Mutex<Option<JoinSet<()>>>,
    bytes: AtomicU64,
}

impl Cable {
    /// Lays a cable to `address` (`ws://HOST:PORT`), plugged in.
    pub(super) async fn lay(clock: &Clock, address: &str) -> io::Result<Self> {
        let place = address.strip_prefix("ws://").unwrap_or(address).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("ws://{}", listener.local_addr()?);
        let inside = Arc::new(Inside::default());
        let mut accepting = JoinSet::new();
        clock.spawn_in(&mut accepting, accept(clock.clone(), listener, place, inside.clone()));
        let cable = Self { address, inside, _accepting: accepting };
        cable.plug_in();
        Ok(cable)
    }

    /// Where to dial.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Bytes carried so far, both ways together.
    pub(super) fn bytes(&self) -> u64 {
        self.inside.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_plugged_in(&self) -> bool {
        self.inside.connections().is_some()
    }

    /// Ends what runs through it; who dials is turned away at once.
    pub(super) fn pull(&self) {
        // Dropping the tasks closes their sockets.
        *self.inside.connections() = None;
    }

    /// Carries again.
    pub(super) fn plug_in(&self) {
        self.inside.connections().get_or_insert_default();
    }
}

impl Inside {
    fn connections(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies until there is no more to come.
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

/// Takes whoever dials. The port is kept while the cable is pulled, or another program might get it.
async fn accept(clock: Clock, listener: TcpListener, place: String, inside: Arc<Inside>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            clock.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Some(connections) = inside.connections().as_mut() {
            clock.spawn_in(connections, carry(socket, place.clone(), inside.clone()));
        }
    }
}

/// Carries one connection both ways; if one way breaks, so does the other.
async fn carry(mut near: TcpStream, place: String, inside: Arc<Inside>) {
    let Ok(mut far) = TcpStream::connect(place).await else { return };
    // Without it a row is slower, not lost.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_out, near_in), (far_out, far_in)) = (near.split(), far.split());
    // Both ends hear of it by what they read.
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
        assert_eq!((rest(&mut near).await, rest(&mut far).await), (vec![], vec![]), "what was open ends");
        assert!(rest(&mut dial(&cable).await).await.is_empty(), "who dials is turned away");
        assert!(!cable.is_plugged_in());

        cable.plug_in();
        let mut near = dial(&cable).await;
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(b"again").await.unwrap();
        far.read_exact(&mut five).await.unwrap();
        assert_eq!((&five, cable.bytes()), (b"again", 14));
    }
}
