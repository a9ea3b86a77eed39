//! Opens links: dials, listens, and keeps one link per device.
//!
//! Parent: [`node`](super). Children: a `listener` for each address, a `connection` for each link; a
//! handshake runs as a task. A connection that ends is dialled again after a pause. A listener is restarted
//! within a budget; this actor fails when that is spent. Restart: listens and dials at the same addresses;
//! its links end and are opened again.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use schema::DeviceId;
use schema::device::DeviceIdentity;

use crate::call::answer;
use crate::clock::Clock;
use crate::meter::LinkMeters;
use crate::permits::Permit;
use crate::transport::Stream;
use crate::watchdog::Watchdog;

mod address_book;
mod connection;
mod duplicates;
mod handle;
mod listener;
mod places;
mod state;

use connection::AuthenticatedStream;
pub use connection::{Link, LinkClosed, LinkEnd, LinkId, LinkOwner};
pub(in crate::node) use handle::RecordedAddresses;
pub use handle::{ConnectError, ConnectionManagerHandle, EndedLink, LinkStatus, ListenError};
pub use places::Standing;
use state::State;

enum Message {
    /// Start to listen.
    Listen { address: String, reply: RpcReplyPort<Result<String, ListenError>> },
    /// Request a link and answer once it is open.
    Connect {
        address: String,
        expected: Option<DeviceId>,
        reply: RpcReplyPort<Result<DeviceId, ConnectError>>,
    },
    /// Request a link without an answer.
    Remember { address: String, device: DeviceId },
    /// The recorded addresses have changed.
    RecordsChanged,
    /// Dial no more; an open link stays.
    Forget { address: String },
    /// Forget an address and end the link that was dialled there.
    Disconnect { address: String, reply: RpcReplyPort<()> },
    /// Dial every address now.
    NetworkChanged,
    /// List the links.
    Links(RpcReplyPort<Vec<Link>>),
    /// Describe the links.
    Status(RpcReplyPort<Vec<LinkStatus>>),
    /// Name the children.
    Tree(RpcReplyPort<Vec<&'static str>>),
    /// List the last ended links.
    Ends(RpcReplyPort<Vec<EndedLink>>),
    /// A listener accepted a stream; the permit is its share of this mailbox.
    Accepted { stream: Stream, permit: Permit },
    /// A dial or a handshake has ended.
    HandshakeEnded { link: LinkId, outcome: Box<Result<AuthenticatedStream, LinkEnd>> },
    /// The owner's answers about the standing of peers may have changed.
    StandingsChanged,
    /// A dial is due.
    Dial,
    /// Start a failed listener again.
    Relisten(String),
    /// Stand still, for tests.
    Stall(Duration),
}

impl Message {
    /// The activity of the turn that handles it, for the watchdog.
    fn doing(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "start to listen",
            Self::Connect { .. } | Self::Remember { .. } => "note an address to dial",
            Self::RecordsChanged => "take over recorded addresses",
            Self::Forget { .. } => "forget an address",
            Self::Disconnect { .. } => "end a link",
            Self::NetworkChanged | Self::Dial => "dial",
            Self::Links(_) | Self::Status(_) | Self::Tree(_) | Self::Ends(_) => "list links",
            Self::Accepted { .. } => "begin a handshake",
            Self::HandshakeEnded { .. } => "open a link",
            Self::StandingsChanged => "read the standings of peers",
            Self::Relisten(_) => "listen again",
            Self::Stall(_) => "stand still on request",
        }
    }
}

/// Arguments of the connection manager.
#[derive(Clone)]
pub struct Arguments {
    /// Time, randomness, tasks.
    pub clock: Clock,
    /// Counts links and frames.
    pub meters: Arc<LinkMeters>,
    /// Watches over this actor and its connections.
    pub watchdog: Watchdog,
    /// This device's keys and certificate.
    pub identity: DeviceIdentity,
    /// Receives the frames of links.
    pub owner: Arc<dyn LinkOwner>,
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
        handle.put(myself);
        Ok(State::new(arguments, handle))
    }

    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.listen_again(&myself).await?;
        state.set_alarm(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let _turn = state.turn(message.doing());
        match message {
            Message::Listen { address, reply } => {
                let bound = state.listen(&address, myself.get_cell()).await;
                answer(reply, bound.map_err(ListenError::from));
            }
            Message::Connect { address, expected, reply } => {
                state.connect(&myself, address, expected, reply);
            }
            Message::Remember { address, device } => state.remember(&myself, &address, device),
            Message::RecordsChanged => state.on_records_changed(),
            Message::Forget { address } => state.forget(&address),
            Message::Disconnect { address, reply } => {
                state.disconnect(&address);
                answer(reply, ());
            }
            Message::NetworkChanged => state.on_network_changed(),
            Message::Links(reply) => answer(reply, state.links()),
            Message::Status(reply) => answer(reply, state.status()),
            Message::Tree(reply) => answer(reply, state.tree()),
            Message::Ends(reply) => answer(reply, state.ends()),
            Message::Accepted { stream, permit } => {
                state.on_accepted(&myself, stream);
                drop(permit);
            }
            Message::HandshakeEnded { link, outcome } => {
                state.on_handshake_ended(&myself, link, *outcome).await?;
            }
            Message::StandingsChanged => state.on_standings_changed(),
            Message::Dial => state.on_alarm(&myself),
            Message::Relisten(address) => state.relisten(&myself, address).await?,
            Message::Stall(pause) => state.stall(pause).await,
        }
        state.set_alarm(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let _turn = state.turn("handle the end of a child");
        match event {
            SupervisionEvent::ActorFailed(child, cause) => {
                state.on_child_ended(&myself, child.get_id(), Some(cause)).await?
            }
            SupervisionEvent::ActorTerminated(child, ..) => {
                state.on_child_ended(&myself, child.get_id(), None).await?
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        state.set_alarm(&myself);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.close().await;
        Ok(())
    }
}
