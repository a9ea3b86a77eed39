//! Decides whom to dial and whom to keep.
//!
//! Parent: [`node`](super). Children: a [`listener`] for each address, a [`connection`] for each link. A connection
//! that ends is let go and dialled again after a pause; a listener is restarted within a budget, and when that is used
//! up this actor fails. Restart: listens and dials again where it did; its links are gone and come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent,
};
use schema::device::DeviceIdentity;
use schema::frame::ByeReason;
use schema::handshake::HandshakeError;
use schema::limits::{
    CALL_TIMEOUT, DIAL_TIMEOUT, HALF_OPEN_MAX, HALF_OPEN_PER_PEER_MAX, HANDSHAKE_TIMEOUT, LINKS_MAX,
    STOP_TIMEOUT,
};
use schema::{DeviceId, Timestamp};
use tokio::task::JoinSet;

use crate::admission::{Admission, Permit};
use crate::call::{CallError, Slot, answer};
use crate::clock::Clock;
use crate::restart::{Restarts, Verdict};
use crate::transport::{Stream, Transport, TransportError};

mod candidates;
mod connection;
mod listener;
mod rivals;

use candidates::Candidates;
use connection::{ConnectionHandle, Fate, Origin};
pub use connection::{Link, LinkClosed, LinkEnd, LinkId, Switchboard};
use listener::{ListenerHandle, StartError};
use rivals::{Rival, keeps_the_new};

/// Ends that are remembered, to be shown.
const ENDS_MAX: usize = 64;

/// Listens, connects and lists links. Cheap to clone, valid across restarts.
#[derive(Clone, Default)]
pub struct ConnectionManagerHandle {
    slot: Slot<Message>,
    wanted: Arc<Mutex<Wanted>>,
}

/// What a restart must find again.
#[derive(Default)]
struct Wanted {
    listen: BTreeSet<String>,
    dial: BTreeMap<String, Option<DeviceId>>,
    links_made: u64,
}

