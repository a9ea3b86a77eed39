//! One document, judged by everything that is known of it (AUTHORITY 3.7.3).
//!
//! A document is what is accepted of all that is known: what it has, what was kept of it when it was taken away, and what
//! has just come, in this order. So a removal purges what lies beyond its cut, and a removal that turns out void brings
//! it back, by one function; and of a fork that no cut decides stays what was seen first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::admission::{self, Refusal, Verdict};
use schema::digest::Mark;
use schema::key::Signature;
use schema::session::Wanted;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::value::Value;
use schema::{ChangeHash, DocumentId, ReplicaId};

use crate::node::group::documents::known::Known;
use crate::node::group::documents::{Document, Documents, Outcome, RowEvent};
use crate::node::group::record::DocumentRecord;
use crate::node::group::rows::{self, RowRecord};
use crate::node::keys;
use crate::node::store::StoreError;

/// Stands in for the signature of ours that a change will get if it ends a chain.
const UNSIGNED: Signature = Signature([0; 64]);

impl Documents {
    /// Judges a document by everything that is known of it, and what `came`; the first refusal of that is returned.
    pub(in crate::node::group::documents) fn rejudge(
        &mut self,
        id: DocumentId,
        mut came: Known,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        if self.quarantined.contains_key(&id) || self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        let place = (self.group, id);
        let before = self.marks_of(id)?;
        let mut known = Known::default();
        let mut old = None;
        if let Some(document) = self.load(id)? {
            known.add_run(&document.replica.changes_since(&[]).concat());
            old = Some(document.record.clone());
        }
        if let Some(old) = &old {
            known.add_tips(old, place, &self.authors);
        }
        let had = known.hashes();
        known.add(self.snapshots.load(&self.space, place, &self.authors)?);
        let ours = known.hashes();
        came.verify_older(self.group, id);
        let came: BTreeSet<ChangeHash> = known.add(came).into_iter().collect();

        let open = self.open_own(id, &mut known, &ours);
        let accepts = self.accepts(id, &mut known)?;
        let accept = |author: &Author| accepts[author].clone();
        let mut verdict = admission::vet_anew(&known.headers, &known.tips, accept);
        self.close_own(id, &mut known, &mut verdict, &open);

        let refused = |hash: ChangeHash| came.contains(&hash);
        let first = verdict.refused.iter().find(|(place, _)| refused(known.headers[*place].hash));
        let answer = first.map_or(Ok(()), |(_, refusal)| Err(refusal.clone()));
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
        let fell_now = had.iter().any(|change| !accepted.contains(change));
        let kept = known.without(&accepted, &ours);
        let lacks = kept.lacks(&accepted);
        let now = fell_now.then(|| self.clock.now());
        self.snapshots.keep(id, (&table, &key), (&kept, lacks), &self.authors, now, &mut outcome.batch);
        self.expire(outcome);
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

    /// This device vouches for each of its own changes, wherever a chain of it has to end: judged as if each of them had
    /// its tip. Says which have none.
    fn open_own(
        &self,
        id: DocumentId,
        known: &mut Known,
        ours: &BTreeSet<ChangeHash>,
    ) -> BTreeSet<ChangeHash> {
        let own = |author: &Author| author.device.0 == self.device.public();
        let tipped: BTreeSet<ChangeHash> = known.tips.iter().map(|tip| tip.tip().change).collect();
        let authors = known.tips.iter().map(|tip| tip.tip().author).filter(own).collect::<BTreeSet<_>>();
        let mut open = BTreeSet::new();
        for author in authors {
            let replica = ReplicaId::of(self.group, id, author.device, author.grant, author.incarnation);
            let without = |hash: &ChangeHash| ours.contains(hash) && !tipped.contains(hash);
            for header in known.headers.iter().filter(|h| h.replica == replica && without(&h.hash)) {
                let tip = Tip { author, seq: header.seq, change: header.hash, signature: UNSIGNED };
                known.tips.push(tip.trust_stored(self.group, id));
                open.insert(header.hash);
            }
        }
        open
    }

    /// Signs for those of our changes that do end a chain, and takes the others' tips back.
    fn close_own(
        &self,
        id: DocumentId,
        known: &mut Known,
        verdict: &mut Verdict,
        open: &BTreeSet<ChangeHash>,
    ) {
        known.tips.retain(|tip| tip.tip().signature != UNSIGNED);
        for tip in verdict.tips.iter_mut().filter(|tip| open.contains(&tip.tip().change)) {
            let Tip { author, seq, change, .. } = *tip.tip();
            let signed = Tip::sign(self.group, id, author, seq, change, &self.device);
            *tip = signed.trust_stored(self.group, id);
            known.tips.push(*tip);
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

/// Why something that was here is not accepted any more: what was said against it, before what follows from that.
fn why_it_fell(verdict: &Verdict, known: &Known, had: &BTreeSet<ChangeHash>) -> Option<Refusal> {
    let fallen = verdict.refused.iter().filter(|(place, _)| had.contains(&known.headers[*place].hash));
    let follows = |refusal: &Refusal| matches!(refusal, Refusal::RefusedDependency { .. });
    fallen.map(|(_, refusal)| refusal).min_by_key(|refusal| follows(refusal)).cloned()
}
