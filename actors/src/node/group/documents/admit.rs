//! Judging and applying what peers send.

use std::collections::{BTreeMap, BTreeSet};

use schema::document::admission::{self, Bound, Index, Refusal, Verdict};
use schema::ledger::Roster;
use schema::limits::INAPPLICABLE_MAX;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::wire::session::{Unit, Units};
use schema::{ChangeHash, DeviceId, DocumentId, OpId};

use super::known::Known;
use super::snapshots::Snapshot;
use super::{Document, Documents, Outcome, put_author};
use crate::node::group::manifests::refusal;
use crate::node::group::record::{Appended, Authors, Spilled, TipRecord};
use crate::node::group::replica::Row;
use crate::node::group::rows;
use crate::node::keys;
use crate::node::store::StoreError;

/// Chains that a document cannot take, for what they say of it: they are left out, and the others are not held up.
pub(super) type Inapplicable = BTreeMap<Author, Refusal>;

impl Documents {
    /// Judges and applies what a peer sent.
    pub(crate) fn apply(&mut self, units: Units) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        for unit in units.units {
            let id = unit.document;
            if let Err(refusal) = self.apply_unit(unit, &units.authors, &mut outcome)? {
                outcome.refused.push((id, refusal));
            }
        }
        Ok(outcome)
    }

    fn apply_unit(
        &mut self,
        unit: Unit,
        authors: &[(DeviceId, OpId)],
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let id = unit.document;
        if id != DocumentId::of(self.group, &unit.table, &unit.key)
            || rows::check_place(&unit.table, &unit.key).is_err()
        {
            return Ok(Err(Refusal::Misplaced));
        }
        let mut known = match Known::read(&unit.message) {
            Ok(known) => known,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.settle(id, outcome)?;
        // Until the store has heard what became of the document, it has another one.
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        let row = (unit.table.as_str(), unit.key.as_str());
        let is_damaged = !self.begin(id, row)?;
        let nothing = Index::new();
        let index = self.cache.get(&id).map_or(&nothing, |document| &document.index);
        let (roster, lenient) = (&self.roster, self.lenient);
        let bars = |author: &Author| match lenient {
            true => None,
            false => roster.accepts(author.device, author.grant).err().map(|cause| refusal(author, cause)),
        };
        if let Err(refusal) = known.read_tips((self.group, id), &unit.tips, authors, index, bars) {
            self.leave_empty(id);
            return Ok(Err(refusal));
        }
        // A peer has what we wrote and do not have, whether or not we take it.
        if known.tips.iter().any(|tip| self.is_ours(&tip.tip().author)) {
            self.renew(outcome);
        }
        if is_damaged {
            return self.rejudge(id, Some(row), known, outcome);
        }
        let applied = self.apply_known(id, row, known, outcome)?;
        self.leave_empty(id);
        Ok(applied)
    }

    /// Judges what came for a document, and applies what is accepted.
    fn apply_known(
        &mut self,
        id: DocumentId,
        row: (&str, &str),
        mut known: Known,
        outcome: &mut Outcome,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let before = self.marks_of(id)?;
        let mut inapplicable = Inapplicable::new();
        while inapplicable.len() < INAPPLICABLE_MAX {
            let mut verdict = self.judge(id, &mut known, &inapplicable)?;
            if !verdict.refused.is_empty() && !known.older.is_empty() {
                known.verify_older(self.group, id);
                verdict = self.judge(id, &mut known, &inapplicable)?;
            }
            let headers = || verdict.accepted.iter().map(|place| &known.headers[*place]);
            let brings_back = |kept: &Snapshot| headers().any(|header| kept.may_need(header));
            let is_awaited = self.snapshots.get(&id).is_some_and(brings_back);
            if is_awaited || !verdict.decided.is_empty() {
                return self.rejudge(id, None, known, outcome);
            }
            let answer = known.first_refused(&verdict).map_or(Ok(()), Err);
            if verdict.accepted.is_empty() {
                return Ok(answer);
            }

            // What is kept is shown to others, who take it for our word.
            known.verify_older(self.group, id);
            let document = self.cache.get(&id).expect("it was begun");
            let what = match document.take(id, &known, &verdict, (&mut self.authors, &self.roster), outcome) {
                Ok(taken) => {
                    self.finish(id, before, taken, outcome)?;
                    return Ok(answer);
                }
                Err(what) => what,
            };
            // What Automerge made of it is unknown: forget it, the store has the last good state.
            self.forget(id);
            if self.spoiled.contains(&id) || !self.begin(id, row)? {
                return Ok(Err(Refusal::NotNow));
            }
            let document = self.cache.get(&id).expect("it was begun");
            let author = known.culprit(&document.replica, &verdict);
            inapplicable.insert(author, Refusal::Inapplicable { what });
        }
        Ok(Err(inapplicable.into_values().next().expect("there is room for one")))
    }

    /// Has a document at hand, be it an empty one; `false` when it is damaged.
    fn begin(&mut self, id: DocumentId, (table, key): (&str, &str)) -> Result<bool, StoreError> {
        if self.load(id)?.is_none() && !self.quarantined.contains_key(&id) {
            self.cache.put(id, Document::new(table, key), 0);
        }
        Ok(!self.quarantined.contains_key(&id))
    }

    /// A document that gained nothing is not kept in memory for it.
    fn leave_empty(&mut self, id: DocumentId) {
        if self.cache.get(&id).is_some_and(|document| document.index.is_empty()) {
            self.cache.remove(&id);
        }
    }

    /// Judges what came upon what is accepted.
    fn judge(
        &mut self,
        id: DocumentId,
        known: &mut Known,
        inapplicable: &Inapplicable,
    ) -> Result<Verdict, StoreError> {
        let accepts = self.accepts(id, known, &BTreeMap::new(), inapplicable)?;
        let document = self.cache.get(&id).expect("it was begun");
        let accept = |author: &Author| accepts[author].clone();
        Ok(admission::vet(&document.index, &known.headers, &known.tips, accept))
    }

    /// Whether this device writes under that author now.
    pub(super) fn is_ours(&self, author: &Author) -> bool {
        author.device.0 == self.device.public() && author.incarnation == self.incarnation
    }

    /// C8 for each author who vouches for some of the changes. What a cut has of the end of a chain vouches for it too.
    pub(super) fn accepts(
        &mut self,
        id: DocumentId,
        known: &mut Known,
        own: &BTreeMap<ChangeHash, Author>,
        inapplicable: &Inapplicable,
    ) -> Result<BTreeMap<Author, Result<Vec<Bound>, Refusal>>, StoreError> {
        let authors = known.tips.iter().map(|tip| tip.tip().author).chain(own.values().copied());
        let authors: BTreeSet<Author> = authors.collect();
        let mut accepts: BTreeMap<Author, Result<Vec<Bound>, Refusal>> = BTreeMap::new();
        for author in authors {
            if let Some(refusal) = inapplicable.get(&author) {
                accepts.insert(author, Err(refusal.clone()));
                continue;
            }
            if self.lenient {
                accepts.insert(author, Ok(Vec::new()));
                continue;
            }
            let (bounds, tips) = self.manifests.judge(&self.roster, &author, id)?;
            accepts.insert(author, bounds);
            let is_here = |tip: &&Tip| known.headers.iter().any(|header| header.hash == tip.change);
            let verified = tips.iter().filter(is_here).filter_map(|tip| tip.verify(self.group, id).ok());
            let verified: Vec<_> = verified.collect();
            known.tips.extend(verified);
        }
        Ok(accepts)
    }

    /// Goes on under a new incarnation, so that no sequence number is used twice: a damaged document came back from a
    /// peer, and what we had written last may not be in it; a peer has what we wrote and do not have; or what we wrote
    /// was cut.
    pub(super) fn renew(&mut self, outcome: &mut Outcome) {
        self.incarnation = self.clock.random_u64();
        outcome.batch.put(keys::INCARNATION, keys::incarnation(self.crashes, self.incarnation));
    }
}

