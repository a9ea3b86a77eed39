//! How often a device sent what it must have refused itself (pure; AUTHORITY 3.8).

use std::collections::BTreeMap;
use std::time::Duration;

use schema::DeviceId;

/// Faults within [`FAULTS_IN`] after which a device is let go.
const FAULTS_MAX: usize = 3;
/// The span in which faults are counted.
const FAULTS_IN: Duration = Duration::from_secs(10 * 60);
/// For how long it is let go.
const OUT_FOR: Duration = Duration::from_secs(60 * 60);

/// The devices that sent such things lately.
#[derive(Debug, Default)]
pub(super) struct Faults {
    devices: BTreeMap<DeviceId, Vec<Duration>>,
}

impl Faults {
    /// Notes one; `true` when the device is to be let go.
    pub(super) fn note(&mut self, device: DeviceId, now: Duration) -> bool {
        self.devices
            .retain(|_, faults| faults.last().is_some_and(|last| now.saturating_sub(*last) < OUT_FOR));
        let faults = self.devices.entry(device).or_default();
        if faults.len() < FAULTS_MAX {
            faults.retain(|at| now.saturating_sub(*at) < FAULTS_IN);
            faults.push(now);
        }
        self.is_out(device, now)
    }

    /// Whether a device is to be let go.
    pub(super) fn is_out(&self, device: DeviceId, now: Duration) -> bool {
        let Some(faults) = self.devices.get(&device) else { return false };
        let is_recent = faults.last().is_some_and(|last| now.saturating_sub(*last) < OUT_FOR);
        faults.len() >= FAULTS_MAX && is_recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEN: DeviceId = DeviceId([1; 32]);

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn three_faults_in_ten_minutes_are_an_hour_without_us() {
        let mut faults = Faults::default();
        assert_eq!([0, 4, 9].map(|at| faults.note(BEN, minutes(at))), [false, false, true]);
        assert!(faults.is_out(BEN, minutes(68)));
        assert!(!faults.is_out(BEN, minutes(69)));
        assert!(!faults.is_out(DeviceId([2; 32]), minutes(10)));
    }

    #[test]
    fn faults_that_are_far_between_are_forgiven() {
        let mut faults = Faults::default();
        assert!((0..20).all(|at| !faults.note(BEN, minutes(6 * at))));
    }
}
