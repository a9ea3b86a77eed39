//! Who sends what no honest device would, ops or changes: after a few such a device is let go for a while (pure;
//! authority 3.8).
//!
//! Whether an op is valid depends on its past alone, and an honest device refuses what we refuse by the same membership. Scores
//! are local, are told to nobody, and end with the process.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schema::DeviceId;
use schema::limits::{FAULTS_MAX, FAULTS_WINDOW, FAULTY_DEVICE_PAUSE, SCORED_DEVICES_MAX};

/// The faults of each device. Time is the clock's `instant`.
#[derive(Debug, Default)]
pub(super) struct Scores {
    devices: BTreeMap<DeviceId, Score>,
}

#[derive(Debug, Default)]
struct Score {
    /// When the last few were made, the oldest first.
    faults: VecDeque<Duration>,
    out_until: Duration,
}

impl Score {
    fn last(&self) -> Duration {
        self.faults.back().copied().unwrap_or_default()
    }
}

impl Scores {
    /// A device sent such a thing; whether it is to be let go.
    pub(super) fn fault(&mut self, device: DeviceId, now: Duration) -> bool {
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
        score.out_until = now + FAULTY_DEVICE_PAUSE;
        true
    }

    /// Whether a device is not to be spoken to yet.
    pub(super) fn is_out(&self, device: DeviceId, now: Duration) -> bool {
        self.devices.get(&device).is_some_and(|score| now < score.out_until)
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
    fn the_third_fault_within_ten_minutes_lets_a_device_go_for_an_hour() {
        let mut scores = Scores::default();
        assert!(!scores.fault(ADA, minutes(100)) && !scores.fault(ADA, minutes(105)));
        assert!(!scores.fault(BEN, minutes(106)) && !scores.is_out(ADA, minutes(106)));

        assert!(scores.fault(ADA, minutes(109)));

        assert!(scores.is_out(ADA, minutes(168)) && !scores.is_out(ADA, minutes(169)));
        assert!(!scores.is_out(BEN, minutes(109)));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut scores = Scores::default();
        assert!((0..100).all(|number| !scores.fault(ADA, minutes(5 * number))));
    }

    #[test]
    fn devices_without_end_are_not_remembered_without_end() {
        let mut scores = Scores::default();
        for number in 0..2 * SCORED_DEVICES_MAX as u64 {
            let mut device = DeviceId([0; 32]);
            device.0[..8].copy_from_slice(&number.to_be_bytes());
            for _ in 0..FAULTS_MAX {
                scores.fault(device, Duration::from_secs(number));
            }
        }
        assert_eq!(scores.devices.len(), SCORED_DEVICES_MAX);
        assert!(
            scores.fault(ADA, minutes(60)) | scores.fault(ADA, minutes(60)) | scores.fault(ADA, minutes(60))
        );
    }
}
