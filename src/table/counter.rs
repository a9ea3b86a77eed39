//! A number field that adds up the increments of all devices.

use std::fmt;

/// The serde name by which the serialiser tells a counter from a number.
pub(crate) const COUNTER: &str = "$peerbase::Counter";

/// A field of a row that adds up concurrent increments; a plain number is replaced whole.
///
/// Other serde formats see an ordinary number.
///
/// ```
/// # use peerbase::Counter;
/// let mut likes = Counter::from(3);
/// likes.increment(-1);
/// assert_eq!(likes.value(), 2);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename = "$peerbase::Counter")]
pub struct Counter(i64);

impl Counter {
    /// Returns the sum of the start value and all increments.
    pub fn value(&self) -> i64 {
        self.0
    }

    /// Adds `by`, which may be negative; the sum stops at the bounds of 64 bits.
    pub fn increment(&mut self, by: i64) {
        self.0 = self.0.saturating_add(by);
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<i64> for Counter {
    fn from(value: i64) -> Self {
        Self(value)
    }
}

impl From<Counter> for i64 {
    fn from(counter: Counter) -> Self {
        counter.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_stays_within_its_bits() {
        let mut counter = Counter::from(i64::MAX);
        counter.increment(1);
        assert_eq!(counter.value(), i64::MAX);
    }
}
