//! Calls to actors with a deadline, through slots that outlive restarts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorId, ActorRef, RpcReplyPort};
use schema::limits::CALL_TIMEOUT;

/// Time for a killed actor to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// Error of a call to an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The actor is not running, or ended before it answered. The request may or may not have been
    /// performed.
    #[error("actor is stopped")]
    Stopped,
    /// The actor failed and is started again; call again. The request may or may not have been performed.
    #[error("actor failed and is being started again")]
    Restarting,
    /// The actor did not answer in time. The request may or may not have been performed.
    #[error("actor did not answer in time")]
    TimedOut,
}

/// A reference to an actor that a restart replaces under every clone.
pub(crate) struct Slot<M> {
    current: Arc<RwLock<Option<ActorRef<M>>>>,
    /// True while a failed actor is started again.
    restarts: Arc<AtomicBool>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone(), restarts: self.restarts.clone() }
    }
}

impl<M> Default for Slot<M> {
    fn default() -> Self {
        Self { current: Arc::default(), restarts: Arc::default() }
    }
}

impl<M: ractor::Message> Slot<M> {
    /// A slot whose actor is started again after each failure, until [`end`](Self::end).
    pub(crate) fn restarting() -> Self {
        Self { current: Arc::default(), restarts: Arc::new(AtomicBool::new(true)) }
    }

    /// The actor is not started again from now on.
    pub(crate) fn end(&self) {
        self.restarts.store(false, Ordering::SeqCst);
    }

    /// The error of a call while no actor runs.
    fn absence(&self) -> CallError {
        match self.restarts.load(Ordering::SeqCst) {
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

    /// Sends a request and waits for the answer, at most `CALL_TIMEOUT`.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, CallError> {
        self.ask_within(CALL_TIMEOUT, request).await
    }

    /// Sends a request and waits for the answer, at most `deadline`.
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

    /// Waits for the answer to a request that `tell` sends, at most `CALL_TIMEOUT`.
    pub(crate) async fn ask_through<T: Send + 'static>(
        &self,
        tell: impl FnOnce(RpcReplyPort<T>) -> Result<(), CallError>,
    ) -> Result<T, CallError> {
        let (sender, receiver) = ractor::concurrency::oneshot();
        tell(sender.into())?;
        match ractor::concurrency::timeout(CALL_TIMEOUT, receiver).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(self.absence()),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Sends a request and waits for the answer: at most `CALL_TIMEOUT`, and as long as the request is
    /// worked on away from the actor. Such work ends, or its failure ends the actor; the watchdog tells of
    /// it meanwhile.
    pub(crate) async fn ask_for_work<T: Send + 'static>(
        &self,
        request: impl FnOnce(WorkSign, RpcReplyPort<T>) -> M,
    ) -> Result<T, CallError> {
        let (sender, mut receiver) = ractor::concurrency::oneshot();
        let sign = WorkSign::default();
        self.tell(request(sign.clone(), sender.into()))?;
        let mut seen = 0;
        loop {
            match ractor::concurrency::timeout(CALL_TIMEOUT, &mut receiver).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(_)) => return Err(self.absence()),
                Err(_) if sign.is_working() || sign.steps() != seen => seen = sign.steps(),
                Err(_) => return Err(CallError::TimedOut),
            }
        }
    }

    /// Sends a message that has no answer. Never waits.
    pub(crate) fn tell(&self, message: M) -> Result<(), CallError> {
        self.current()?.send_message(message).map_err(|_| {
            tracing::debug!(
                message = std::any::type_name::<M>(),
                "sent a message to an actor that has ended"
            );
            self.absence()
        })
    }

    /// Stops the actor, without waiting for its end.
    pub(crate) fn stop(&self) {
        if let Ok(actor) = self.current() {
            actor.stop(None);
        }
    }

    /// Stops the actor and waits for its end; kills it after `deadline`.
    pub(crate) async fn stop_within(&self, deadline: Duration) {
        let Ok(actor) = self.current() else { return };
        actor.stop(None);
        if actor.wait(Some(deadline)).await.is_err() {
            tracing::warn!(actor = std::any::type_name::<M>(), "actor did not stop in time and is killed");
            // A kill takes effect at the actor's next await.
            let _ = actor.kill_and_wait(Some(KILL_TIMEOUT)).await;
        }
    }

    /// Kills the actor: it ends at its next await, without `post_stop`.
    pub(crate) async fn kill_within(&self, deadline: Duration) {
        let Ok(actor) = self.current() else { return };
        let _ = actor.kill_and_wait(Some(deadline)).await;
    }

    fn current(&self) -> Result<ActorRef<M>, CallError> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| self.absence())
    }
}

