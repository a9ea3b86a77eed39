//! What the connection manager knows and does: its listeners, its connections, whom it waits for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ractor::{ActorId, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::handshake::HandshakeError;
use schema::limits::{HALF_OPEN_MAX, HALF_OPEN_PER_PEER_MAX, LINKS_MAX, STOP_TIMEOUT};
use schema::wire::link::ByeReason;
use schema::{DeviceId, Timestamp};
use tokio::task::JoinSet;

use super::candidates::{Candidates, Dial, Place};
use super::connection::{self, ConnectionHandle, Fate, Link, LinkEnd, LinkId, Origin};
use super::handle::{ConnectError, ConnectionManagerHandle, Ended, LinkStatus};
use super::listener::ListenerHandle;
use super::rivals::{Rival, keeps_the_new};
use super::{Arguments, Message};
use crate::call::answer;
use crate::permits::{Permit, Permits};
use crate::restart::Restarts;
use crate::transport::{Stream, TransportError};

mod listening;

/// Ends that are remembered, to be shown.
const ENDS_MAX: usize = 64;

/// Stepped by the actor's handlers.
pub(super) struct State {
    arguments: Arguments,
    handle: ConnectionManagerHandle,
    listeners: BTreeMap<String, Listening>,
    connections: BTreeMap<LinkId, Connection>,
    /// Links that are kept.
    devices: BTreeMap<DeviceId, LinkId>,
    candidates: Candidates,
    waiting: BTreeMap<String, Vec<RpcReplyPort<Result<DeviceId, ConnectError>>>>,
    restarts: Restarts<String>,
    half_open: Permits,
    ends: VecDeque<Ended>,
    /// Until the next candidate is due.
    alarm: JoinSet<()>,
    alarm_at: Option<Duration>,
    /// Until failed listeners are started again.
    pauses: JoinSet<()>,
}

/// A listener that runs.
struct Listening {
    actor: ActorId,
    handle: ListenerHandle,
    bound: String,
}

/// A connection that runs.
struct Connection {
    actor: ActorId,
    handle: ConnectionHandle,
    /// Whom it dialled; none where it was accepted.
    dialled: Option<Dial>,
    peer: String,
    fate: Fate,
    /// The link and when it came, once the handshake has passed.
    met: Option<(Link, Duration)>,
}

impl State {
    /// Nothing runs yet; whom the handle remembers is due.
    pub(super) fn new(arguments: Arguments, handle: ConnectionManagerHandle) -> Self {
        let mut candidates = Candidates::default();
        for (address, expected) in &handle.wanted().dial {
            candidates.want(address, *expected, arguments.clock.instant());
        }
        let mut state = Self {
            arguments,
            handle,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            devices: BTreeMap::new(),
            candidates,
            waiting: BTreeMap::new(),
            restarts: Restarts::default(),
            half_open: Permits::new(HALF_OPEN_MAX),
            ends: VecDeque::new(),
            alarm: JoinSet::new(),
            alarm_at: None,
            pauses: JoinSet::new(),
        };
        state.recorded();
        state
    }

    /// Takes what records say of where devices are.
    pub(super) fn recorded(&mut self) {
        let mut places: BTreeMap<Place, Vec<u64>> = BTreeMap::new();
        for (device, reach) in self.handle.wanted().recorded.values().flatten() {
            for address in &reach.addresses {
                places.entry((*device, address.clone())).or_default().push(reach.counter);
            }
        }
        let clock = &self.arguments.clock;
        self.candidates.record(places, clock.instant(), || clock.random_u64());
    }

    pub(super) fn network_changed(&mut self) {
        self.candidates.fresh(self.arguments.clock.instant());
    }

