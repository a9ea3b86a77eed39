//! The handle of the connection manager, and its errors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorRef, SpawnErr};
use schema::limits::{
    ADDRESS_BYTES_MAX, CALL_TIMEOUT, DIAL_TIMEOUT, HANDSHAKE_TIMEOUT, LINKS_MAX, STOP_TIMEOUT,
    TICKET_ADDRESSES_MAX,
};
use schema::wire::device::DeviceRecord;
use schema::{DeviceId, GroupId, Timestamp, UserId};

use super::connection::{Link, LinkEnd};
use super::listener::StartError;
use super::{Arguments, ConnectionManager, Message};
use crate::call::{CallError, Slot};
use crate::permits::Permit;
use crate::transport::{Stream, Transport, TransportError};

/// Listens, connects and lists links. Cheap to clone, valid across restarts.
#[derive(Clone)]
pub struct ConnectionManagerHandle {
    slot: Slot<Message>,
    desired: Arc<Mutex<Desired>>,
    transport: Arc<dyn Transport>,
    advertised: Arc<[String]>,
    is_listed: bool,
    /// A `StandingsChanged` waits in the mailbox.
    are_standings_due: Arc<AtomicBool>,
}

/// The desired state, which survives restarts of the actor.
#[derive(Default)]
pub(super) struct Desired {
    /// Addresses to listen at, as requested and as bound.
    pub(super) listen: BTreeMap<String, String>,
    /// Addresses to dial, with the device that must answer if only one will do.
    pub(super) dial: BTreeMap<String, Option<DeviceId>>,
    /// Addresses of members' devices, from the device records of each group.
    pub(super) recorded: BTreeMap<GroupId, BTreeMap<DeviceId, RecordedAddresses>>,
    pub(super) links_made: u64,
}

/// The addresses of a device, from its record in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct RecordedAddresses {
    /// The counter of the record.
    pub(in crate::node) counter: u64,
    pub(in crate::node) addresses: Vec<String>,
}

/// Error of listening at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The node is closing or overloaded.
    #[error("connection manager did not answer")]
    Call(#[from] CallError),
    /// The address is malformed, in use, or not of this machine.
    #[error("cannot listen")]
    Transport(#[from] TransportError),
    /// The listener did not start; try again.
    #[error("listener did not start")]
    Start,
}

/// Error of the first dial of an address. The address is dialled again later, unless it is malformed or this
/// device's own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The node is closing or overloaded.
    #[error("connection manager did not answer")]
    Call(#[from] CallError),
    /// The peer was not reached, did not prove its identity, or closed the link at once.
    #[error("no link to {address}")]
    Link {
        /// The dialled address.
        address: String,
        /// The reason, with advice.
        #[source]
        end: LinkEnd,
    },
    /// This node has the most links that it may have; disconnect another address first.
    #[error("{LINKS_MAX} links are all that a node may have; disconnect another address first")]
    Full,
    /// The address was forgotten before it was reached.
    #[error("{address} was forgotten before it was reached")]
    Disconnected {
        /// The address.
        address: String,
    },
}

/// The status of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct LinkStatus {
    /// The device at the other end.
    pub device: DeviceId,
    /// The user of that device.
    pub user: UserId,
    /// The address that was dialled; none if the link was accepted.
    pub address: Option<String>,
    /// Round trip of a ping; none before the first.
    #[cfg_attr(feature = "control", serde(rename = "latency_ms", with = "crate::json::millis"))]
    pub latency: Option<Duration>,
    /// Time of the handshake, by this device's clock.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Timestamp,
}

/// A link that ended, or a connection that did not become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedLink {
    /// Time of the end, by this device's clock.
    pub at: Timestamp,
    /// The peer's address.
    pub address: String,
    /// The peer's device, if it proved its identity.
    pub device: Option<DeviceId>,
    /// The reason.
    pub end: LinkEnd,
}

impl ConnectionManagerHandle {
    /// A handle for a node that is reached at `advertised` too. A node that is not listed neither publishes
    /// its addresses in device records nor dials those of others.
    pub fn new(transport: Arc<dyn Transport>, advertised: Vec<String>, is_listed: bool) -> Self {
        let (slot, desired, are_standings_due) = (Slot::default(), Arc::default(), Arc::default());
        Self { slot, desired, transport, advertised: advertised.into(), is_listed, are_standings_due }
    }

    /// Starts the actor under `parent` and points every clone of this handle at it.
    ///
    /// # Errors
    /// [`SpawnErr`] if the parent is stopping.
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

    /// Dials now and waits for the handshake; from then on dials again whenever the link has ended.
    ///
    /// # Errors
    /// [`ConnectError`]; the address stays remembered.
    pub async fn connect(&self, address: &str) -> Result<DeviceId, ConnectError> {
        self.dial(address, None).await
    }

    /// Like [`connect`](Self::connect), but only this device may answer.
    ///
    /// # Errors
    /// [`ConnectError`]; the address stays remembered.
    pub async fn connect_to(&self, address: &str, device: DeviceId) -> Result<DeviceId, ConnectError> {
        self.dial(address, Some(device)).await
    }

    /// Dials a device whenever there is no link to it. If the actor is down, it does so from its next start
    /// on.
    pub(in crate::node) fn remember(&self, address: &str, device: DeviceId) {
        // An address that was requested without a device stays open to any.
        self.desired().dial.entry(address.to_owned()).or_insert(Some(device));
        // Fails while the actor is down; it reads the desired state when it starts.
        let _ = self.slot.tell(Message::Remember { address: address.to_owned(), device });
    }

