//! Rate limits and scores of the gate: strangers, redeemed tickets, contests, faulty devices. Time is
//! monotonic.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits::{
    CONTESTED_EVERY, FAULTS_MAX, FAULTS_WINDOW, FAULTY_DEVICE_PAUSE, SCORED_DEVICES_MAX, STRANGERS_AT_ONCE,
    STRANGERS_EVERY,
};
use crate::{DeviceId, GroupId, UserId};

/// A token bucket for strangers: the time at which it will be full again.
#[derive(Debug, Default)]
pub(super) struct StrangerRateLimit(Duration);

impl StrangerRateLimit {
    /// Takes a token; false if none is left.
    pub(super) fn try_acquire(&mut self, now: Duration) -> bool {
        let full_at = self.0.max(now) + STRANGERS_EVERY;
        let is_left = full_at - now <= STRANGERS_EVERY * STRANGERS_AT_ONCE;
        if is_left {
            self.0 = full_at;
        }
        is_left
    }
}

/// Counts events within a span.
#[derive(Debug, Default)]
pub(super) struct Counter {
    count: usize,
    since: Duration,
}

impl Counter {
    /// Counts one more event; false if it is more than `max` within the span.
    pub(super) fn try_count(&mut self, now: Duration, max: usize, span: Duration) -> bool {
        if now.saturating_sub(self.since) >= span {
            *self = Self { count: 0, since: now };
        }
        self.count += 1;
        self.count <= max
    }
}

/// The last time at which each removed user contested their removal.
#[derive(Debug, Default)]
pub(super) struct Contests(BTreeMap<(GroupId, UserId), Duration>);

impl Contests {
    /// Notes a contest; false if the last was less than [`CONTESTED_EVERY`] ago.
    pub(super) fn try_begin(&mut self, group: GroupId, user: UserId, now: Duration) -> bool {
        let last = self.0.get(&(group, user));
        let is_free = last.is_none_or(|last| now.saturating_sub(*last) >= CONTESTED_EVERY);
        if is_free {
            self.0.insert((group, user), now);
        }
        is_free
    }
}

/// The faults of each device: ops or changes that no honest device sends. After a few it is barred for a
/// while (authority 3.8).
///
/// The validity of an op depends on its past alone, and an honest device refuses what we refuse under the
/// same roster. Scores are local, are shared with nobody, and end with the process.
#[derive(Debug, Default)]
pub(super) struct FaultScores {
    devices: BTreeMap<DeviceId, Score>,
}

#[derive(Debug, Default)]
struct Score {
    /// The times of the last few faults, the oldest first.
    faults: VecDeque<Duration>,
    barred_until: Duration,
}

impl Score {
    fn last(&self) -> Duration {
        self.faults.back().copied().unwrap_or_default()
    }
}

impl FaultScores {
    /// Adds a fault; true if the device is barred from now on.
    pub(super) fn add(&mut self, device: DeviceId, now: Duration) -> bool {
        if self.devices.len() == SCORED_DEVICES_MAX && !self.devices.contains_key(&device) {
            let oldest = self.devices.iter().min_by_key(|(_, score)| score.last());
            let oldest = oldest.map(|(device, _)| *device);
            oldest.iter().for_each(|device| drop(self.devices.remove(device)));
        }
        let score = self.devices.entry(device).or_default();
        score.faults.push_back(now);
        score.faults.retain(|at| now.saturating_sub(*at) < FAULTS_WINDOW);
        if score.faults.len() < FAULTS_MAX {
            return false;
        }
        score.faults.drain(..score.faults.len() - FAULTS_MAX);
        score.barred_until = now + FAULTY_DEVICE_PAUSE;
        true
    }

    /// Returns true if links with a device are refused.
    pub(super) fn is_barred(&self, device: DeviceId, now: Duration) -> bool {
        self.devices.get(&device).is_some_and(|score| now < score.barred_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: DeviceId = DeviceId([1; 32]);
    const BEN: DeviceId = DeviceId([2; 32]);

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn eight_strangers_pass_at_once_and_then_one_a_second() {
        let (mut limit, start) = (StrangerRateLimit::default(), Duration::from_secs(100));
        let passed = |limit: &mut StrangerRateLimit, at| (0..100).filter(|_| limit.try_acquire(at)).count();

        assert_eq!(passed(&mut limit, start), 8);
        assert_eq!(passed(&mut limit, start + Duration::from_millis(900)), 0);
        assert_eq!(passed(&mut limit, start + Duration::from_secs(3)), 3);
        assert_eq!(passed(&mut limit, start + Duration::from_secs(3_600)), 8);
    }

    #[test]
    fn a_counter_begins_again_after_its_span() {
        let mut counter = Counter::default();
        let mut counted = |at| (0..9).filter(|_| counter.try_count(minutes(at), 4, minutes(1))).count();
        assert_eq!((counted(5), counted(5), counted(6)), (4, 0, 4));
    }

    #[test]
    fn the_third_fault_within_ten_minutes_bars_a_device_for_an_hour() {
        let mut scores = FaultScores::default();
        assert!(!scores.add(ADA, minutes(100)) && !scores.add(ADA, minutes(105)));
        assert!(!scores.add(BEN, minutes(106)) && !scores.is_barred(ADA, minutes(106)));

        assert!(scores.add(ADA, minutes(109)));

        assert!(scores.is_barred(ADA, minutes(168)) && !scores.is_barred(ADA, minutes(169)));
        assert!(!scores.is_barred(BEN, minutes(109)));
    }

    #[test]
    fn old_faults_do_not_count() {
        let mut scores = FaultScores::default();
        assert!((0..100).all(|number| !scores.add(ADA, minutes(5 * number))));
    }

    #[test]
    fn the_number_of_remembered_devices_is_bounded() {
        let mut scores = FaultScores::default();
        for number in 0..2 * SCORED_DEVICES_MAX as u64 {
            let mut device = DeviceId([0; 32]);
            device.0[..8].copy_from_slice(&number.to_be_bytes());
            for _ in 0..FAULTS_MAX {
                scores.add(device, Duration::from_secs(number));
            }
        }
        assert_eq!(scores.devices.len(), SCORED_DEVICES_MAX);
        assert!(scores.add(ADA, minutes(60)) | scores.add(ADA, minutes(60)) | scores.add(ADA, minutes(60)));
    }
}
