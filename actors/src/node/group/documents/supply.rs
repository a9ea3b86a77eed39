//! Supplies peers with the changes that they lack, from the stored bytes, without loading a document.

use std::collections::BTreeMap;

use schema::change;
use schema::digest::{Digest, Mark};
use schema::document::{UnitBuilder, UnitChanges};
use schema::session::{self, Supply, Wanted};
use schema::wire::session::{Unit, UnitTip};
use schema::wire::sync_message::SyncMessage;
use schema::{DeviceId, DocumentId, OpId, ReplicaId};

use super::Documents;
use crate::node::group::record::DocumentRecord;
use crate::node::keys;
use crate::node::store::StoreError;

/// Heads that a message names; our receivers do not read them.
const HEADS_MAX: usize = 65_536;
/// Chains of the documents from which one step supplies a peer, with one document beyond.
const SUPPLIED_CHAINS: usize = 4_096;

impl Documents {
    /// The replica ids of a record, in its order.
    fn replica_ids(&mut self, id: DocumentId, record: &DocumentRecord) -> Option<Vec<ReplicaId>> {
        match self.cache.get(&id) {
            Some(document) => Some(document.index.in_order().map(|(replica, ..)| replica).collect()),
            None => record.replica_ids(self.authority.group, id, &self.authors),
        }
    }

    /// The next unit of a document for a peer; and what the peer has after it, if there is more to send.
    pub(super) fn unit(
        &mut self,
        wanted: &Wanted,
        authors: &mut FrameAuthors,
    ) -> Result<Option<(Unit, Option<Wanted>)>, StoreError> {
        let id = wanted.document;
        let Some(record) = self.record(id)? else { return Ok(None) };
        authors.chains += record.replicas.len();
        let Some(ids) = self.replica_ids(id, &record) else { return Ok(None) };
        let replicas: BTreeMap<_, _> = ids.iter().copied().zip(&record.replicas).collect();
        let mut unit = UnitBuilder::new(wanted.have.iter().copied());
        let have: Vec<u64> = ids.iter().map(|replica| unit.have(replica)).collect();
        let (chunks, has_inline) = record.runs_beyond(&have);
        'runs: for number in chunks.into_iter().map(Some).chain(has_inline.then_some(None)) {
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
                let Ok((header, bytes)) = change else {
                    self.quarantine(id, "change is damaged");
                    return Ok(None);
                };
                let tips = replicas.get(&header.replica).map(|replica| &replica.tips);
                let has_tip = tips.is_some_and(|tips| tips.contains(header.seq));
                if !unit.offer(&header, has_tip, || bytes.to_vec()) {
                    break 'runs;
                }
            }
        }
        if unit.is_stuck() {
            tracing::error!(document = %id, "no tips vouch for a part of it that is small enough to be sent");
        }
        let Some(UnitChanges { changes, spans, rest }) = unit.finish() else { return Ok(None) };
        let mut tips = Vec::new();
        for (replica, span) in spans {
            let record = replicas[&replica];
            let author = self.authors.get(record.author).expect("replica ids were derived from it");
            let author = authors.position(author);
            for tip in record.tips.iter().filter(|tip| span.contains(tip.seq)) {
                let (seq, signature) = (tip.seq, tip.signature);
                tips.push(UnitTip { author, incarnation: record.incarnation, seq, signature });
            }
        }
        let mut heads: Vec<_> = record.heads().collect();
        if heads.len() > HEADS_MAX {
            heads.clear();
        }
        let message = SyncMessage { heads, need: Vec::new(), changes }.encode();
        let unit = Unit { document: id, table: record.table, key: record.key, tips, message };
        Ok(Some((unit, rest.map(|have| Wanted { document: id, have }))))
    }
}

impl session::Documents for Documents {
    type Error = StoreError;

    fn digest(&mut self) -> &mut Digest {
        &mut self.digest
    }

    fn state(&mut self) -> [u8; 32] {
        self.authority.roster.state_digest()
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, StoreError> {
        self.marks_of(document)
    }

    fn marks_for_peer(&mut self, document: DocumentId) -> Result<Vec<Mark>, StoreError> {
        self.shown_marks(document)
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, StoreError> {
        let (mut supply, mut authors) = (Supply::default(), FrameAuthors::default());
        let mut used = 0;
        for wanted in wanted {
            let waits =
                self.unstored.contains_key(&wanted.document) || self.is_to_be_rejudged(wanted.document)?;
            supply.is_partial = authors.chains >= SUPPLIED_CHAINS;
            if used >= bytes || waits || supply.is_partial {
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
pub(super) struct FrameAuthors {
    /// Chains of the documents that the frame has changes of.
    chains: usize,
    pub(super) list: Vec<(DeviceId, OpId)>,
    positions: BTreeMap<(DeviceId, OpId), u32>,
}

impl FrameAuthors {
    fn position(&mut self, author: (DeviceId, OpId)) -> u32 {
        *self.positions.entry(author).or_insert_with(|| {
            self.list.push(author);
            u32::try_from(self.list.len() - 1).expect("a frame has few authors")
        })
    }
}
