//! Submits batches, and publishes their news once they are durable.

use ractor::{ActorProcessingErr, ActorRef};
use schema::DocumentId;
use schema::document::Refusal;
use schema::session::{Input, Wanted};

use super::documents::{Outcome, RowEvent};
use super::rejudging::Rejudge;
use super::{CONTACTS_TABLE, INTENTS_TABLE, Message, State};
use crate::node::connection_manager::LinkId;
use crate::node::store::StoreError;

/// News to publish once a batch is durable.
pub(super) struct BatchNews {
    /// Hash over all documents as they are with the batch, and without any later one.
    pub(super) root: [u8; 32],
    pub(super) rows: Vec<RowEvent>,
    moved: Vec<Wanted>,
    source: Option<Source>,
}

/// The session that a batch came from.
pub(super) struct Source {
    pub(super) link: LinkId,
    /// The numbers of the frames of units that are judged with the batch, with what was refused of each.
    pub(super) judged: Vec<(u64, Vec<(DocumentId, Refusal)>)>,
}

impl State {
    /// Hands a batch to the writer; `Stored` follows in order.
    pub(super) fn submit(
        &mut self,
        myself: &ActorRef<Message>,
        outcome: Outcome,
        source: Option<Source>,
        answer: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.remember(&outcome.lost);
        self.next_batch += 1;
        let number = self.next_batch;
        self.documents.pin(&outcome.moved, number);
        let (root, rows, moved) = (self.documents.root(), outcome.rows, outcome.moved);
        self.unstored.insert(number, BatchNews { root, rows, moved, source });
        let (myself, arguments) = (myself.clone(), &self.arguments);
        arguments.store.submit(self.handle.space(), outcome.batch, arguments.durability, move |result| {
            answer(result.clone());
            // A dead group has a successor, which reads the store itself.
            let _ = myself.cast(Message::Stored { number, result });
        });
    }

    pub(super) fn stored(
        &mut self,
        myself: &ActorRef<Message>,
        number: u64,
        result: Result<(), StoreError>,
    ) -> Result<(), ActorProcessingErr> {
        // A failed batch fails the group: memory ran ahead of the store.
        result?;
        let Some(unstored) = self.unstored.remove(&number) else { return Ok(()) };
        self.documents.unpin(&unstored.moved, number);
        self.tell_authors();
        self.expire();
        self.handle.publish_root(unstored.root);
        if !unstored.rows.is_empty() {
            if self.arguments.personal {
                self.tell_intents(&unstored.rows);
            }
            self.handle.publish_rows(unstored.rows);
            if self.materialising() == 0 {
                // A caller who waits for the peers waits for the rows too.
                self.publish_peers();
            }
        }
        let source = unstored.source.as_ref().map(|source| source.link);
        let others: Vec<_> = self.sessions.keys().copied().filter(|link| Some(*link) != source).collect();
        if !unstored.moved.is_empty() {
            for link in others {
                self.step(myself, link, Input::Changed(unstored.moved.clone()))?;
            }
        }
        if let Some(Source { link, judged }) = unstored.source {
            for (number, refused) in judged {
                self.step(myself, link, Input::Applied { number, refused })?;
            }
        }
        if self.rejudging == Some(Rejudge::Behind(number)) {
            self.rejudge_some(myself)?;
        }
        Ok(())
    }

    /// Deletes what was set aside too long ago: not at the start, when the clock may not be set yet, but
    /// after a write.
    fn expire(&mut self) {
        let mut outcome = Outcome::default();
        self.documents.expire(&mut outcome);
        if !outcome.batch.is_empty() {
            let (store, durability) = (&self.arguments.store, self.arguments.durability);
            store.submit(self.handle.space(), outcome.batch, durability, |_| ());
        }
    }

    /// Tells the owner of new authors, whose certificates are kept from now on.
    pub(super) fn tell_authors(&mut self) {
        let authors = self.documents.authors();
        if authors.len() > self.told {
            let new = authors.iter().skip(self.told).map(|(_, (device, _), _)| device).collect();
            self.arguments.owner.on_accepted(self.handle.id(), new);
        }
        self.told = authors.len();
    }

    fn tell_intents(&self, rows: &[RowEvent]) {
        let owner = &self.arguments.owner;
        for event in rows {
            match event.table.as_str() {
                INTENTS_TABLE => event.key.parse().into_iter().for_each(|group| owner.on_intent(group)),
                CONTACTS_TABLE => event.key.parse().into_iter().for_each(|user| owner.on_contact(user)),
                _ => {}
            }
        }
    }
}
