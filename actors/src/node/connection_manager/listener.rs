//! One listener: accepts streams as fast as the manager counts them.
//!
//! Parent: [`connection_manager`](super). Children: none; its accepting task passes each stream to the
//! manager. Restart: listens again at the same address, within the manager's budget.

use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use schema::limits::DIAL_TIMEOUT;
use tokio::task::JoinSet;

use super::ConnectionManagerHandle;
use crate::call::{ExitNotice, Slot};
use crate::clock::Clock;
use crate::permits::Permits;
use crate::transport::{Listener as Listening, Transport, TransportError};

/// The handle of one listener. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ListenerHandle {
    slot: Slot<Message>,
}

/// Error of starting a listener.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot listen")]
    Transport(#[from] TransportError),
    #[error("listening took too long")]
    TimedOut,
    #[error("listener did not start")]
    Spawn(#[from] SpawnErr),
}

impl ListenerHandle {
    /// Starts to listen; returns the address to dial.
    pub(super) async fn start(
        &self,
        arguments: Arguments,
        parent: ActorCell,
    ) -> Result<(ActorId, String), StartError> {
        let listen = arguments.transport.listen(&arguments.address);
        let listening = arguments.clock.timeout(DIAL_TIMEOUT, listen).await;
        let listening = listening.map_err(|_| StartError::TimedOut)??;
        let address = listening.address().to_owned();
        let (actor, _) = Actor::spawn_linked(None, Listener, (arguments, listening), parent).await?;
        Ok((self.slot.put(actor), address))
    }

    pub(super) fn stop(&self) {
        self.slot.stop();
    }

    pub(super) async fn stop_within(&self, deadline: std::time::Duration) {
        self.slot.stop_within(deadline).await;
    }
}

enum Message {
    /// The transport has stopped accepting; none if the accepting task panicked.
    Failed(Option<TransportError>),
}

/// Arguments of a listener.
pub(super) struct Arguments {
    pub(super) clock: Clock,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) address: String,
    pub(super) manager: ConnectionManagerHandle,
    /// Permits of the manager's mailbox, shared by all listeners.
    pub(super) permits: Permits,
}

struct Listener;

impl Actor for Listener {
    type Msg = Message;
    /// The accepting task.
    type State = JoinSet<()>;
    type Arguments = (Arguments, Box<dyn Listening>);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (arguments, listening): Self::Arguments,
    ) -> Result<JoinSet<()>, ActorProcessingErr> {
        let mut tasks = JoinSet::new();
        let notice = ExitNotice::new(myself, Message::Failed(None));
        let Arguments { clock, manager, permits, .. } = arguments;
        clock.spawn_in(&mut tasks, async move {
            let error = accept(listening, manager, permits).await;
            notice.complete(Message::Failed(Some(error)));
        });
        Ok(tasks)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        _: &mut JoinSet<()>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Failed(Some(error)) => Err(error.into()),
            Message::Failed(None) => Err("the accepting task failed".into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Message>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), ActorProcessingErr> {
        tasks.shutdown().await;
        Ok(())
    }
}

/// Accepts streams until the transport fails. A permit is held until the manager has counted the stream, not
/// for its handshake: half-open handshakes keep nobody out.
async fn accept(
    mut listening: Box<dyn Listening>,
    manager: ConnectionManagerHandle,
    permits: Permits,
) -> TransportError {
    loop {
        let permit = permits.acquire(1).await;
        match listening.accept().await {
            Ok(stream) => manager.on_accepted(stream, permit),
            Err(error) => return error,
        }
    }
}
