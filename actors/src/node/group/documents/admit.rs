//! Judging and applying what peers send.

use std::collections::{BTreeMap, BTreeSet};

use schema::admission::{self, Index, Refusal};
use schema::change::ChangeHeader;
use schema::limits::SYNC_MESSAGE_BYTES_MAX;
use schema::session::frame::{Unit, UnitTip, Units};
use schema::sync_message::SyncMessage;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{DeviceId, DocumentId, GroupId, OpId, ReplicaId};

use super::{Document, Documents, Outcome, put_author};
use crate::node::group::record::{Appended, TipRecord};
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
        let (headers, bytes) = match read_message(&unit.message) {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.spoiled.contains(&id) {
            return Ok(Err(Refusal::NotNow));
        }
        let healing = self.quarantined.contains_key(&id);
        if healing || self.load(id)?.is_none() {
            self.cache.put(id, Document::new(&unit.table, &unit.key), 0);
        }
        let before = self.marks_of(id)?;
        let document = self.cache.get(&id).expect("just loaded");
        let tips = match verify_tips(self.group, id, &unit.tips, authors, &headers, &document.index) {
            Ok(tips) => tips,
            Err(refusal) => {
                self.leave_empty(id);
                return Ok(Err(refusal));
            }
        };

        let roster = &self.roster;
        let verdict = admission::vet(&document.index, headers.clone(), &tips, |author| {
            let refusal = |_| Refusal::NotAllowed { author: *author };
            roster.accepts(author.device, author.grant).map(drop).map_err(refusal)
        });
        let refusal = verdict.refused.into_iter().next().map(|(_, refusal)| refusal);
        if verdict.accepted.is_empty() {
            self.leave_empty(id);
            return Ok(refusal.map_or(Ok(()), Err));
        }

        let accepted: Vec<_> = verdict.accepted.iter().map(|position| bytes[*position].clone()).collect();
        if let Err(error) = document.replica.apply(&accepted) {
            // What Automerge made of it is unknown: forget it, the store has the last good state.
            self.forget(id);
            return Ok(Err(Refusal::Unreadable { what: error.to_string() }));
        }
        let row = match document.replica.row() {
            Ok(row) => row,
            Err(error) => {
                self.forget(id);
                return Ok(Err(Refusal::Unreadable { what: error.to_string() }));
            }
        };
        let mut owners = BTreeMap::new();
        for tip in &verdict.tips {
            let author = tip.tip().author;
            let (number, is_new) = self.authors.number((author.device, author.grant));
            if is_new {
                put_author(&mut outcome.batch, number, (author.device, author.grant));
            }
            owners.insert(tip.replica(), (number, author.incarnation));
        }
        let mut spilled = Vec::new();
        for position in &verdict.accepted {
            let header = &headers[*position];
            let (author, incarnation) = owners[&header.replica];
            document.index.accept(header);
            spilled.extend(document.record.append(&Appended {
                author,
                incarnation,
                seq: header.seq,
                change: header.hash,
                bytes: &bytes[*position],
            }));
            // Checkpoints on the way are kept with the newest.
            if let Some(tip) = tips.iter().find(|tip| tip.tip().change == header.hash) {
                let tip = TipRecord { seq: header.seq, signature: tip.tip().signature };
                document.record.keep_tip(author, incarnation, tip);
            }
        }
        if healing {
            self.heal(id, outcome);
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

    /// A damaged document came back from a peer. What we had written last may not be in it, so we go on under a new
    /// incarnation: no sequence number is used twice.
    fn heal(&mut self, id: DocumentId, outcome: &mut Outcome) {
        self.quarantined.remove(&id);
        self.incarnation = self.clock.random_u64();
        outcome.batch.put(keys::INCARNATION, keys::incarnation(self.crashes, self.incarnation));
    }
}

/// Reads the changes of a message without handing a byte to Automerge.
fn read_message(message: &[u8]) -> Result<(Vec<ChangeHeader>, Vec<Vec<u8>>), Refusal> {
    let malformed = |what: String| Refusal::Unreadable { what };
    if message.len() > SYNC_MESSAGE_BYTES_MAX {
        return Err(malformed(format!("message of {} bytes", message.len())));
    }
    let message = SyncMessage::decode(message).map_err(|error| malformed(error.to_string()))?;
    let headers: Result<Vec<_>, _> =
        message.changes.iter().map(|change| ChangeHeader::read(change)).collect();
    Ok((headers.map_err(|error| malformed(error.to_string()))?, message.changes))
}

/// Rebuilds the tips that came with changes and checks each signature once.
fn verify_tips(
    group: GroupId,
    document: DocumentId,
    tips: &[UnitTip],
    authors: &[(DeviceId, OpId)],
    headers: &[ChangeHeader],
    index: &Index,
) -> Result<Vec<VerifiedTip>, Refusal> {
    let changes: BTreeMap<_, _> = headers.iter().map(|h| ((h.replica, h.seq), h.hash)).collect();
    let (mut verified, mut seen) = (Vec::new(), BTreeSet::new());
    for tip in tips {
        let author = usize::try_from(tip.author).ok().and_then(|number| authors.get(number));
        let Some(&(device, grant)) = author else { return Err(Refusal::Unvouched) };
        let author = Author { device, grant, incarnation: tip.incarnation };
        let replica = ReplicaId::of(group, document, device, grant, tip.incarnation);
        if tip.seq <= index.length(&replica) || !seen.insert((replica, tip.seq)) {
            continue;
        }
        let Some(change) = changes.get(&(replica, tip.seq)) else { continue };
        let tip = Tip { author, seq: tip.seq, change: *change, signature: tip.signature };
        verified.push(tip.verify(group, document).map_err(|_| Refusal::BadTip { device })?);
    }
    Ok(verified)
}
