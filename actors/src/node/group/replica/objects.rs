//! Asks the document whether the objects that changes work on are of the kind for which they are taken.
//!
//! Automerge does not ask. It applies an element among the fields of a map, and then spoils the next honest
//! change that replaces one of them. The kind of an object is a property of the op that makes it, so that
//! every device finds the same.

use std::collections::BTreeMap;

use automerge::{ActorId, Automerge, ObjId, ObjType, ReadDoc};
use schema::ReplicaId;
use schema::change::{ChangeError, ObjectKind, ObjectUse, Objects};

/// Returns true if each object is made in the document, or by one of the changes, and is of its kind.
pub(super) fn fit<B: AsRef<[u8]>>(doc: &Automerge, chunks: &[B]) -> Result<bool, ChangeError> {
    let all = chunks.iter().map(|chunk| Objects::read(chunk.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let changes: BTreeMap<(ReplicaId, u64), &Objects> =
        all.iter().map(|objects| (objects.first_op(), objects)).collect();
    let fits = |ObjectUse { replica, counter, kind }: &ObjectUse| {
        let made = changes.range(..=(*replica, *counter)).next_back();
        let made = made.and_then(|(_, objects)| objects.made(*replica, *counter));
        made.or_else(|| in_document(doc, *replica, *counter)) == Some(*kind)
    };
    Ok(all.iter().flat_map(Objects::uses).all(fits))
}

fn in_document(doc: &Automerge, replica: ReplicaId, counter: u64) -> Option<ObjectKind> {
    let id = ObjId::Id(counter, ActorId::from(replica.0.as_slice()), 0);
    match doc.object_type(&id).ok()? {
        ObjType::Map | ObjType::Table => Some(ObjectKind::Map),
        ObjType::List | ObjType::Text => Some(ObjectKind::Sequence),
    }
}
