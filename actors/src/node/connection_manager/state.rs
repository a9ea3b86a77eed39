//! The state of the connection manager: its listeners, its connections, its address book.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ractor::{ActorId, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::handshake::HandshakeError;
use schema::limits::{ACCEPTED_WAITING_MAX, STOP_TIMEOUT};
use schema::wire::link::ByeReason;
use schema::{DeviceId, Timestamp};
use tokio::task::JoinSet;

use super::address_book::{AddressBook, DeviceAddress, Dial};
use super::connection::{ConnectionHandle, Link, LinkEnd, LinkId};
use super::handle::{ConnectError, ConnectionManagerHandle, EndedLink, LinkStatus};
use super::listener::ListenerHandle;
use super::places::{Input, Places};
use super::{Arguments, Message};
use crate::call::answer;
use crate::permits::Permits;
use crate::restart::Restarts;
use crate::transport::TransportError;
use crate::watchdog::{Name, Progress, Turn};

mod half_open;
mod listening;

use half_open::HalfOpen;

/// Ended links that are remembered for `status`.
const ENDS_MAX: usize = 64;

/// State of the actor.
pub(super) struct State {
    arguments: Arguments,
    progress: Progress,
    handle: ConnectionManagerHandle,
    listeners: BTreeMap<String, Listening>,
    half_open: BTreeMap<LinkId, HalfOpen>,
    /// The tasks of `half_open`.
    handshakes: JoinSet<()>,
    connections: BTreeMap<LinkId, Connection>,
    places: Places,
    /// The kept link of each device.
    devices: BTreeMap<DeviceId, LinkId>,
    address_book: AddressBook,
    /// Callers of `connect`, by address, until their dial ends.
    waiting: BTreeMap<String, Vec<RpcReplyPort<Result<DeviceId, ConnectError>>>>,
    restarts: Restarts<String>,
    /// Accepted streams that wait in the mailbox.
    accepted: Permits,
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

/// A running connection: its handshake has passed.
struct Connection {
    actor: ActorId,
    handle: ConnectionHandle,
    /// The dial that started it; none if it was accepted.
    dialled: Option<Dial>,
    peer: String,
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
            progress: arguments.watchdog.register(Name::of("connection_manager")),
            arguments,
            handle,
            listeners: BTreeMap::new(),
            half_open: BTreeMap::new(),
            handshakes: JoinSet::new(),
            connections: BTreeMap::new(),
            places: Places::default(),
            devices: BTreeMap::new(),
            address_book,
            waiting: BTreeMap::new(),
            restarts: Restarts::default(),
            accepted: Permits::new(ACCEPTED_WAITING_MAX),
            ends: VecDeque::new(),
            alarm: JoinSet::new(),
            alarm_at: None,
            pauses: JoinSet::new(),
        };
        state.on_records_changed();
        state
    }

    /// Notes a turn for the watchdog.
    pub(super) fn turn(&self, doing: &'static str) -> Turn {
        self.progress.turn(doing)
    }

    pub(super) async fn stall(&self, pause: Duration) {
        self.arguments.clock.sleep(pause).await;
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

    pub(super) fn on_alarm(&mut self, myself: &ActorRef<Message>) {
        self.alarm_at = None;
        self.dial(myself);
    }

    pub(super) fn connect(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
        expected: Option<DeviceId>,
        reply: RpcReplyPort<Result<DeviceId, ConnectError>>,
    ) {
        let now = self.arguments.clock.instant();
        self.handle.desired().dial.insert(address.clone(), expected);
        self.address_book.request(&address, expected, now);
        if let Some(device) = self.address_book.linked_device_at(&address) {
            answer(reply, Ok(device));
        } else if self.places.dial_room() == 0 {
            answer(reply, Err(ConnectError::Full));
        } else {
            self.waiting.entry(address).or_default().push(reply);
            self.dial(myself);
        }
    }

    /// Requests a link to the device at an address; no caller waits for it.
    pub(super) fn remember(&mut self, myself: &ActorRef<Message>, address: &str, device: DeviceId) {
        self.address_book.request(address, Some(device), self.arguments.clock.instant());
        self.dial(myself);
    }

    pub(super) fn forget(&mut self, address: &str) {
        self.address_book.forget(address);
    }

    pub(super) fn disconnect(&mut self, address: &str) {
        self.handle.desired().dial.remove(address);
        self.address_book.forget(address);
        self.address_book.suspend(|recorded| recorded.address == address);
        self.resolve(address, || Err(ConnectError::Disconnected { address: address.to_owned() }));
        let is_there = |dialled: &Option<Dial>| dialled.as_ref().is_some_and(|dial| dial.address == address);
        for connection in self.connections.values().filter(|connection| is_there(&connection.dialled)) {
            self.address_book.suspend(|recorded| recorded.device == connection.link.peer().device);
            connection.link.close(ByeReason::Disconnected);
        }
        let dialling = self.half_open.iter().filter(|(_, half_open)| is_there(&half_open.dialled));
        for link in dialling.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.cancel(link);
        }
    }

    fn keep(&mut self, id: LinkId) {
        let connection = &self.connections[&id];
        let device = connection.link.peer().device;
        self.devices.insert(device, id);
        self.address_book.on_linked(device, connection.dialled.is_some());
        connection.handle.open();
        self.arguments.meters.opened.increment();
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
        let Connection { dialled, peer, link, since, .. } = connection;
        if let Some(cause) = cause {
            tracing::error!(%peer, %cause, "connection failed");
        }
        self.on_ended(id, peer, dialled, Some((link.peer().device, since)), &link.final_end());
    }

    /// A link, a dial or a handshake has ended. `opened` is the device of a link, and the time at which it
    /// opened.
    fn on_ended(
        &mut self,
        id: LinkId,
        peer: String,
        dialled: Option<Dial>,
        opened: Option<(DeviceId, Duration)>,
        end: &LinkEnd,
    ) {
        tracing::debug!(%peer, %end, "connection ended");
        self.step_places(Input::Ended { link: id });
        end.count(&self.arguments.meters);
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        let (at, device) = (self.arguments.clock.now(), opened.map(|(device, _)| device));
        self.ends.push_back(EndedLink { at, address: peer, device, end: end.clone() });
        self.update_address_book(id, dialled.as_ref(), opened, end);
        if let Some(dial) = dialled {
            self.on_dial_ended(&dial, end);
        }
    }

    /// Schedules the next dial of the device or address whose connection has ended.
    fn update_address_book(
        &mut self,
        id: LinkId,
        dialled: Option<&Dial>,
        opened: Option<(DeviceId, Duration)>,
        end: &LinkEnd,
    ) {
        let clock = &self.arguments.clock;
        let (now, random) = (clock.instant(), clock.random_u64());
        if let Some((device, _)) = opened
            && matches!(end, LinkEnd::ClosedByPeer { reason: ByeReason::Disconnected })
        {
            // The other side wants no link: its recorded addresses are no reason to dial it again.
            self.address_book.suspend(|recorded| recorded.device == device);
        }
        match opened {
            Some((device, since)) if self.devices.get(&device) == Some(&id) => {
                self.devices.remove(&device);
                // A link that a side had no use or no room for counts as a failure however long it lasted, so
                // that others are dialled before it.
                let lasted = now.saturating_sub(since);
                let lasted = if is_unwanted(end) { Duration::ZERO } else { lasted };
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

    /// Connections whose links are kept and have not ended.
    fn kept(&self) -> impl Iterator<Item = &Connection> {
        let kept = self.devices.values().filter_map(|id| self.connections.get(id));
        kept.filter(|connection| !connection.link.is_closed())
    }

    pub(super) fn links(&self) -> Vec<Link> {
        self.kept().map(|connection| connection.link.clone()).collect()
    }

    pub(super) fn status(&self) -> Vec<LinkStatus> {
        let (now, instant) = (self.arguments.clock.now(), self.arguments.clock.instant());
        let age = |since| u64::try_from(instant.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        let status = |connection: &Connection| LinkStatus {
            device: connection.link.peer().device,
            user: connection.link.peer().user,
            address: connection.dialled.as_ref().map(|dial| dial.address.clone()),
            latency: connection.link.latency(),
            since: Timestamp(now.as_millis().saturating_sub(age(connection.since))),
        };
        self.kept().map(status).collect()
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
        self.end_handshakes().await;
        let clock = &self.arguments.clock;
        let deadline = clock.instant() + STOP_TIMEOUT;
        self.connections.values().for_each(|connection| connection.handle.stop());
        for connection in self.connections.values() {
            connection.handle.stop_within(deadline.saturating_sub(clock.instant())).await;
        }
        self.waiting.clear();
    }

    /// Sets the timer of the next dial.
    pub(super) fn set_alarm(&mut self, myself: &ActorRef<Message>) {
        let due = self.address_book.next_due().filter(|_| self.places.dial_room() > 0);
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

/// Returns true if a side closed the link because no group is shared, or because it had no room.
fn is_unwanted(end: &LinkEnd) -> bool {
    use LinkEnd::{Closed, ClosedByPeer, Stranger};
    match end {
        Closed { reason } | ClosedByPeer { reason } => {
            matches!(reason, ByeReason::NotAuthorized | ByeReason::Full | ByeReason::Displaced)
        }
        end => *end == Stranger,
    }
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
