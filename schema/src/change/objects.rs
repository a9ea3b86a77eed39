//! The objects that a change makes, and those of other changes that its ops work on.
//!
//! An op names its object, and by its key it takes it for a map or for a sequence. Automerge does not ask
//! whether that is so: an element among the fields of a map is applied, and spoils the next honest change that
//! replaces a field. The reader checks this for objects of the change itself; whoever applies it asks the
//! document about the others.

use super::body::Body;
use super::walk::{Made, ObjectKind, walk};
use super::{CHANGE, ChangeError, Frame, no_more};
use crate::id::ReplicaId;
use crate::limits::CHANGE_BYTES_MAX;

/// An object of another change as the ops of a change take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectUse {
    /// The replica whose op made the object.
    pub replica: ReplicaId,
    /// Counter of that op.
    pub counter: u64,
    /// The kind for which it is taken.
    pub kind: ObjectKind,
}

/// The objects of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    replica: ReplicaId,
    /// Counter of its first op.
    start_op: u64,
    made: Made,
    uses: Vec<ObjectUse>,
}

impl Objects {
    /// Reads a change chunk.
    ///
    /// # Errors
    /// As those of [`ChangeHeader::read`](super::ChangeHeader::read).
    pub fn read(chunk: &[u8]) -> Result<Self, ChangeError> {
        let (frame, rest) = Frame::read(chunk, CHANGE, CHANGE_BYTES_MAX)?;
        no_more(rest)?;
        let body = Body::read(frame.data, chunk.len())?;
        let works = walk(&body)?.objects.others.into_iter();
        let mut uses: Vec<_> = works
            .filter_map(|(place, counter, kind)| {
                Some(ObjectUse { replica: body.replica_at(place)?, counter, kind })
            })
            .collect();
        uses.sort_unstable();
        uses.dedup();
        Ok(Self { replica: body.replica, start_op: body.start_op, made: Made::read(&body)?, uses })
    }

    /// Its replica, and the counter of its first op.
    pub fn first_op(&self) -> (ReplicaId, u64) {
        (self.replica, self.start_op)
    }

    /// The objects of other changes that its ops work on, each once for each kind for which it is taken.
    pub fn uses(&self) -> &[ObjectUse] {
        &self.uses
    }

    /// The kind of the object that an op of the change makes; `None` if it makes none, or is not of the
    /// change.
    pub fn made(&self, replica: ReplicaId, counter: u64) -> Option<ObjectKind> {
        if replica != self.replica {
            return None;
        }
        self.made.kind(counter.checked_sub(self.start_op)?)
    }
}
