//! The record of one stored document: its row, its replicas with their tips, its newest changes (pure).
//!
//! Shape: one record under the document's id holds table, key, tips and the newest changes, at most
//! `INLINE_BYTES_MAX`; what no longer fits is moved into an immutable chunk beside it. Changes stand in the
//! order in which they were accepted, which is a causal one. A head is always the newest change of its
//! replica, so heads cost one bit a replica.

mod authors;
mod read_ends;
#[cfg(test)]
mod units;
mod weight;

use std::collections::BTreeSet;

use bincode::{Decode, Encode};
use schema::digest::Mark;
use schema::document::{ChainTips, KeptTip, Rules, SharedCheckpoint, TipPolicy};
use schema::{ChangeHash, DocumentId, GroupId, ReplicaId};

pub(crate) use self::authors::{AuthorRecord, Authors};
pub(crate) use self::read_ends::ReadEnd;
pub(crate) use self::weight::Weight;

/// Changes that lie in the record itself, bytes: what every commit rewrites.
pub(crate) const INLINE_BYTES_MAX: usize = 1 << 10;

/// A document as stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct DocumentRecord {
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) replicas: Vec<ReplicaRecord>,
    pub(crate) chunks: Vec<ChunkRecord>,
    /// The newest changes, concatenated.
    pub(crate) inline: Vec<u8>,
    /// The newest change of each replica in it.
    inline_tops: Vec<Top>,
    checkpoint: SharedCheckpoint,
    /// The sum of the charges of its changes.
    pub(crate) charge: u64,
    /// Changes that Automerge cannot apply.
    pub(crate) unreadable: Vec<ChangeHash>,
    /// The row record lacks changes that wait for nothing.
    pub(crate) is_behind: bool,
}

/// One chain of changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(crate) struct ReplicaRecord {
    /// Index into the group's [`Authors`].
    pub(crate) author: u32,
    pub(crate) incarnation: u64,
    pub(crate) seq: u64,
    pub(crate) change: ChangeHash,
    pub(crate) is_head: bool,
    /// The newest is the tip of `change`.
    pub(crate) tips: ChainTips,
    /// The memory of its changes.
    weight: Weight,
    /// The newest of its changes that the row record has.
    read: ReadEnd,
}

/// An immutable run of changes beside the record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(crate) struct ChunkRecord {
    pub(crate) number: u32,
    tops: Vec<Top>,
}

/// The newest change of one replica (by position in the record) within a run.
type Top = (u32, u64);

/// A change that was just accepted, and what vouches for it itself.
pub(crate) struct NewChange<'a> {
    /// Position of its replica in the record: that in the index of the document.
    pub(crate) position: usize,
    pub(crate) author: u32,
    pub(crate) incarnation: u64,
    pub(crate) seq: u64,
    pub(crate) change: ChangeHash,
    pub(crate) bytes: &'a [u8],
    pub(crate) charge: u64,
    pub(crate) weight: Weight,
    pub(crate) tip: Option<KeptTip>,
}

/// A chunk to be written beside the record.
pub(crate) struct NewChunk {
    pub(crate) number: u32,
    pub(crate) bytes: Vec<u8>,
}

impl DocumentRecord {
    pub(crate) fn new(table: String, key: String) -> Self {
        Self {
            table,
            key,
            replicas: Vec::new(),
            chunks: Vec::new(),
            inline: Vec::new(),
            inline_tops: Vec::new(),
            checkpoint: SharedCheckpoint::default(),
            charge: 0,
            unreadable: Vec::new(),
            is_behind: false,
        }
    }

