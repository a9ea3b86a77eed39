//! The ops of earlier changes that the ops of a change name, without expanding a run.

use super::bytes::Bytes;
use super::columns::{
    Columns, KEY_COUNTER, KEY_REPLICA, OBJECT_COUNTER, OBJECT_REPLICA, PREDECESSOR_COUNTER,
    PREDECESSOR_REPLICA,
};
use super::cursor::{Counters, Cursor};
use super::{ChangeError, Fault};
use crate::id::ReplicaId;

/// The largest op that is named of each replica.
struct References {
    /// Counters by the replica's place in the table of the change; the author has place 0.
    largest: Vec<u64>,
    /// Counter of the first op of the change: the author's ops from here on are its own.
    start_op: i64,
}

impl References {
    /// Walks a replica and a counter column in step; where one of them is null, nothing is named.
    fn walk(&mut self, replicas: &[u8], mut counters: Counters<'_>, rows: u64) -> Result<(), Fault> {
        let mut replicas = Cursor::new(replicas, Bytes::uleb);
        let mut left = rows;
        while left > 0 {
            let ((replica, of_replica), (numbers, of_numbers)) = (replicas.run()?, counters.run()?);
            let rows = of_replica.min(of_numbers).min(left);
            if let (Some(replica), Some(numbers)) = (replica, numbers) {
                let end = if replica == 0 { self.start_op } else { i64::MAX };
                let place = usize::try_from(replica).map_err(|_| Fault::OutOfRange)?;
                let largest = self.largest.get_mut(place).ok_or(Fault::OutOfRange)?;
                let named = numbers.largest_below(rows, end).unwrap_or(0);
                *largest = (*largest).max(named.unsigned_abs());
            }
            replicas.skip(rows);
            counters.skip(rows);
            left -= rows;
        }
        Ok(())
    }
}

/// Collects the largest op that is named of each replica, ascending by replica; `replicas` is the table of
/// the change without the author, ascending.
pub(super) fn collect(
    columns: &Columns<'_>,
    author: ReplicaId,
    replicas: &[ReplicaId],
    start_op: u64,
    (ops, predecessors): (u64, u64),
) -> Result<Vec<(ReplicaId, u64)>, ChangeError> {
    let start_op = i64::try_from(start_op).unwrap_or(i64::MAX);
    let mut references = References { largest: vec![0; replicas.len() + 1], start_op };
    let pairs = [
        (OBJECT_REPLICA, Counters::plain(columns.data(OBJECT_COUNTER)), ops),
        (KEY_REPLICA, Counters::differences(columns.data(KEY_COUNTER)), ops),
        (PREDECESSOR_REPLICA, Counters::differences(columns.data(PREDECESSOR_COUNTER)), predecessors),
    ];
    for (column, counters, rows) in pairs {
        let fault = |fault| ChangeError::Column { column, fault };
        references.walk(columns.data(column), counters, rows).map_err(fault)?;
    }
    let (own, others) = references.largest.split_first().expect("the author has place 0");
    let mut named: Vec<_> = replicas.iter().copied().zip(others.iter().copied()).collect();
    let place = named.partition_point(|(replica, _)| *replica < author);
    named.insert(place, (author, *own));
    named.retain(|(_, counter)| *counter > 0);
    Ok(named)
}
