//! Judging anew what was accepted under another membership: whose documents, and how far that is (authority 3.7.2).
//!
//! With each author stands the judgement under which what they wrote was last judged. Where the roster has another, the
//! author's documents are gone through by the index, in slices, and the new judgement is stored behind the last of them:
//! whatever ends in between goes on from there. A roster that comes meanwhile turns back only those whom it judges
//! otherwise again.

mod rebuild;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use schema::digest::Mark;
use schema::tip::Author;
use schema::{ChangeHash, DocumentId, ReplicaId, codec};

use super::known::Known;
use super::snapshots::{Kept, Snapshot};
use super::{Documents, Outcome};
use crate::node::event::Rejudged;
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
    courses: BTreeMap<u32, Course>,
    /// Documents that the index of an author does not lead to: something of them was kept that may be accepted now, or
    /// the store does not have their newest batch yet.
    first: BTreeSet<DocumentId>,
    progress: Rejudged,
}

/// One author's documents on their way to another judgement.
#[derive(Clone, Copy, Debug)]
struct Course {
    judgement: [u8; 32],
    /// The last document that is done.
    done: Option<Place>,
}

/// A document of an author, where the index has it: incarnation and document.
type Place = (u64, DocumentId);

impl Documents {
    /// Finds the authors who are judged otherwise than when their documents were last judged.
    pub(super) fn look_who_is_judged_otherwise(&mut self) {
        if self.lenient {
            return;
        }
        let mut otherwise = BTreeMap::new();
        for (number, (device, grant), judged) in self.authors.iter() {
            // Under way to another judgement, some documents are already judged by that.
            let judged = self.rejudging.courses.get(&number).map_or(judged, |course| course.judgement);
            let judgement = self.roster.judgement(device, grant);
            if judgement != judged {
                otherwise.insert(number, Course { judgement, done: None });
            }
        }
        if otherwise.is_empty() {
            return;
        }
        if self.rejudging.courses.is_empty() {
            self.rejudging.progress = Rejudged::default();
        }
        self.rejudging.first.extend(self.snapshots.by(|author| otherwise.contains_key(&author)));
        self.rejudging.first.extend(self.unstored.keys());
        self.rejudging.courses.extend(otherwise);
    }

    /// Whether documents wait to be judged anew.
    pub(crate) fn is_rejudging(&self) -> bool {
        !self.rejudging.courses.is_empty()
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
        while let Some((&author, &course)) = self.rejudging.courses.first_key_value() {
            let page = self.written_by(author, course.done)?;
            let is_last = page.len() < LOOKED_AT;
            for place in page {
                if !goes_on(self.rejudging.progress) || self.spoiled.contains(&place.1) {
                    return Ok(());
                }
                self.look_at(place.1, outcome)?;
                self.rejudging.courses.insert(author, Course { done: Some(place), ..course });
            }
            if is_last {
                self.arrive(author, course.judgement, outcome);
            }
        }
        Ok(())
    }

    /// All documents of an author are judged by this.
    fn arrive(&mut self, number: u32, judgement: [u8; 32], outcome: &mut Outcome) {
        self.rejudging.courses.remove(&number);
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
        if self.rejudging.courses.is_empty() {
            return Ok(false);
        }
        if self.rejudging.first.contains(&id) {
            return Ok(true);
        }
        let Some(record) = self.record(id)? else { return Ok(false) };
        let waits = record.replicas.iter().any(|replica| {
            let course = self.rejudging.courses.get(&replica.author);
            course.is_some_and(|course| course.done < Some((replica.incarnation, id)))
        });
        Ok(waits)
    }

    fn look_at(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        self.rejudging.progress.documents += 1;
        if !self.stands(id)? {
            let _ = self.rejudge(id, None, Known::default(), outcome)?;
        }
        Ok(())
    }

    /// Whether a document is plainly what it was: nothing of it lies beyond what its authors may write.
    fn stands(&mut self, id: DocumentId) -> Result<bool, StoreError> {
        // Of what is damaged nobody can say.
        if self.snapshots.get(&id).is_some() || self.quarantined.contains_key(&id) {
            return Ok(false);
        }
        let Some(record) = self.record(id)? else { return Ok(true) };
        let concerned = record.replicas.iter().filter(|r| self.rejudging.courses.contains_key(&r.author));
        for replica in concerned {
            let Some((device, grant)) = self.authors.get(replica.author) else { return Ok(false) };
            let author = Author { device, grant, incarnation: replica.incarnation };
            let (Ok(bounds), _) = self.manifests.judge(&self.roster, &author, id)? else { return Ok(false) };
            let within = |end: (u64, ChangeHash)| replica.seq < end.0 || (replica.seq, replica.change) == end;
            if !bounds.iter().all(|bound| bound.end.is_some_and(within)) {
                return Ok(false);
            }
        }
        Ok(true)
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

    /// The tip vector with each chain marked of which a cut names a change that is not here. Where several cuts end a
    /// chain the lowest does: what a higher one names is never accepted.
    pub(super) fn undecided_as_missing(&mut self, id: DocumentId) -> Result<Vec<Mark>, StoreError> {
        let mut marks = self.marks_of(id)?;
        let Some(record) = self.record(id)? else { return Ok(marks) };
        for replica in &record.replicas {
            let Some((device, grant)) = self.authors.get(replica.author) else { continue };
            let author = Author { device, grant, incarnation: replica.incarnation };
            let (Ok(bounds), _) = self.manifests.judge(&self.roster, &author, id)? else { continue };
            let lowest = bounds.iter().filter_map(|bound| bound.end).min();
            if lowest.is_some_and(|(_, change)| change != replica.change) {
                let of = ReplicaId::of(self.group, id, device, grant, replica.incarnation);
                for mark in marks.iter_mut().filter(|mark| mark.replica == of) {
                    *mark = mark.undecided();
                }
            }
        }
        Ok(marks)
    }

    /// How much is kept though it is not accepted any more.
    pub(crate) fn kept(&self) -> Kept {
        self.snapshots.sum()
    }

    /// What is kept of one document.
    pub(crate) fn kept_of(&self, document: &DocumentId) -> Option<&Snapshot> {
        self.snapshots.get(document)
    }

    /// Lets go what was kept for too long.
    pub(crate) fn expire(&mut self, outcome: &mut Outcome) {
        self.snapshots.expire(self.clock.now(), &mut outcome.batch);
    }
}
