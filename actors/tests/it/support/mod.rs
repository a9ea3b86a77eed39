//! Nodes that have links and nothing else.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerbase_actors as actors;

use actors::clock::Clock;
use actors::meter::LinkMeters;
use actors::node::connection_manager::{
    Arguments, ConnectionManagerHandle, EndedLink, Link, LinkEnd, LinkId, LinkOwner, Standing,
};
use actors::permits::Permit;
use actors::transport::Transport;
use actors::transport::memory::MemoryNetwork;
use actors::watchdog::Watchdog;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use schema::device::DeviceIdentity;
use schema::handshake::PeerIdentity;
use schema::key::{AgreementKey, SigningKey};
use schema::wire::link::LinkFrame;
use schema::{DeviceId, GroupId, UserId};
use tokio::sync::Notify;

/// Bounds every wait, in virtual time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);
/// Frames on this channel make the link owner panic.
pub(crate) const PANIC_CHANNEL: u32 = 13;

pub(crate) fn identity(seed: u8) -> DeviceIdentity {
    let key = |what| SigningKey::from_seed(schema::id::hash(what, &[&[seed]]));
    let agreement = AgreementKey::from_seed(schema::id::hash("agreement", &[&[seed]]));
    DeviceIdentity::certify(&key("user"), key("device"), agreement, "laptop")
}

/// One call that a link owner received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Up(LinkId, DeviceId),
    Frame(LinkId, LinkFrame),
    Down(LinkId, LinkEnd),
}

/// A link owner that records every call. While it `holds`, it keeps every permit, as a busy group does. All
/// peers share one group with it, but its strangers.
#[derive(Default)]
pub(crate) struct Board {
    calls: Mutex<Vec<Call>>,
    strangers: Mutex<BTreeSet<UserId>>,
    held: Mutex<Option<Vec<Permit>>>,
    changed: Notify,
}

impl Board {
    fn record(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
        self.changed.notify_waiters();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Makes a user share no group.
    pub(crate) fn estrange(&self, user: UserId) {
        self.strangers.lock().unwrap().insert(user);
    }

    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    pub(crate) fn release(&self) {
        let held = self.held.lock().unwrap().take();
        drop(held);
    }

    /// The bodies of the Group frames, in order.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        let body = |call| match call {
            Call::Frame(_, LinkFrame::Group { body, .. }) => Some(body),
            _ => None,
        };
        self.calls().into_iter().filter_map(body).collect()
    }

    /// Waits until the recorded calls fulfil `condition`.
    pub(crate) async fn wait(&self, clock: &Clock, condition: impl Fn(&[Call]) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if condition(&self.calls()) {
                    return;
                }
                changed.await;
            }
        };
        if clock.timeout(DEADLINE, waiting).await.is_err() {
            let calls = self.calls();
            panic!(
                "not in time; {} calls, the last: {:?}",
                calls.len(),
                &calls[calls.len().saturating_sub(20)..]
            );
        }
    }
}

impl LinkOwner for Board {
    fn standing(&self, peer: &PeerIdentity) -> Standing {
        let is_stranger = self.strangers.lock().unwrap().contains(&peer.user);
        let groups = (!is_stranger).then_some(GroupId([1; 32]));
        Standing { is_own: false, groups: groups.into_iter().collect() }
    }

    fn on_up(&self, link: Link) {
        self.record(Call::Up(link.id(), link.peer().device));
    }

    fn on_frame(&self, link: &Link, frame: LinkFrame, permit: Permit) {
        if matches!(frame, LinkFrame::Group { channel: PANIC_CHANNEL, .. }) {
            panic!("an unexpected frame");
        }
        self.record(Call::Frame(link.id(), frame));
        if let Some(held) = &mut *self.held.lock().unwrap() {
            held.push(permit);
        }
    }

    fn on_down(&self, link: LinkId, reason: &LinkEnd) {
        self.record(Call::Down(link, reason.clone()));
    }
}

/// Supervises in place of the node and records how its child ended.
struct Root;

