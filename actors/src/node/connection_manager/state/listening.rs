//! The listeners of the connection manager, and their restarts.

use ractor::{ActorCell, ActorProcessingErr, ActorRef};

use super::super::Message;
use super::super::listener::{self, ListenerHandle, StartError};
use super::{Listening, State};
use crate::restart::Verdict;

impl State {
    /// Listens at `address`, unless it does already.
    pub(in super::super) async fn listen(
        &mut self,
        address: &str,
        parent: ActorCell,
    ) -> Result<String, StartError> {
        if let Some(listening) = self.listeners.get(address) {
            return Ok(listening.bound.clone());
        }
        let clock = self.arguments.clock.clone();
        let handle = ListenerHandle::default();
        // Other devices may know the port that the system chose the first time.
        let bound = self.handle.desired().listen.get(address).cloned();
        let arguments = listener::Arguments {
            clock,
            transport: self.handle.transport(),
            address: bound.unwrap_or_else(|| address.to_owned()),
            manager: self.handle.clone(),
            permits: self.accepted.clone(),
        };
        let (actor, bound) = handle.start(arguments, parent).await?;
        self.listeners.insert(address.to_owned(), Listening { actor, handle, bound: bound.clone() });
        self.handle.desired().listen.insert(address.to_owned(), bound.clone());
        Ok(bound)
    }

    /// Starts a failed listener again.
    ///
    /// # Errors
    /// The listener's failure, once the restart budget is spent.
    pub(in super::super) async fn relisten(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
    ) -> Result<(), ActorProcessingErr> {
        match self.listen(&address, myself.get_cell()).await {
            Ok(_) => Ok(()),
            Err(error) => self.on_listener_failed(myself, address, error.into()).await,
        }
    }

    /// Schedules the restart of a listener, or fails if the restart budget is spent.
    pub(super) async fn on_listener_failed(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
        cause: ActorProcessingErr,
    ) -> Result<(), ActorProcessingErr> {
        match self.restarts.record(address.clone(), self.arguments.clock.moment()) {
            Verdict::GiveUp => {
                // ractor does not run `post_stop` of a failed actor.
                self.close().await;
                Err(cause)
            }
            Verdict::Restart { after } => {
                tracing::warn!(%address, %cause, ?after, "listener failed");
                let (clock, actor) = (self.arguments.clock.clone(), myself.clone());
                while self.pauses.try_join_next().is_some() {}
                self.arguments.clock.spawn_in(&mut self.pauses, async move {
                    clock.sleep(after).await;
                    // Fails if the manager has ended; this task then ends too.
                    let _ = actor.send_message(Message::Relisten(address));
                });
                Ok(())
            }
        }
    }

    /// Listens at the addresses at which the actor listened before its restart.
    pub(in super::super) async fn listen_again(
        &mut self,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        let listen = self.handle.desired().listen.clone();
        for address in listen.into_keys() {
            self.relisten(myself, address).await?;
        }
        Ok(())
    }
}
