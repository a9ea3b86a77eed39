//! The op columns of a change in normal form: every run as long as it can be.

use super::{Id, Key, Op};
use crate::raw::{
    ACTION, INSERT, KEY_COUNTER, KEY_REPLICA, KEY_TEXT, OBJECT_COUNTER, OBJECT_REPLICA, PREDECESSOR_COUNTER,
    PREDECESSOR_REPLICA, PREDECESSORS, VALUE, VALUE_META, prefixed, uleb,
};
use crate::rows::{differences, flags, runs};

/// Encodes ops; `index` is the place of a chain's replica in the table of the change.
pub(crate) fn encode(ops: &[Op], index: impl Fn(usize) -> u64) -> Vec<(u32, Vec<u8>)> {
    let numbers = |of: &dyn Fn(&Op) -> Option<u64>| runs(ops.iter().map(of), |number| uleb(*number));
    let element = |op: &Op| if let Key::Element(id) = op.key { Some(id) } else { None };
    let place = |op: &Op| match op.key {
        Key::Field(_) => None,
        Key::Head => Some(0),
        Key::Element(id) => Some(id.counter),
    };
    let field = |op: &Op| if let Key::Field(name) = &op.key { Some(name.clone()) } else { None };
    let predecessors = || ops.iter().flat_map(|op| &op.predecessors);
    let some = |id: &Id| Some(id.counter);
    let columns = [
        (OBJECT_REPLICA, numbers(&|op| op.object.map(|id| index(id.chain)))),
        (OBJECT_COUNTER, numbers(&|op| op.object.map(|id| id.counter))),
        (KEY_REPLICA, numbers(&|op| element(op).map(|id| index(id.chain)))),
        (KEY_COUNTER, differences(ops.iter().map(place))),
        (KEY_TEXT, runs(ops.iter().map(field), |name| prefixed(name.as_bytes()))),
        (INSERT, flags(ops.iter().map(|op| op.insert))),
        (ACTION, numbers(&|op| Some(op.action))),
        (VALUE_META, numbers(&|op| Some((op.value.len() as u64) << 4 | op.kind))),
        (VALUE, ops.iter().flat_map(|op| &op.value).copied().collect()),
        (PREDECESSORS, numbers(&|op| Some(op.predecessors.len() as u64))),
        (PREDECESSOR_REPLICA, runs(predecessors().map(|id| Some(index(id.chain))), |number| uleb(*number))),
        (PREDECESSOR_COUNTER, differences(predecessors().map(some))),
    ];
    columns.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect()
}
