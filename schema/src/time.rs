//! Time by a device's own clocks: dates, which people see, and moments, by which deadlines are measured.
//!
//! A device never trusts the dates of another, and no order of changes rests on them.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch (UTC, leap seconds not counted).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if the clock was set back meanwhile.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the last representable time; fractions of a millisecond are dropped.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Time passed since a start that is the same for all moments of one clock. It is never set back and does not
/// jump with the wall clock, so deadlines and restart budgets rest on it. A date cannot become a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// Time passed since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the last representable moment.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_sums_saturate() {
        let noon = Timestamp(1_000);
        assert_eq!((noon + Duration::from_millis(500)).since(noon), Duration::from_millis(500));
        assert_eq!(noon.since(noon + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(noon + Duration::MAX, Timestamp(u64::MAX));

        let start = Moment::default();
        assert_eq!((start + Duration::from_nanos(1)).since(start), Duration::from_nanos(1));
        assert_eq!(start.since(start + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(start + Duration::from_nanos(1) + Duration::MAX, Moment(Duration::MAX));
    }
}
