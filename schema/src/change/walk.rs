//! Walks the op columns in step and refuses what no document can take, whatever it holds: Automerge fails to
//! parse it, panics on it, or keeps ops from which it encodes another change.
//!
//! The columns were measured before. Rows that are alike in all columns of a walk are one step, so a change
//! takes at most as many steps as it has runs, and never more than it has ops and predecessors, for which it
//! is charged.

mod cursor;
mod elements;
mod named;
mod objects;
mod places;
mod predecessors;
mod values;

use super::body::Body;
use super::{ChangeError, Fault};
use crate::id::ReplicaId;
use named::Named;

pub(super) use elements::{Inserts, Place, Updates};
pub(super) use objects::{Made, Worked};
pub use objects::{ObjectKind, ObjectShape};

/// The ops that the ops of a change name or insert.
pub(super) struct Walked {
    /// The largest op of each replica, ascending by replica.
    pub(super) references: Vec<(ReplicaId, u64)>,
    /// Objects.
    pub(super) objects: Worked,
    /// The elements that its ops insert.
    pub(super) inserts: Inserts,
}

/// Walks all op columns.
pub(super) fn walk(body: &Body<'_>) -> Result<Walked, ChangeError> {
    let (mut named, mut objects, mut inserts) = (Named::new(body), Worked::default(), Inserts::default());
    places::walk(body, &mut named, &mut objects, &mut inserts)?;
    values::walk(body)?;
    if body.predecessors > 0 {
        predecessors::walk(body, &mut named)?;
    }
    Ok(Walked { references: named.into_references(body)?, objects, inserts })
}

fn at(column: u32, fault: Fault) -> ChangeError {
    ChangeError::Column { column, fault }
}
