//! Cursors over columns that were measured before: they move run by run, so that columns are walked in step.

use super::Fault;
use super::bytes::Bytes;

/// The rows of a run-length column that are not read yet. Behind its end, and if it is absent, it reads as
/// nulls.
pub(super) struct Cursor<'a, V> {
    bytes: Bytes<'a>,
    read: fn(&mut Bytes<'a>) -> Result<V, Fault>,
    /// Rows that are left of the literals which the cursor is in, besides those of `left`.
    literals: u64,
    value: Option<V>,
    /// Rows that are left of the run.
    left: u64,
}

impl<'a, V: Copy> Cursor<'a, V> {
    pub(super) fn new(data: &'a [u8], read: fn(&mut Bytes<'a>) -> Result<V, Fault>) -> Self {
        Self { bytes: Bytes(data), read, literals: 0, value: None, left: 0 }
    }

    /// The value of the next rows, and how many rows have it.
    pub(super) fn run(&mut self) -> Result<(Option<V>, u64), Fault> {
        while self.left == 0 {
            self.next_run()?;
        }
        Ok((self.value, self.left))
    }

    /// Moves by so many rows of the run.
    pub(super) fn skip(&mut self, rows: u64) {
        self.left -= rows;
    }

    fn next_run(&mut self) -> Result<(), Fault> {
        if self.literals > 0 {
            (self.value, self.left) = (Some((self.read)(&mut self.bytes)?), 1);
            self.literals -= 1;
        } else if self.bytes.0.is_empty() {
            (self.value, self.left) = (None, u64::MAX);
        } else {
            let length = self.bytes.sleb()?;
            match length {
                0 => (self.value, self.left) = (None, self.bytes.uleb()?),
                1.. => (self.value, self.left) = (Some((self.read)(&mut self.bytes)?), length.unsigned_abs()),
                _ => self.literals = length.unsigned_abs(),
            }
        }
        Ok(())
    }
}

/// The numbers of consecutive rows: `first`, `first + step`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) first: i64,
    pub(super) step: i64,
}

impl Numbers {
    /// The number of the row at this place.
    pub(super) fn at(self, row: u64) -> i64 {
        // The measured bounds hold at both ends of each run, so nothing overflows.
        self.first.wrapping_add(self.step.wrapping_mul(row.cast_signed()))
    }

    /// The largest of the first `rows` numbers that is below `end`, if any is.
    pub(super) fn largest_below(self, rows: u64, end: i64) -> Option<i64> {
        let (low, high) = (self.first, self.at(rows - 1));
        let (low, high) = (low.min(high), low.max(high));
        if high < end || low >= end {
            return (high < end).then_some(high);
        }
        // The run crosses `end`, so that its step is not zero.
        let step = self.step.saturating_abs();
        Some(low + (end - 1 - low) / step * step)
    }
}

/// A cursor over op counters, plain or as differences.
pub(super) struct Counters<'a> {
    cursor: Cursor<'a, i64>,
    last: i64,
    differences: bool,
}

impl<'a> Counters<'a> {
    pub(super) fn plain(data: &'a [u8]) -> Self {
        let read = |bytes: &mut Bytes<'a>| Ok(bytes.uleb()?.cast_signed());
        Self { cursor: Cursor::new(data, read), last: 0, differences: false }
    }

    pub(super) fn differences(data: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(data, Bytes::sleb), last: 0, differences: true }
    }

    /// The numbers of the next rows, and of how many.
    pub(super) fn run(&mut self) -> Result<(Option<Numbers>, u64), Fault> {
        let (value, left) = self.cursor.run()?;
        let numbers = value.map(|value| match self.differences {
            true => Numbers { first: self.last.wrapping_add(value), step: value },
            false => Numbers { first: value, step: 0 },
        });
        Ok((numbers, left))
    }

    /// Moves by so many rows of the run.
    pub(super) fn skip(&mut self, rows: u64) {
        if let (Some(value), true) = (self.cursor.value, self.differences) {
            self.last = self.last.wrapping_add(value.wrapping_mul(rows.cast_signed()));
        }
        self.cursor.skip(rows);
    }
}
