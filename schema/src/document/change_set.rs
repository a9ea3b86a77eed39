//! Changes of one document with the tips that vouch for them: read from a message, read from a store, united.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Judge, Manifests, Signer};
use super::{ChainTips, DocumentRef, Index, Refusal, SetAside, Verdict};
use crate::change::{self, ChangeHeader};
use crate::id::{ChangeHash, DeviceId, OpId, ReplicaId};
use crate::limits::{OLDER_TIPS_MAX, SYNC_MESSAGE_BYTES_MAX, UNIT_CHARGE_MAX};
use crate::tip::{Author, Tip, VerifiedTip};
use crate::wire::session::UnitTip;
use crate::wire::sync_message::SyncMessage;

/// A value that holds a change: its header alone in the machine world, its bytes too in a node.
pub trait Change {
    /// The change's header.
    fn header(&self) -> &ChangeHeader;
}

impl Change for ChangeHeader {
    fn header(&self) -> &ChangeHeader {
        self
    }
}

/// A change with its encoded bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedChange {
    /// The header, as our own reader read it.
    pub header: ChangeHeader,
    /// The uncompressed change chunk.
    pub bytes: Vec<u8>,
}

impl Change for EncodedChange {
    fn header(&self) -> &ChangeHeader {
        &self.header
    }
}

/// Changes of one document, and the tips that vouch for them.
#[derive(Clone, Debug)]
pub struct ChangeSet<C> {
    changes: Vec<C>,
    tips: Vec<VerifiedTip>,
    /// Chains whose author may not write, as far as the roster tells: their signatures are not verified.
    barred: BTreeMap<ReplicaId, Refusal>,
}

impl<C> Default for ChangeSet<C> {
    fn default() -> Self {
        Self { changes: Vec::new(), tips: Vec::new(), barred: BTreeMap::new() }
    }
}

impl<C> From<SetAside<C>> for ChangeSet<C> {
    fn from(SetAside { changes, tips, .. }: SetAside<C>) -> Self {
        Self { changes, tips, ..Self::default() }
    }
}

impl ChangeSet<EncodedChange> {
    /// Reads the changes of a sync message without passing a byte to Automerge.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`] or [`Refusal::TooMuch`].
    pub fn read(message: &[u8]) -> Result<Self, Refusal> {
        let unreadable = |what: String| Refusal::Unreadable { what };
        if message.len() > SYNC_MESSAGE_BYTES_MAX {
            return Err(unreadable(format!("message of {} bytes", message.len())));
        }
        let message = SyncMessage::decode(message).map_err(|error| unreadable(error.to_string()))?;
        let read = |bytes: Vec<u8>| Ok(EncodedChange { header: ChangeHeader::read(&bytes)?, bytes });
        let changes: Result<Vec<_>, change::ChangeError> = message.changes.into_iter().map(read).collect();
        let changes = changes.map_err(|error| unreadable(error.to_string()))?;
        let got = changes.iter().map(|change| change.header.charge).sum();
        if got > UNIT_CHARGE_MAX {
            return Err(Refusal::TooMuch { got, max: UNIT_CHARGE_MAX });
        }
        Ok(Self { changes, ..Self::default() })
    }

    /// Adds the changes of a stored run, each once; changes that are damaged are left out.
    pub fn add_run(&mut self, run: &[u8]) {
        let changes = change::split(run).filter_map(Result::ok);
        self.add_changes(changes.map(|(header, bytes)| EncodedChange { header, bytes: bytes.to_vec() }));
    }
}

impl<C: Change> ChangeSet<C> {
    /// A set of changes without tips.
    pub fn of(changes: impl IntoIterator<Item = C>) -> Self {
        let mut set = Self::default();
        set.add_changes(changes);
        set
    }

    /// Changes that this device made, signed as `author`.
    pub(super) fn own<M: Manifests, S: Signer>(
        changes: Vec<C>,
        author: Author,
        judge: &Judge<'_, M, S>,
    ) -> Self {
        let sign = |header: &ChangeHeader| judge.sign(author, header.seq, header.hash);
        let tips = changes.iter().map(|change| sign(change.header())).collect();
        Self { tips, ..Self::of(changes) }
    }

    /// The changes, in the order in which they were added.
    pub fn changes(&self) -> &[C] {
        &self.changes
    }

    /// The verified tips.
    pub fn tips(&self) -> &[VerifiedTip] {
        &self.tips
    }

    /// The headers of the changes, in the order in which they were added.
    pub fn headers(&self) -> impl Iterator<Item = &ChangeHeader> {
        self.changes.iter().map(Change::header)
    }

    /// The hashes of the changes.
    pub fn hashes(&self) -> BTreeSet<ChangeHash> {
        self.headers().map(|header| header.hash).collect()
    }

