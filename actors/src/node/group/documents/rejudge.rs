//! Judging anew what was accepted under another membership (AUTHORITY 3.7.2, 3.7.3).
//!
//! A document is what is accepted of all that is known of it: what it has, what was kept of it when it was taken away,
//! and what has just come. So a removal purges what lies beyond its cut, and a removal that turns out void brings it
//! back, by one function. Which authors are judged otherwise than when their documents were last judged is noted with
//! each author, and changed there only once all their documents are done: whatever ends in between goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use schema::admission::{self, Index, Refusal, Verdict};
use schema::change::{self, ChangeHeader};
use schema::digest::Mark;
use schema::session::Wanted;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::value::Value;
use schema::{ChangeHash, DocumentId, GroupId, ReplicaId};

use super::admit::Known;
use super::snapshots::{Snapshot, hashes};
use super::{Document, Documents, Outcome, RowEvent, author_record};
use crate::node::group::record::{Authors, DocumentRecord, TipRecord};
use crate::node::group::rows::{self, RowRecord};
use crate::node::keys;
use crate::node::store::StoreError;

/// Documents that are looked at at once: some milliseconds, in which nobody else is answered.
const LOOKED_AT: usize = 128;
/// Documents that are rebuilt for one batch.
const REBUILT: usize = 32;

/// Whose documents are to be judged anew, and how far that is.
#[derive(Debug, Default)]
pub(super) struct Rejudging {
    /// Authors by number, each with the last document that is done.
    authors: BTreeMap<u32, Option<(u64, DocumentId)>>,
    /// Documents of which something was kept that may be accepted now.
    kept: BTreeSet<DocumentId>,
    progress: Rejudged,
}

/// How far judging anew is, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejudged {
    /// Documents that were looked at.
    pub documents: u64,
    /// Those of them that changed.
    pub changed: u64,
}

impl Documents {
    /// Finds the authors who are judged otherwise than when their documents were last judged.
    pub(super) fn look_who_is_judged_otherwise(&mut self) {
        if self.lenient {
            return;
        }
        let roster = &self.roster;
        let otherwise = self.authors.iter().filter(|(number, (device, grant), judged)| {
            self.rejudging.authors.contains_key(number) || roster.judgement(*device, *grant) != *judged
        });
        let authors: BTreeSet<u32> = otherwise.map(|(number, ..)| number).collect();
        if authors.is_empty() {
            return;
        }
        if self.rejudging.authors.is_empty() {
            self.rejudging.progress = Rejudged::default();
        }
        self.rejudging.kept.extend(self.snapshots.by(&authors));
        self.rejudging.authors = authors.into_iter().map(|number| (number, None)).collect();
    }

    /// Whether documents wait to be judged anew.
    pub(crate) fn is_rejudging(&self) -> bool {
        !self.rejudging.authors.is_empty()
    }

    /// How far judging anew is, or was when it last ended.
    pub(crate) fn rejudged(&self) -> Rejudged {
        self.rejudging.progress
    }

    /// What is kept though it is not accepted any more.
    pub(crate) fn snapshots(&self) -> Vec<(DocumentId, Snapshot)> {
        self.snapshots.iter().map(|(document, snapshot)| (document, snapshot.clone())).collect()
    }

    /// Judges some documents anew; `false` when all are.
    pub(crate) fn rejudge_some(&mut self, outcome: &mut Outcome) -> Result<bool, StoreError> {
        let before = self.rejudging.progress;
        let goes_on = |now: Rejudged| {
            now.documents - before.documents < LOOKED_AT as u64
                && now.changed - before.changed < REBUILT as u64
        };
        while let Some(document) = self.rejudging.kept.first().copied() {
            if !goes_on(self.rejudging.progress) || self.spoiled.contains(&document) {
                return Ok(true);
            }
            self.rejudging.kept.remove(&document);
            self.look_at(document, outcome)?;
        }
        while let Some((&author, &done)) =
            self.rejudging.authors.iter().find(|(_, done)| **done != Some(DONE))
        {
            let page = self.written_by(author, done)?;
            let is_last = page.len() < LOOKED_AT;
            for (incarnation, document) in page {
                if !goes_on(self.rejudging.progress) || self.spoiled.contains(&document) {
                    return Ok(true);
                }
                self.look_at(document, outcome)?;
                self.rejudging.authors.insert(author, Some((incarnation, document)));
            }
            if is_last {
                self.rejudging.authors.insert(author, Some(DONE));
            }
        }
        for number in std::mem::take(&mut self.rejudging.authors).into_keys() {
            let Some((device, grant)) = self.authors.get(number) else { continue };
            let judgement = self.roster.judgement(device, grant);
            self.authors.set_judged(number, judgement);
            outcome.batch.put(keys::author(number), author_record((device, grant), judgement));
        }
        self.snapshots.expire(self.clock.now(), &mut outcome.batch);
        Ok(false)
    }