/// Why a node does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The node closes, or is overloaded.
    #[error("connection manager did not answer")]
    Call(#[from] CallError),
    /// The address is wrong, in use, or not ours.
    #[error("cannot listen")]
    Transport(#[from] TransportError),
    /// The listener did not start; try again.
    #[error("listener did not start")]
    Start,
}

/// Why there is no link yet. The address stays remembered and is dialled again, unless it is this device's own or none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The node closes, or is overloaded.
    #[error("connection manager did not answer")]
    Call(#[from] CallError),
    /// The peer was not reached, or did not prove who it is.
    #[error("no link")]
    Link(#[source] LinkEnd),
    /// This node has as many links as it may.
    #[error("{LINKS_MAX} links are all that a node may have")]
    Full,
    /// The address was taken back meanwhile.
    #[error("disconnected")]
    Disconnected,
}

/// A link that is over, or never was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Where the peer is.
    pub address: String,
    /// Who it was, if it proved that.
    pub device: Option<DeviceId>,
    /// Why.
    pub end: LinkEnd,
}

impl ConnectionManagerHandle {
    /// Starts the actor under `parent` and points every clone of this handle at it.
    ///
    /// # Errors
    /// [`SpawnErr`] when the parent is stopping.
    pub async fn start(&self, arguments: Arguments, parent: ActorCell) -> Result<ActorId, SpawnErr> {
        let arguments = (arguments, self.clone());
        let (actor, _) = Actor::spawn_linked(None, ConnectionManager, arguments, parent).await?;
        Ok(actor.get_id())
    }

    /// Listens, also after a restart; returns the address to dial.
    ///
    /// # Errors
    /// [`ListenError`]; the address is then forgotten.
    pub async fn listen(&self, address: &str) -> Result<String, ListenError> {
        let address = address.to_owned();
        let within = DIAL_TIMEOUT + CALL_TIMEOUT;
        self.slot.ask_within(within, |reply| Message::Listen { address, reply }).await?
    }

    /// Dials now and waits for the handshake; from then on dials again whenever the link is over.
    ///
    /// # Errors
    /// [`ConnectError`]; the address is remembered all the same.
    pub async fn connect(&self, address: &str) -> Result<DeviceId, ConnectError> {
        self.dial(address, None).await
    }

    /// Like [`connect`](Self::connect), but only this device will do.
    ///
    /// # Errors
    /// [`ConnectError`]; the address is remembered all the same.
    pub async fn connect_to(&self, address: &str, device: DeviceId) -> Result<DeviceId, ConnectError> {
        self.dial(address, Some(device)).await
    }

    async fn dial(&self, address: &str, expected: Option<DeviceId>) -> Result<DeviceId, ConnectError> {
        let address = address.to_owned();
        let within = DIAL_TIMEOUT + HANDSHAKE_TIMEOUT + CALL_TIMEOUT;
        self.slot.ask_within(within, |reply| Message::Connect { address, expected, reply }).await?
    }

    /// Forgets an address, and ends the link that was dialled there.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn disconnect(&self, address: &str) -> Result<(), CallError> {
        let address = address.to_owned();
        self.slot.ask(|reply| Message::Disconnect { address, reply }).await
    }

    /// The network has changed: everybody who is wanted is dialled now.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn network_changed(&self) -> Result<(), CallError> {
        self.slot.tell(Message::NetworkChanged)
    }

    /// Every link, in order of the devices: one for each.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn links(&self) -> Result<Vec<Link>, CallError> {
        self.slot.ask(Message::Links).await
    }

    /// The last 64 links that ended or never came about, oldest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ends(&self) -> Result<Vec<Ended>, CallError> {
        self.slot.ask(Message::Ends).await
    }

    /// The running children, by the name of their files.
    pub(in crate::node) async fn tree(&self) -> Result<Vec<&'static str>, CallError> {
        self.slot.ask(Message::Tree).await
    }

    /// Ends listeners, then links, each with a farewell; nothing is left running when it returns.
    pub async fn stop(&self) {
        // Its own deadlines for listeners and connections, and time to note them.
        self.slot.stop_within(3 * STOP_TIMEOUT).await;
    }

    /// A listener has a stream. When the manager has ended, the stream ends too.
    fn accepted(&self, stream: Stream, half_open: Permit) {
        let _ = self.slot.tell(Message::Accepted { stream, half_open });
    }

    /// A connection's handshake has passed. When the manager has ended, it ends the connection too.
    fn met(&self, link: Link) {
        let _ = self.slot.tell(Message::Met(link));
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Message {
    /// Begin to listen.
    Listen { address: String, reply: RpcReplyPort<Result<String, ListenError>> },
    /// Dial now and remember.
    Connect {
        address: String,
        expected: Option<DeviceId>,
        reply: RpcReplyPort<Result<DeviceId, ConnectError>>,
    },
    /// Forget, and end what was dialled.
    Disconnect { address: String, reply: RpcReplyPort<()> },
    /// Dial everybody again.
    NetworkChanged,
    /// List the links.
    Links(RpcReplyPort<Vec<Link>>),
    /// Name the children.
    Tree(RpcReplyPort<Vec<&'static str>>),
    /// List the last ends.
    Ends(RpcReplyPort<Vec<Ended>>),
    /// A listener has a stream.
    Accepted { stream: Stream, half_open: Permit },
    /// A connection's handshake has passed.
    Met(Link),
    /// Somebody is due.
    Dial,
    /// Start a failed listener again.
    Relisten(String),
}

/// What the connection manager works with.
#[derive(Clone)]
pub struct Arguments {
    /// Time, randomness, tasks.
    pub clock: Clock,
    /// How to reach others.
    pub transport: Arc<dyn Transport>,
    /// Who we are.
    pub identity: DeviceIdentity,
    /// What links meet above them.
    pub switchboard: Arc<dyn Switchboard>,
}

struct State {
    arguments: Arguments,
    handle: ConnectionManagerHandle,
    listeners: BTreeMap<String, Listening>,
    connections: BTreeMap<LinkId, Connection>,
    /// Links that are kept.
    devices: BTreeMap<DeviceId, LinkId>,
    candidates: Candidates,
    waiting: BTreeMap<String, Vec<RpcReplyPort<Result<DeviceId, ConnectError>>>>,
    restarts: Restarts<String>,
    half_open: Admission,
    ends: VecDeque<Ended>,
    /// Until the next candidate is due.
    alarm: JoinSet<()>,
    alarm_at: Option<Duration>,
    /// Until failed listeners are started again.
    pauses: JoinSet<()>,
}

struct Listening {
    actor: ActorId,
    handle: ListenerHandle,
    bound: String,
}

struct Connection {
    actor: ActorId,
    handle: ConnectionHandle,
    /// Where it was dialled; none where it was accepted.
    dialled: Option<String>,
    peer: String,
    fate: Fate,
    /// The link and when it came, once the handshake has passed.
    met: Option<(Link, Duration)>,
}

impl State {
    async fn listen(&mut self, address: &str, parent: ActorCell) -> Result<String, StartError> {
        if let Some(listening) = self.listeners.get(address) {
            return Ok(listening.bound.clone());
        }
        let Arguments { clock, transport, .. } = self.arguments.clone();
        let handle = ListenerHandle::default();
        let arguments = listener::Arguments {
            clock,
            transport,
            address: address.to_owned(),
            manager: self.handle.clone(),
            half_open: self.half_open.clone(),
        };
        let (actor, bound) = handle.start(arguments, parent).await?;
        self.listeners.insert(address.to_owned(), Listening { actor, handle, bound: bound.clone() });
        self.handle.wanted().listen.insert(address.to_owned());
        Ok(bound)
    }

    /// Starts a failed listener again, or fails when the budget is used up.
    async fn relisten(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
    ) -> Result<(), ActorProcessingErr> {
        match self.listen(&address, myself.get_cell()).await {
            Ok(_) => Ok(()),
            Err(error) => self.listener_failed(myself, address, error.into()).await,
        }
    }

    async fn listener_failed(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
        cause: ActorProcessingErr,
    ) -> Result<(), ActorProcessingErr> {
        match self.restarts.record(address.clone(), self.arguments.clock.now()) {
            Verdict::GiveUp => {
                // A failed actor gets no post_stop.
                self.close().await;
                Err(cause)
            }
            Verdict::Restart { after } => {
                tracing::warn!(%address, %cause, ?after, "listener failed");
                let (clock, actor) = (self.arguments.clock.clone(), myself.clone());
                while self.pauses.try_join_next().is_some() {}
                self.arguments.clock.spawn_in(&mut self.pauses, async move {
                    clock.sleep(after).await;
                    // The manager has ended: so will this task.
                    let _ = actor.send_message(Message::Relisten(address));
                });
                Ok(())
            }
        }
    }

    async fn connect(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
        expected: Option<DeviceId>,
        reply: RpcReplyPort<Result<DeviceId, ConnectError>>,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.arguments.clock.instant();
        self.handle.wanted().dial.insert(address.clone(), expected);
        self.candidates.want(&address, expected, now);
        if let Some(device) = self.candidates.linked_at(&address) {
            answer(reply, Ok(device));
        } else if self.room() == 0 {
            answer(reply, Err(ConnectError::Full));
        } else {
            self.waiting.entry(address).or_default().push(reply);
            self.dial(myself).await?;
        }
        Ok(())
    }

    fn disconnect(&mut self, address: &str) {
        self.handle.wanted().dial.remove(address);
        self.candidates.forget(address);
        self.resolve(address, || Err(ConnectError::Disconnected));
        for connection in self.connections.values().filter(|c| c.dialled.as_deref() == Some(address)) {
            match &connection.met {
                Some((link, _)) => link.close(ByeReason::Disconnected),
                None => connection.handle.stop(),
            }
        }
    }

    fn room(&self) -> usize {
        LINKS_MAX.saturating_sub(self.devices.len() + self.candidates.dialling())
    }

    /// Dials whoever is due.
    async fn dial(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let room = self.room();
        for dial in self.candidates.due(self.arguments.clock.instant(), room) {
            let peer = dial.address.clone();
            let origin = Origin::Dial { address: dial.address.clone(), expected: dial.expected };
            self.start(myself, origin, Some(dial.address), peer).await?;
        }
        Ok(())
    }

    async fn accepted(
        &mut self,
        myself: &ActorRef<Message>,
        stream: Stream,
        half_open: Permit,
    ) -> Result<(), ActorProcessingErr> {
        let strangers = self.connections.values().filter(|c| c.dialled.is_none() && c.met.is_none());
        let peer = stream.peer.clone();
        if strangers.filter(|c| c.peer == peer).count() >= HALF_OPEN_PER_PEER_MAX {
            tracing::debug!(%peer, "too many half-open handshakes");
            return Ok(());
        }
        self.start(myself, Origin::Accepted { stream, half_open }, None, peer).await
    }

    async fn start(
        &mut self,
        myself: &ActorRef<Message>,
        origin: Origin,
        dialled: Option<String>,
        peer: String,
    ) -> Result<(), ActorProcessingErr> {
        let id = {
            let mut wanted = self.handle.wanted();
            wanted.links_made += 1;
            LinkId(wanted.links_made)
        };
        let Arguments { clock, transport, identity, switchboard } = self.arguments.clone();
        let (handle, fate) = (ConnectionHandle::default(), Fate::default());
        let arguments = connection::Arguments {
            clock,
            transport,
            identity,
            switchboard,
            manager: self.handle.clone(),
            id,
            origin,
            fate: fate.clone(),
        };
        let actor = handle.start(arguments, myself.get_cell()).await?;
        self.connections.insert(id, Connection { actor, handle, dialled, peer, fate, met: None });
        Ok(())
    }

    /// Keeps the link or ends it: one for each device.
    fn met(&mut self, link: Link) {
        let now = self.arguments.clock.instant();
        let device = link.peer().device;
        let Some(connection) = self.connections.get_mut(&link.id()) else { return };
        connection.met = Some((link.clone(), now));
        let dialled = connection.dialled.clone();
        if let Some(address) = &dialled {
            self.candidates.reached(address, device);
        }

        let old = self.devices.get(&device).and_then(|id| self.connections[id].met.clone());
        if let Some((old, since)) = old {
            let us = self.arguments.identity.device();
            let rival = |link: &Link| Rival { role: link.role(), closed: link.is_closed() };
            if keeps_the_new(us, device, rival(&old), rival(&link), now.saturating_sub(since)) {
                old.close(ByeReason::Duplicate);
                self.keep(&link);
            } else {
                link.close(ByeReason::Duplicate);
            }
        } else if self.devices.len() < LINKS_MAX {
            self.keep(&link);
        } else {
            link.close(ByeReason::Full);
            return; // `connect` hears of that from the end of the connection
        }
        if let Some(address) = dialled {
            self.resolve(&address, || Ok(device));
        }
    }

    fn keep(&mut self, link: &Link) {
        self.devices.insert(link.peer().device, link.id());
        self.candidates.linked(link.peer().device);
        self.connections[&link.id()].handle.open();
        // Who waits for the same device at another of its addresses has it too.
        for address in self.waiting.keys().cloned().collect::<Vec<_>>() {
            if let Some(device) = self.candidates.linked_at(&address) {
                self.resolve(&address, || Ok(device));
            }
        }
    }

    /// A child has ended; what it was is told by who it was.
    async fn ended(
        &mut self,
        myself: &ActorRef<Message>,
        actor: ActorId,
        cause: Option<ActorProcessingErr>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(id) = self.connections.iter().find(|(_, c)| c.actor == actor).map(|(id, _)| *id) {
            self.connection_ended(id, cause);
            return Ok(());
        }
        match self.listeners.iter().find(|(_, l)| l.actor == actor).map(|(address, _)| address.clone()) {
            Some(address) => {
                self.listeners.remove(&address);
                let cause = cause.unwrap_or_else(|| "the listener was stopped by somebody else".into());
                self.listener_failed(myself, address, cause).await
            }
            None => Ok(()),
        }
    }

    fn connection_ended(&mut self, id: LinkId, cause: Option<ActorProcessingErr>) {
        let Some(Connection { dialled, peer, fate, met, .. }) = self.connections.remove(&id) else { return };
        let clock = &self.arguments.clock;
        let (now, random) = (clock.instant(), clock.random_u64());
        let end = fate.get_or_init(|| LinkEnd::Crashed).clone();
        match &cause {
            Some(cause) => tracing::error!(%peer, %cause, "connection failed"),
            None => tracing::debug!(%peer, %end, "connection ended"),
        }
        let device = met.as_ref().map(|(link, _)| link.peer().device);
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back(Ended { at: clock.now(), address: peer, device, end: end.clone() });

        match met {
            Some((_, since)) => {
                let device = device.expect("known with the link");
                if self.devices.get(&device) == Some(&id) {
                    self.devices.remove(&device);
                    self.candidates.lost(device, now.saturating_sub(since), now, random);
                } else if !self.devices.contains_key(&device) {
                    // Closed for lack of room: as good as not reached.
                    dialled.iter().for_each(|address| self.candidates.failed(address, now, random));
                }
            }
            None => {
                if let Some(address) = &dialled {
                    self.candidates.failed(address, now, random);
                }
            }
        }
        if let Some(address) = dialled {
            if is_hopeless(&end) {
                self.handle.wanted().dial.remove(&address);
                self.candidates.forget(&address);
            }
            self.resolve(&address, || Err(ConnectError::Link(end.clone())));
        }
    }

    /// Answers all who wait for a link to `address`.
    fn resolve(&mut self, address: &str, outcome: impl Fn() -> Result<DeviceId, ConnectError>) {
        for reply in self.waiting.remove(address).unwrap_or_default() {
            answer(reply, outcome());
        }
    }

    fn links(&self) -> Vec<Link> {
        let kept = self.devices.values().filter_map(|id| self.connections.get(id)?.met.as_ref());
        kept.map(|(link, _)| link).filter(|link| !link.is_closed()).cloned().collect()
    }

    /// Ends what it has started: in order, and by hand, since ractor would kill its children in any order, and their
    /// post_stop would never run (ractor#398).
    async fn close(&mut self) {
        self.alarm.shutdown().await;
        self.pauses.shutdown().await;
        let clock = &self.arguments.clock;
        let deadline = clock.instant() + STOP_TIMEOUT;
        self.listeners.values().for_each(|listener| listener.handle.stop());
        for listener in self.listeners.values() {
            listener.handle.stop_within(deadline.saturating_sub(clock.instant())).await;
        }
        let deadline = clock.instant() + STOP_TIMEOUT;
        self.connections.values().for_each(|connection| connection.handle.stop());
        for connection in self.connections.values() {
            connection.handle.stop_within(deadline.saturating_sub(clock.instant())).await;
        }
        self.waiting.clear();
    }

    /// Wakes up when the next candidate is due.
    fn arm(&mut self, myself: &ActorRef<Message>) {
        let due = self.candidates.next_due().filter(|_| self.room() > 0);
        if due == self.alarm_at {
            return;
        }
        self.alarm = JoinSet::new(); // aborts the one before
        self.alarm_at = due;
        if let Some(due) = due {
            let (clock, actor) = (self.arguments.clock.clone(), myself.clone());
            self.arguments.clock.spawn_in(&mut self.alarm, async move {
                clock.sleep_until(due).await;
                // The manager has ended: so will this task.
                let _ = actor.send_message(Message::Dial);
            });
        }
    }
}

/// Dialling this address again can only fail again.
fn is_hopeless(end: &LinkEnd) -> bool {
    matches!(
        end,
        LinkEnd::Handshake(HandshakeError::OwnDevice) | LinkEnd::Dial(TransportError::Address { .. })
    )
}

struct ConnectionManager;

impl Actor for ConnectionManager {
    type Msg = Message;
    type State = State;
    type Arguments = (Arguments, ConnectionManagerHandle);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (arguments, handle): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        // Before the first child, which tells us through it.
        handle.slot.put(myself);
        let mut candidates = Candidates::default();
        for (address, expected) in &handle.wanted().dial {
            candidates.want(address, *expected, arguments.clock.instant());
        }
        Ok(State {
            arguments,
            handle,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            devices: BTreeMap::new(),
            candidates,
            waiting: BTreeMap::new(),
            restarts: Restarts::default(),
            half_open: Admission::new(HALF_OPEN_MAX),
            ends: VecDeque::new(),
            alarm: JoinSet::new(),
            alarm_at: None,
            pauses: JoinSet::new(),
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let listen = state.handle.wanted().listen.clone();
        for address in listen {
            state.relisten(&myself, address).await?;
        }
        state.arm(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Listen { address, reply } => {
                let bound = state.listen(&address, myself.get_cell()).await;
                answer(reply, bound.map_err(ListenError::from));
            }
            Message::Connect { address, expected, reply } => {
                state.connect(&myself, address, expected, reply).await?;
            }
            Message::Disconnect { address, reply } => {
                state.disconnect(&address);
                answer(reply, ());
            }
            Message::NetworkChanged => state.candidates.fresh(state.arguments.clock.instant()),
            Message::Links(reply) => answer(reply, state.links()),
            Message::Tree(reply) => {
                let listeners = state.listeners.iter().map(|_| "connection_manager/listener");
                let connections = state.connections.iter().map(|_| "connection_manager/connection");
                answer(reply, listeners.chain(connections).collect());
            }
            Message::Ends(reply) => answer(reply, state.ends.iter().cloned().collect()),
            Message::Accepted { stream, half_open } => state.accepted(&myself, stream, half_open).await?,
            Message::Met(link) => state.met(link),
            Message::Dial => {
                state.alarm_at = None;
                state.dial(&myself).await?;
            }
            Message::Relisten(address) => state.relisten(&myself, address).await?,
        }
        state.arm(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(child, cause) => {
                state.ended(&myself, child.get_id(), Some(cause)).await?
            }
            SupervisionEvent::ActorTerminated(child, ..) => {
                state.ended(&myself, child.get_id(), None).await?
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        state.arm(&myself);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.close().await;
        Ok(())
    }
}

impl From<StartError> for ListenError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Transport(cause) => Self::Transport(cause),
            StartError::TimedOut | StartError::Spawn(_) => Self::Start,
        }
    }
}
