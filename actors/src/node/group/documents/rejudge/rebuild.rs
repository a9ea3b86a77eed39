//! One document, judged by everything that is known of it (authority 3.7.3).
//!
//! A document is what is accepted of all that is known: what it has, what was kept of it when it was taken away, and what
//! has just come, in this order. So a removal purges what lies beyond its cut, and a removal that turns out void brings
//! it back, by one function; and of a fork that no cut decides stays what was seen first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::digest::Mark;
use schema::document::admission::{self, Refusal, Verdict};
use schema::limits::INAPPLICABLE_MAX;
use schema::session::Wanted;
use schema::tip::{Author, Tip};
use schema::value::Value;
use schema::{ChangeHash, DocumentId, ReplicaId};

use crate::node::group::documents::admit::Inapplicable;
use crate::node::group::documents::known::Known;
use crate::node::group::documents::snapshots::Fell;
use crate::node::group::documents::{Document, Documents, Outcome, RowEvent};
use crate::node::group::record::DocumentRecord;
use crate::node::group::replica::Replica;
use crate::node::group::rows::{self, RowRecord};
use crate::node::keys;
use crate::node::store::StoreError;

/// What the store has of a document.
#[derive(Default)]
struct Stored {
    known: Known,
    record: Option<DocumentRecord>,
    /// What of it is the document now; nothing of one that is damaged.
    had: BTreeSet<ChangeHash>,
}