    /// Before a document is read or written by the present rules, it is judged by them.
    pub(crate) fn settle(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        if self.is_to_be_rejudged(id)? {
            self.rejudging.kept.remove(&id);
            self.look_at(id, outcome)?;
        }
        Ok(())
    }

    /// Whether a document was last judged under another membership.
    pub(crate) fn is_to_be_rejudged(&mut self, id: DocumentId) -> Result<bool, StoreError> {
        if self.rejudging.authors.is_empty() {
            return Ok(false);
        }
        if self.rejudging.kept.contains(&id) {
            return Ok(true);
        }
        let Some(record) = self.record(id)? else { return Ok(false) };
        let waits = record.replicas.iter().any(|replica| {
            let done = self.rejudging.authors.get(&replica.author);
            done.is_some_and(|done| *done < Some((replica.incarnation, id)))
        });
        Ok(waits)
    }

    fn look_at(&mut self, id: DocumentId, outcome: &mut Outcome) -> Result<(), StoreError> {
        self.rejudging.progress.documents += 1;
        if !self.stands(id)? {
            // What is damaged comes back from peers, and is judged then.
            let _ = self.rejudge(id, Known::default(), outcome)?;
        }
        Ok(())
    }

    /// Whether a document is plainly what it was: nothing of it lies beyond what its authors may write.
    fn stands(&mut self, id: DocumentId) -> Result<bool, StoreError> {
        if self.snapshots.get(&id).is_some() {
            return Ok(false);
        }
        let Some(record) = self.record(id)? else { return Ok(true) };
        let concerned = record.replicas.iter().filter(|r| self.rejudging.authors.contains_key(&r.author));
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

    /// Judges a document by everything that is known of it, and what `came`; the first refusal of that is returned.
    pub(super) fn rejudge(
        &mut self,
        id: DocumentId,
        came: Known,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        if self.quarantined.contains_key(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        let place = (self.group, id);
        let before = self.marks_of(id)?;
        let mut stored = Known::default();
        let mut old = None;
        if let Some(document) = self.load(id)? {
            stored.add_run(&document.replica.changes_since(&[]).concat());
            old = Some(document.record.clone());
        }
        if let Some(old) = &old {
            stored.add_tips(old, place, &self.authors);
        }
        let had = hashes(&stored);
        let mut came = came;
        came.verify_older(self.group, id);
        let mut known = self.snapshots.load(&self.space, place, &self.authors)?;
        known.add(stored);
        let ours = hashes(&known);
        self.close_own(id, &mut known);
        let came: BTreeSet<ChangeHash> = known.add(came).into_iter().collect();

        let accepts = self.accepts(id, &mut known)?;
        let verdict =
            admission::vet(&Index::new(), &known.headers, &known.tips, |author| accepts[author].clone());
        let refused = |hash: ChangeHash| came.contains(&hash);
        let first = verdict.refused.iter().find(|(place, _)| refused(known.headers[*place].hash));
        let refusal = first.map(|(_, refusal)| refusal.clone());
        let answer = refusal.map_or(Ok(()), Err);

        let accepted: BTreeSet<ChangeHash> =
            verdict.accepted.iter().map(|p| known.headers[*p].hash).collect();
        if accepted == had {
            return Ok(answer);
        }
        let (table, key) = match (&old, self.snapshots.get(&id)) {
            (Some(old), _) => (old.table.clone(), old.key.clone()),
            (None, Some(kept)) => (kept.table.clone(), kept.key.clone()),
            (None, None) => return Ok(answer),
        };
        let mut document = Document::new(&table, &key);
        let taken = document.take(id, &known, &verdict, (&mut self.authors, &self.roster), outcome);
        let taken = match taken {
            Ok(taken) => taken,
            Err(what) => {
                // Every part of it was applied before; what Automerge makes of less than all is not for us to mend.
                self.quarantine(id, &what);
                return Ok(answer);
            }
        };
        self.rejudging.progress.changed += 1;
        outcome.fell.extend(why_it_fell(&verdict, &known, &had).map(|refusal| (id, refusal)));
        let kept = known.without(&accepted, &ours);
        let now = self.clock.now();
        self.snapshots.keep(id, (&table, &key), &kept, &self.authors, now, &mut outcome.batch);
        if let Some(old) = &old {
            self.take_away(id, old, &document.record, outcome);
        }
        // A peer has what we wrote and do not have.
        let came_back =
            |tip: &VerifiedTip| self.is_ours(&tip.tip().author) && came.contains(&tip.tip().change);
        if verdict.tips.iter().any(came_back) {
            self.renew(outcome);
        }
        if accepted.is_empty() {
            self.vanish(id, before, &document.record, outcome);
            return Ok(answer);
        }
        let bytes = document.replica.approximate_bytes();
        self.cache.put(id, document, bytes);
        self.finish(id, before, taken, outcome)?;
        Ok(answer)
    }

    /// What the store has of the old document and not of the new; a chain of ours that became shorter is not gone on
    /// with.
    fn take_away(
        &mut self,
        id: DocumentId,
        old: &DocumentRecord,
        new: &DocumentRecord,
        outcome: &mut Outcome,
    ) {
        let kept: BTreeSet<u32> = new.chunks.iter().map(|chunk| chunk.number).collect();
        for chunk in old.chunks.iter().filter(|chunk| !kept.contains(&chunk.number)) {
            outcome.batch.remove(keys::chunk(id, chunk.number));
        }
        let mut is_ours_cut = false;
        for replica in &old.replicas {
            let now = new
                .replicas
                .iter()
                .find(|new| (new.author, new.incarnation) == (replica.author, replica.incarnation));
            if now.is_none() {
                outcome.batch.remove(keys::written(replica.author, replica.incarnation, id));
            }
            let is_ours =
                self.authors.get(replica.author).is_some_and(|(device, _)| device.0 == self.device.public());
            is_ours_cut |= is_ours
                && replica.incarnation == self.incarnation
                && now.is_none_or(|now| now.seq < replica.seq);
        }
        if is_ours_cut {
            self.renew(outcome);
        }
    }

    /// This device vouches for each of its own changes: wherever a chain of it has to end, others can be shown the tip.
    fn close_own(&self, id: DocumentId, known: &mut Known) {
        let own = |author: &Author| author.device.0 == self.device.public();
        let authors = known.tips.iter().map(|tip| tip.tip().author).filter(own).collect::<BTreeSet<_>>();
        for author in authors {
            let replica = ReplicaId::of(self.group, id, author.device, author.grant, author.incarnation);
            for header in known.headers.iter().filter(|header| header.replica == replica) {
                let tip = Tip::sign(self.group, id, author, header.seq, header.hash, &self.device);
                known.tips.push(tip.trust_stored(self.group, id));
            }
        }
    }

    /// The row is as if it had never been.
    fn vanish(&mut self, id: DocumentId, before: Vec<Mark>, record: &DocumentRecord, outcome: &mut Outcome) {
        outcome.batch.remove(keys::document(id));
        outcome.batch.remove(rows::row_key(&record.table, &record.key));
        self.cache.remove(&id);
        self.digest.set(id, &[]);
        let row = RowRecord {
            value: Value::Map(BTreeMap::new()),
            removed: true,
            too_deep: false,
            heads: Vec::new(),
        };
        let (table, key) = (record.table.clone(), record.key.clone());
        outcome.rows.push(RowEvent { table, key, row: Arc::new(row) });
        if outcome.moved_ids.insert(id) {
            outcome.moved.push(Wanted { document: id, have: before });
        }
    }

    /// The tip vector with each chain marked of which a cut names a change that is not here.
    pub(super) fn undecided_as_missing(&mut self, id: DocumentId) -> Result<Vec<Mark>, StoreError> {
        let mut marks = self.marks_of(id)?;
        let Some(record) = self.record(id)? else { return Ok(marks) };
        for replica in &record.replicas {
            let Some((device, grant)) = self.authors.get(replica.author) else { continue };
            let author = Author { device, grant, incarnation: replica.incarnation };
            let (Ok(bounds), _) = self.manifests.judge(&self.roster, &author, id)? else { continue };
            let names_another = |end: (u64, ChangeHash)| end.1 != replica.change;
            if bounds.iter().any(|bound| bound.end.is_some_and(names_another)) {
                let of = ReplicaId::of(self.group, id, device, grant, replica.incarnation);
                for mark in marks.iter_mut().filter(|mark| mark.replica == of) {
                    *mark = mark.undecided();
                }
            }
        }
        Ok(marks)
    }
}

/// Why something that was here is not accepted any more: what was said against it, before what follows from that.
fn why_it_fell(verdict: &Verdict, known: &Known, had: &BTreeSet<ChangeHash>) -> Option<Refusal> {
    let fallen = verdict.refused.iter().filter(|(place, _)| had.contains(&known.headers[*place].hash));
    let follows = |refusal: &Refusal| matches!(refusal, Refusal::RefusedDependency { .. });
    fallen.map(|(_, refusal)| refusal).min_by_key(|refusal| follows(refusal)).cloned()
}

/// Behind every document.
const DONE: (u64, DocumentId) = (u64::MAX, DocumentId([0xff; 32]));

impl Documents {
    /// Some documents that an author wrote, behind `done`.
    fn written_by(
        &self,
        author: u32,
        done: Option<(u64, DocumentId)>,
    ) -> Result<Vec<(u64, DocumentId)>, StoreError> {
        let prefix = keys::written_by(author);
        let from = match done {
            Some((incarnation, document)) => Excluded(keys::written(author, incarnation, document)),
            None => Included(prefix.clone()),
        };
        self.space.read(|view| {
            let from = from.as_ref().map(Vec::as_slice);
            let ours = view.scan(from, std::ops::Bound::Unbounded).map(|entry| match entry {
                Ok((key, _)) | Err(StoreError::Damaged { key, .. }) => Ok(key),
                Err(error) => Err(error),
            });
            let ours = ours.take_while(|key| key.as_ref().map_or(true, |key| key.starts_with(&prefix)));
            let read = |key: Result<Vec<u8>, StoreError>| key.map(|key| keys::read_written(&key)).transpose();
            ours.take(LOOKED_AT).filter_map(read).collect()
        })?
    }
}

impl Known {
    /// Adds the changes of a run, as records keep them; those that were here count once.
    pub(super) fn add_run(&mut self, run: &[u8]) {
        let have = hashes(self);
        for (header, bytes) in change::split(run).filter_map(Result::ok) {
            if !have.contains(&header.hash) {
                self.headers.push(header);
                self.bytes.push(bytes.to_vec());
            }
        }
    }

    /// Adds others; the hashes of those that are new.
    fn add(&mut self, others: Known) -> Vec<ChangeHash> {
        let have = hashes(self);
        self.tips.extend(others.tips);
        self.older.extend(others.older);
        let mut new = Vec::new();
        for (header, bytes) in others.headers.into_iter().zip(others.bytes) {
            if !have.contains(&header.hash) {
                new.push(header.hash);
                self.headers.push(header);
                self.bytes.push(bytes);
            }
        }
        new
    }

    /// Adds what vouches for the changes of a document.
    fn add_tips(
        &mut self,
        record: &DocumentRecord,
        (group, document): (GroupId, DocumentId),
        authors: &Authors,
    ) {
        let place = |header: &ChangeHeader| ((header.replica, header.seq), header.hash);
        let changes: BTreeMap<_, _> = self.headers.iter().map(place).collect();
        for replica in &record.replicas {
            let Some((device, grant)) = authors.get(replica.author) else { continue };
            let author = Author { device, grant, incarnation: replica.incarnation };
            let id = ReplicaId::of(group, document, device, grant, replica.incarnation);
            for TipRecord { seq, signature, .. } in replica.tips.iter().copied() {
                let Some(&change) = changes.get(&(id, seq)) else { continue };
                let tip = Tip { author, seq, change, signature };
                let is_newest = seq == replica.seq;
                let trusted = || tip.trust_stored(group, document);
                self.tips.extend(if is_newest { Some(trusted()) } else { tip.verify(group, document).ok() });
            }
        }
    }

    /// Of what was here, what is not accepted.
    fn without(self, accepted: &BTreeSet<ChangeHash>, ours: &BTreeSet<ChangeHash>) -> Self {
        let keep = |header: &ChangeHeader| ours.contains(&header.hash) && !accepted.contains(&header.hash);
        let changes = self.headers.into_iter().zip(self.bytes).filter(|(header, _)| keep(header));
        let (headers, bytes) = changes.unzip();
        Self { headers, bytes, tips: self.tips, older: Vec::new() }
    }
}
