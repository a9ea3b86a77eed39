//! The ops that the ops of a change name: all of them earlier, and the largest of each replica.

use super::cursor::Numbers;
use crate::change::body::Body;
use crate::change::{ChangeError, Fault};
use crate::id::ReplicaId;

/// The largest op of an earlier change that is named of each replica.
pub(super) struct Named {
    /// Counters by the replica's place in the table of the change; the author has place 0.
    largest: Vec<u64>,
    /// Counter of the first op of the change: the author's ops from here on are its own.
    start_op: i64,
}

impl Named {
    pub(super) fn new(body: &Body<'_>) -> Self {
        // The largest op of the change is within the bound of all counters.
        Self { largest: vec![0; body.others.len() + 1], start_op: body.start_op.cast_signed() }
    }

    /// The counters of ops of the change from the one at `row` on.
    pub(super) fn ops_from(&self, row: u64) -> Numbers {
        Numbers { first: self.start_op + row.cast_signed(), step: 1 }
    }

    /// Adds ops of the replica at `place` that ops `by` of the change name, one each, or one that names all.
    /// Changes follow all changes that they depend on (C5), so ops of other replicas have smaller counters
    /// than any op of the change.
    pub(super) fn add(&mut self, place: u64, ops: Numbers, by: Numbers, rows: u64) -> Result<(), Fault> {
        let place = usize::try_from(place).map_err(|_| Fault::OutOfRange)?;
        let end = if place == 0 { by } else { Numbers { first: self.start_op, step: 0 } };
        // The distance between two such rows is monotone: its ends bound it.
        if [0, rows - 1].into_iter().any(|row| ops.at(row) >= end.at(row)) {
            return Err(Fault::NotEarlier);
        }
        let largest = self.largest.get_mut(place).ok_or(Fault::OutOfRange)?;
        let named = ops.largest_below(rows, self.start_op).unwrap_or(0);
        *largest = (*largest).max(named.unsigned_abs());
        Ok(())
    }

    /// The replicas of which an op is named, ascending. Automerge leaves others out of the table when it
    /// encodes the change again.
    pub(super) fn into_references(self, body: &Body<'_>) -> Result<Vec<(ReplicaId, u64)>, ChangeError> {
        if self.largest[1..].contains(&0) {
            return Err(Fault::Unused.into());
        }
        let place = author_place(body);
        let (before, behind) = body.others.split_at(place);
        let replicas = before.iter().chain([&body.replica]).chain(behind);
        let counters =
            self.largest[1..=place].iter().chain(&self.largest[..1]).chain(&self.largest[place + 1..]);
        let references = replicas.copied().zip(counters.copied());
        Ok(references.filter(|(_, counter)| *counter > 0).collect())
    }
}

/// The number of other replicas whose ids are smaller than the author's.
pub(super) fn author_place(body: &Body<'_>) -> usize {
    body.others.partition_point(|other| *other < body.replica)
}
