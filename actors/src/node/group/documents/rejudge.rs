//! Judging anew what was accepted under another membership: whose documents, and how far that is (authority 3.7.2).
//!
//! With each author stands the judgement under which what they wrote was last judged. Where the roster has another, the
//! author's documents are gone through by the index, in slices, and the new judgement is stored behind the last of them:
//! whatever ends in between goes on from there. A roster that comes meanwhile turns back only those whom it judges
//! otherwise again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use schema::digest::Mark;
use schema::document::{ChainEnd, ChangeSet};
use schema::{DocumentId, codec};

use super::set_aside::{SetAside, SetAsideTotal};
use super::{Documents, Outcome};
use crate::node::event::Rejudged;
use crate::node::group::record::ReplicaRecord;
use crate::node::keys;
use crate::node::store::StoreError;

/// Documents that are looked at at once: some milliseconds, in which nobody else is answered.
pub(super) const LOOKED_AT: usize = 128;
/// Documents that are rebuilt for one batch.
const REBUILT: usize = 32;

/// Whose documents are to be judged anew, and how far that is.
#[derive(Debug, Default)]
pub(super) struct Rejudging {
    /// Authors by number.
    passes: BTreeMap<u32, AuthorPass>,
    /// Documents that the index of an author does not lead to: something of them was kept that may be accepted now, or
    /// the store does not have their newest batch yet.
    first: BTreeSet<DocumentId>,
    pub(super) progress: Rejudged,
}

/// One author's documents on their way to another judgement.
#[derive(Clone, Copy, Debug)]
struct AuthorPass {
    judgement: [u8; 32],
    /// The last document that is done.
    done: Option<Place>,
}

/// A document of an author, where the index has it: incarnation and document.
type Place = (u64, DocumentId);

impl Documents {
    /// Finds the authors who are judged otherwise than when their documents were last judged.
    pub(super) fn find_stale_authors(&mut self) {
        let mut otherwise = BTreeMap::new();
        for (number, (device, grant), judged) in self.authors.iter() {
            // Under way to another judgement, some documents are already judged by that.
            let judged = self.rejudging.passes.get(&number).map_or(judged, |pass| pass.judgement);
            let judgement = self.authority.judgement(device, grant);
            if judgement != judged {
                otherwise.insert(number, AuthorPass { judgement, done: None });
            }
        }
        if otherwise.is_empty() {
            return;
        }
        if self.rejudging.passes.is_empty() {
            self.rejudging.progress = Rejudged::default();
        }
        self.rejudging.first.extend(self.set_aside.by(|author| otherwise.contains_key(&author)));
        self.rejudging.first.extend(self.unstored.keys());
        self.rejudging.passes.extend(otherwise);
    }

    /// Whether documents wait to be judged anew.
    pub(crate) fn is_rejudging(&self) -> bool {
        !self.rejudging.passes.is_empty()
    }

    /// How far judging anew is, or was when it last ended.
    pub(crate) fn rejudged(&self) -> Rejudged {
        self.rejudging.progress
    }

    /// Judges some documents anew.
    pub(crate) fn rejudge_some(&mut self, outcome: &mut Outcome) -> Result<(), StoreError> {
        let before = self.rejudging.progress;
        let goes_on = |now: Rejudged| {
            now.documents - before.documents < LOOKED_AT as u64
                && now.changed - before.changed < REBUILT as u64
        };
        while let Some(document) = self.rejudging.first.first().copied() {
            if !goes_on(self.rejudging.progress) || self.spoiled.contains(&document) {
                return Ok(());
            }
            self.rejudging.first.remove(&document);
            self.look_at(document, outcome)?;
        }
        while let Some((&author, &pass)) = self.rejudging.passes.first_key_value() {
            let page = self.written_by(author, pass.done)?;
            let is_last = page.len() < LOOKED_AT;
            for place in page {
                if !goes_on(self.rejudging.progress) || self.spoiled.contains(&place.1) {
                    return Ok(());
                }
                self.look_at(place.1, outcome)?;
                self.rejudging.passes.insert(author, AuthorPass { done: Some(place), ..pass });
            }
            if is_last {
                self.arrive(author, pass.judgement, outcome);
            }
        }
        Ok(())
    }

