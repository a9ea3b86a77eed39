//! Changes of one document with what vouches for them: from a message, from the store, put together (pure).

use std::collections::{BTreeMap, BTreeSet};

use schema::change::{self, ChangeHeader};
use schema::document::{Index, Refusal, Verdict};
use schema::limits::{self, OLDER_TIPS_MAX, SYNC_MESSAGE_BYTES_MAX, UNIT_BYTES_MAX};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::wire::session::UnitTip;
use schema::wire::sync_message::SyncMessage;
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId};

use crate::node::group::record::{Authors, DocumentRecord, TipRecord};
use crate::node::group::replica::Replica;

/// Changes of one document, and what vouches for them.
#[derive(Default)]
pub(super) struct Known {
    pub(super) headers: Vec<ChangeHeader>,
    pub(super) bytes: Vec<Vec<u8>>,
    pub(super) tips: Vec<VerifiedTip>,
    /// Tips below the newest of a chain, which nobody has verified: they matter where the newest does not stand.
    pub(super) older: Vec<Tip>,
    /// Chains whose author may not write, as far as is known here: nobody looks at their signatures.
    barred: BTreeMap<ReplicaId, Refusal>,
}

impl Known {
    /// Reads the changes of a message without handing a byte to Automerge.
    pub(super) fn read(message: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what: String| Refusal::Unreadable { what };
        if message.len() > SYNC_MESSAGE_BYTES_MAX {
            return Err(malformed(format!("message of {} bytes", message.len())));
        }
        let message = SyncMessage::decode(message).map_err(|error| malformed(error.to_string()))?;
        let got: usize = message.changes.iter().map(|change| limits::charge(change.len())).sum();
        if got > UNIT_BYTES_MAX {
            return Err(Refusal::TooMuch { got: got as u64, max: UNIT_BYTES_MAX as u64 });
        }
        let headers: Result<Vec<_>, _> =
            message.changes.iter().map(|change| ChangeHeader::read(change)).collect();
        let headers = headers.map_err(|error| malformed(error.to_string()))?;
        Ok(Self { headers, bytes: message.changes, ..Self::default() })
    }

    /// Rebuilds the tips that came with changes, and checks the signature of the newest of each chain; not of those whom
    /// `bars` says why they may not write.
    pub(super) fn read_tips(
        &mut self,
        (group, document): (GroupId, DocumentId),
        tips: &[UnitTip],
        authors: &[(DeviceId, OpId)],
        index: &Index,
        bars: impl Fn(&Author) -> Option<Refusal>,
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
        for (replica, mut chain) in chains {
            let Some((_, newest)) = chain.pop_last() else { continue };
            if let Some(refusal) = bars(&newest.author) {
                self.barred.insert(replica, refusal);
                continue;
            }
            let bad = |_| Refusal::BadTip { device: newest.author.device };
            self.tips.push(newest.verify(group, document).map_err(bad)?);
            self.older.extend(chain.into_values().take(OLDER_TIPS_MAX.saturating_sub(self.older.len())));
        }
        Ok(())
    }

    /// Checks the others; those that do not hold are nothing.
    pub(super) fn verify_older(&mut self, group: GroupId, document: DocumentId) {
        let older = std::mem::take(&mut self.older);
        self.tips.extend(older.iter().filter_map(|tip| tip.verify(group, document).ok()));
    }

    /// Why the first refused change was refused.
    pub(super) fn first_refused(&self, verdict: &Verdict) -> Option<Refusal> {
        let (place, refusal) = verdict.refused.first()?;
        let barred = self.barred.get(&self.headers[*place].replica);
        Some(barred.filter(|_| *refusal == Refusal::Unvouched).unwrap_or(refusal).clone())
    }

    /// Whose change, of those accepted, a document could not take: of the shortest beginning that it cannot, the last.
    pub(super) fn culprit(&self, base: &Replica, verdict: &Verdict) -> Author {
        let fails = |count: usize| {
            let (mut replica, places) = (base.clone(), &verdict.accepted[..count]);
            let changes: Vec<_> = places.iter().map(|place| self.bytes[*place].clone()).collect();
            replica.apply(&changes).is_err() || replica.row().is_err()
        };
        let (mut good, mut bad) = (0, verdict.accepted.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            if fails(middle) { bad = middle } else { good = middle }
        }
        let replica = self.headers[verdict.accepted[good]].replica;
        let ends = verdict.tips.iter().map(|tip| (tip.replica(), tip.tip().author));
        let open = verdict.open.iter().map(|(place, author)| (self.headers[*place].replica, *author));
        let mut authors = ends.chain(open).filter(|(of, _)| *of == replica).map(|(_, author)| author);
        authors.next().expect("every chain that advanced has an end")
    }

    /// Adds the changes of a run, as records keep them; those that were here count once.
    pub(super) fn add_run(&mut self, run: &[u8]) {
        let have = self.hashes();
        for (header, bytes) in change::split(run).filter_map(Result::ok) {
            if !have.contains(&header.hash) {
                self.headers.push(header);
                self.bytes.push(bytes.to_vec());
            }
        }
    }

    /// Adds others; the hashes of those that are new.
    pub(super) fn add(&mut self, others: Known) -> Vec<ChangeHash> {
        let have = self.hashes();
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
    pub(super) fn add_tips(
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
                self.tips.push(tip.trust_stored(group, document));
            }
        }
    }

    /// Of what was here, what is not accepted.
    pub(super) fn without(self, accepted: &BTreeSet<ChangeHash>, ours: &BTreeSet<ChangeHash>) -> Self {
        let keep = |header: &ChangeHeader| ours.contains(&header.hash) && !accepted.contains(&header.hash);
        let changes = self.headers.into_iter().zip(self.bytes).filter(|(header, _)| keep(header));
        let (headers, bytes) = changes.unzip();
        Self { headers, bytes, tips: self.tips, ..Self::default() }
    }

    /// What these build on and is neither among them nor `accepted`, ascending.
    pub(super) fn lacks(&self, accepted: &BTreeSet<ChangeHash>) -> Vec<ChangeHash> {
        let have = self.hashes();
        let deps = self.headers.iter().flat_map(|header| &header.deps);
        let lacking = deps.filter(|dep| !have.contains(dep) && !accepted.contains(dep));
        lacking.copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The changes' hashes, for look-ups.
    pub(super) fn hashes(&self) -> BTreeSet<ChangeHash> {
        self.headers.iter().map(|header| header.hash).collect()
    }
}
