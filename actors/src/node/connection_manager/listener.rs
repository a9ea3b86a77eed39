//! Accepts streams while permits last.
//!
//! Parent: [`connection_manager`](super). Children: none; its accepting task hands each stream to the manager.
//! Restart: listens again at the same address, within the manager's budget.

use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use schema::limits::DIAL_TIMEOUT;
use tokio::task::JoinSet;

use super::ConnectionManagerHandle;
use crate::call::{LastWord, Slot};
use crate::clock::Clock;
use crate::permits::Permits;
use crate::transport::{Listener as Listening, Transport, TransportError};

/// Steers one listener.
#[derive(Clone, Default)]
pub(super) struct ListenerHandle {
    slot: Slot<Message>,
}

/// Why a listener does not start.
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
    /// Listens; returns the address to dial.
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
    /// The transport accepts no more; none where the accepting task itself has failed.
    Failed(Option<TransportError>),
}

/// What a listener works with.
pub(super) struct Arguments {
    pub(super) clock: Clock,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) address: String,
    pub(super) manager: ConnectionManagerHandle,
    /// Half-open handshakes of all listeners.
    pub(super) half_open: Permits,
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
        let last = LastWord::new(myself, Message::Failed(None));
        let Arguments { clock, manager, half_open, .. } = arguments;
        clock.spawn_in(&mut tasks, async move {
            let error = accept(listening, manager, half_open).await;
            last.say(Message::Failed(Some(error)));
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

/// Takes a permit before it takes a stream: who finds no room waits in the system's queue.
async fn accept(
    mut listening: Box<dyn Listening>,
    manager: ConnectionManagerHandle,
    half_open: Permits,
) -> TransportError {
    loop {
        let permit = half_open.acquire(1).await;
        match listening.accept().await {
            Ok(stream) => manager.accepted(stream, permit),
            Err(error) => return error,
        }
    }
}
