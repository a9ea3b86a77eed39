//! Decides whom to dial and whom to keep.
//!
//! Parent: [`node`](super). Children: a `listener` for each address, a `connection` for each link. A connection
//! that ends is let go and dialled again after a pause; a listener is restarted within a budget, and when that is used
//! up this actor fails. Restart: listens and dials again where it did; its links are gone and come back.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use schema::DeviceId;
use schema::device::DeviceIdentity;

use crate::call::answer;
use crate::clock::Clock;
use crate::permits::Permit;
use crate::transport::{Stream, Transport};

mod candidates;
mod connection;
mod handle;
mod listener;
mod rivals;
mod state;

pub use connection::{Link, LinkClosed, LinkEnd, LinkId, Switchboard};
pub(in crate::node) use handle::Reach;
pub use handle::{ConnectError, ConnectionManagerHandle, Ended, LinkStatus, ListenError};
use state::State;

enum Message {
    /// Begin to listen.
    Listen { address: String, reply: RpcReplyPort<Result<String, ListenError>> },
    /// Dial now and remember.
    Connect {
        address: String,
        expected: Option<DeviceId>,
        reply: RpcReplyPort<Result<DeviceId, ConnectError>>,
    },
    /// Dial now and whenever there is no link, for nobody who waits.
    Remember { address: String, device: DeviceId },
    /// What records say of where devices are has changed.
    Recorded,
    /// Dial no more; a link that is there may last.
    Forget { address: String },
    /// Forget, and end what was dialled.
    Disconnect { address: String, reply: RpcReplyPort<()> },
    /// Dial everybody again.
    NetworkChanged,
    /// List the links.
    Links(RpcReplyPort<Vec<Link>>),
    /// Describe the links.
    Status(RpcReplyPort<Vec<LinkStatus>>),
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
            Message::Remember { address, device } => state.remember(&myself, &address, device).await?,
            Message::Recorded => state.recorded(),
            Message::Forget { address } => state.forget(&address),
            Message::Disconnect { address, reply } => {
                state.disconnect(&address);
                answer(reply, ());
            }
            Message::NetworkChanged => state.network_changed(),
            Message::Links(reply) => answer(reply, state.links()),
            Message::Status(reply) => answer(reply, state.status()),
            Message::Tree(reply) => answer(reply, state.tree()),
            Message::Ends(reply) => answer(reply, state.ends()),
            Message::Accepted { stream, half_open } => state.accepted(&myself, stream, half_open).await?,
            Message::Met(link) => state.met(link),
            Message::Dial => state.woken(&myself).await?,
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
