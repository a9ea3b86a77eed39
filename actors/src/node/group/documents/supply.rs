//! What peers lack: from the stored bytes, without loading a document.

use std::collections::BTreeMap;

use schema::change::{self, ChangeHeader};
use schema::digest::{Mark, Page};
use schema::session::{self, Supply, Wanted};
use schema::wire::session::{Unit, UnitTip};
use schema::wire::sync_message::SyncMessage;
use schema::{DeviceId, DocumentId, OpId, ReplicaId};

use super::Documents;
use crate::node::group::record::Stretch;
use crate::node::keys;
use crate::node::store::StoreError;

/// Heads that a message names; our receivers do not read them.
const HEADS_MAX: usize = 65_536;

impl Documents {
    /// The changes of a document beyond `have`, as a unit of at most [`UNIT_BYTES_MAX`](schema::limits::UNIT_BYTES_MAX);
    /// what does not fit waits.
    pub(super) fn unit(
        &mut self,
        wanted: &Wanted,
        authors: &mut Named,
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
        let replicas: BTreeMap<_, _> = ids.iter().zip(&record.replicas).collect();
        let tipped = |header: &ChangeHeader| {
            let record = replicas.get(&header.replica);
            record.is_some_and(|record| record.tips.binary_search_by_key(&header.seq, |tip| tip.seq).is_ok())
        };
        let (mut stretch, mut changes) = (Stretch::default(), Vec::new());
        'runs: for number in chunks.into_iter().map(Some).chain(inline.then_some(None)) {
            let run = match number.map(|number| self.space.get(&keys::chunk(id, number))) {
                None => record.inline.clone(),
                Some(Ok(Some(bytes))) => bytes,
                Some(Ok(None) | Err(StoreError::Damaged { .. })) => {
                    self.quarantine(id, "chunk is damaged");
                    return Ok(None);
                }
                Some(Err(error)) => return Err(error),
            };
            for change in change::split(&run) {
                let Ok((header, chunk)) = change else {
                    self.quarantine(id, "change is damaged");
                    return Ok(None);
                };
                if header.seq <= have_of(&header.replica) {
                    continue;
                }
                if !stretch.take(header.replica, chunk.len(), tipped(&header)) {
                    break 'runs;
                }
                changes.push((header, chunk.to_vec()));
            }
        }
        changes.truncate(stretch.vouched());
        if changes.is_empty() {
            if stretch.is_full() {
                tracing::error!(document = %id, "nothing vouches for a part of it that could be sent");
            }
            return Ok(None);
        }
        let newest: BTreeMap<_, _> = changes.iter().map(|(h, _)| (h.replica, (h.seq, h.hash))).collect();

        let mut tips = Vec::new();
        for (replica, (through, _)) in &newest {
            let record = replicas[replica];
            let author = self.authors.get(record.author).expect("replica ids were derived from it");
            let author = authors.place(author);
            let have = have_of(replica);
            for tip in record.tips.iter().filter(|tip| tip.seq > have && tip.seq <= *through) {
                let (seq, signature) = (tip.seq, tip.signature);
                tips.push(UnitTip { author, incarnation: record.incarnation, seq, signature });
            }
        }
        let rest = stretch.is_full().then(|| {
            let mut have: BTreeMap<_, _> = wanted.have.iter().map(|mark| (mark.replica, *mark)).collect();
            for (replica, (seq, change)) in newest {
                have.insert(replica, Mark { replica, seq, change });
            }
            Wanted { document: id, have: have.into_values().collect() }
        });
        let mut heads: Vec<_> = record.heads().collect();
        if heads.len() > HEADS_MAX {
            heads.clear();
        }
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

    fn marks_for_peer(&mut self, document: DocumentId) -> Result<Vec<Mark>, StoreError> {
        self.undecided_as_missing(document)
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, StoreError> {
        let (mut supply, mut authors) = (Supply::default(), Named::default());
        let mut used = 0;
        for wanted in wanted {
            let waits =
                self.unstored.contains_key(&wanted.document) || self.is_to_be_rejudged(wanted.document)?;
            if used >= bytes || waits {
                supply.later.push(wanted);
                continue;
            }
            if let Some((unit, rest)) = self.unit(&wanted, &mut authors)? {
                used += unit.message.len() + 100 * unit.tips.len();
                supply.units.push(unit);
                supply.later.extend(rest);
            }
        }
        supply.authors = authors.list;
        Ok(supply)
    }
}

/// The authors that a frame names.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) list: Vec<(DeviceId, OpId)>,
    places: BTreeMap<(DeviceId, OpId), u32>,
}

impl Named {
    fn place(&mut self, author: (DeviceId, OpId)) -> u32 {
        *self.places.entry(author).or_insert_with(|| {
            self.list.push(author);
            u32::try_from(self.list.len() - 1).expect("a frame has few authors")
        })
    }
}