/// Tells a caller whether its request is worked on away from the actor. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct WorkSign(Arc<AtomicU64>);

impl WorkSign {
    /// The work begins; nothing changes if it has begun.
    pub(crate) fn begin(&self) {
        self.0.fetch_or(1, Ordering::SeqCst);
    }

    /// The work ends.
    pub(crate) fn end(&self) {
        if self.is_working() {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_working(&self) -> bool {
        self.steps() % 2 == 1
    }

    /// Counts beginnings and ends.
    fn steps(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Answers a request; the caller may have stopped waiting.
pub(crate) fn answer<T: Send>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

/// Sends an actor a message when one of its tasks ends, also by a panic.
pub(crate) struct ExitNotice<M: ractor::Message> {
    actor: ActorRef<M>,
    message: Option<M>,
}

impl<M: ractor::Message> ExitNotice<M> {
    /// Sends `crashed` when dropped.
    pub(crate) fn new(actor: ActorRef<M>, crashed: M) -> Self {
        Self { actor, message: Some(crashed) }
    }

    /// The task has completed: sends `message` instead.
    pub(crate) fn complete(mut self, message: M) {
        self.message = Some(message);
    }
}

impl<M: ractor::Message> Drop for ExitNotice<M> {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            // Fails if the actor has ended before its task.
            let _ = self.actor.send_message(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};

    use super::*;

    struct Echo;

    enum Message {
        Echo(u8, RpcReplyPort<u8>),
        NeverAnswer(RpcReplyPort<u8>),
        DropReply(RpcReplyPort<u8>),
        Work(WorkSign, RpcReplyPort<u8>),
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
                Message::Echo(number, reply) => answer(reply, number),
                Message::NeverAnswer(reply) => unanswered.push(reply),
                Message::DropReply(reply) => drop(reply),
                Message::Work(sign, reply) => {
                    sign.begin();
                    unanswered.push(reply);
                }
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
    async fn every_call_returns() {
        let slot = Slot::default();
        assert_eq!(slot.ask(|reply| Message::Echo(1, reply)).await, Err(CallError::Stopped));

        echo(&slot).await;

        assert_eq!(slot.ask(|reply| Message::Echo(1, reply)).await, Ok(1));
        assert_eq!(slot.ask(Message::NeverAnswer).await, Err(CallError::TimedOut));
        assert_eq!(slot.ask(Message::DropReply).await, Err(CallError::Stopped));
        slot.stop_within(CALL_TIMEOUT).await;
        assert_eq!(slot.ask(|reply| Message::Echo(1, reply)).await, Err(CallError::Stopped));
    }

    /// A large write once timed out while a worker made it, and landed all the same.
    #[tokio::test(start_paused = true)]
    async fn a_call_waits_as_long_as_a_worker_has_its_work_and_then_once_more() {
        let slot = Slot::default();
        echo(&slot).await;
        let (sender, sign) = tokio::sync::oneshot::channel();
        let request = |sign: WorkSign, reply| {
            let _ = sender.send(sign.clone());
            Message::Work(sign, reply)
        };
        let mut call = Box::pin(slot.ask_for_work(request));
        assert!(ractor::concurrency::timeout(10 * CALL_TIMEOUT, &mut call).await.is_err());

        sign.await.unwrap().end();

        let wait = ractor::concurrency::timeout(3 * CALL_TIMEOUT, call).await;
        assert_eq!(wait.unwrap(), Err(CallError::TimedOut));
        let stopped = slot.ask_for_work(|_, reply| Message::DropReply(reply)).await;
        assert_eq!(stopped, Err(CallError::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_during_a_restart_returns_restarting_and_after_the_end_stopped() {
        let slot = Slot::restarting();
        assert_eq!(slot.ask(|reply| Message::Echo(1, reply)).await, Err(CallError::Restarting));
        echo(&slot).await.stop_and_wait(None, Some(CALL_TIMEOUT)).await.unwrap();
        assert_eq!(slot.ask(|reply| Message::Echo(1, reply)).await, Err(CallError::Restarting));

        slot.clone().end();

        assert_eq!(slot.ask(|reply| Message::Echo(1, reply)).await, Err(CallError::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clone_reaches_the_actor_after_its_restart() {
        let slot = Slot::default();
        let clone = slot.clone();
        echo(&slot).await.stop_and_wait(None, Some(CALL_TIMEOUT)).await.unwrap();
        assert_eq!(clone.ask(|reply| Message::Echo(1, reply)).await, Err(CallError::Stopped));

        let second = echo(&slot).await;

        assert_eq!(clone.ask(|reply| Message::Echo(2, reply)).await, Ok(2));
        second.stop(None);
    }
}
