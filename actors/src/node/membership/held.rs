//! Holds what steps owe until their batches are durable: permits of frames, answers to callers.
//!
//! The permits are the back-pressure of a link: a peer whose frames are not durable yet is read no further.

use std::collections::BTreeMap;

use ractor::RpcReplyPort;
use schema::GroupId;
use schema::gate::Answer;
use tokio::sync::OwnedRwLockReadGuard;

use super::Answering;
use crate::call::answer;
use crate::node::store::StoreError;
use crate::permits::Permit;

/// Steps of links whose batches are not durable, after which only commands are handled: each may hold a
/// roster that is to be published.
const LINK_STEPS_MAX: usize = 16;

/// A request whose answer waits for its batches.
pub(super) struct Asked {
    pub(super) reply: RpcReplyPort<Result<Answer, StoreError>>,
    /// Keeps the pages of its cut until then.
    pub(super) _cutting: Option<OwnedRwLockReadGuard<()>>,
}

/// Something that a step owes.
pub(super) enum Owed {
    /// The permits of its frames.
    Permits(Vec<Permit>),
    /// The answer to a read.
    Answer(Answering),
    /// The reply to a caller, if there is one.
    Reply(Option<RpcReplyPort<()>>),
}

/// The effects that something waits for: those of one group or of all, up to a mark of the gate.
#[derive(Clone, Copy)]
pub(super) struct Until {
    pub(super) group: Option<GroupId>,
    pub(super) mark: u64,
}

/// The debts of steps.
#[derive(Default)]
pub(super) struct Held {
    owed: Vec<(Until, Owed)>,
    /// Requests without an answer, by number.
    asked: BTreeMap<u64, Asked>,
    requests: u64,
    /// Steps of links in `owed`.
    link_steps: usize,
    /// Messages of links that were passed over.
    paused: usize,
}

impl Held {
    /// Returns true if a frame may be handled now.
    pub(super) fn takes_links(&self) -> bool {
        self.link_steps < LINK_STEPS_MAX
    }

    /// Notes that the inbox had nothing to be handled now.
    pub(super) fn pause(&mut self, takes_links: bool) {
        self.paused += usize::from(!takes_links);
    }

    /// Notes a request that is stepped next.
    pub(super) fn ask(&mut self, asked: Asked) {
        self.asked.insert(self.requests, asked);
        self.requests += 1;
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, request: u64, to_request: Answer) {
        if let Some(asked) = self.asked.remove(&request) {
            answer(asked.reply, Ok(to_request));
        }
    }

    pub(super) fn hold(&mut self, until: Until, owed: Owed) {
        self.link_steps += usize::from(matches!(owed, Owed::Permits(_)));
        self.owed.push((until, owed));
    }

    /// Pays what is owed for durable batches, in order; returns how many messages that were passed over may
    /// be handled now.
    pub(super) fn pay(&mut self, is_settled: impl Fn(Until) -> bool) -> usize {
        let owed = std::mem::take(&mut self.owed).into_iter();
        let (due, kept): (Vec<_>, Vec<_>) = owed.partition(|(until, _)| is_settled(*until));
        self.owed = kept;
        for (_, owed) in due {
            match owed {
                Owed::Permits(permits) => {
                    self.link_steps -= 1;
                    drop(permits);
                }
                Owed::Answer(answering) => answering(),
                Owed::Reply(reply) => reply.into_iter().for_each(|reply| answer(reply, ())),
            }
        }
        let resumed = if self.takes_links() { self.paused.min(LINK_STEPS_MAX) } else { 0 };
        self.paused -= resumed;
        resumed
    }

    /// Answers every request with an error.
    pub(super) fn fail(&mut self, error: &StoreError) {
        let asked = std::mem::take(&mut self.asked);
        asked.into_values().for_each(|asked| answer(asked.reply, Err(error.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permits::Permits;

    #[tokio::test]
    async fn permits_are_held_until_their_batches_are_durable_and_links_pause_at_sixteen_steps() {
        let (permits, mut held) = (Permits::new(100), Held::default());
        for mark in 1..=LINK_STEPS_MAX as u64 {
            assert!(held.takes_links());
            let owed = Owed::Permits(vec![permits.acquire(1).await]);
            held.hold(Until { group: None, mark }, owed);
        }
        assert!(!held.takes_links());
        (0..3).for_each(|_| held.pause(false));
        assert_eq!((held.pay(|_| false), permits.available()), (0, 100 - LINK_STEPS_MAX));

        let resumed = held.pay(|until| until.mark == 2);

        assert_eq!((resumed, permits.available()), (3, 101 - LINK_STEPS_MAX));
        assert!(held.takes_links());
        assert_eq!(held.pay(|_| true), 0, "each message is resumed once");
        assert_eq!(permits.available(), 100);
    }
}
