//! One unit of a document for a peer: changes beyond its version vector, cut where every chain ends in a kept
//! tip.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::ChangeHeader;
use crate::digest::Mark;
use crate::id::{ChangeHash, ReplicaId};
use crate::limits::UNIT_CHARGE_MAX;

/// About so much charge goes into one unit before the rest of a long history waits for the next, bytes.
const UNIT_CHARGE: u64 = UNIT_CHARGE_MAX / 2;

/// Changes of a document that a peer lacks, in the order in which they were accepted, until a unit is full.
#[derive(Debug, Default)]
pub struct UnitBuilder<C> {
    have: BTreeMap<ReplicaId, Mark>,
    changes: Vec<(ChainPlace, C)>,
    charged: u64,
    /// Chains that do not end in a kept tip here.
    open: BTreeSet<ReplicaId>,
    /// So many of the changes can be sent: behind them no chain is open.
    vouched: usize,
    is_full: bool,
}

/// One change of a chain.
#[derive(Clone, Copy, Debug)]
struct ChainPlace {
    replica: ReplicaId,
    seq: u64,
    change: ChangeHash,
}

/// The changes of one unit.
#[derive(Debug)]
pub struct UnitChanges<C> {
    /// The changes, dependencies first.
    pub changes: Vec<C>,
    /// For each chain with a change in the unit, the sequence numbers that the unit spans.
    pub spans: BTreeMap<ReplicaId, Span>,
    /// The version vector of the peer once it has the unit, if there is more to send.
    pub rest: Option<Vec<Mark>>,
}

/// A part of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The sequence number before the part; 0: the part is the beginning of the chain.
    pub after: u64,
    /// The last sequence number of the part.
    pub through: u64,
}

impl Span {
    /// Returns true if the part has the change of this sequence number.
    pub fn contains(&self, seq: u64) -> bool {
        self.after < seq && seq <= self.through
    }
}

impl<C> UnitBuilder<C> {
    /// Begins a unit for a peer that has these changes. An undecided mark counts as none: all of that chain
    /// is sent.
    pub fn new(have: impl IntoIterator<Item = Mark>) -> Self {
        let decided = have.into_iter().filter(|mark| !mark.is_undecided());
        Self {
            have: decided.map(|mark| (mark.replica, mark)).collect(),
            changes: Vec::new(),
            charged: 0,
            open: BTreeSet::new(),
            vouched: 0,
            is_full: false,
        }
    }

    /// The number of changes of a replica that the peer has.
    pub fn have(&self, replica: &ReplicaId) -> u64 {
        self.have.get(replica).map_or(0, |mark| mark.seq)
    }

    /// Offers the next change; `has_tip` is true if a tip over it is kept. Returns false once the unit is
    /// full: then the change is left for the next one.
    pub fn offer(&mut self, header: &ChangeHeader, has_tip: bool, change: impl FnOnce() -> C) -> bool {
        if header.seq <= self.have(&header.replica) {
            return true;
        }
        let charged = self.charged + header.charge;
        self.is_full = charged > UNIT_CHARGE_MAX || (charged > UNIT_CHARGE && self.vouched > 0);
        if self.is_full {
            return false;
        }
        self.charged = charged;
        let place = ChainPlace { replica: header.replica, seq: header.seq, change: header.hash };
        self.changes.push((place, change()));
        if has_tip {
            self.open.remove(&header.replica);
        } else {
            self.open.insert(header.replica);
        }
        if self.open.is_empty() {
            self.vouched = self.changes.len();
        }
        true
    }

    /// Returns true if the unit is full and yet no part of it can be sent, because no tips vouch for one.
    pub fn is_stuck(&self) -> bool {
        self.is_full && self.vouched == 0
    }

    /// Ends the unit; `None`: there is nothing to send.
    pub fn finish(mut self) -> Option<UnitChanges<C>> {
        self.changes.truncate(self.vouched);
        if self.changes.is_empty() {
            return None;
        }
        let mut spans: BTreeMap<ReplicaId, Span> = BTreeMap::new();
        let mut rest = self.have.clone();
        for (ChainPlace { replica, seq, change }, _) in &self.changes {
            let after = self.have(replica);
            spans.insert(*replica, Span { after, through: *seq });
            rest.insert(*replica, Mark { replica: *replica, seq: *seq, change: *change });
        }
        let rest = self.is_full.then(|| rest.into_values().collect());
        Some(UnitChanges {
            changes: self.changes.into_iter().map(|(_, change)| change).collect(),
            spans,
            rest,
        })
    }
}