    /// The running children, by the names of their files.
    pub(super) fn tree(&self) -> Vec<&'static str> {
        let listeners = self.listeners.iter().map(|_| "connection_manager/listener");
        let connections = self.connections.iter().map(|_| "connection_manager/connection");
        listeners.chain(connections).collect()
    }

    pub(super) fn ends(&self) -> Vec<Ended> {
        self.ends.iter().cloned().collect()
    }

    /// The alarm has gone off.
    pub(super) async fn woken(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        self.alarm_at = None;
        self.dial(myself).await
    }

    pub(super) async fn connect(
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

    /// Dials an address now and whenever there is no link to its device.
    pub(super) async fn remember(
        &mut self,
        myself: &ActorRef<Message>,
        address: &str,
        device: DeviceId,
    ) -> Result<(), ActorProcessingErr> {
        self.candidates.want(address, Some(device), self.arguments.clock.instant());
        self.dial(myself).await
    }

    pub(super) fn forget(&mut self, address: &str) {
        self.candidates.forget(address);
    }

    pub(super) fn disconnect(&mut self, address: &str) {
        self.handle.wanted().dial.remove(address);
        self.candidates.forget(address);
        self.candidates.set_aside(|(_, place)| place == address);
        self.resolve(address, || Err(ConnectError::Disconnected { address: address.to_owned() }));
        let dialled = |c: &&Connection| c.dialled.as_ref().is_some_and(|dial| dial.address == address);
        for connection in self.connections.values().filter(dialled) {
            match &connection.met {
                Some((link, _)) => {
                    self.candidates.set_aside(|(device, _)| *device == link.peer().device);
                    link.close(ByeReason::Disconnected);
                }
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
            self.start(myself, origin, Some(dial), peer).await?;
        }
        Ok(())
    }

    pub(super) async fn accepted(
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
        dialled: Option<Dial>,
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
    pub(super) fn met(&mut self, link: Link) {
        let now = self.arguments.clock.instant();
        let device = link.peer().device;
        let Some(connection) = self.connections.get_mut(&link.id()) else { return };
        connection.met = Some((link.clone(), now));
        let dialled = connection.dialled.clone();
        if let Some(dial) = &dialled {
            self.candidates.reached(dial, device);
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
        if let Some(dial) = dialled.filter(|dial| !dial.is_recorded) {
            self.resolve(&dial.address, || Ok(device));
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
    pub(super) async fn ended(
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
                if matches!(end, LinkEnd::ClosedByPeer { reason: ByeReason::Disconnected }) {
                    // Somebody there wants no link: what a record says is no reason to come again.
                    self.candidates.set_aside(|(said_by, _)| *said_by == device);
                }
                if self.devices.get(&device) == Some(&id) {
                    self.devices.remove(&device);
                    // A stranger stays one for longer than its link lasted: others are dialled before it.
                    let lasted = if is_stranger(&end) { Duration::ZERO } else { now.saturating_sub(since) };
                    self.candidates.lost(device, lasted, now, random);
                } else if !self.devices.contains_key(&device) {
                    // Closed for lack of room: as good as not reached.
                    dialled.iter().for_each(|dial| self.candidates.failed(dial, now, random));
                }
            }
            None => {
                if let Some(dial) = &dialled {
                    self.candidates.failed(dial, now, random);
                }
            }
        }
        let Some(dial) = dialled else { return };
        if dial.is_recorded {
            if is_hopeless(&end) || is_somebody_else(&end) {
                self.candidates.mistaken(&dial);
            }
        } else {
            let address = dial.address;
            if is_hopeless(&end) {
                self.handle.wanted().dial.remove(&address);
                self.candidates.forget(&address);
            }
            self.resolve(&address, || Err(ConnectError::Link { address: address.clone(), end: end.clone() }));
        }
    }

    /// Answers all who wait for a link to `address`.
    fn resolve(&mut self, address: &str, outcome: impl Fn() -> Result<DeviceId, ConnectError>) {
        for reply in self.waiting.remove(address).unwrap_or_default() {
            answer(reply, outcome());
        }
    }

    pub(super) fn links(&self) -> Vec<Link> {
        let kept = self.devices.values().filter_map(|id| self.connections.get(id)?.met.as_ref());
        kept.map(|(link, _)| link).filter(|link| !link.is_closed()).cloned().collect()
    }

    pub(super) fn status(&self) -> Vec<LinkStatus> {
        let (now, instant) = (self.arguments.clock.now(), self.arguments.clock.instant());
        let before = |met| u64::try_from(instant.saturating_sub(met).as_millis()).unwrap_or(u64::MAX);
        let kept = self.devices.values().filter_map(|id| self.connections.get(id));
        kept.filter_map(|connection| {
            let (link, met) = connection.met.as_ref().filter(|(link, _)| !link.is_closed())?;
            Some(LinkStatus {
                device: link.peer().device,
                user: link.peer().user,
                address: connection.dialled.as_ref().map(|dial| dial.address.clone()),
                latency: link.latency(),
                since: Timestamp(now.as_millis().saturating_sub(before(*met))),
            })
        })
        .collect()
    }

    /// Ends what it has started: in order, and by hand, since ractor would kill its children in any order, and their
    /// post_stop would never run (ractor#398).
    pub(super) async fn close(&mut self) {
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
    pub(super) fn arm(&mut self, myself: &ActorRef<Message>) {
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

/// One side let the other go, having nothing to share with it, or nothing that it wants to.
fn is_stranger(end: &LinkEnd) -> bool {
    use LinkEnd::{Closed, ClosedByPeer, Stranger};
    let reason = ByeReason::NotAuthorized;
    *end == Stranger || *end == ClosedByPeer { reason } || *end == Closed { reason }
}

/// A device answered that is not the one which was to be there.
fn is_somebody_else(end: &LinkEnd) -> bool {
    matches!(end, LinkEnd::Handshake(HandshakeError::UnexpectedDevice { .. }))
}

/// Dialling this address again can only fail again.
fn is_hopeless(end: &LinkEnd) -> bool {
    matches!(
        end,
        LinkEnd::Handshake(HandshakeError::OwnDevice) | LinkEnd::Dial(TransportError::Address { .. })
    )
}
