//! Walks the op columns in step and refuses what no document can take, whatever it holds: Automerge fails to
//! parse it, panics on it, or keeps ops from which it encodes another change.
//!
//! The columns were measured before. Rows that are alike in all columns of a walk are one step, so a change
//! takes at most as many steps as it has runs, and never more than it has ops and predecessors, for which it
//! is charged.

mod cursor;
mod named;
mod places;
mod predecessors;
mod values;

use super::columns::Columns;
use super::{ChangeError, Fault};
use crate::id::ReplicaId;
use named::Named;

/// What a walk knows of its change before.
pub(super) struct Known<'a> {
    pub(super) columns: &'a Columns<'a>,
    pub(super) author: ReplicaId,
    /// The other replicas of its table, ascending.
    pub(super) others: &'a [ReplicaId],
    /// Counter of its first op.
    pub(super) start_op: u64,
    pub(super) ops: u64,
    pub(super) predecessors: u64,
}

/// Walks all op columns; returns the largest op that is named of each replica, ascending by replica.
pub(super) fn walk(known: &Known<'_>) -> Result<Vec<(ReplicaId, u64)>, ChangeError> {
    let mut named = Named::new(known);
    places::walk(known, &mut named)?;
    values::walk(known)?;
    if known.predecessors > 0 {
        predecessors::walk(known, &mut named)?;
    }
    named.into_references(known)
}

fn at(column: u32, fault: Fault) -> ChangeError {
    ChangeError::Column { column, fault }
}