impl Document {
    /// Takes what was accepted: into Automerge, index and record. Says what Automerge made of it otherwise; then the
    /// document must be dropped.
    pub(super) fn take(
        &mut self,
        id: DocumentId,
        known: &Known,
        verdict: &Verdict,
        (authors, roster): (&mut Authors, &Roster),
        outcome: &mut Outcome,
    ) -> Result<(Row, Vec<Spilled>), String> {
        let accepted: Vec<_> = verdict.accepted.iter().map(|place| known.bytes[*place].clone()).collect();
        self.replica.apply(&accepted).map_err(|error| error.to_string())?;
        let row = self.replica.row().map_err(|error| error.to_string())?;
        let mut owners = BTreeMap::new();
        for tip in &verdict.tips {
            let (replica, author) = (tip.replica(), tip.tip().author);
            let number = put_author(authors, roster, (author.device, author.grant), &mut outcome.batch);
            if self.index.length(&replica) == 0 {
                outcome.batch.put(keys::written(number, author.incarnation, id), []);
            }
            owners.insert(replica, (number, author.incarnation));
        }
        let tips: BTreeMap<_, _> =
            known.tips.iter().map(VerifiedTip::tip).map(|tip| (tip.change, tip)).collect();
        let mut appended = Vec::new();
        for place in &verdict.accepted {
            let header = &known.headers[*place];
            let (author, incarnation) = owners[&header.replica];
            self.index.accept(header);
            // Tips on the way are kept with the newest.
            let tip = tips.get(&header.hash).map(|tip| TipRecord::of(tip));
            let (seq, change, bytes) = (header.seq, header.hash, &known.bytes[*place]);
            appended.push(Appended { author, incarnation, seq, change, bytes, tip });
        }
        Ok((row, self.record.extend(&appended)))
    }
}
