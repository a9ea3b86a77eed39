//! The data of a change chunk, column by column: well-formed, with agreeing numbers of rows, within its
//! charge.

use super::bytes::Bytes;
use super::columns::{Columns, Layout, PREDECESSOR_COUNTER, PREDECESSOR_REPLICA, PREDECESSORS, Table};
use super::runs::Bounds;
use super::{CONTINUES, ChangeError, Fault, cost, hashes, no_more, ops, replica_id};
use crate::id::{ChangeHash, ReplicaId};
use crate::limits::{CHANGE_CHARGE_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, OP_COUNTER_MAX};

/// The fields of a change, and its columns, whose ops are not looked at yet.
pub(super) struct Body<'a> {
    pub(super) deps: Vec<ChangeHash>,
    /// The author.
    pub(super) replica: ReplicaId,
    pub(super) seq: u64,
    /// Counter of its first op.
    pub(super) start_op: u64,
    pub(super) time: i64,
    pub(super) continues: bool,
    /// The other replicas of its table, ascending; the author is number 0 of the table.
    pub(super) others: Vec<ReplicaId>,
    pub(super) columns: Columns<'a>,
    pub(super) ops: u64,
    pub(super) predecessors: u64,
    pub(super) charge: u64,
}

impl<'a> Body<'a> {
    /// Reads the data of a chunk of `length` bytes.
    pub(super) fn read(data: &'a [u8], length: usize) -> Result<Self, ChangeError> {
        let mut bytes = Bytes(data);
        let deps = hashes(&mut bytes, "dependencies", CHANGE_DEPS_MAX)?;
        let replica = replica_id(&mut bytes)?;
        let seq = nonzero(&mut bytes, "seq")?;
        let start_op = nonzero(&mut bytes, "start op")?;
        let time = bytes.sleb()?;
        let continues = continues(&mut bytes)?;
        let others = others(&mut bytes, replica)?;

        let table = Table::read(&mut bytes, Layout::ChangeOps)?;
        let replicas = others.len() as u64 + 1;
        let bounds = Bounds { rows_max: CHANGE_OPS_MAX, replicas, normal: true };
        let columns = table.measure(&mut bytes, &bounds, &mut 0)?;
        no_more(bytes.0)?;

        let ops::Ops { count: ops, objects, key_bytes } = ops::count(&columns)?;
        let parts = [PREDECESSOR_REPLICA, PREDECESSOR_COUNTER];
        // Its parts are bounded by `rows_max`.
        let predecessors = ops::group(&columns, PREDECESSORS, &parts, ops)?;

        let parts = cost::Parts {
            bytes: length as u64,
            begins_chain: seq == 1,
            others: others.len() as u64,
            dependencies: deps.len() as u64,
            ops,
            objects,
            predecessors,
            key_bytes,
        };
        let charge = parts.charge();
        if charge > CHANGE_CHARGE_MAX {
            return Err(ChangeError::TooCostly { got: charge, max: CHANGE_CHARGE_MAX });
        }
        let largest = start_op.max(start_op.saturating_add(ops) - 1);
        if largest > OP_COUNTER_MAX {
            return Err(ChangeError::TooMany { what: "as largest op", got: largest, max: OP_COUNTER_MAX });
        }
        Ok(Self { deps, replica, seq, start_op, time, continues, others, columns, ops, predecessors, charge })
    }
}

/// Reads the replicas of the table behind the author, who is number 0: strictly ascending.
fn others(bytes: &mut Bytes<'_>, author: ReplicaId) -> Result<Vec<ReplicaId>, ChangeError> {
    let count = bytes.count(33)?;
    let mut others = Vec::with_capacity(count);
    for _ in 0..count {
        let other = replica_id(bytes)?;
        if other == author || others.last() >= Some(&other) {
            return Err(Fault::OutOfOrder.into());
        }
        others.push(other);
    }
    Ok(others)
}

/// Reads the commit message.
fn continues(bytes: &mut Bytes<'_>) -> Result<bool, ChangeError> {
    match bytes.prefixed()? {
        [] => Ok(false),
        message if message == CONTINUES.as_bytes() => Ok(true),
        _ => Err(ChangeError::Message),
    }
}

fn nonzero(bytes: &mut Bytes<'_>, what: &'static str) -> Result<u64, ChangeError> {
    match bytes.uleb()? {
        0 => Err(ChangeError::Zero { what }),
        number => Ok(number),
    }
}
