//! Puts messages into the inbox of membership, and waits for answers.

use std::sync::{MutexGuard, PoisonError};

use schema::GroupId;
use schema::gate::{Answer, Gate, Input};
use tokio::sync::OwnedRwLockReadGuard;

use super::MembershipHandle;
use crate::call::{CallError, answer};
use crate::node::membership::inbox::Inbox;
use crate::node::membership::{Answering, ChangeError, HandleNext, Message};
use crate::permits::Permit;

impl MembershipHandle {
    /// Steps the gate; the frame of a peer holds its permit until then.
    pub(crate) fn step(&self, input: Input, permit: Option<Permit>) {
        self.tell(Message::Step(Box::new(input), permit.into_iter().collect()));
    }

    /// Membership that is being restarted misses this. It closes all links, and reads intents, contacts and
    /// addresses again once it can be told of them.
    pub(in crate::node::membership) fn tell(&self, message: Message) {
        let _ = self.push(message);
    }

    /// Puts a message where it waits for its turn.
    pub(super) fn push(&self, message: Message) -> Result<(), CallError> {
        // Locked until the message is there, so that the actor finds it.
        let mut inbox = self.inbox();
        self.slot.tell(HandleNext)?;
        inbox.push(message.class(), message);
        Ok(())
    }

    /// Makes the actor handle one message more, which it passed over before.
    pub(in crate::node::membership) fn call(&self) {
        let _ = self.slot.tell(HandleNext);
    }

    /// The messages that wait.
    pub(in crate::node::membership) fn inbox(&self) -> MutexGuard<'_, Inbox<Message>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps the gate with a request.
    pub(in crate::node::membership) async fn ask(&self, input: Input) -> Result<Answer, ChangeError> {
        self.ask_holding(input, None).await
    }

    /// Steps the gate with a request that names a cut. The guard of its pages is in the message, so that they
    /// are kept until then also when the caller gives up waiting.
    pub(in crate::node::membership) async fn ask_holding(
        &self,
        input: Input,
        cutting: Option<OwnedRwLockReadGuard<()>>,
    ) -> Result<Answer, ChangeError> {
        let input = Box::new(input);
        Ok(self.slot.ask_through(|reply| self.push(Message::Ask { input, cutting, reply })).await??)
    }

    /// Reads from the gate, about a group or about all.
    pub(in crate::node::membership) async fn read_gate<T: Send + 'static>(
        &self,
        group: Option<GroupId>,
        read: impl FnOnce(&Gate) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let message = |reply| {
            let read = Box::new(move |gate: &Gate| -> Answering {
                let read = read(gate);
                Box::new(move || answer(reply, read))
            });
            Message::Read { group, read }
        };
        self.slot.ask_through(|reply| self.push(message(reply))).await
    }
}
