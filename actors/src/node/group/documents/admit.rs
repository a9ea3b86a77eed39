//! Judging and applying what peers send.

use std::collections::{BTreeMap, BTreeSet};

use schema::admission::{self, Bound, Index, Refusal, Verdict};
use schema::change::ChangeHeader;
use schema::ledger::Roster;
use schema::limits::SYNC_MESSAGE_BYTES_MAX;
use schema::session::frame::{Unit, UnitTip, Units};
use schema::sync_message::SyncMessage;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{DeviceId, DocumentId, GroupId, OpId, ReplicaId};

use super::{Document, Documents, Outcome, put_author};
use crate::node::group::record::{Appended, Authors, Spilled, TipRecord};
use crate::node::group::replica::Row;
use crate::node::group::rows;
use crate::node::keys;
use crate::node::store::StoreError;

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
        let mut known = match read_message(&unit.message) {
            Ok(known) => known,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        self.settle(id, outcome)?;
        let healing = self.quarantined.contains_key(&id);
        if healing || self.load(id)?.is_none() {
            self.cache.put(id, Document::new(&unit.table, &unit.key), 0);
        }
        let before = self.marks_of(id)?;
        let document = self.cache.get(&id).expect("just loaded");
        if let Err(refusal) = known.read_tips(self.group, id, &unit.tips, authors, &document.index) {
            self.leave_empty(id);
            return Ok(Err(refusal));
        }
        let mut verdict = self.judge(id, &mut known)?;
        if !verdict.refused.is_empty() && !known.older.is_empty() {
            known.verify_older(self.group, id);
            verdict = self.judge(id, &mut known)?;
        }
        // What was kept may depend on what has come.
        let brings_back = !verdict.accepted.is_empty() && self.snapshots.get(&id).is_some();
        if !healing && (brings_back || !verdict.decided.is_empty()) {
            return self.rejudge(id, known, outcome);
        }
        let refusal = verdict.refused.first().map(|(_, refusal)| refusal.clone());
        if verdict.accepted.is_empty() {
            self.leave_empty(id);
            return Ok(refusal.map_or(Ok(()), Err));
        }

        // What is kept is shown to others, who take it for our word.
        known.verify_older(self.group, id);
        let document = self.cache.get(&id).expect("just loaded");
        let taken = document.take(id, &known, &verdict, (&mut self.authors, &self.roster), outcome);
        let (row, spilled) = match taken {
            Ok(taken) => taken,
            Err(what) => {
                // What Automerge made of it is unknown: forget it, the store has the last good state.
                self.forget(id);
                return Ok(Err(Refusal::Unreadable { what }));
            }
        };
        if healing || verdict.tips.iter().any(|tip| self.is_ours(&tip.tip().author)) {
            self.quarantined.remove(&id);
            self.renew(outcome);
        }
        self.finish(id, before, (row, spilled), outcome)?;
        Ok(refusal.map_or(Ok(()), Err))
    }

    /// A document that gained nothing is not kept in memory for it.
    fn leave_empty(&mut self, id: DocumentId) {
        if self.cache.get(&id).is_some_and(|document| document.index.is_empty()) {
            self.cache.remove(&id);
        }
    }

    /// Judges what came upon what is accepted.
    fn judge(&mut self, id: DocumentId, known: &mut Known) -> Result<Verdict, StoreError> {
        let accepts = self.accepts(id, known)?;
        let document = self.cache.get(&id).expect("just loaded");
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
    ) -> Result<BTreeMap<Author, Result<Vec<Bound>, Refusal>>, StoreError> {
        let authors: BTreeSet<Author> = known.tips.iter().map(|tip| tip.tip().author).collect();
        let mut accepts = BTreeMap::new();
        for author in authors {
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
        let verified = known.tips.iter().map(VerifiedTip::tip);
        let tips: BTreeMap<_, _> = known.older.iter().chain(verified).map(|tip| (tip.change, tip)).collect();
        let mut spilled = Vec::new();
        for place in &verdict.accepted {
            let header = &known.headers[*place];
            let (author, incarnation) = owners[&header.replica];
            self.index.accept(header);
            spilled.extend(self.record.append(&Appended {
                author,
                incarnation,
                seq: header.seq,
                change: header.hash,
                bytes: &known.bytes[*place],
            }));
            // Those on the way are kept with the newest.
            if let Some(tip) = tips.get(&header.hash) {
                self.record.keep_tip(author, incarnation, TipRecord::of(tip));
            }
        }
        Ok((row, spilled))
    }
}

/// Changes of one document, and what vouches for them.
#[derive(Default)]
pub(super) struct Known {
    pub(super) headers: Vec<ChangeHeader>,
    pub(super) bytes: Vec<Vec<u8>>,
    pub(super) tips: Vec<VerifiedTip>,
    /// Tips below the newest of a chain, which nobody has verified: they matter where the newest does not stand.
    pub(super) older: Vec<Tip>,
}

/// Reads the changes of a message without handing a byte to Automerge.
fn read_message(message: &[u8]) -> Result<Known, Refusal> {
    let malformed = |what: String| Refusal::Unreadable { what };
    if message.len() > SYNC_MESSAGE_BYTES_MAX {
        return Err(malformed(format!("message of {} bytes", message.len())));
    }
    let message = SyncMessage::decode(message).map_err(|error| malformed(error.to_string()))?;
    let headers: Result<Vec<_>, _> =
        message.changes.iter().map(|change| ChangeHeader::read(change)).collect();
    let headers = headers.map_err(|error| malformed(error.to_string()))?;
    Ok(Known { headers, bytes: message.changes, ..Known::default() })
}

impl Known {
    /// Rebuilds the tips that came with changes, and checks the signature of the newest of each chain.
    fn read_tips(
        &mut self,
        group: GroupId,
        document: DocumentId,
        tips: &[UnitTip],
        authors: &[(DeviceId, OpId)],
        index: &Index,
    ) -> Result<(), Refusal> {
        let changes: BTreeMap<_, _> = self.headers.iter().map(|h| ((h.replica, h.seq), h.hash)).collect();
        let mut chains: BTreeMap<ReplicaId, BTreeMap<u64, Tip>> = BTreeMap::new();
        for tip in tips {
            let author = usize::try_from(tip.author).ok().and_then(|number| authors.get(number));
            let Some(&(device, grant)) = author else { return Err(Refusal::Unvouched) };
            let author = Author { device, grant, incarnation: tip.incarnation };
            let replica = ReplicaId::of(group, document, device, grant, tip.incarnation);
            // One of another branch, at a place that is taken, may be the one that a cut names.
            let Some(&change) = changes.get(&(replica, tip.seq)) else { continue };
            if !index.contains(&change) {
                let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
                chains.entry(replica).or_default().entry(tip.seq).or_insert(tip);
            }
        }
        for mut chain in chains.into_values() {
            let Some((_, newest)) = chain.pop_last() else { continue };
            let bad = |_| Refusal::BadTip { device: newest.author.device };
            self.tips.push(newest.verify(group, document).map_err(bad)?);
            self.older.extend(chain.into_values());
        }
        Ok(())
    }

    /// Checks the others; those that do not hold are nothing.
    pub(super) fn verify_older(&mut self, group: GroupId, document: DocumentId) {
        let older = std::mem::take(&mut self.older);
        self.tips.extend(older.iter().filter_map(|tip| tip.verify(group, document).ok()));
    }
}
