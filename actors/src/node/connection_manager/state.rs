//! The state of the connection manager: its listeners, its connections, its address book.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ractor::{ActorId, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::handshake::HandshakeError;
use schema::limits::{HALF_OPEN_MAX, HALF_OPEN_PER_PEER_MAX, LINKS_MAX, STOP_TIMEOUT};
use schema::wire::link::ByeReason;
use schema::{DeviceId, Timestamp};
use tokio::task::JoinSet;

use super::address_book::{AddressBook, DeviceAddress, Dial};
use super::connection::{self, ConnectionHandle, EndReason, Link, LinkEnd, LinkId, Origin};
use super::duplicates::{LinkState, replaces};
use super::handle::{ConnectError, ConnectionManagerHandle, EndedLink, LinkStatus};
use super::listener::ListenerHandle;
use super::{Arguments, Message};
use crate::call::answer;
use crate::permits::{Permit, Permits};
use crate::restart::Restarts;
use crate::transport::{Stream, TransportError};

mod listening;

/// Ended links that are remembered for `status`.
const ENDS_MAX: usize = 64;

/// State of the actor.
pub(super) struct State {
    arguments: Arguments,
    handle: ConnectionManagerHandle,
    listeners: BTreeMap<String, Listening>,
    connections: BTreeMap<LinkId, Connection>,
    /// The kept link of each device.
    devices: BTreeMap<DeviceId, LinkId>,
    address_book: AddressBook,
    /// Callers of `connect`, by address, until their dial ends.
    waiting: BTreeMap<String, Vec<RpcReplyPort<Result<DeviceId, ConnectError>>>>,
    restarts: Restarts<String>,
    half_open: Permits,
    ends: VecDeque<EndedLink>,
    /// The timer of the next dial.
    alarm: JoinSet<()>,
    alarm_at: Option<Duration>,
    /// Timers of the restarts of failed listeners.
    pauses: JoinSet<()>,
}

/// A running listener.
struct Listening {
    actor: ActorId,
    handle: ListenerHandle,
    bound: String,
}

/// A running connection.
struct Connection {
    actor: ActorId,
    handle: ConnectionHandle,
    /// The dial that started it; none if it was accepted.
    dialled: Option<Dial>,
    peer: String,
    end_reason: EndReason,
    /// Set once the handshake has passed.
    opened: Option<Opened>,
}

/// The link of a connection whose handshake has passed.
#[derive(Clone)]
struct Opened {
    link: Link,
    since: Duration,
}

impl State {
    /// The state of a manager that has started nothing yet. Every address that the handle remembers is due.
    pub(super) fn new(arguments: Arguments, handle: ConnectionManagerHandle) -> Self {
        let mut address_book = AddressBook::default();
        for (address, expected) in &handle.desired().dial {
            address_book.request(address, *expected, arguments.clock.instant());
        }
        let mut state = Self {
            arguments,
            handle,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            devices: BTreeMap::new(),
            address_book,
            waiting: BTreeMap::new(),
            restarts: Restarts::default(),
            half_open: Permits::new(HALF_OPEN_MAX),
            ends: VecDeque::new(),
            alarm: JoinSet::new(),
            alarm_at: None,
            pauses: JoinSet::new(),
        };
        state.on_records_changed();
        state
    }

    /// Passes the recorded addresses of every group to the address book.
    pub(super) fn on_records_changed(&mut self) {
        let mut addresses: BTreeMap<DeviceAddress, Vec<u64>> = BTreeMap::new();
        for (&device, recorded) in self.handle.desired().recorded.values().flatten() {
            for address in &recorded.addresses {
                let address = DeviceAddress { device, address: address.clone() };
                addresses.entry(address).or_default().push(recorded.counter);
            }
        }
        let clock = &self.arguments.clock;
        self.address_book.set_recorded(addresses, clock.instant(), || clock.random_u64());
    }

    pub(super) fn on_network_changed(&mut self) {
        self.address_book.retry_all(self.arguments.clock.instant());
    }

