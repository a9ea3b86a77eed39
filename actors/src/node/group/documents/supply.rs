//! What peers lack: from the stored bytes, without loading a document.

use std::collections::{BTreeMap, BTreeSet};

use schema::change::{self, ChangeHeader};
use schema::digest::{Mark, Page};
use schema::session::frame::{Unit, UnitTip};
use schema::session::{self, Supply, Wanted};
use schema::sync_message::SyncMessage;
use schema::{DeviceId, DocumentId, OpId, ReplicaId};

use super::Documents;
use crate::node::keys;
use crate::node::store::StoreError;

/// About how many bytes of changes one unit carries before a long history is sent in parts.
const UNIT_BYTES: usize = 4 << 20;

impl Documents {
    /// The changes of a document beyond `have`, as a unit; what does not fit waits.
    pub(super) fn unit(
        &mut self,
        wanted: &Wanted,
        authors: &mut Vec<(DeviceId, OpId)>,
    ) -> Result<Option<(Unit, Option<Wanted>)>, StoreError> {
        let id = wanted.document;
        let Some(record) = self.record(id)? else { return Ok(None) };
        let Some(ids) = record.replica_ids(self.group, id, &self.authors) else { return Ok(None) };
        let have_of = |replica: &ReplicaId| {
            let at = wanted.have.binary_search_by_key(replica, |mark| mark.replica).ok();
            at.map(|at| wanted.have[at]).filter(|have| !have.is_undecided()).map_or(0, |have| have.seq)
        };
        let have: Vec<u64> = ids.iter().map(have_of).collect();
        let (chunks, inline) = record.runs_beyond(&have);
        let mut runs = Vec::new();
        for number in chunks {
            match self.space.get(&keys::chunk(id, number)) {
                Ok(Some(bytes)) => runs.push(bytes),
                Ok(None) | Err(StoreError::Damaged { .. }) => {
                    self.quarantine(id, "chunk is damaged");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        if inline {
            runs.push(record.inline.clone());
        }

        let replicas: BTreeMap<_, _> = ids.iter().zip(&record.replicas).collect();
        let tipped = |header: &ChangeHeader| {
            let record = replicas.get(&header.replica);
            record.is_some_and(|record| record.tips.iter().any(|tip| tip.seq == header.seq))
        };
        let mut changes: Vec<(ChangeHeader, Vec<u8>)> = Vec::new();
        let (mut bytes, mut untipped, mut cut, mut tried) = (0, BTreeSet::new(), false, 0);
        'runs: for run in &runs {
            for change in change::split(run) {
                let Ok((header, chunk)) = change else {
                    self.quarantine(id, "change is damaged");
                    return Ok(None);
                };
                if header.seq <= have_of(&header.replica) {
                    continue;
                }
                if bytes >= UNIT_BYTES && untipped.is_empty() {
                    cut = true;
                    break 'runs;
                }
                // Chains that were written in turns may never end in tips at one time.
                if bytes >= tried + 2 * UNIT_BYTES {
                    tried = bytes;
                    let vouched = vouched_part(&changes, tipped);
                    if !vouched.is_empty() {
                        (changes, cut) = (vouched, true);
                        break 'runs;
                    }
                }
                bytes += chunk.len();
                if tipped(&header) {
                    untipped.remove(&header.replica);
                } else {
                    untipped.insert(header.replica);
                }
                changes.push((header, chunk.to_vec()));
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let newest: BTreeMap<_, _> = changes.iter().map(|(h, _)| (h.replica, (h.seq, h.hash))).collect();

        let mut tips = Vec::new();
        for (replica, (through, _)) in &newest {
            let record = replicas[replica];
            let author = self.authors.get(record.author).expect("replica ids were derived from it");
            let author = authors.iter().position(|known| *known == author).unwrap_or_else(|| {
                authors.push(author);
                authors.len() - 1
            });
            let author = u32::try_from(author).expect("a frame has few authors");
            let have = have_of(replica);
            for tip in record.tips.iter().filter(|tip| tip.seq > have && tip.seq <= *through) {
                let (seq, signature) = (tip.seq, tip.signature);
                tips.push(UnitTip { author, incarnation: record.incarnation, seq, signature });
            }
        }
        let rest = cut.then(|| {
            let mut have: BTreeMap<_, _> = wanted.have.iter().map(|mark| (mark.replica, *mark)).collect();
            for (replica, (seq, change)) in newest {
                have.insert(replica, Mark { replica, seq, change });
            }
            Wanted { document: id, have: have.into_values().collect() }
        });
        let heads = record.heads().collect();
        let changes = changes.into_iter().map(|(_, chunk)| chunk).collect();
        let message = SyncMessage { heads, need: Vec::new(), changes }.encode();
        let unit = Unit { document: id, table: record.table, key: record.key, tips, message };
        Ok(Some((unit, rest)))
    }
}

impl session::Documents for Documents {
    type Error = StoreError;

    fn root(&mut self) -> Result<[u8; 32], StoreError> {
        Ok(self.digest.root())
    }

    fn state(&mut self) -> [u8; 32] {
        self.roster.state_digest()
    }

    fn page(&mut self, after: Option<DocumentId>, count: usize) -> Result<Page, StoreError> {
        Ok(self.digest.page(after, count))
    }

    fn differing(&mut self, page: &Page) -> Result<Vec<DocumentId>, StoreError> {
        Ok(self.digest.differing(page))
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, StoreError> {
        self.marks_of(document)
    }

    fn asks(&mut self, document: DocumentId) -> Result<Vec<Mark>, StoreError> {
        self.undecided_as_missing(document)
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, StoreError> {
        let mut supply = Supply::default();
        let mut used = 0;
        for wanted in wanted {
            let waits =
                self.unstored.contains_key(&wanted.document) || self.is_to_be_rejudged(wanted.document)?;
            if used >= bytes || waits {
                supply.later.push(wanted);
                continue;
            }
            if let Some((unit, rest)) = self.unit(&wanted, &mut supply.authors)? {
                used += unit.message.len() + 100 * unit.tips.len();
                supply.units.push(unit);
                supply.later.extend(rest);
            }
        }
        Ok(supply)
    }
}

/// Of a stretch of changes what can be sent by itself: each chain up to its newest tip, without what depends on more.
fn vouched_part(
    changes: &[(ChangeHeader, Vec<u8>)],
    tipped: impl Fn(&ChangeHeader) -> bool,
) -> Vec<(ChangeHeader, Vec<u8>)> {
    let mut part: Vec<_> = changes.iter().collect();
    loop {
        let ends: BTreeMap<_, _> =
            part.iter().filter(|(h, _)| tipped(h)).map(|(h, _)| (h.replica, h.seq)).collect();
        let (before, mut gone) = (part.len(), BTreeSet::new());
        part.retain(|(header, _)| {
            let vouched = ends.get(&header.replica).is_some_and(|end| header.seq <= *end);
            let keep = vouched && header.deps.iter().all(|dep| !gone.contains(dep));
            if !keep {
                gone.insert(header.hash);
            }
            keep
        });
        if part.len() == before {
            return part.into_iter().cloned().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::ChangeHash;

    use super::*;

    fn change(replica: u8, seq: u64, deps: &[ChangeHash]) -> (ChangeHeader, Vec<u8>) {
        let hash = ChangeHash(schema::id::hash("test", &[&[replica], &seq.to_be_bytes()]));
        let replica = ReplicaId([replica; 32]);
        (ChangeHeader { hash, replica, seq, start_op: 1, ops: 1, deps: deps.to_vec(), time: 0 }, Vec::new())
    }

    #[test]
    fn chains_written_in_turns_are_cut_where_tips_vouch_for_them() {
        // ada and ben take turns; ada's tips are at even, ben's at every third of their changes.
        let mut changes: Vec<(ChangeHeader, Vec<u8>)> = Vec::new();
        for turn in 0..11 {
            let deps: Vec<_> = changes.iter().rev().take(2).map(|(header, _)| header.hash).collect();
            changes.push(change(turn % 2, u64::from(turn / 2) + 1, &deps));
        }
        let every = |header: &ChangeHeader| if header.replica.0[0] == 0 { 2 } else { 3 };
        let tipped = |header: &ChangeHeader| header.seq.is_multiple_of(every(header));

        let part = vouched_part(&changes, tipped);

        let ends: BTreeMap<_, _> = part.iter().map(|(h, _)| (h.replica.0[0], h.seq)).collect();
        assert_eq!(ends, BTreeMap::from([(0, 4), (1, 3)]));
        let known: BTreeSet<_> = part.iter().map(|(h, _)| h.hash).collect();
        assert!(part.iter().all(|(h, _)| h.deps.iter().all(|dep| known.contains(dep))));
    }
}
