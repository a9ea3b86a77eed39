//! What peers lack: from the stored bytes, without loading a document.

use std::collections::{BTreeMap, BTreeSet};

use schema::change;
use schema::digest::{Mark, Page};
use schema::session::frame::{Unit, UnitTip};
use schema::session::{self, Supply, Wanted};
use schema::sync_message::SyncMessage;
use schema::{ChangeHash, DeviceId, DocumentId, OpId, ReplicaId};

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
            wanted.have.binary_search_by_key(replica, |mark| mark.replica).map_or(0, |at| wanted.have[at].seq)
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
        let mut changes = Vec::new();
        let mut bytes = 0;
        let mut newest: BTreeMap<ReplicaId, (u64, ChangeHash)> = BTreeMap::new();
        let mut untipped = BTreeSet::new();
        let mut cut = false;
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
                bytes += chunk.len();
                changes.push(chunk.to_vec());
                let tipped = replicas
                    .get(&header.replica)
                    .is_some_and(|r| r.tips.iter().any(|tip| tip.seq == header.seq));
                if tipped {
                    untipped.remove(&header.replica);
                } else {
                    untipped.insert(header.replica);
                }
                newest.insert(header.replica, (header.seq, header.hash));
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }

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

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, StoreError> {
        let mut supply = Supply::default();
        let mut used = 0;
        for wanted in wanted {
            if used >= bytes || self.unstored.contains_key(&wanted.document) {
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
