//! Cursors over columns that were measured before: they move run by run, so that columns are walked in step.

use crate::change::Fault;
use crate::change::bytes::Bytes;

/// The values of a run-length column.
pub(super) trait Encoding<'a> {
    type Value: Copy;

    fn read(bytes: &mut Bytes<'a>) -> Result<Self::Value, Fault>;
}

/// Unsigned numbers.
pub(super) struct Unsigned;

impl<'a> Encoding<'a> for Unsigned {
    type Value = u64;

    fn read(bytes: &mut Bytes<'a>) -> Result<u64, Fault> {
        bytes.uleb()
    }
}

/// Signed numbers.
pub(super) struct Signed;

impl<'a> Encoding<'a> for Signed {
    type Value = i64;

    fn read(bytes: &mut Bytes<'a>) -> Result<i64, Fault> {
        bytes.sleb()
    }
}

/// Texts, of which only the presence counts.
pub(super) struct Text;

impl<'a> Encoding<'a> for Text {
    type Value = ();

    fn read(bytes: &mut Bytes<'a>) -> Result<(), Fault> {
        bytes.prefixed().map(|_| ())
    }
}

/// The rows of a run-length column that are not read yet. Behind its end, and if it is absent, it reads as
/// nulls.
pub(super) struct Cursor<'a, E: Encoding<'a>> {
    bytes: Bytes<'a>,
    /// Rows that are left of the literals which the cursor is in, besides those of `left`.
    literals: u64,
    value: Option<E::Value>,
    /// Rows that are left of the run.
    left: u64,
}

impl<'a, E: Encoding<'a>> Cursor<'a, E> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { bytes: Bytes(data), literals: 0, value: None, left: 0 }
    }

    /// The value of the next rows, and how many rows have it.
    #[inline]
    pub(super) fn run(&mut self) -> Result<(Option<E::Value>, u64), Fault> {
        while self.left == 0 {
            self.next_run()?;
        }
        Ok((self.value, self.left))
    }

    /// Moves by so many rows of the run.
    #[inline]
    pub(super) fn skip(&mut self, rows: u64) {
        self.left -= rows;
    }

    fn next_run(&mut self) -> Result<(), Fault> {
        if self.literals > 0 {
            (self.value, self.left) = (Some(E::read(&mut self.bytes)?), 1);
            self.literals -= 1;
        } else if self.bytes.0.is_empty() {
            (self.value, self.left) = (None, u64::MAX);
        } else {
            let length = self.bytes.sleb()?;
            match length {
                0 => (self.value, self.left) = (None, self.bytes.uleb()?),
                1.. => (self.value, self.left) = (Some(E::read(&mut self.bytes)?), length.unsigned_abs()),
                _ => self.literals = length.unsigned_abs(),
            }
        }
        Ok(())
    }
}

/// A cursor over lengths of runs of false and true, in turn.
pub(super) struct Flags<'a> {
    bytes: Bytes<'a>,
    value: bool,
    left: u64,
}

impl<'a> Flags<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { bytes: Bytes(data), value: true, left: 0 }
    }

    /// The value of the next rows, and how many rows have it.
    #[inline]
    pub(super) fn run(&mut self) -> Result<(bool, u64), Fault> {
        while self.left == 0 {
            self.value = !self.value;
            self.left = if self.bytes.0.is_empty() { u64::MAX } else { self.bytes.uleb()? };
        }
        Ok((self.value, self.left))
    }

    /// Moves by so many rows of the run.
    #[inline]
    pub(super) fn skip(&mut self, rows: u64) {
        self.left -= rows;
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

/// A cursor over counters that are encoded as differences.
pub(super) struct Counters<'a> {
    differences: Cursor<'a, Signed>,
    last: i64,
}

impl<'a> Counters<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { differences: Cursor::new(data), last: 0 }
    }

    /// The numbers of the next rows, and of how many.
    #[inline]
    pub(super) fn run(&mut self) -> Result<(Option<Numbers>, u64), Fault> {
        let (difference, left) = self.differences.run()?;
        let numbers = difference.map(|step| Numbers { first: self.last.wrapping_add(step), step });
        Ok((numbers, left))
    }

    /// Moves by so many rows of the run.
    #[inline]
    pub(super) fn skip(&mut self, rows: u64) {
        if let Some(step) = self.differences.value {
            self.last = self.last.wrapping_add(step.wrapping_mul(rows.cast_signed()));
        }
        self.differences.skip(rows);
    }
}
