//! Re-judges the documents of a group under a new roster, some in each turn: other messages pass between.

use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef};
use schema::DocumentId;
use schema::ledger::Roster;

use super::documents::{Outcome, RowWrite};
use super::{Message, State};
use crate::node::event::Event;

/// The moment at which the next documents are re-judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejudge {
    /// In a turn of its own, behind the messages that wait.
    InTurn,
    /// Once this batch is durable.
    Behind(u64),
}

impl State {
    /// Re-judges documents under a new roster; then every session compares again.
    pub(super) fn rejudge(
        &mut self,
        myself: &ActorRef<Message>,
        roster: Arc<Roster>,
    ) -> Result<(), ActorProcessingErr> {
        self.documents.set_roster(roster);
        if self.rejudging.is_some() {
            // It goes on by the new roster.
            return Ok(());
        }
        if self.documents.is_rejudging() { self.rejudge_some(myself) } else { self.compare_again(myself) }
    }

    /// Re-judges the next documents; after the last of them, every session compares again.
    pub(super) fn rejudge_some(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        self.rejudging = None;
        if self.documents.is_rejudging() {
            let (mut outcome, before) = (Outcome::default(), self.documents.rejudged());
            self.documents.rejudge_some(&mut outcome)?;
            if outcome.batch.is_empty() && self.documents.rejudged() != before {
                // No disk to wait for: a message of ours lets those go first that came meanwhile.
                let _ = myself.cast(Message::Rejudge);
                self.rejudging = Some(Rejudge::InTurn);
                return Ok(());
            }
            self.submit(myself, outcome, None, |_| ());
            self.rejudging = Some(Rejudge::Behind(self.next_batch));
            return Ok(());
        }
        self.tell_rejudged();
        self.compare_again(myself)
    }

    /// Re-judges, before anybody reads them, the documents that were last judged under another roster when
    /// the node ended.
    pub(super) async fn rejudge_all(&mut self) -> Result<(), ActorProcessingErr> {
        if !self.documents.is_rejudging() {
            return Ok(());
        }
        while self.documents.is_rejudging() {
            let mut outcome = Outcome::default();
            self.documents.begin_turn();
            self.documents.rejudge_some(&mut outcome)?;
            self.remember(&outcome.lost);
            self.documents.pin(&outcome.moved, 0);
            self.arguments.store.write(self.handle.space(), outcome.batch).await?;
            self.documents.unpin(&outcome.moved, 0);
        }
        self.tell_rejudged();
        Ok(())
    }

    /// Re-judges the documents of these writes first, if that is still to be done: a write on top of changes
    /// that are about to be purged would be purged with them.
    pub(super) fn settle(
        &mut self,
        myself: &ActorRef<Message>,
        writes: &[RowWrite],
    ) -> Result<(), ActorProcessingErr> {
        if !self.documents.is_rejudging() {
            return Ok(());
        }
        let mut outcome = Outcome::default();
        for write in writes {
            let id = DocumentId::of(self.handle.id(), &write.table, &write.key);
            self.documents.settle(id, &mut outcome)?;
        }
        if !outcome.batch.is_empty() {
            self.submit(myself, outcome, None, |_| ());
        }
        Ok(())
    }

    fn tell_rejudged(&mut self) {
        self.judged = Arc::default();
        let (group, rejudged) = (self.handle.id(), self.documents.rejudged());
        let documents = usize::try_from(rejudged.documents).unwrap_or(usize::MAX);
        self.arguments.meters.documents.rejudged.add(documents);
        self.arguments.events.send(Event::Rejudged { group, rejudged });
    }
}
