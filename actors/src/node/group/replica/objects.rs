//! Asks the document whether objects and elements of other changes are what a change takes them for.
//!
//! Automerge does not ask. It applies an element among the fields of a map, and then spoils the next honest
//! change that replaces one of them; and whether it fails on an element that its object does not have depends
//! on what is applied beside. The answers are properties of the ops that are named, which are there, so that
//! every device finds the same.

use std::collections::BTreeMap;

use automerge::{ActorId, Automerge, ObjId, ObjType, ReadDoc};
use schema::change::{ChangeError, ElementUse, ObjectKind, ObjectUse, Objects, OpOf};

/// From so many changes on that hold named elements, all of a document are read at once.
const READ_SINGLY_MAX: usize = 16;

/// Returns true if each change takes objects and elements for what they are.
pub(super) fn fit<B: AsRef<[u8]>>(doc: &Automerge, chunks: &[B]) -> Result<bool, ChangeError> {
    let mut known = Known { doc, changes: BTreeMap::new(), read: 0 };
    let (mut objects, mut elements) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let change = Objects::read(chunk.as_ref())?;
        objects.extend_from_slice(change.uses());
        elements.extend_from_slice(change.updates());
        known.add(change);
    }
    if !objects
        .iter()
        .all(|ObjectUse { object, shape }| known.kind(*object).is_some_and(|kind| kind.has(*shape)))
    {
        return Ok(false);
    }
    for ElementUse { object, element } in elements {
        if known.holder(element)?.and_then(|change| change.inserts_into(element)) != Some(object) {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Known<'a> {
    doc: &'a Automerge,
    /// The changes that were read, by their first ops.
    changes: BTreeMap<OpOf, Objects>,
    /// The number of times that the document was asked.
    read: usize,
}

impl Known<'_> {
    fn add(&mut self, change: Objects) {
        // A change without ops has the first op of the next one.
        if change.has(change.first_op()) {
            self.changes.insert(change.first_op(), change);
        }
    }

    /// The kind of an object.
    fn kind(&self, object: OpOf) -> Option<ObjectKind> {
        if let Some(change) = self.change(object) {
            return change.made(object);
        }
        match self.doc.object_type(id(object)).ok()? {
            ObjType::Map | ObjType::Table => Some(ObjectKind::Map),
            ObjType::List => Some(ObjectKind::List),
            ObjType::Text => Some(ObjectKind::Text),
        }
    }

    fn change(&self, op: OpOf) -> Option<&Objects> {
        let (_, change) = self.changes.range(..=op).next_back()?;
        change.has(op).then_some(change)
    }

    /// The change that has an op.
    fn holder(&mut self, op: OpOf) -> Result<Option<&Objects>, ChangeError> {
        if self.change(op).is_none() && self.read <= READ_SINGLY_MAX {
            let found = if self.read < READ_SINGLY_MAX {
                let hash = self.doc.hash_for_opid(&id(op));
                hash.and_then(|hash| self.doc.get_change_by_hash(&hash)).into_iter().collect()
            } else {
                self.doc.get_changes(&[])
            };
            for change in found {
                let change = Objects::read(change.raw_bytes())?;
                self.add(change);
            }
            self.read += 1;
        }
        Ok(self.change(op))
    }
}

fn id((replica, counter): OpOf) -> ObjId {
    ObjId::Id(counter, ActorId::from(replica.0.as_slice()), 0)
}
