//! How far the row record has the chains of a document that is not materialised (pure).
//!
//! What a row has is closed under dependencies: everything that was accepted when it was last read.

use bincode::{Decode, Encode};
use schema::ChangeHash;
use schema::document::KeptTip;

use super::{DocumentRecord, ReplicaRecord};

/// The newest change of a chain that the row record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(crate) enum ReadEnd {
    /// The newest of the chain.
    Newest,
    /// An earlier one, with its tip.
    Earlier { change: ChangeHash, tip: KeptTip },
    /// None.
    Nothing,
}

impl ReplicaRecord {
    /// The newest change, and its tip.
    pub(super) fn end(&self) -> Option<(ChangeHash, KeptTip)> {
        let tip = self.tips.newest().copied().filter(|tip| tip.seq == self.seq);
        Some((self.change, tip?))
    }

    /// The newest change that the row record has, and its tip.
    fn read_end(&self) -> Option<(ChangeHash, KeptTip)> {
        match self.read {
            ReadEnd::Newest => self.end(),
            ReadEnd::Earlier { change, tip } => Some((change, tip)),
            ReadEnd::Nothing => None,
        }
    }

    /// Before another change follows: remembers the newest one that the row record has.
    pub(super) fn keep_read_end(&mut self) {
        if self.read == ReadEnd::Newest {
            self.read = self.end().map_or(ReadEnd::Nothing, |(change, tip)| ReadEnd::Earlier { change, tip });
        }
    }
}

impl DocumentRecord {
    /// The row record has everything that is accepted.
    pub(crate) fn set_read(&mut self) {
        for replica in &mut self.replicas {
            replica.read = ReadEnd::Newest;
        }
    }

    /// The newest change of a chain that the row record has, and its tip.
    pub(crate) fn read_end_of(&self, author: u32, incarnation: u64) -> Option<(ChangeHash, KeptTip)> {
        self.replicas[self.position(author, incarnation)?].read_end()
    }

    /// Takes over how far the row record has the chains, from the record that this one replaces. Returns true
    /// if the row record has all of it still: none of what it has is missing here.
    pub(crate) fn take_read_ends(&mut self, old: &Self, has: impl Fn(&ChangeHash) -> bool) -> bool {
        let mut ends: std::collections::BTreeMap<_, _> = old
            .replicas
            .iter()
            .filter_map(|replica| Some(((replica.author, replica.incarnation), replica.read_end()?)))
            .collect();
        let mut is_whole = true;
        for replica in &mut self.replicas {
            let end = ends.remove(&(replica.author, replica.incarnation));
            let Some((change, tip)) = end else { continue };
            is_whole &= has(&change);
            replica.read = match replica.seq.cmp(&tip.seq) {
                std::cmp::Ordering::Less => ReadEnd::Newest,
                std::cmp::Ordering::Equal if has(&change) => ReadEnd::Newest,
                std::cmp::Ordering::Greater if has(&change) => ReadEnd::Earlier { change, tip },
                // Another branch of a fork: nobody knows where it parts.
                _ => ReadEnd::Nothing,
            };
        }
        is_whole && ends.is_empty()
    }
}
