//! An attack on a thread and a runtime of its own, so that honest members wait for the node alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use actors::clock::Clock;
use actors::transport::websocket::WebSockets;
use schema::device::DeviceIdentity;
use testkit::handmade::{HandmadeMember, HandmadePeer};
use testkit::hostile::{Frame, Writer};
use tokio::sync::oneshot;

use super::kinds::Kind;
use super::victim::Victim;
use crate::process::DEADLINE;

/// The work of an attacker; it never ends by itself.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A pause after a dial that failed, so that the attacker leaves the cores to the node.
const PAUSE: Duration = Duration::from_millis(2);
/// The silence after which the attacker has all that a node sends at first.
const QUIET: Duration = Duration::from_millis(300);

/// The target of an attack.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: String,
    pub(super) group: peerbase::GroupId,
    pub(super) clock: Clock,
    sent: Arc<AtomicU64>,
}

impl Target {
    /// Counts a frame, a link or a socket of the attack.
    pub(super) fn count(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Dials as this device, again and again until there is a link.
    pub(super) async fn dial(&self, device: &DeviceIdentity) -> HandmadePeer {
        let sockets = WebSockets::new(self.clock.clone());
        loop {
            let dial = HandmadePeer::try_dial(&sockets, &self.clock, device.clone(), &self.address);
            match dial.await {
                Some(peer) => return peer,
                None => self.clock.sleep(PAUSE).await,
            }
        }
    }

    /// The means by which a device of a Writer writes.
    pub(super) async fn writer(&self, device: &DeviceIdentity) -> Writer {
        let mut member = HandmadeMember::open(self.dial(device).await, self.group).await;
        member.peer.patience = QUIET;
        member.run().await;
        let grant = member.ledger.roster().grant(device.user()).unwrap();
        Writer { group: self.group, grant, signing: device.signing.clone() }
    }

    /// Sends frames over one link until it ends.
    pub(super) async fn flood(
        &self,
        device: &DeviceIdentity,
        frames: &mut (impl Iterator<Item = Frame> + Send),
    ) {
        if let Some(member) =
            HandmadeMember::try_open_without_ledger(self.dial(device).await, self.group).await
        {
            member.flood(frames, || self.count()).await;
        }
    }
}

/// An attack that is prepared or under way.
pub(super) struct Attack {
    target: Target,
    begin: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

impl Attack {
    /// Crafts all that an attack sends.
    pub(super) fn prepare(kind: &Kind, victim: &Victim) -> Self {
        let target = Target {
            address: victim.address.clone(),
            group: victim.group,
            clock: Clock::real(),
            sent: Arc::default(),
        };
        let (begin, begun) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, prepared) = std::sync::mpsc::channel();
        let (prepare, of_thread) = (kind.prepare, target.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let work = prepare(of_thread).await;
                ready.send(()).unwrap();
                let attack = async {
                    begun.await.unwrap();
                    work.await;
                    std::future::pending::<()>().await;
                };
                tokio::select! { () = attack => {}, _ = stopped => {} }
            });
        });
        prepared.recv_timeout(DEADLINE).expect("the attack is prepared");
        Self { target, begin: Some(begin), stop: Some(stop), thread }
    }

    pub(super) fn begin(&mut self) {
        self.begin.take().unwrap().send(()).unwrap();
    }

    /// Ends the attack; returns the number of its frames, links or sockets.
    pub(super) fn end(mut self) -> u64 {
        drop(self.stop.take());
        self.thread.join().unwrap();
        self.target.sent.load(Ordering::Relaxed)
    }
}
