//! How the rest of the node speaks to the connection manager, and what may go wrong.

use std::collections::BTreeMap;
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
use crate::transport::{Stream, TransportError, websocket};

/// Listens, connects and lists links. Cheap to clone, valid across restarts.
#[derive(Clone, Default)]
pub struct ConnectionManagerHandle {
    slot: Slot<Message>,
    wanted: Arc<Mutex<Wanted>>,
    advertised: Arc<[String]>,
    is_unlisted: bool,
}

/// What a restart must find again.
#[derive(Default)]
pub(super) struct Wanted {
    /// What was asked for, and what it became.
    pub(super) listen: BTreeMap<String, String>,
    pub(super) dial: BTreeMap<String, Option<DeviceId>>,
    /// Where members' devices are, by their own word in each group.
    pub(super) recorded: BTreeMap<GroupId, BTreeMap<DeviceId, Reach>>,
    pub(super) links_made: u64,
}

/// Where a device is, by its own word in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Reach {
    /// The record's.
    pub(in crate::node) counter: u64,
    pub(in crate::node) addresses: Vec<String>,
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
    /// The peer was not reached, or did not prove who it is, or let us go at once.
    #[error("no link to {address}")]
    Link {
        /// Who was dialled.
        address: String,
        /// Why, and what to do about it.
        #[source]
        end: LinkEnd,
    },
    /// This node has as many links as it may; disconnect another address first.
    #[error("{LINKS_MAX} links are all that a node may have; disconnect another address first")]
    Full,
    /// The address was taken back meanwhile.
    #[error("{address} was taken back before it was reached")]
    Disconnected {
        /// Which.
        address: String,
    },
}

/// A link as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct LinkStatus {
    /// The device at the other end.
    pub device: DeviceId,
    /// Whose it is.
    pub user: UserId,
    /// Where it was dialled; none where it was accepted.
    pub address: Option<String>,
    /// How long a frame takes there and back; none before the first answer.
    #[cfg_attr(feature = "control", serde(rename = "latency_ms", with = "crate::json::millis"))]
    pub latency: Option<Duration>,
    /// When the handshake passed, by this device's clock.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Timestamp,
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
    /// A handle for a node that is reached at `advertised` too; one that is not listed has nothing to do with records.
    pub(in crate::node) fn new(advertised: Vec<String>, is_listed: bool) -> Self {
        Self { advertised: advertised.into(), is_unlisted: !is_listed, ..Self::default() }
    }

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

    /// Dials a device whenever there is no link to it, from the next start on if not from now on.
    pub(in crate::node) fn remember(&self, address: &str, device: DeviceId) {
        // What somebody asked for by address is for whoever answers there.
        self.wanted().dial.entry(address.to_owned()).or_insert(Some(device));
        // Before the first start and between two, whoever starts reads what is wanted.
        let _ = self.slot.tell(Message::Remember { address: address.to_owned(), device });
    }

    /// Dials a device there no longer, unless somebody asked for the address itself.
    pub(in crate::node) fn forget(&self, address: &str, device: DeviceId) {
        let mut wanted = self.wanted();
        if wanted.dial.get(address) == Some(&Some(device)) {
            wanted.dial.remove(address);
            drop(wanted);
            let _ = self.slot.tell(Message::Forget { address: address.to_owned() });
        }
    }

    /// The addresses that are listened on.
    pub fn listening(&self) -> Vec<String> {
        self.wanted().listen.values().cloned().collect()
    }

    /// The addresses at which others may dial this node, those that were advertised first: what tickets carry.
    pub fn addresses(&self) -> Vec<String> {
        let listening = self.listening();
        let listening = listening.iter().flat_map(|bound| websocket::dialable(bound));
        let mut addresses: Vec<String> = Vec::new();
        for address in self.advertised.iter().cloned().chain(listening) {
            if address.len() <= ADDRESS_BYTES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(TICKET_ADDRESSES_MAX);
        addresses
    }

    /// What this node says in its groups of where it is reached: nothing while it does not listen.
    pub(in crate::node) fn published(&self) -> Vec<String> {
        if self.is_unlisted || self.wanted().listen.is_empty() {
            return Vec::new();
        }
        let mut addresses = self.addresses();
        addresses.retain(|address| DeviceRecord::is_address(address));
        addresses
    }

    /// Where the devices of a group's members are, in the place of what was said before: they may be dialled.
    pub(in crate::node) fn recorded(&self, group: GroupId, devices: BTreeMap<DeviceId, Reach>) {
        if self.is_unlisted {
            return;
        }
        let mut wanted = self.wanted();
        let known = wanted.recorded.entry(group).or_default();
        if *known != devices {
            *known = devices;
            drop(wanted);
            // Before the first start and between two, whoever starts reads what is wanted.
            let _ = self.slot.tell(Message::Recorded);
        }
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

    /// Every link, described, in order of the devices.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn status(&self) -> Result<Vec<LinkStatus>, CallError> {
        self.slot.ask(Message::Status).await
    }

    /// The addresses that are dialled whenever there is no link.
    pub fn dialled(&self) -> Vec<String> {
        self.wanted().dial.keys().cloned().collect()
    }

    /// The last 64 links that ended or never came about, oldest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ends(&self) -> Result<Vec<Ended>, CallError> {
        self.slot.ask(Message::Ends).await
    }

    /// The running children, by the names of their files.
    pub(in crate::node) async fn tree(&self) -> Result<Vec<&'static str>, CallError> {
        self.slot.ask(Message::Tree).await
    }

    /// Ends listeners, then links, each with a farewell; nothing is left running when it returns.
    pub async fn stop(&self) {
        // Its own deadlines for listeners and connections, and time to note them.
        self.slot.stop_within(3 * STOP_TIMEOUT).await;
    }

    /// Points every clone at a new incarnation: before its first child, which speaks to it through a clone.
    pub(super) fn put(&self, actor: ActorRef<Message>) {
        self.slot.put(actor);
    }

    /// A listener has a stream. When the manager has ended, the stream ends too.
    pub(super) fn accepted(&self, stream: Stream, half_open: Permit) {
        let _ = self.slot.tell(Message::Accepted { stream, half_open });
    }

    /// A connection's handshake has passed. When the manager has ended, it ends the connection too.
    pub(super) fn met(&self, link: Link) {
        let _ = self.slot.tell(Message::Met(link));
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
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