    /// Stops dialling a device at an address, unless the address was requested without a device.
    pub(in crate::node) fn forget(&self, address: &str, device: DeviceId) {
        let mut desired = self.desired();
        if desired.dial.get(address) == Some(&Some(device)) {
            desired.dial.remove(address);
            drop(desired);
            let _ = self.slot.tell(Message::Forget { address: address.to_owned() });
        }
    }

    /// The addresses that the node listens at.
    pub fn listening(&self) -> Vec<String> {
        self.desired().listen.values().cloned().collect()
    }

    /// The addresses at which others may dial this node, advertised ones first. Tickets carry them.
    pub fn addresses(&self) -> Vec<String> {
        let listening = self.listening();
        let listening = listening.iter().flat_map(|bound| self.transport.dialable(bound));
        let mut addresses: Vec<String> = Vec::new();
        for address in self.advertised.iter().cloned().chain(listening) {
            if address.len() <= ADDRESS_BYTES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(TICKET_ADDRESSES_MAX);
        addresses
    }

    /// The addresses for this device's records: none while it does not listen.
    pub(in crate::node) fn published(&self) -> Vec<String> {
        if !self.is_listed || self.desired().listen.is_empty() {
            return Vec::new();
        }
        let mut addresses = self.addresses();
        addresses.retain(|address| DeviceRecord::is_address(address));
        addresses
    }

    /// Replaces the recorded addresses of a group's devices, which may be dialled.
    pub(in crate::node) fn set_recorded(
        &self,
        group: GroupId,
        devices: BTreeMap<DeviceId, RecordedAddresses>,
    ) {
        if !self.is_listed {
            return;
        }
        let mut desired = self.desired();
        let known = desired.recorded.entry(group).or_default();
        if *known != devices {
            *known = devices;
            drop(desired);
            // Fails while the actor is down; it reads the desired state when it starts.
            let _ = self.slot.tell(Message::RecordsChanged);
        }
    }

    async fn dial(&self, address: &str, expected: Option<DeviceId>) -> Result<DeviceId, ConnectError> {
        let address = address.to_owned();
        let within = DIAL_TIMEOUT + HANDSHAKE_TIMEOUT + CALL_TIMEOUT;
        self.slot.ask_within(within, |reply| Message::Connect { address, expected, reply }).await?
    }

    /// Forgets an address and ends the link that was dialled there.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn disconnect(&self, address: &str) -> Result<(), CallError> {
        let address = address.to_owned();
        self.slot.ask(|reply| Message::Disconnect { address, reply }).await
    }

    /// Dials every address now that has no link, because the network has changed.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn network_changed(&self) -> Result<(), CallError> {
        self.slot.tell(Message::NetworkChanged)
    }

    /// Every link, by device: one for each.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn links(&self) -> Result<Vec<Link>, CallError> {
        self.slot.ask(Message::Links).await
    }

    /// The status of every link, by device.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn status(&self) -> Result<Vec<LinkStatus>, CallError> {
        self.slot.ask(Message::Status).await
    }

    /// The addresses that are dialled whenever there is no link.
    pub fn dialled(&self) -> Vec<String> {
        self.desired().dial.keys().cloned().collect()
    }

    /// The last 64 links that ended and connections that did not become one, oldest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ends(&self) -> Result<Vec<EndedLink>, CallError> {
        self.slot.ask(Message::Ends).await
    }

    /// The running children, by the names of their files.
    pub(in crate::node) async fn tree(&self) -> Result<Vec<&'static str>, CallError> {
        self.slot.ask(Message::Tree).await
    }

    /// Ends listeners, then links, each with a Bye. Everything has ended when it returns.
    pub async fn stop(&self) {
        // The actor has a deadline each for listeners and connections; the third is slack.
        self.slot.stop_within(3 * STOP_TIMEOUT).await;
    }

    /// Makes the actor stand still, so that tests can see it in the status.
    #[doc(hidden)]
    pub fn stall_for_test(&self, pause: Duration) {
        // Fails while the actor is down.
        let _ = self.slot.tell(Message::Stall(pause));
    }

    /// Points every clone at a new actor, before it starts children that send to it through a clone.
    pub(super) fn put(&self, actor: ActorRef<Message>) {
        self.begin_standings();
        self.slot.put(actor);
    }

    /// A listener accepted a stream. If the manager has ended, the stream ends too.
    pub(super) fn on_accepted(&self, stream: Stream, permit: Permit) {
        let _ = self.slot.tell(Message::Accepted { stream, permit });
    }

    /// The rosters have changed, which the standing of linked peers follows from. Changes in quick succession
    /// are handled together.
    pub(in crate::node) fn standings_changed(&self) {
        if !self.are_standings_due.swap(true, Ordering::SeqCst)
            && self.slot.tell(Message::StandingsChanged).is_err()
        {
            // The actor is down; a link that it opens later is judged by the rosters of then.
            self.are_standings_due.store(false, Ordering::SeqCst);
        }
    }

    /// The manager reads the standings now.
    pub(super) fn begin_standings(&self) {
        self.are_standings_due.store(false, Ordering::SeqCst);
    }

    pub(super) fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    pub(super) fn desired(&self) -> MutexGuard<'_, Desired> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
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