    /// Returns true if the set has no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds changes, each once, and returns the hashes of the new ones.
    pub fn add_changes(&mut self, changes: impl IntoIterator<Item = C>) -> BTreeSet<ChangeHash> {
        let mut present = self.hashes();
        let mut new = BTreeSet::new();
        for change in changes {
            let hash = change.header().hash;
            if present.insert(hash) {
                new.insert(hash);
                self.changes.push(change);
            }
        }
        new
    }

    /// Adds a verified tip.
    pub fn add_tip(&mut self, tip: VerifiedTip) {
        self.tips.push(tip);
    }

    /// Adds the stored tips of chains; those whose change is not in the set are left out.
    pub fn add_stored_tips<'a>(
        &mut self,
        document: DocumentRef,
        chains: impl IntoIterator<Item = (Author, &'a ChainTips)>,
    ) {
        let place = |header: &ChangeHeader| ((header.replica, header.seq), header.hash);
        let changes: BTreeMap<_, _> = self.headers().map(place).collect();
        for (author, tips) in chains {
            let replica = document.replica(&author);
            for tip in tips.iter() {
                let Some(&change) = changes.get(&(replica, tip.seq)) else { continue };
                let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
                self.tips.push(tip.trust_stored(document.group, document.document));
            }
        }
    }

    /// Adds another set and returns the hashes of the changes that are new here.
    pub fn unite(&mut self, other: Self) -> BTreeSet<ChangeHash> {
        self.tips.extend(other.tips);
        self.barred.extend(other.barred);
        self.add_changes(other.changes)
    }

    /// Adds the tips of a unit and verifies them, the newest of each chain first: what is kept is sent to
    /// others in our name. Peers send on only tips that they verified, so that the first bad one is their
    /// fault and ends the work. Tips of authors who may not write are left out, so that nobody makes us
    /// verify signatures in the name of others; so are older ones beyond [`OLDER_TIPS_MAX`].
    ///
    /// # Errors
    /// [`Refusal::BadTip`], or [`Refusal::Unvouched`] when a tip names an author that the frame does not
    /// list.
    pub fn add_unit_tips<M: Manifests, S: Signer>(
        &mut self,
        tips: &[UnitTip],
        authors: &[(DeviceId, OpId)],
        judge: &Judge<'_, M, S>,
    ) -> Result<(), Refusal> {
        let changes: BTreeMap<_, _> = self.headers().map(|h| ((h.replica, h.seq), h.hash)).collect();
        let mut chains: BTreeMap<ReplicaId, BTreeMap<u64, Tip>> = BTreeMap::new();
        for tip in tips {
            let author = usize::try_from(tip.author).ok().and_then(|number| authors.get(number));
            let Some(&(device, grant)) = author else { return Err(Refusal::Unvouched) };
            let author = Author { device, grant, incarnation: tip.incarnation };
            let replica = judge.document.replica(&author);
            let Some(&change) = changes.get(&(replica, tip.seq)) else { continue };
            let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
            chains.entry(replica).or_default().entry(tip.seq).or_insert(tip);
        }
        let verify = |tip: &Tip| judge.verify(tip).ok_or(Refusal::BadTip { device: tip.author.device });
        let mut older: Vec<Tip> = Vec::new();
        for (replica, mut chain) in chains {
            let Some((_, newest)) = chain.pop_last() else { continue };
            if let Some(refusal) = judge.bar(&newest.author) {
                self.barred.insert(replica, refusal);
                continue;
            }
            self.tips.push(verify(&newest)?);
            let room = OLDER_TIPS_MAX.saturating_sub(older.len());
            older.extend(chain.into_values().take(room));
        }
        for tip in &older {
            self.tips.push(verify(tip)?);
        }
        Ok(())
    }

    /// Drops the tips over changes that are accepted already. One over a change of another branch, at a place
    /// that is taken, may be the one that a cut names.
    pub(super) fn drop_known_tips(&mut self, index: &Index) {
        self.tips.retain(|tip| !index.contains(&tip.tip().change));
    }

    /// Returns true if a tip is by this device under this incarnation.
    pub fn has_tip_of(&self, device: DeviceId, incarnation: u64) -> bool {
        let mut authors = self.tips.iter().map(|tip| tip.tip().author);
        authors.any(|author| (author.device, author.incarnation) == (device, incarnation))
    }

    /// The reason for which the first refused change was refused.
    pub(super) fn first_refusal(&self, verdict: &Verdict) -> Option<Refusal> {
        let (at, refusal) = verdict.refused.first()?;
        let barred = self.barred.get(&self.changes[*at].header().replica);
        Some(barred.filter(|_| *refusal == Refusal::Unvouched).unwrap_or(refusal).clone())
    }

    pub(super) fn into_parts(self) -> (Vec<C>, Vec<VerifiedTip>) {
        (self.changes, self.tips)
    }
}