impl Documents {
    /// Judges a document by everything that is known of it, and what `came`, of this `row`, from a peer; the first refusal
    /// of that is returned.
    pub(in crate::node::group::documents) fn rejudge(
        &mut self,
        id: DocumentId,
        row: Option<(&str, &str)>,
        mut came: Known,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        let before = self.marks_of(id)?;
        let Stored { mut known, record: old, had } = self.everything_stored(id)?;
        let is_damaged = self.quarantined.contains_key(&id);
        known.add(self.snapshots.load(&self.space, (self.group, id), &self.authors)?);
        let ours = known.hashes();
        came.verify_older(self.group, id);
        let is_offered = !came.headers.is_empty();
        let came: BTreeSet<ChangeHash> = known.add(came).into_iter().collect();

        let of_record = old.as_ref().map(|old| (old.table.clone(), old.key.clone()));
        let of_kept = || self.snapshots.get(&id).map(|kept| (kept.table.clone(), kept.key.clone()));
        let of_unit = || row.map(|(table, key)| (table.to_owned(), key.to_owned()));
        let Some((table, key)) = of_record.or_else(of_kept).or_else(of_unit) else {
            // Nothing is left but the knowledge that something was here: peers have it.
            return Ok(Ok(()));
        };

        let own = self.own(id, &known, &ours);
        let mut inapplicable = Inapplicable::new();
        let (document, accepted, taken, verdict) = loop {
            let accepts = self.accepts(id, &mut known, &own, &inapplicable)?;
            let accept = |author: &Author| accepts[author].clone();
            let mut verdict = admission::vet_anew(&known.headers, &known.tips, &own, accept);
            if inapplicable.len() == INAPPLICABLE_MAX {
                // Whatever it is, it is better to be without it than to show what may have fallen.
                (verdict.accepted, verdict.tips, verdict.open) = Default::default();
            }
            let hash = |place: &usize| known.headers[*place].hash;
            let accepted: BTreeSet<ChangeHash> = verdict.accepted.iter().map(hash).collect();
            // Of what is damaged something is to come of it, unless it is merely looked at.
            if accepted == had && (!is_damaged || is_offered) {
                return Ok(first_refused(&verdict, &known, &came));
            }
            self.close(id, &mut known, &mut verdict);
            let mut document = Document::new(&table, &key);
            match document.take(id, &known, &verdict, (&mut self.authors, &self.roster), outcome) {
                Ok(taken) => break (document, accepted, taken, verdict),
                Err(what) => {
                    let author = known.culprit(&Replica::new(), &verdict);
                    inapplicable.insert(author, Refusal::Inapplicable { what });
                }
            }
        };
        let answer = first_refused(&verdict, &known, &came);
        self.rejudging.progress.changed += 1;
        let why = why_it_fell(&verdict, &known, &had);
        outcome.fell.extend(why.clone().map(|refusal| (id, refusal)));
        let fell_now = is_damaged || had.iter().any(|change| !accepted.contains(change));
        let kept = known.without(&accepted, &ours);
        let lacks = kept.lacks(&accepted);
        let fell = fell_now.then(|| Fell { at: self.clock.now(), why });
        self.snapshots.keep(id, (&table, &key), (&kept, lacks), &self.authors, fell, &mut outcome.batch);
        self.expire(outcome);
        if let Some(old) = &old {
            self.take_away(id, old, &document.record, outcome);
        }
        if self.quarantined.remove(&id).is_some() {
            // What we had written last may not have come back.
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

    /// What the store has of a document; of one that is damaged, what can still be read.
    fn everything_stored(&mut self, id: DocumentId) -> Result<Stored, StoreError> {
        let place = (self.group, id);
        let mut known = Known::default();
        if let Some(document) = self.load(id)? {
            known.add_run(&document.replica.changes_since(&[]).concat());
            let record = document.record.clone();
            known.add_tips(&record, place, &self.authors);
            let had = known.hashes();
            return Ok(Stored { known, record: Some(record), had });
        }
        if !self.quarantined.contains_key(&id) {
            return Ok(Stored::default());
        }
        let record = match self.stored(id) {
            Ok(Some(record)) => record,
            Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(Stored::default()),
            Err(error) => return Err(error),
        };
        for chunk in &record.chunks {
            match self.space.get(&keys::chunk(id, chunk.number)) {
                Ok(bytes) => known.add_run(&bytes.unwrap_or_default()),
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        known.add_run(&record.inline);
        known.add_tips(&record, place, &self.authors);
        Ok(Stored { known, record: Some(record), had: BTreeSet::new() })
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

    /// This device can vouch for each of its own changes, wherever a chain of it has to end; not for what only a peer says
    /// is ours.
    fn own(
        &self,
        id: DocumentId,
        known: &Known,
        ours: &BTreeSet<ChangeHash>,
    ) -> BTreeMap<ChangeHash, Author> {
        let of_device = |author: &Author| author.device.0 == self.device.public();
        let authors = known.tips.iter().map(|tip| tip.tip().author).filter(of_device);
        let replica =
            |author: &Author| ReplicaId::of(self.group, id, author.device, author.grant, author.incarnation);
        let authors: BTreeMap<_, _> = authors.map(|author| (replica(&author), author)).collect();
        let stored = known.headers.iter().filter(|header| ours.contains(&header.hash));
        stored.filter_map(|header| Some((header.hash, *authors.get(&header.replica)?))).collect()
    }

    /// Signs for those of our changes that do end a chain.
    fn close(&self, id: DocumentId, known: &mut Known, verdict: &mut Verdict) {
        for (place, author) in std::mem::take(&mut verdict.open) {
            let header = &known.headers[place];
            let tip = Tip::sign(self.group, id, author, header.seq, header.hash, &self.device);
            let tip = tip.trust_stored(self.group, id);
            verdict.tips.push(tip);
            known.tips.push(tip);
        }
    }

    /// The row is as if it had never been.
    fn vanish(&mut self, id: DocumentId, before: Vec<Mark>, record: &DocumentRecord, outcome: &mut Outcome) {
        outcome.batch.remove(keys::document(id));
        outcome.batch.remove(rows::row_key(&record.table, &record.key));
        // Until that is stored, the store still has it.
        self.cache.remove(&id);
        self.spoiled.insert(id);
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
}

/// Why the first of what came is refused, if it is.
fn first_refused(verdict: &Verdict, known: &Known, came: &BTreeSet<ChangeHash>) -> Result<(), Refusal> {
    let mut refused = verdict.refused.iter().filter(|(place, _)| came.contains(&known.headers[*place].hash));
    refused.next().map_or(Ok(()), |(_, refusal)| Err(refusal.clone()))
}

/// Why something that was here is not accepted any more: what was said against it, before what follows from that.
fn why_it_fell(verdict: &Verdict, known: &Known, had: &BTreeSet<ChangeHash>) -> Option<Refusal> {
    let fallen = verdict.refused.iter().filter(|(place, _)| had.contains(&known.headers[*place].hash));
    let follows = |refusal: &Refusal| matches!(refusal, Refusal::RefusedDependency { .. });
    fallen.map(|(_, refusal)| refusal).min_by_key(|refusal| follows(refusal)).cloned()
}