    /// Adds changes that were accepted together, in their order; runs that grew too long for the record are
    /// returned.
    pub(crate) fn extend(&mut self, changes: &[NewChange<'_>]) -> Vec<NewChunk> {
        let (mut spilled, mut open, mut begin) = (Vec::new(), BTreeSet::new(), 0);
        for (at, change) in changes.iter().enumerate() {
            let chain = (change.author, change.incarnation);
            let _ = if change.tip.is_some() { open.remove(&chain) } else { open.insert(chain) };
            if open.is_empty() || at + 1 == changes.len() {
                self.step(&changes[begin..=at], &mut spilled);
                begin = at + 1;
            }
        }
        spilled
    }

    /// Adds changes behind which every chain ends in a tip, as before them.
    fn step(&mut self, changes: &[NewChange<'_>], spilled: &mut Vec<NewChunk>) {
        let charge = changes.iter().map(|change| change.charge).sum();
        let chains = self.replicas.iter_mut().map(|replica| &mut replica.tips);
        self.checkpoint.before_step(charge, chains, TipPolicy::NODE);
        for change in changes {
            spilled.extend(self.append(change));
        }
    }

    /// Adds an accepted change; a run that grew too long for the record is returned.
    fn append(&mut self, change: &NewChange<'_>) -> Option<NewChunk> {
        if change.position == self.replicas.len() {
            self.replicas.push(ReplicaRecord {
                author: change.author,
                incarnation: change.incarnation,
                seq: 0,
                change: change.change,
                is_head: false,
                tips: ChainTips::default(),
                weight: Weight::default(),
                read: ReadEnd::Nothing,
            });
        }
        let replica = &mut self.replicas[change.position];
        debug_assert_eq!((replica.author, replica.incarnation), (change.author, change.incarnation));
        replica.keep_read_end();
        replica.weight.add(change.weight);
        replica.seq = change.seq;
        replica.change = change.change;
        replica.tips.add_charge(change.charge);
        self.charge += change.charge;
        if let Some(tip) = change.tip {
            replica.tips.keep(tip, TipPolicy::NODE, Rules::default());
        }

        let spilled = if self.inline.len() + change.bytes.len() > INLINE_BYTES_MAX && !self.inline.is_empty()
        {
            Some(self.spill())
        } else {
            None
        };
        self.inline.extend_from_slice(change.bytes);
        let position =
            u32::try_from(change.position).expect("a document has fewer replicas than its record bytes");
        // Few: the run is short.
        match self.inline_tops.iter_mut().find(|(replica, _)| *replica == position) {
            Some(top) => top.1 = change.seq,
            None => self.inline_tops.push((position, change.seq)),
        }
        spilled
    }

    fn spill(&mut self) -> NewChunk {
        let number = self.chunks.last().map_or(0, |chunk| chunk.number + 1);
        self.chunks.push(ChunkRecord { number, tops: std::mem::take(&mut self.inline_tops) });
        NewChunk { number, bytes: std::mem::take(&mut self.inline) }
    }

    /// The newest change of a chain, and its tip.
    pub(crate) fn end_of(&self, author: u32, incarnation: u64) -> Option<(ChangeHash, KeptTip)> {
        self.replicas[self.position(author, incarnation)?].end()
    }

    /// Marks whether the replica at a position ends in a head.
    pub(crate) fn set_head(&mut self, position: usize, is_head: impl Fn(&ChangeHash) -> bool) {
        let replica = &mut self.replicas[position];
        replica.is_head = is_head(&replica.change);
    }

    pub(crate) fn heads(&self) -> impl Iterator<Item = ChangeHash> {
        self.replicas.iter().filter(|replica| replica.is_head).map(|replica| replica.change)
    }

    /// The replica ids, in the order of the records.
    pub(crate) fn replica_ids(
        &self,
        group: GroupId,
        document: DocumentId,
        authors: &Authors,
    ) -> Option<Vec<ReplicaId>> {
        let id = |replica: &ReplicaRecord| {
            let (device, grant) = authors.get(replica.author)?;
            Some(ReplicaId::of(group, document, device, grant, replica.incarnation))
        };
        self.replicas.iter().map(id).collect()
    }

    /// The tip vector, sorted. `None`: an author is not in the table, so the record is damaged.
    pub(crate) fn marks(&self, group: GroupId, document: DocumentId, authors: &Authors) -> Option<Vec<Mark>> {
        let ids = self.replica_ids(group, document, authors)?;
        let mut marks: Vec<_> = ids
            .into_iter()
            .zip(&self.replicas)
            .map(|(id, replica)| Mark { replica: id, seq: replica.seq, change: replica.change })
            .collect();
        marks.sort_unstable();
        Some(marks)
    }

    /// The runs that hold a change beyond `have` (a sequence number for each replica record): chunk numbers
    /// in order, and true if the inline run does.
    pub(crate) fn runs_beyond(&self, have: &[u64]) -> (Vec<u32>, bool) {
        let beyond = |tops: &[Top]| {
            tops.iter().any(|(replica, seq)| have.get(*replica as usize).is_none_or(|have| have < seq))
        };
        let chunks =
            self.chunks.iter().filter(|chunk| beyond(&chunk.tops)).map(|chunk| chunk.number).collect();
        (chunks, beyond(&self.inline_tops))
    }

    fn position(&self, author: u32, incarnation: u64) -> Option<usize> {
        self.replicas.iter().position(|r| r.author == author && r.incarnation == incarnation)
    }
}

#[cfg(test)]
mod tests {
    use schema::key::Signature;
    use schema::tip::{Author, Tip};
    use schema::{DeviceId, OpId};

    use super::*;

    fn append(record: &mut DocumentRecord, incarnation: u64, seq: u64, bytes: usize) -> Vec<NewChunk> {
        let change = ChangeHash([u8::try_from(seq % 251).unwrap(); 32]);
        let author = Author { device: DeviceId([1; 32]), grant: OpId([2; 32]), incarnation };
        let tip = KeptTip::from(&Tip { author, seq, change, signature: Signature([0; 64]) });
        record.extend(&[NewChange {
            position: 0,
            author: 0,
            incarnation,
            seq,
            change,
            bytes: &vec![7; bytes],
            charge: bytes as u64,
            weight: Weight::default(),
            tip: Some(tip),
        }])
    }

    #[test]
    fn a_document_record_keeps_its_bytes() {
        let mut tips = ChainTips::default();
        let author = Author { device: DeviceId([1; 32]), grant: OpId([2; 32]), incarnation: 2 };
        for (seq, bytes) in [(256, 7), (300, 5)] {
            let tip = Tip { author, seq, change: ChangeHash([3; 32]), signature: Signature([0xab; 64]) };
            tips.add_charge(bytes);
            tips.keep((&tip).into(), TipPolicy::NODE, Rules::default());
        }
        let mut checkpoint = SharedCheckpoint::default();
        checkpoint.before_step(6, std::iter::empty(), TipPolicy::NODE);
        let replica = ReplicaRecord {
            author: 1,
            incarnation: 2,
            seq: 300,
            change: ChangeHash([3; 32]),
            is_head: true,
            tips,
            weight: Weight::default(),
            read: ReadEnd::Newest,
        };
        let record = DocumentRecord {
            table: "t".into(),
            key: "key".into(),
            replicas: vec![replica],
            chunks: vec![ChunkRecord { number: 0, tops: vec![(0, 299)] }],
            inline: vec![1, 2],
            inline_tops: vec![(0, 300)],
            checkpoint,
            charge: 12,
            unreadable: vec![ChangeHash([4; 32])],
            is_behind: true,
        };
        let golden = "01 74 | 03 6b6579 \
            | 01 | 01 | 02 | fb 2c01 | 03*32 | 01 | 05 \
            | 02 fb 0001 ab*64 01 fb 2c01 ab*64 00 | 00 00 00 00 00 \
            | 01 00 01 00 fb 2b01 | 02 0102 | 01 00 fb 2c01 | 06 \
            | 0c | 01 04*32 | 01";
        testkit::golden::check(vec![("document record", record, golden)]);
        let author = AuthorRecord { device: DeviceId([1; 32]), grant: OpId([2; 32]), judged: [3; 32] };
        testkit::golden::check(vec![("author record", author, "01*32 | 02*32 | 03*32")]);
    }

    #[test]
    fn a_commit_rewrites_a_bounded_record() {
        let mut record = DocumentRecord::new("tasks".into(), "a".into());
        let spilled = (1..=1_000).flat_map(|seq| append(&mut record, 1, seq, 100)).count();
        assert!(record.inline.len() <= INLINE_BYTES_MAX);
        assert_eq!(spilled, record.chunks.len());
        assert_eq!(spilled, 99);
    }

    #[test]
    fn checkpoints_stay_so_that_a_long_chain_can_be_sent_in_parts() {
        let mut record = DocumentRecord::new("tasks".into(), "a".into());
        for seq in 1..=700 {
            append(&mut record, 1, seq, 10);
        }
        let tips: Vec<_> = record.replicas[0].tips.iter().map(|tip| tip.seq).collect();
        let expected: Vec<u64> = [256, 512].into_iter().chain(684..=700).collect();
        assert_eq!(tips, expected);
    }

    #[test]
    fn only_runs_with_something_new_are_read() {
        let mut record = DocumentRecord::new("tasks".into(), "a".into());
        for seq in 1..=30 {
            append(&mut record, 1, seq, 100);
        }
        assert_eq!(record.runs_beyond(&[0]), (vec![0, 1], true));
        assert_eq!(record.runs_beyond(&[15]), (vec![1], true));
        assert_eq!(record.runs_beyond(&[29]), (vec![], true));
        assert_eq!(record.runs_beyond(&[30]), (vec![], false));
    }
}