    /// The running children, by the names of their files.
    pub(super) fn tree(&self) -> Vec<&'static str> {
        let listeners = self.listeners.iter().map(|_| "connection_manager/listener");
        let connections = self.connections.iter().map(|_| "connection_manager/connection");
        listeners.chain(connections).collect()
    }

    pub(super) fn ends(&self) -> Vec<EndedLink> {
        self.ends.iter().cloned().collect()
    }

    pub(super) async fn on_alarm(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
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
        self.handle.desired().dial.insert(address.clone(), expected);
        self.address_book.request(&address, expected, now);
        if let Some(device) = self.address_book.linked_device_at(&address) {
            answer(reply, Ok(device));
        } else if self.room() == 0 {
            answer(reply, Err(ConnectError::Full));
        } else {
            self.waiting.entry(address).or_default().push(reply);
            self.dial(myself).await?;
        }
        Ok(())
    }

    /// Requests a link to the device at an address; no caller waits for it.
    pub(super) async fn remember(
        &mut self,
        myself: &ActorRef<Message>,
        address: &str,
        device: DeviceId,
    ) -> Result<(), ActorProcessingErr> {
        self.address_book.request(address, Some(device), self.arguments.clock.instant());
        self.dial(myself).await
    }

    pub(super) fn forget(&mut self, address: &str) {
        self.address_book.forget(address);
    }

    pub(super) fn disconnect(&mut self, address: &str) {
        self.handle.desired().dial.remove(address);
        self.address_book.forget(address);
        self.address_book.suspend(|recorded| recorded.address == address);
        self.resolve(address, || Err(ConnectError::Disconnected { address: address.to_owned() }));
        let dialled = |c: &&Connection| c.dialled.as_ref().is_some_and(|dial| dial.address == address);
        for connection in self.connections.values().filter(dialled) {
            match &connection.opened {
                Some(Opened { link, .. }) => {
                    self.address_book.suspend(|recorded| recorded.device == link.peer().device);
                    link.close(ByeReason::Disconnected);
                }
                None => connection.handle.stop(),
            }
        }
    }

    /// Number of further links that the node may have.
    fn room(&self) -> usize {
        LINKS_MAX.saturating_sub(self.devices.len() + self.address_book.dialling())
    }

    /// Starts the dials that are due.
    async fn dial(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let room = self.room();
        for dial in self.address_book.take_due(self.arguments.clock.instant(), room) {
            let peer = dial.address.clone();
            let origin = Origin::Dial { address: dial.address.clone(), expected: dial.expected };
            self.start(myself, origin, Some(dial), peer).await?;
        }
        Ok(())
    }

    pub(super) async fn on_accepted(
        &mut self,
        myself: &ActorRef<Message>,
        stream: Stream,
        half_open: Permit,
    ) -> Result<(), ActorProcessingErr> {
        let half_open_now = self.connections.values().filter(|c| c.dialled.is_none() && c.opened.is_none());
        let peer = stream.source.address.clone();
        if half_open_now.filter(|c| c.peer == peer).count() >= HALF_OPEN_PER_PEER_MAX {
            tracing::debug!(%peer, "refused a stream: too many half-open handshakes with this peer");
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
            let mut desired = self.handle.desired();
            desired.links_made += 1;
            LinkId(desired.links_made)
        };
        let Arguments { clock, meters, identity, owner } = self.arguments.clone();
        let (handle, end_reason) = (ConnectionHandle::default(), EndReason::default());
        let arguments = connection::Arguments {
            clock,
            meters,
            transport: self.handle.transport(),
            identity,
            owner,
            manager: self.handle.clone(),
            id,
            origin,
            end_reason: end_reason.clone(),
        };
        let actor = handle.start(arguments, myself.get_cell()).await?;
        self.connections.insert(id, Connection { actor, handle, dialled, peer, end_reason, opened: None });
        Ok(())
    }

    /// Keeps the link or ends it: a device has one link.
    pub(super) fn on_authenticated(&mut self, link: &Link) {
        let now = self.arguments.clock.instant();
        let device = link.peer().device;
        let Some(connection) = self.connections.get_mut(&link.id()) else { return };
        connection.opened = Some(Opened { link: link.clone(), since: now });
        let dialled = connection.dialled.clone();
        if let Some(dial) = &dialled {
            self.address_book.on_reached(dial, device);
        }

        let old = self.devices.get(&device).and_then(|id| self.connections[id].opened.clone());
        if let Some(Opened { link: old, since }) = old {
            let us = self.arguments.identity.device();
            let state = |link: &Link| LinkState { role: link.role(), is_closed: link.is_closed() };
            if replaces(us, device, state(&old), state(link), now.saturating_sub(since)) {
                old.close(ByeReason::Duplicate);
                self.keep(link);
            } else {
                link.close(ByeReason::Duplicate);
            }
        } else if self.devices.len() < LINKS_MAX {
            self.keep(link);
        } else {
            link.close(ByeReason::Full);
            return; // callers of `connect` are answered when the connection ends
        }
        if let Some(dial) = dialled.filter(|dial| !dial.is_recorded) {
            self.resolve(&dial.address, || Ok(device));
        }
    }

    fn keep(&mut self, link: &Link) {
        self.devices.insert(link.peer().device, link.id());
        self.address_book.on_linked(link.peer().device);
        self.connections[&link.id()].handle.open();
        let meters = &self.arguments.meters;
        meters.opened.increment();
        meters.open.set(self.devices.len());
        // Callers that wait for this device at another of its addresses are answered too.
        for address in self.waiting.keys().cloned().collect::<Vec<_>>() {
            if let Some(device) = self.address_book.linked_device_at(&address) {
                self.resolve(&address, || Ok(device));
            }
        }
    }

    pub(super) async fn on_child_ended(
        &mut self,
        myself: &ActorRef<Message>,
        actor: ActorId,
        cause: Option<ActorProcessingErr>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(id) = self.connections.iter().find(|(_, c)| c.actor == actor).map(|(id, _)| *id) {
            self.on_connection_ended(id, cause);
            return Ok(());
        }
        match self.listeners.iter().find(|(_, l)| l.actor == actor).map(|(address, _)| address.clone()) {
            Some(address) => {
                self.listeners.remove(&address);
                let cause = cause.unwrap_or_else(|| "the listener was stopped from outside".into());
                self.on_listener_failed(myself, address, cause).await
            }
            None => Ok(()),
        }
    }

    fn on_connection_ended(&mut self, id: LinkId, cause: Option<ActorProcessingErr>) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let end = connection.end_reason.get_or_init(|| LinkEnd::Crashed).clone();
        let address = connection.peer;
        match &cause {
            Some(cause) => tracing::error!(peer = %address, %cause, "connection failed"),
            None => tracing::debug!(peer = %address, %end, "connection ended"),
        }
        end.count(&self.arguments.meters);
        let device = connection.opened.as_ref().map(|opened| opened.link.peer().device);
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back(EndedLink { at: self.arguments.clock.now(), address, device, end: end.clone() });
        self.update_address_book(id, connection.dialled.as_ref(), connection.opened.as_ref(), &end);
        if let Some(dial) = connection.dialled {
            self.on_dial_ended(&dial, &end);
        }
    }

    /// Schedules the next dial of the device or address whose connection has ended.
    fn update_address_book(
        &mut self,
        id: LinkId,
        dialled: Option<&Dial>,
        opened: Option<&Opened>,
        end: &LinkEnd,
    ) {
        let clock = &self.arguments.clock;
        let (now, random) = (clock.instant(), clock.random_u64());
        let device = opened.map(|opened| opened.link.peer().device);
        if let Some(device) = device
            && matches!(end, LinkEnd::ClosedByPeer { reason: ByeReason::Disconnected })
        {
            // The other side wants no link: its recorded addresses are no reason to dial it again.
            self.address_book.suspend(|recorded| recorded.device == device);
        }
        match device.zip(opened) {
            Some((device, opened)) if self.devices.get(&device) == Some(&id) => {
                self.devices.remove(&device);
                self.arguments.meters.open.set(self.devices.len());
                // A stranger counts as a failure however long its link lasted, so that others are dialled
                // before it.
                let lasted = now.saturating_sub(opened.since);
                let lasted = if is_stranger(end) { Duration::ZERO } else { lasted };
                self.address_book.on_lost(device, lasted, now, random);
            }
            // Another link to the device is kept.
            Some((device, _)) if self.devices.contains_key(&device) => {}
            // The link was closed for lack of room, or the handshake failed.
            _ => dialled.into_iter().for_each(|dial| self.address_book.on_failed(dial, now, random)),
        }
    }

    /// Gives up an address that cannot succeed, and answers the callers that wait for a dial.
    fn on_dial_ended(&mut self, dial: &Dial, end: &LinkEnd) {
        if dial.is_recorded {
            if is_hopeless(end) || is_other_device(end) {
                self.address_book.suspend_dial(dial);
            }
            return;
        }
        let address = &dial.address;
        if is_hopeless(end) {
            self.handle.desired().dial.remove(address);
            self.address_book.forget(address);
        }
        self.resolve(address, || Err(ConnectError::Link { address: address.clone(), end: end.clone() }));
    }

    /// Answers every caller that waits for a link to `address`.
    fn resolve(&mut self, address: &str, outcome: impl Fn() -> Result<DeviceId, ConnectError>) {
        for reply in self.waiting.remove(address).unwrap_or_default() {
            answer(reply, outcome());
        }
    }

    pub(super) fn links(&self) -> Vec<Link> {
        let kept = self.devices.values().filter_map(|id| self.connections.get(id)?.opened.as_ref());
        kept.map(|opened| &opened.link).filter(|link| !link.is_closed()).cloned().collect()
    }

    pub(super) fn status(&self) -> Vec<LinkStatus> {
        let (now, instant) = (self.arguments.clock.now(), self.arguments.clock.instant());
        let age = |since| u64::try_from(instant.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        let kept = self.devices.values().filter_map(|id| self.connections.get(id));
        kept.filter_map(|connection| {
            let Opened { link, since } = connection.opened.as_ref().filter(|it| !it.link.is_closed())?;
            Some(LinkStatus {
                device: link.peer().device,
                user: link.peer().user,
                address: connection.dialled.as_ref().map(|dial| dial.address.clone()),
                latency: link.latency(),
                since: Timestamp(now.as_millis().saturating_sub(age(*since))),
            })
        })
        .collect()
    }

    /// Ends listeners, then connections. Left to itself, ractor would kill the children in any order, and
    /// their `post_stop` would never run (ractor#398).
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

    /// Sets the timer of the next dial.
    pub(super) fn set_alarm(&mut self, myself: &ActorRef<Message>) {
        let due = self.address_book.next_due().filter(|_| self.room() > 0);
        if due == self.alarm_at {
            return;
        }
        self.alarm = JoinSet::new(); // aborts the one before
        self.alarm_at = due;
        if let Some(due) = due {
            let (clock, actor) = (self.arguments.clock.clone(), myself.clone());
            self.arguments.clock.spawn_in(&mut self.alarm, async move {
                clock.sleep_until(due).await;
                // Fails if the manager has ended; this task then ends too.
                let _ = actor.send_message(Message::Dial);
            });
        }
    }
}

/// Returns true if a side closed the link because no group is shared.
fn is_stranger(end: &LinkEnd) -> bool {
    use LinkEnd::{Closed, ClosedByPeer, Stranger};
    let reason = ByeReason::NotAuthorized;
    *end == Stranger || *end == ClosedByPeer { reason } || *end == Closed { reason }
}

/// Returns true if another device than the expected one answered.
fn is_other_device(end: &LinkEnd) -> bool {
    matches!(end, LinkEnd::Handshake(HandshakeError::UnexpectedDevice { .. }))
}

/// Returns true if every later dial of this address would fail the same way.
fn is_hopeless(end: &LinkEnd) -> bool {
    matches!(
        end,
        LinkEnd::Handshake(HandshakeError::OwnDevice) | LinkEnd::Dial(TransportError::Address { .. })
    )
}
