//! Asking and telling with a deadline, through slots that outlive restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorId, ActorRef, RpcReplyPort};
use schema::limits::CALL_TIMEOUT;

/// How long a killed actor may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an actor gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The actor is not running, or ended before it answered. What was asked may or may not have happened.
    #[error("actor is stopped")]
    Stopped,
    /// The actor failed and is started again; ask again. What was asked may or may not have happened.
    #[error("actor failed and is being started again")]
    Restarting,
    /// No answer came in time. What was asked may or may not have happened.
    #[error("actor did not answer in time")]
    TimedOut,
}

/// The newest incarnation of an actor; a restart replaces it under every clone.
pub(crate) struct Slot<M> {
    current: Arc<RwLock<Option<ActorRef<M>>>>,
    /// Somebody starts the actor again whenever it has failed.
    revives: Arc<AtomicBool>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone(), revives: self.revives.clone() }
    }
}

impl<M> Default for Slot<M> {
    fn default() -> Self {
        Self { current: Arc::default(), revives: Arc::default() }
    }
}

impl<M: ractor::Message> Slot<M> {
    /// A slot whose actor is started again whenever it has failed, until [`end`](Self::end).
    pub(crate) fn reviving() -> Self {
        Self { current: Arc::default(), revives: Arc::new(AtomicBool::new(true)) }
    }

    /// From now on an actor that has ended stays so.
    pub(crate) fn end(&self) {
        self.revives.store(false, Ordering::SeqCst);
    }

    /// Why nobody answers: it is over, or only between two lives.
    fn absence(&self) -> CallError {
        match self.revives.load(Ordering::SeqCst) {
            true => CallError::Restarting,
            false => CallError::Stopped,
        }
    }

    /// Points every clone at `actor`.
    pub(crate) fn put(&self, actor: ActorRef<M>) -> ActorId {
        let id = actor.get_id();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
        id
    }

    /// Asks and waits for the answer, at most `CALL_TIMEOUT`.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, CallError> {
        self.ask_within(CALL_TIMEOUT, request).await
    }

    /// Asks what takes its time.
    pub(crate) async fn ask_within<T: Send + 'static>(
        &self,
        deadline: Duration,
        request: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, CallError> {
        match self.current()?.call(request, Some(deadline)).await {
            Ok(CallResult::Success(reply)) => Ok(reply),
            Ok(CallResult::Timeout) => Err(CallError::TimedOut),
            Ok(CallResult::SenderError) | Err(_) => Err(self.absence()),
        }
    }

    /// Tells without waiting.
    pub(crate) fn tell(&self, message: M) -> Result<(), CallError> {
        self.current()?.send_message(message).map_err(|_| {
            tracing::debug!(message = std::any::type_name::<M>(), "told an actor that has ended");
            self.absence()
        })
    }

    /// Asks the actor to stop, without waiting.
    pub(crate) fn stop(&self) {
        if let Ok(actor) = self.current() {
            actor.stop(None);
        }
    }

    /// Stops the actor; kills it when it has not ended by the deadline.
    pub(crate) async fn stop_within(&self, deadline: Duration) {
        let Ok(actor) = self.current() else { return };
        actor.stop(None);
        if actor.wait(Some(deadline)).await.is_err() {
            tracing::warn!(actor = std::any::type_name::<M>(), "did not stop in time and is killed");
            // A kill takes effect at the actor's next await.
            let _ = actor.kill_and_wait(Some(KILL_TIMEOUT)).await;
        }
    }

    /// Ends the actor where it stands.
    pub(crate) async fn kill_within(&self, deadline: Duration) {
        let Ok(actor) = self.current() else { return };
        let _ = actor.kill_and_wait(Some(deadline)).await;
    }

    fn current(&self) -> Result<ActorRef<M>, CallError> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| self.absence())
    }
}

/// Answers; nobody may be waiting any more.
pub(crate) fn answer<T: Send>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

/// Tells an actor that a task of its own has ended, however that came about: a panic too.
pub(crate) struct LastWord<M: ractor::Message> {
    actor: ActorRef<M>,
    word: Option<M>,
}

impl<M: ractor::Message> LastWord<M> {
    /// Tells `crashed` when dropped.
    pub(crate) fn new(actor: ActorRef<M>, crashed: M) -> Self {
        Self { actor, word: Some(crashed) }
    }

    /// The task has ended as it should: tells `word` instead.
    pub(crate) fn say(mut self, word: M) {
        self.word = Some(word);
    }
}

impl<M: ractor::Message> Drop for LastWord<M> {
    fn drop(&mut self) {
        if let Some(word) = self.word.take() {
            // The actor has ended before its task: nobody needs to know.
            let _ = self.actor.send_message(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};

    use super::*;

    struct Echo;

    enum Message {
        Say(u8, RpcReplyPort<u8>),
        KeepSilent(RpcReplyPort<u8>),
        Forget(RpcReplyPort<u8>),
    }

    impl Actor for Echo {
        type Msg = Message;
        type State = Vec<RpcReplyPort<u8>>;
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<Self::State, ActorProcessingErr> {
            Ok(Vec::new())
        }

        async fn handle(
            &self,
            _: ActorRef<Message>,
            message: Message,
            unanswered: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            match message {
                Message::Say(word, reply) => answer(reply, word),
                Message::KeepSilent(reply) => unanswered.push(reply),
                Message::Forget(reply) => drop(reply),
            }
            Ok(())
        }
    }

    async fn echo(slot: &Slot<Message>) -> ActorRef<Message> {
        let (actor, _) = Actor::spawn(None, Echo, ()).await.unwrap();
        slot.put(actor.clone());
        actor
    }

    #[tokio::test(start_paused = true)]
    async fn every_question_ends() {
        let slot = Slot::default();
        assert_eq!(slot.ask(|reply| Message::Say(1, reply)).await, Err(CallError::Stopped));

        echo(&slot).await;

        assert_eq!(slot.ask(|reply| Message::Say(1, reply)).await, Ok(1));
        assert_eq!(slot.ask(Message::KeepSilent).await, Err(CallError::TimedOut));
        assert_eq!(slot.ask(Message::Forget).await, Err(CallError::Stopped));
        slot.stop_within(CALL_TIMEOUT).await;
        assert_eq!(slot.ask(|reply| Message::Say(1, reply)).await, Err(CallError::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_lives_is_not_the_end() {
        let slot = Slot::reviving();
        assert_eq!(slot.ask(|reply| Message::Say(1, reply)).await, Err(CallError::Restarting));
        echo(&slot).await.stop_and_wait(None, Some(CALL_TIMEOUT)).await.unwrap();
        assert_eq!(slot.ask(|reply| Message::Say(1, reply)).await, Err(CallError::Restarting));

        slot.clone().end();

        assert_eq!(slot.ask(|reply| Message::Say(1, reply)).await, Err(CallError::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clone_finds_the_next_incarnation() {
        let slot = Slot::default();
        let clone = slot.clone();
        echo(&slot).await.stop_and_wait(None, Some(CALL_TIMEOUT)).await.unwrap();
        assert_eq!(clone.ask(|reply| Message::Say(1, reply)).await, Err(CallError::Stopped));

        let second = echo(&slot).await;

        assert_eq!(clone.ask(|reply| Message::Say(2, reply)).await, Ok(2));
        second.stop(None);
    }
}
