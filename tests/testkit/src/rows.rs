//! The op columns of a change as rows, whose cells a test alters one by one, and their encoding in normal
//! form: every run as long as it can be.

use crate::raw::{
    ACTION, INSERT, KEY_COUNTER, KEY_REPLICA, KEY_TEXT, OBJECT_COUNTER, OBJECT_REPLICA, PREDECESSOR_COUNTER,
    PREDECESSOR_REPLICA, PREDECESSORS, VALUE, VALUE_META, prefixed, sleb, uleb,
};

/// The cells of one op; a replica is any number that the encoding gives a place in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Replica of the object.
    pub object_replica: Option<usize>,
    /// Counter of the object.
    pub object_counter: Option<u64>,
    /// Replica of the element.
    pub key_replica: Option<usize>,
    /// Counter of the element; zero is the head.
    pub key_counter: Option<u64>,
    /// Name of the field.
    pub key_text: Option<Vec<u8>>,
    /// True if it inserts.
    pub insert: bool,
    /// Its kind.
    pub action: u64,
    /// Type of its value.
    pub kind: u64,
    /// Bytes of its value.
    pub value: Vec<u8>,
    /// Replica and counter of its predecessors.
    pub predecessors: Vec<(usize, u64)>,
}

impl Row {
    /// The replicas that it names.
    pub fn replicas(&self) -> impl Iterator<Item = usize> {
        let predecessors = self.predecessors.iter().map(|(replica, _)| *replica);
        self.object_replica.into_iter().chain(self.key_replica).chain(predecessors)
    }
}

/// Encodes rows; `place` is the place of a replica in the table of the change.
pub fn encode(rows: &[Row], place: impl Fn(usize) -> u64) -> Vec<(u32, Vec<u8>)> {
    let numbers = |of: &dyn Fn(&Row) -> Option<u64>| runs(rows.iter().map(of), |number| uleb(*number));
    let predecessors = || rows.iter().flat_map(|row| &row.predecessors);
    let texts = rows.iter().map(|row| row.key_text.as_ref());
    let columns = [
        (OBJECT_REPLICA, numbers(&|row| row.object_replica.map(&place))),
        (OBJECT_COUNTER, numbers(&|row| row.object_counter)),
        (KEY_REPLICA, numbers(&|row| row.key_replica.map(&place))),
        (KEY_COUNTER, differences(rows.iter().map(|row| row.key_counter))),
        (KEY_TEXT, runs(texts, |text| prefixed(text))),
        (INSERT, flags(rows.iter().map(|row| row.insert))),
        (ACTION, numbers(&|row| Some(row.action))),
        (VALUE_META, numbers(&|row| Some((row.value.len() as u64) << 4 | row.kind))),
        (VALUE, rows.iter().flat_map(|row| &row.value).copied().collect()),
        (PREDECESSORS, numbers(&|row| Some(row.predecessors.len() as u64))),
        (PREDECESSOR_REPLICA, runs(predecessors().map(|(id, _)| Some(place(*id))), |number| uleb(*number))),
        (PREDECESSOR_COUNTER, differences(predecessors().map(|(_, counter)| Some(*counter)))),
    ];
    columns.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// Run-length encoding: `n > 0, value` is n times the value, `-n` is n values, `0, n` is n nulls.
pub(crate) fn runs<V: PartialEq>(
    values: impl Iterator<Item = Option<V>>,
    encode: impl Fn(&V) -> Vec<u8>,
) -> Vec<u8> {
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
pub(crate) fn differences(numbers: impl Iterator<Item = Option<u64>>) -> Vec<u8> {
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
pub(crate) fn flags(flags: impl Iterator<Item = bool>) -> Vec<u8> {
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
