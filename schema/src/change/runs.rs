//! Totals of one column, taken run by run; a run of 2⁶⁰ costs as much as a run of one.

use super::Fault;
use super::bytes::Bytes;

/// The encoding of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Run-length encoded integers from `min` to `max`.
    Unsigned {
        /// Smallest number.
        min: u64,
        /// Largest number.
        max: u64,
    },
    /// Runs of actions up to `max`; the sum is of those that make an object.
    Action {
        /// Largest action.
        max: u64,
    },
    /// Runs of indexes into the chunk's table of replicas.
    Replica,
    /// Runs of differences; each number, summed up, lies within the bounds.
    Delta {
        /// Smallest number.
        min: i64,
        /// Largest number.
        max: i64,
    },
    /// Runs of differences of any size: Automerge saturates.
    AnyDelta,
    /// Lengths of runs of false and true, in turn.
    Flags,
    /// Runs of length-prefixed UTF-8.
    Text,
    /// Runs of `length << 4 | type` of the values in the column that follows.
    ValueMeta,
    /// The values themselves.
    Raw,
}

/// The totals of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Rows, nulls among them.
    pub(super) rows: u64,
    /// Rows that are not null (that are true, for flags).
    pub(super) values: u64,
    /// Sum of unsigned numbers, of value lengths, or of text lengths, over all rows.
    pub(super) sum: u64,
}

impl Totals {
    fn add(&mut self, count: u64, weight: Option<u64>, max: u64) -> Result<(), Fault> {
        self.rows = self.rows.checked_add(count).filter(|&rows| rows <= max).ok_or(Fault::Run)?;
        if let Some(weight) = weight {
            self.values += count;
            self.sum = self.sum.saturating_add(weight.saturating_mul(count));
        }
        Ok(())
    }
}

/// The bounds within which a column is walked.
pub(super) struct Bounds {
    /// Rows that a column may have.
    pub(super) rows_max: u64,
    /// Replicas in the chunk's table.
    pub(super) replicas: u64,
    /// True if runs must be as long as they can be, so that equal columns have equal bytes.
    pub(super) normal: bool,
}

/// Adds up one column without expanding it.
pub(super) fn measure(kind: Kind, data: &[u8], bounds: &Bounds) -> Result<Totals, Fault> {
    let Bounds { rows_max, replicas, normal } = *bounds;
    let mut totals = Totals::default();
    match kind {
        Kind::Raw => totals.rows = data.len() as u64,
        Kind::Flags => return flags(data, rows_max, normal),
        Kind::Unsigned { min, max } => runs(data, normal, Bytes::uleb, |value, count| {
            if value.is_some_and(|value| value < min || value > max) {
                return Err(Fault::OutOfRange);
            }
            totals.add(count, value, rows_max)
        })?,
        Kind::Action { max } => runs(data, normal, Bytes::uleb, |value, count| match value {
            Some(action) if action > max => Err(Fault::OutOfRange),
            _ => totals.add(count, value.map(|action| u64::from(makes_object(action))), rows_max),
        })?,
        Kind::Replica => runs(data, normal, Bytes::uleb, |value, count| match value {
            Some(index) if index >= replicas => Err(Fault::OutOfRange),
            _ => totals.add(count, value.map(|_| 0), rows_max),
        })?,
        Kind::Delta { min, max } => {
            let mut at = 0_i64;
            runs(data, normal, Bytes::sleb, |value, count| {
                totals.add(count, value.map(|_| 0), rows_max)?;
                if let Some(delta) = value {
                    // Monotone within the run: its ends bound it.
                    let first = at.checked_add(delta).ok_or(Fault::OutOfRange)?;
                    let count = i64::try_from(count).map_err(|_| Fault::Run)?;
                    let last = delta.checked_mul(count).and_then(|by| at.checked_add(by));
                    at = last.filter(|at| *at >= min && *at <= max).ok_or(Fault::OutOfRange)?;
                    if first < min || first > max {
                        return Err(Fault::OutOfRange);
                    }
                }
                Ok(())
            })?;
        }
        Kind::AnyDelta => {
            runs(data, normal, Bytes::sleb, |value, count| totals.add(count, value.map(|_| 0), rows_max))?
        }
        Kind::Text => runs(data, normal, Bytes::prefixed, |value, count| {
            if value.is_some_and(|text| std::str::from_utf8(text).is_err()) {
                return Err(Fault::Utf8);
            }
            totals.add(count, value.map(|text| text.len() as u64), rows_max)
        })?,
        Kind::ValueMeta => runs(data, normal, Bytes::uleb, |value, count| {
            if value.is_some_and(|meta| !value_length_fits(meta)) {
                return Err(Fault::OutOfRange);
            }
            totals.add(count, value.map(|meta| meta >> 4), rows_max)
        })?,
    }
    Ok(totals)
}

