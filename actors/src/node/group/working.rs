//! Commits, and the long work on documents that workers do beside the actor.

use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::ChangeHash;

use super::documents::{
    CommitEnd, CommitError, Committing, Outcome, Revision, RowWrite, Slice, Work, Worked,
};
use super::{Message, State};
use crate::call::{WorkSign, answer};
use crate::clock::{Clock, Lane, WorkQueue};
use crate::node::event::Event;
use crate::node::store::{Batch, StoreError};
use crate::watchdog::{Name, Progress};

/// The port for the answer to a commit: the heads of each row.
pub(super) struct CommitReply {
    pub(super) port: RpcReplyPort<Result<Vec<Vec<ChangeHash>>, CommitError>>,
    pub(super) sign: WorkSign,
}

impl CommitReply {
    fn answer(self, result: Result<Vec<Vec<ChangeHash>>, CommitError>) {
        answer(self.port, result);
    }
}

/// A commit that waits for a document.
pub(super) struct WaitingCommit {
    writes: Vec<RowWrite>,
    reply: CommitReply,
}

/// The long work of a group, so that what somebody here waits for is not behind what peers sent.
pub(super) struct Queues {
    /// Edits and questions of this device.
    local: WorkQueue,
    materialise: WorkQueue,
}

impl Default for Queues {
    fn default() -> Self {
        let queue = || WorkQueue::new(Lane::Automerge);
        Self { local: queue(), materialise: queue() }
    }
}

impl State {
    /// Writes rows as this device: at once, or by a worker.
    pub(super) fn commit(
        &mut self,
        myself: &ActorRef<Message>,
        writes: Vec<RowWrite>,
        reply: CommitReply,
    ) -> Result<(), ActorProcessingErr> {
        let time_ms = i64::try_from(self.arguments.clock.now().as_millis()).unwrap_or(i64::MAX);
        self.settle(myself, &writes)?;
        let mut outcome = Outcome::default();
        let result = self.documents.commit(writes, time_ms, &mut outcome);
        // Memory may have run ahead of the store for good.
        if let Err(CommitError::Store(error)) = result {
            reply.answer(Err(error.clone().into()));
            return Err(error.into());
        }
        self.answer_commit(myself, result, outcome, reply);
        Ok(())
    }

    fn answer_commit(
        &mut self,
        myself: &ActorRef<Message>,
        result: Result<Committing, CommitError>,
        outcome: Outcome,
        reply: CommitReply,
    ) {
        match result {
            Ok(Committing::Working(_) | Committing::Waits(_)) => reply.sign.begin(),
            _ => reply.sign.end(),
        }
        match result {
            Ok(Committing::Done) => {
                let heads = outcome.heads.clone();
                self.arguments.meters.documents.committed_rows.add(heads.len());
                self.submit(myself, outcome, None, move |result| {
                    reply.answer(result.map(|()| heads).map_err(CommitError::from));
                });
                return;
            }
            Ok(Committing::Working(number)) => {
                self.committing.insert(number, reply);
            }
            Ok(Committing::Waits(writes)) => self.waiting.push(WaitingCommit { writes, reply }),
            // The answer waits for the batch that moved the row: before it is stored, the caller would read
            // the same row again.
            Err(error @ CommitError::Moved { .. }) => {
                let (store, durability) = (&self.arguments.store, self.arguments.durability);
                store.submit(self.handle.space(), Batch::default(), durability, |_| reply.answer(Err(error)));
            }
            Err(error) => reply.answer(Err(error)),
        }
        self.submit_some(myself, outcome);
    }

    /// Takes the result of a worker over. Commits that waited for its documents are tried again.
    pub(super) fn worked(
        &mut self,
        myself: &ActorRef<Message>,
        worked: Worked,
    ) -> Result<(), ActorProcessingErr> {
        let mut outcome = Outcome::default();
        match self.documents.integrate(worked, &mut outcome)? {
            Some(CommitEnd { number, result }) => match self.committing.remove(&number) {
                Some(reply) => self.answer_commit(myself, result, outcome, reply),
                None => self.submit_some(myself, outcome),
            },
            None => self.submit_some(myself, outcome),
        }
        let awaited = self.documents.take_awaited();
        for WaitingCommit { writes, reply } in std::mem::take(&mut self.waiting) {
            // A caller who gave up may have tried again.
            if !reply.port.is_closed() {
                self.commit(myself, writes, reply)?;
            }
        }
        let mut outcome = Outcome::default();
        for id in awaited {
            self.documents.take_later(id, &mut outcome)?;
        }
        self.submit_some(myself, outcome);
        Ok(())
    }

    /// The number of rows whose newest accepted changes cannot be read yet: a worker has them, or the store.
    pub(super) fn materialising(&self) -> usize {
        self.documents.materialising() + self.unstored.values().map(|batch| batch.rows.len()).sum::<usize>()
    }

    fn submit_some(&mut self, myself: &ActorRef<Message>, outcome: Outcome) {
        if !outcome.batch.is_empty() {
            self.submit(myself, outcome, None, |_| ());
        }
    }

    /// Begins the long work that the last step left, and tells of rows that were given up.
    pub(super) fn start_work(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        while self.tasks.try_join_next().is_some() {}
        for work in self.documents.take_work()? {
            let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
            let queue = if work.is_awaited() { self.queues.local } else { self.queues.materialise };
            let progress = self.arguments.watchdog.register(Name::of_group("worker", self.handle.id()));
            self.arguments.clock.spawn_in(&mut self.tasks, async move {
                let mut notice = FailureNotice { myself, is_due: true };
                let worked = run(&clock, queue, &progress, work).await;
                notice.is_due = false;
                // A dead group has a successor, which begins its own work.
                let _ = notice.myself.cast(Message::Worked(Box::new(worked)));
            });
        }
        for unmaterialised in self.documents.take_given_up() {
            let group = self.handle.id();
            self.arguments.events.send(Event::Unmaterialised { group, unmaterialised });
        }
        Ok(())
    }

    /// Lists the revisions of a row, from what is stored once all batches are.
    pub(super) fn history(
        &mut self,
        table: &str,
        key: &str,
        reply: RpcReplyPort<Result<Vec<Revision>, StoreError>>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(mut history) = self.documents.history(table, key)? else {
            answer(reply, Ok(Vec::new()));
            return Ok(());
        };
        let (clock, queue) = (self.arguments.clock.clone(), self.queues.local);
        self.arguments.clock.spawn_in(&mut self.tasks, async move {
            while !history.is_done() {
                let slice = move || history.slice().map(|()| history);
                match clock.work(queue, slice).await {
                    Ok(rest) => history = rest,
                    Err(error) => return answer(reply, Err(error)),
                }
            }
            answer(reply, Ok(history.into_revisions()));
        });
        Ok(())
    }
}

/// Does a piece of work, slice by slice: the workers of a process are shared.
async fn run(clock: &Clock, queue: WorkQueue, progress: &Progress, mut work: Work) -> Worked {
    loop {
        let progress = progress.clone();
        let slice = move || {
            // From here on: before, it waited for a thread.
            let _turn = progress.turn(work.doing());
            work.slice()
        };
        match clock.work(queue, slice).await {
            Slice::Done(worked) => return worked,
            Slice::More(rest) => work = rest,
        }
    }
}

/// Tells the group of a worker that failed, when it is dropped.
struct FailureNotice {
    myself: ActorRef<Message>,
    is_due: bool,
}

impl Drop for FailureNotice {
    fn drop(&mut self) {
        if self.is_due {
            let _ = self.myself.cast(Message::WorkFailed);
        }
    }
}
