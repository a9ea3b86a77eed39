//! The op columns of a change in normal form: every run as long as it can be.

use super::{Id, Key, Op};
use crate::raw::{
    ACTION, INSERT, KEY_COUNTER, KEY_REPLICA, KEY_TEXT, OBJECT_COUNTER, OBJECT_REPLICA, PREDECESSOR_COUNTER,
    PREDECESSOR_REPLICA, PREDECESSORS, VALUE, VALUE_META, prefixed, sleb, uleb,
};

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

/// Run-length encoding: `n > 0, value` is n times the value, `-n` is n values, `0, n` is n nulls.
fn runs<V: PartialEq>(values: impl Iterator<Item = Option<V>>, encode: impl Fn(&V) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut literals, mut literal_bytes, mut all_null) = (0_i64, Vec::new(), true);
    let mut values = values.peekable();
    while let Some(value) = values.next() {
        let mut count = 1_i64;
        while values.next_if(|next| *next == value).is_some() {
            count += 1;
        }
        if let (Some(value), 1) = (&value, count) {
            literals += 1;
            literal_bytes.extend(encode(value));
            all_null = false;
            continue;
        }
        end_literals(&mut out, &mut literals, &mut literal_bytes);
        match value {
            None => out.extend([vec![0], uleb(count.unsigned_abs())].concat()),
            Some(value) => {
                out.extend([sleb(count), encode(&value)].concat());
                all_null = false;
            }
        }
    }
    end_literals(&mut out, &mut literals, &mut literal_bytes);
    if all_null { Vec::new() } else { out }
}

fn end_literals(out: &mut Vec<u8>, literals: &mut i64, bytes: &mut Vec<u8>) {
    if *literals > 0 {
        out.extend(sleb(-*literals));
        out.append(bytes);
        *literals = 0;
    }
}

/// Run-length encoding of the differences between numbers; a null changes nothing.
fn differences(numbers: impl Iterator<Item = Option<u64>>) -> Vec<u8> {
    let mut before = 0;
    let difference = |number: Option<u64>| {
        number.map(|number| {
            let number = i64::try_from(number).unwrap();
            number - std::mem::replace(&mut before, number)
        })
    };
    runs(numbers.map(difference), |difference| sleb(*difference))
}

/// Lengths of runs of false and true, in turn.
fn flags(flags: impl Iterator<Item = bool>) -> Vec<u8> {
    let (mut out, mut current, mut count) = (Vec::new(), false, 0);
    for flag in flags {
        if flag != current {
            out.extend(uleb(count));
            (current, count) = (flag, 0);
        }
        count += 1;
    }
    if count > 0 {
        out.extend(uleb(count));
    }
    out
}