/// Actions: map 0, put 1, list 2, delete 3, text 4, increment 5, table 6, mark 7.
fn makes_object(action: u64) -> bool {
    matches!(action, 0 | 2 | 4 | 6)
}

/// Null, false and true take no bytes, numbers up to ten, floats eight.
fn value_length_fits(meta: u64) -> bool {
    let length = meta >> 4;
    match meta & 0xf {
        0..=2 => length == 0,
        3 | 4 | 8 | 9 => (1..=10).contains(&length),
        5 => length == 8,
        _ => true,
    }
}

/// The end of the previous run, to check that each run is as long as it can be.
#[derive(PartialEq)]
enum Before<V> {
    Nothing,
    Nulls,
    Literal(V),
    Same(V),
}

/// Walks a run-length column: `n > 0, value` is n times the value, `-n` is n values, `0, n` is n nulls.
fn runs<'a, V: PartialEq + Copy>(
    data: &'a [u8],
    normal: bool,
    read: impl Fn(&mut Bytes<'a>) -> Result<V, Fault>,
    mut visit: impl FnMut(Option<V>, u64) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut bytes = Bytes(data);
    let mut before = Before::Nothing;
    let mut all_null = true;
    while !bytes.0.is_empty() {
        let length = bytes.sleb()?;
        let count = length.unsigned_abs();
        if length == 0 {
            let nulls = bytes.uleb()?;
            if nulls == 0 {
                return Err(Fault::Run);
            }
            if normal && before == Before::Nulls {
                return Err(Fault::NotNormal);
            }
            visit(None, nulls)?;
            before = Before::Nulls;
            continue;
        }
        all_null = false;
        if length > 0 {
            let value = read(&mut bytes)?;
            let could_join = match before {
                Before::Literal(last) | Before::Same(last) => last == value,
                Before::Nothing | Before::Nulls => false,
            };
            if normal && (count == 1 || could_join) {
                return Err(Fault::NotNormal);
            }
            visit(Some(value), count)?;
            before = Before::Same(value);
            continue;
        }
        if normal && matches!(before, Before::Literal(_)) {
            return Err(Fault::NotNormal);
        }
        for _ in 0..count {
            let value = read(&mut bytes)?; // at least one byte each: the claim costs nothing
            let repeats = match before {
                Before::Literal(last) | Before::Same(last) => last == value,
                Before::Nothing | Before::Nulls => false,
            };
            if normal && repeats {
                return Err(Fault::NotNormal);
            }
            visit(Some(value), 1)?;
            before = Before::Literal(value);
        }
    }
    // A column of nulls alone is left out.
    if normal && all_null && before != Before::Nothing { Err(Fault::NotNormal) } else { Ok(()) }
}

fn flags(data: &[u8], rows_max: u64, normal: bool) -> Result<Totals, Fault> {
    let mut bytes = Bytes(data);
    let mut totals = Totals::default();
    let mut value = false;
    let mut first = true;
    while !bytes.0.is_empty() {
        let count = bytes.uleb()?;
        let starts_with_true = first && count == 0 && !bytes.0.is_empty();
        if normal && count == 0 && !starts_with_true {
            return Err(Fault::NotNormal);
        }
        totals.add(count, value.then_some(0), rows_max)?;
        value = !value;
        first = false;
    }
    Ok(totals)
}