impl Actor for Root {
    type Msg = ();
    type State = Arc<Mutex<Vec<String>>>;
    type Arguments = Arc<Mutex<Vec<String>>>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        ends: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(ends)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        ends: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, cause) => ends.lock().unwrap().push(cause.to_string()),
            SupervisionEvent::ActorTerminated(_, _, reason) => {
                ends.lock().unwrap().push(reason.unwrap_or_else(|| "stopped".into()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A node without a store and without groups.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) clock: Clock,
    pub(crate) identity: DeviceIdentity,
    pub(crate) manager: ConnectionManagerHandle,
    pub(crate) board: Arc<Board>,
    pub(crate) child_ends: Arc<Mutex<Vec<String>>>,
    pub(crate) meters: Arc<LinkMeters>,
    address: String,
    root: ActorRef<()>,
}

impl Peer {
    /// Starts a node on the host `name` that listens at `memory://name`.
    pub(crate) async fn start(network: &MemoryNetwork, clock: &Clock, name: &'static str, seed: u8) -> Self {
        let address = format!("memory://{name}");
        Self::over(Arc::new(network.host(name)), clock, name, seed, &address).await
    }

    /// Starts a node on any network.
    pub(crate) async fn over(
        transport: Arc<dyn Transport>,
        clock: &Clock,
        name: &'static str,
        seed: u8,
        listen: &str,
    ) -> Self {
        let child_ends = Arc::default();
        let (root, _) = Actor::spawn(None, Root, Arc::clone(&child_ends)).await.unwrap();
        let mut peer = Self {
            name,
            clock: clock.clone(),
            identity: identity(seed),
            manager: ConnectionManagerHandle::new(transport, Vec::new(), true),
            board: Arc::default(),
            child_ends,
            meters: Arc::default(),
            address: String::new(),
            root,
        };
        peer.start_manager().await;
        peer.address = peer.manager.listen(listen).await.unwrap();
        peer
    }

    pub(crate) async fn start_manager(&self) {
        let arguments = Arguments {
            clock: self.clock.clone(),
            meters: self.meters.clone(),
            watchdog: Watchdog::new(self.clock.clone()),
            identity: self.identity.clone(),
            owner: self.board.clone(),
        };
        self.manager.start(arguments, self.root.get_cell()).await.unwrap();
    }

    /// The address at which others dial it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.identity.device()
    }

    /// The devices it has links to.
    pub(crate) async fn linked(&self) -> Vec<DeviceId> {
        self.manager.links().await.unwrap().iter().map(|link| link.peer().device).collect()
    }

    pub(crate) async fn link_to(&self, other: &Peer) -> Link {
        self.until(|| async { self.linked().await.contains(&other.device()) }).await;
        let links = self.manager.links().await.unwrap();
        links.into_iter().find(|link| link.peer().device == other.device()).unwrap()
    }

    /// Waits until its links are exactly those to `others`.
    pub(crate) async fn until_linked(&self, others: &[&Peer]) {
        let mut expected: Vec<DeviceId> = others.iter().map(|other| other.device()).collect();
        expected.sort_unstable();
        self.until(|| async { self.linked().await == expected }).await;
    }

    /// Waits until a link has ended that `matches` accepts, and returns it.
    pub(crate) async fn until_ended(&self, matches: impl Fn(&EndedLink) -> bool) -> EndedLink {
        self.until(|| async { self.manager.ends().await.unwrap().iter().any(&matches) }).await;
        self.manager.ends().await.unwrap().into_iter().find(matches).unwrap()
    }

    /// Polls `condition` every 10 ms of virtual time until it holds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, condition: impl Fn() -> F) {
        let waiting = async {
            while !condition().await {
                self.clock.sleep(Duration::from_millis(10)).await;
            }
        };
        if self.clock.timeout(DEADLINE, waiting).await.is_err() {
            panic!("{}: not in time; ends: {:?}", self.name, self.manager.ends().await);
        }
    }

    pub(crate) async fn stop(&self) {
        self.manager.stop().await;
        self.root.stop_and_wait(None, Some(DEADLINE)).await.unwrap();
    }
}
