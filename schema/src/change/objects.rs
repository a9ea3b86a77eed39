//! The objects and elements that a change makes, and those that its ops take for granted.
//!
//! An op names its object, and by its key it takes it for a map or for a sequence. Automerge does not ask
//! whether that is so: it applies an element among the fields of a map, and spoils the next honest change
//! that replaces a field. Nor does it ask whether an element that an op sets is one of its object: the op
//! goes astray, or not, with the ops that happen to be applied beside it. The reader checks both where the
//! change itself makes what it names; the shell looks up the rest before it applies the change, and whether
//! an object whose elements are set is a list.

use super::body::Body;
use super::walk::{Inserts, Made, ObjectKind, ObjectShape, Place, Updates, walk};
use super::{CHANGE, ChangeError, Frame, no_more};
use crate::id::ReplicaId;
use crate::limits::CHANGE_BYTES_MAX;

/// An op of a document: its replica and its counter.
pub type OpOf = (ReplicaId, u64);

/// An object as the ops of a change take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectUse {
    /// The op that made it.
    pub object: OpOf,
    /// What it is taken for.
    pub shape: ObjectShape,
}

/// An element of another change that the ops of a change set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ElementUse {
    /// The object of which they take it for an element.
    pub object: OpOf,
    /// The op that inserted it.
    pub element: OpOf,
}

/// The objects and elements of one change.
pub struct Objects {
    replica: ReplicaId,
    others: Vec<ReplicaId>,
    /// Counter of its first op.
    start_op: u64,
    ops: u64,
    made: Made,
    inserts: Inserts,
    uses: Vec<ObjectUse>,
    updates: Vec<ElementUse>,
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
        let walked = walk(&body)?;
        let (made, set) = (Made::read(&body)?, Updates::read(&body)?);
        let Body { replica, others, start_op, ops, .. } = body;
        let (uses, updates) = (Vec::new(), Vec::new());
        let mut read = Self { replica, others, start_op, ops, made, inserts: walked.inserts, uses, updates };
        let lists = set.objects.into_iter().map(|(place, counter)| (place, counter, ObjectShape::List));
        let uses = walked.objects.others.into_iter().chain(lists);
        read.uses = distinct(uses.filter_map(|(place, counter, shape)| {
            Some(ObjectUse { object: read.op((place, counter))?, shape })
        }));
        read.updates = distinct(set.elements.into_iter().filter_map(|(object, element)| {
            Some(ElementUse { object: read.op(object)?, element: read.op(element)? })
        }));
        Ok(read)
    }

    /// Its first op.
    pub fn first_op(&self) -> OpOf {
        (self.replica, self.start_op)
    }

    /// Returns true if an op is one of the change.
    pub fn has(&self, op: OpOf) -> bool {
        self.row(op).is_some()
    }

    /// The objects of other changes that its ops work on, and all whose elements they set, each once for each
    /// shape that it is taken for.
    pub fn uses(&self) -> &[ObjectUse] {
        &self.uses
    }

    /// The elements of other changes that its ops set, other than by deleting them, each once.
    pub fn updates(&self) -> &[ElementUse] {
        &self.updates
    }

    /// The kind of the object that an op of the change makes.
    pub fn made(&self, op: OpOf) -> Option<ObjectKind> {
        self.made.kind(self.row(op)?)
    }

    /// The object into which an op of the change inserts an element.
    pub fn inserts_into(&self, op: OpOf) -> Option<OpOf> {
        self.op(self.inserts.object(self.row(op)?)?)
    }

    fn row(&self, (replica, counter): OpOf) -> Option<u64> {
        let row = counter.checked_sub(self.start_op)?;
        (replica == self.replica && row < self.ops).then_some(row)
    }

    fn op(&self, (place, counter): Place) -> Option<OpOf> {
        let replica = match usize::try_from(place).ok()?.checked_sub(1) {
            None => self.replica,
            Some(other) => *self.others.get(other)?,
        };
        Some((replica, counter))
    }
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
