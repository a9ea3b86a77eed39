//! The connection manager's listeners: started, and started again within the budget.

use ractor::{ActorCell, ActorProcessingErr, ActorRef};

use super::super::listener::{self, ListenerHandle, StartError};
use super::super::{Arguments, Message};
use super::{Listening, State};
use crate::restart::Verdict;

impl State {
    /// Listens at `address`, if it does not yet.
    pub(in super::super) async fn listen(
        &mut self,
        address: &str,
        parent: ActorCell,
    ) -> Result<String, StartError> {
        if let Some(listening) = self.listeners.get(address) {
            return Ok(listening.bound.clone());
        }
        let Arguments { clock, transport, .. } = self.arguments.clone();
        let handle = ListenerHandle::default();
        // Others may know the port that the system chose the first time.
        let place = self.handle.wanted().listen.get(address).cloned();
        let arguments = listener::Arguments {
            clock,
            transport,
            address: place.unwrap_or_else(|| address.to_owned()),
            manager: self.handle.clone(),
            half_open: self.half_open.clone(),
        };
        let (actor, bound) = handle.start(arguments, parent).await?;
        self.listeners.insert(address.to_owned(), Listening { actor, handle, bound: bound.clone() });
        self.handle.wanted().listen.insert(address.to_owned(), bound.clone());
        Ok(bound)
    }

    /// Starts a failed listener again, or fails when the budget is used up.
    pub(in super::super) async fn relisten(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
    ) -> Result<(), ActorProcessingErr> {
        match self.listen(&address, myself.get_cell()).await {
            Ok(_) => Ok(()),
            Err(error) => self.listener_failed(myself, address, error.into()).await,
        }
    }

    /// Counts the failure of a listener.
    pub(super) async fn listener_failed(
        &mut self,
        myself: &ActorRef<Message>,
        address: String,
        cause: ActorProcessingErr,
    ) -> Result<(), ActorProcessingErr> {
        match self.restarts.record(address.clone(), self.arguments.clock.now()) {
            Verdict::GiveUp => {
                // A failed actor gets no post_stop.
                self.close().await;
                Err(cause)
            }
            Verdict::Restart { after } => {
                tracing::warn!(%address, %cause, ?after, "listener failed");
                let (clock, actor) = (self.arguments.clock.clone(), myself.clone());
                while self.pauses.try_join_next().is_some() {}
                self.arguments.clock.spawn_in(&mut self.pauses, async move {
                    clock.sleep(after).await;
                    // The manager has ended: so will this task.
                    let _ = actor.send_message(Message::Relisten(address));
                });
                Ok(())
            }
        }
    }

    /// Listens where an earlier incarnation did.
    pub(in super::super) async fn listen_again(
        &mut self,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        let listen = self.handle.wanted().listen.clone();
        for address in listen.into_keys() {
            self.relisten(myself, address).await?;
        }
        Ok(())
    }
}