    /// All documents of an author are judged by this.
    fn arrive(&mut self, number: u32, judgement: [u8; 32], outcome: &mut Outcome) {
        self.rejudging.passes.remove(&number);
        self.authors.set_judged(number, judgement);
        if let Some(author) = self.authors.record(number) {
            outcome.batch.put(keys::author(number), codec::encode(&author));
        }
    }

    /// Before a document is read or written by the present rules, it is judged by them.
    pub(crate) fn settle(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        if !self.spoiled.contains(&id) && self.is_to_be_rejudged(id)? {
            self.rejudging.first.remove(&id);
            self.look_at(id, outcome)?;
        }
        Ok(())
    }

    /// Whether a document was last judged under another membership.
    pub(crate) fn is_to_be_rejudged(&mut self, id: DocumentId) -> Result<bool, StoreError> {
        if self.rejudging.passes.is_empty() {
            return Ok(false);
        }
        if self.rejudging.first.contains(&id) {
            return Ok(true);
        }
        let Some(record) = self.record(id)? else { return Ok(false) };
        let waits = record.replicas.iter().any(|replica| {
            let pass = self.rejudging.passes.get(&replica.author);
            pass.is_some_and(|pass| pass.done < Some((replica.incarnation, id)))
        });
        Ok(waits)
    }

    fn look_at(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        self.rejudging.progress.documents += 1;
        if !self.stands(id)? {
            let _ = self.rebuild(id, None, ChangeSet::default(), outcome)?;
        }
        Ok(())
    }

    /// Whether a document is plainly what it was: nothing of it lies beyond what its authors may write.
    fn stands(&mut self, id: DocumentId) -> Result<bool, StoreError> {
        // Of what is damaged nobody can say.
        if self.set_aside.get(&id).is_some() || self.quarantined.contains_key(&id) {
            return Ok(false);
        }
        let Some(record) = self.record(id)? else { return Ok(true) };
        let stale = |replica: &&ReplicaRecord| self.rejudging.passes.contains_key(&replica.author);
        let ends = record.replicas.iter().filter(stale).map(|replica| self.chain_end(id, replica));
        let Some(ends) = ends.collect::<Option<Vec<_>>>() else { return Ok(false) };
        self.authority.judge(id).are_within_bounds(ends)
    }

    /// The end of a stored chain; `None`: its author is not known, so the record is damaged.
    fn chain_end(&self, id: DocumentId, replica: &ReplicaRecord) -> Option<ChainEnd> {
        let author = self.authors.author(replica.author, replica.incarnation)?;
        let of = self.authority.document(id).replica(&author);
        Some(ChainEnd { author, mark: Mark { replica: of, seq: replica.seq, change: replica.change } })
    }

    /// Some documents that an author wrote, behind `done`.
    fn written_by(&self, author: u32, done: Option<Place>) -> Result<Vec<Place>, StoreError> {
        let prefix = keys::written_by(author);
        let from = match done {
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
            ours.take(LOOKED_AT).filter_map(read).collect()
        })?
    }

    /// The version vector as it is shown to peers: see [`Judge::shown_mark`](schema::document::Judge::shown_mark).
    pub(super) fn shown_marks(&mut self, id: DocumentId) -> Result<Vec<Mark>, StoreError> {
        let Some(record) = self.record(id)? else { return Ok(Vec::new()) };
        let ends = record.replicas.iter().map(|replica| self.chain_end(id, replica));
        let Some(ends) = ends.collect::<Option<Vec<_>>>() else { return Ok(Vec::new()) };
        let mut judge = self.authority.judge(id);
        let mut marks = ends.into_iter().map(|end| judge.shown_mark(end)).collect::<Result<Vec<_>, _>>()?;
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
