//! Re-judges documents after the roster changed: steps [`Rejudging`](schema::document::Rejudging) over the
//! index of authors.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};

use schema::digest::Mark;
use schema::document::{
    ChainEnd, ChangeSet, Examined, JudgedAuthor, RejudgeEffect, RejudgeInput, WrittenKey,
};
use schema::{DocumentId, codec};

use super::set_aside::{SetAside, SetAsideTotal};
use super::{Document, Documents, Outcome};
use crate::node::event::Rejudged;
use crate::node::group::record::ReplicaRecord;
use crate::node::keys;
use crate::node::store::StoreError;

impl Documents {
    /// Begins to re-judge what the roster judges differently than when it was last judged.
    pub(super) fn find_stale_authors(&mut self) {
        let Self { authority, authors, rejudging, set_aside, unstored, .. } = self;
        let authors = authors.iter().map(|(author, (device, grant), judged)| JudgedAuthor {
            author,
            judged,
            judgement: authority.judgement(device, grant),
        });
        let set_aside_by = |stale: &BTreeSet<u32>| -> Vec<DocumentId> {
            set_aside.by(|author| stale.contains(&author)).collect()
        };
        rejudging.on_roster(authors, set_aside_by, unstored.keys().copied());
    }

    /// Returns true if documents wait to be re-judged.
    pub(crate) fn is_rejudging(&self) -> bool {
        self.rejudging.is_under_way()
    }

    /// The progress of re-judging, or that of the last time.
    pub(crate) fn rejudged(&self) -> Rejudged {
        self.rejudging.progress()
    }

    /// Re-judges some documents.
    pub(crate) fn rejudge_some(&mut self, outcome: &mut Outcome) -> Result<(), StoreError> {
        let mut input = RejudgeInput::Start;
        loop {
            input = match self.rejudging.step(input) {
                RejudgeEffect::Judge(document) => {
                    self.judge_again(document, outcome)?;
                    RejudgeInput::Judged
                }
                RejudgeEffect::List { author, after, count } => {
                    RejudgeInput::Listed(self.written_by(author, after, count)?)
                }
                RejudgeEffect::Store { author, judgement } => {
                    self.authors.set_judged(author, judgement);
                    if let Some(record) = self.authors.record(author) {
                        outcome.batch.put(keys::author(author), codec::encode(&record));
                    }
                    RejudgeInput::Stored
                }
                RejudgeEffect::Pause => return Ok(()),
            };
        }
    }

    /// Before a document is read or written by the present rules, it is judged by them.
    pub(crate) fn settle(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        if self.is_to_be_rejudged(id)? {
            self.judge_again(id, outcome)?;
            self.rejudging.on_settled(id);
        }
        Ok(())
    }

    /// Returns true if a document was last judged under another roster.
    pub(crate) fn is_to_be_rejudged(&mut self, id: DocumentId) -> Result<bool, StoreError> {
        if !self.rejudging.is_under_way() {
            return Ok(false);
        }
        let replicas = self.record(id)?.map(|record| record.replicas).unwrap_or_default();
        let chains = replicas.iter().map(|replica| (replica.author, replica.incarnation));
        Ok(self.rejudging.concerns(id, chains))
    }

    fn judge_again(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        let examined =
            Examined { is_set_aside: self.set_aside.get(&id).is_some(), ends: self.chain_ends(id)? };
        if !self.rejudging.stands(examined, &mut self.authority.judge(id))? {
            let _ = self.rebuild(id, None, ChangeSet::default(), outcome)?;
        }
        Ok(())
    }

    /// The ends of a document's chains with the numbers of their authors; `None`: it is damaged.
    fn chain_ends(&mut self, id: DocumentId) -> Result<Option<Vec<(u32, ChainEnd)>>, StoreError> {
        if !self.quarantined.contains_key(&id)
            && let Some(Document { record, index, .. }) = self.cache.get(&id)
        {
            let authors = &self.authors;
            let end = |((replica, seq, change), of): (_, &ReplicaRecord)| {
                let author = authors.author(of.author, of.incarnation)?;
                Some((of.author, ChainEnd { author, mark: Mark { replica, seq, change } }))
            };
            return Ok(index.in_order().zip(&record.replicas).map(end).collect());
        }
        let record = self.record(id)?;
        if self.quarantined.contains_key(&id) {
            return Ok(None);
        }
        let replicas = record.iter().flat_map(|record| &record.replicas);
        Ok(replicas.map(|replica| Some((replica.author, self.chain_end(id, replica)?))).collect())
    }

    /// The end of a stored chain; `None`: its author is not known, so the record is damaged.
    fn chain_end(&self, id: DocumentId, replica: &ReplicaRecord) -> Option<ChainEnd> {
        let author = self.authors.author(replica.author, replica.incarnation)?;
        let of = self.authority.document(id).replica(&author);
        Some(ChainEnd { author, mark: Mark { replica: of, seq: replica.seq, change: replica.change } })
    }

    /// Some documents that an author wrote, behind `after`, at most `count`.
    fn written_by(
        &self,
        author: u32,
        after: Option<WrittenKey>,
        count: usize,
    ) -> Result<Vec<WrittenKey>, StoreError> {
        let prefix = keys::written_by(author);
        let from = match after {
            Some((incarnation, document)) => Excluded(keys::written(author, incarnation, document)),
            None => Included(prefix.clone()),
        };
        self.space.read(|view| {
            let ours = view.scan(from.as_ref().map(Vec::as_slice), Unbounded).map(|entry| match entry {
                Ok((key, _)) | Err(StoreError::Damaged { key, .. }) => Ok(key),
                Err(error) => Err(error),
            });
            let ours = ours.take_while(|key| key.as_ref().map_or(true, |key| key.starts_with(&prefix)));
            let read = |key: Result<Vec<u8>, StoreError>| key.map(|key| keys::read_written(&key)).transpose();
            ours.take(count).filter_map(read).collect()
        })?
    }

    /// The version vector as it is shown to peers: see
    /// [`Judge::shown_mark`](schema::document::Judge::shown_mark).
    pub(super) fn shown_marks(&mut self, id: DocumentId) -> Result<Vec<Mark>, StoreError> {
        let Some(ends) = self.chain_ends(id)? else { return Ok(Vec::new()) };
        let mut judge = self.authority.judge(id);
        let marks = ends.into_iter().map(|(_, end)| judge.shown_mark(end));
        let mut marks = marks.collect::<Result<Vec<_>, _>>()?;
        marks.sort_unstable();
        Ok(marks)
    }

    /// The changes that are set aside, in figures.
    pub(crate) fn set_aside(&self) -> SetAsideTotal {
        self.set_aside.total()
    }

    /// The changes of one document that are set aside, in figures.
    pub(crate) fn set_aside_of(&self, document: &DocumentId) -> Option<&SetAside> {
        self.set_aside.get(document)
    }

    /// Deletes what was set aside too long ago.
    pub(crate) fn expire(&mut self, outcome: &mut Outcome) {
        self.set_aside.expire(self.clock.now(), &mut outcome.batch);
    }
}
