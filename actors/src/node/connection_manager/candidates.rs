//! Whom to dial, and when again (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::DeviceId;

/// The pause after the first failure; it doubles with each more.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: a device that comes back is met within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Addresses that are wanted, with what is known about each. Time is the clock's `instant`.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    addresses: BTreeMap<String, Candidate>,
    linked: BTreeSet<DeviceId>,
}

#[derive(Debug)]
struct Candidate {
    /// Who must answer, when it was wanted so.
    expected: Option<DeviceId>,
    /// Who answered last.
    device: Option<DeviceId>,
    dialling: bool,
    /// Since the last link that held.
    failures: u32,
    due: Duration,
}

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) address: String,
    pub(super) expected: Option<DeviceId>,
}

impl Candidates {
    /// Wants a link to whoever is at `address`, now: being asked for is fresh evidence.
    pub(super) fn want(&mut self, address: &str, expected: Option<DeviceId>, now: Duration) {
        let new = Candidate { expected, device: None, dialling: false, failures: 0, due: now };
        let candidate = self.addresses.entry(address.to_owned()).or_insert(new);
        candidate.expected = expected;
        candidate.failures = 0;
        candidate.due = now;
    }

    /// Wants it no more.
    pub(super) fn forget(&mut self, address: &str) {
        self.addresses.remove(address);
    }

    /// The way to everybody may have changed: nobody's failures count.
    pub(super) fn fresh(&mut self, now: Duration) {
        for candidate in self.addresses.values_mut() {
            candidate.failures = 0;
            candidate.due = candidate.due.min(now);
        }
    }

    /// The device at `address`, if there is a link to it.
    pub(super) fn linked_at(&self, address: &str) -> Option<DeviceId> {
        self.addresses.get(address)?.device.filter(|device| self.linked.contains(device))
    }

    /// Who is to be dialled now, at most `room`; they count as being dialled until
    /// [`reached`](Self::reached) or [`failed`](Self::failed). One address of a device at a time.
    pub(super) fn due(&mut self, now: Duration, room: usize) -> Vec<Dial> {
        let mut dials = Vec::new();
        let mut busy: BTreeSet<DeviceId> =
            self.addresses.values().filter(|c| c.dialling).filter_map(|c| c.device).collect();
        for (address, candidate) in &mut self.addresses {
            if dials.len() == room {
                break;
            }
            let due = candidate.waits(&self.linked) && candidate.due <= now;
            if due && candidate.device.is_none_or(|device| busy.insert(device)) {
                candidate.dialling = true;
                dials.push(Dial { address: address.clone(), expected: candidate.expected });
            }
        }
        dials
    }

    /// When to ask again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.addresses.values().filter(|c| c.waits(&self.linked)).map(|c| c.due).min()
    }

    /// How many are being dialled.
    pub(super) fn dialling(&self) -> usize {
        self.addresses.values().filter(|candidate| candidate.dialling).count()
    }

    /// `device` has answered at `address`.
    pub(super) fn reached(&mut self, address: &str, device: DeviceId) {
        if let Some(candidate) = self.addresses.get_mut(address) {
            candidate.dialling = false;
            candidate.device = Some(device);
        }
    }

    /// Nobody has answered at `address`, or nobody worth a link.
    pub(super) fn failed(&mut self, address: &str, now: Duration, random: u64) {
        if let Some(candidate) = self.addresses.get_mut(address) {
            candidate.dialling = false;
            candidate.retry(now, random);
        }
    }

    /// There is a link to `device`, whoever dialled.
    pub(super) fn linked(&mut self, device: DeviceId) {
        self.linked.insert(device);
    }

    /// The link to `device` is over after `lasted`. One that held clears the failures before it, one that broke at
    /// once counts as a failure more.
    pub(super) fn lost(&mut self, device: DeviceId, lasted: Duration, now: Duration, random: u64) {
        self.linked.remove(&device);
        for candidate in self.addresses.values_mut().filter(|c| c.device == Some(device)) {
            if lasted >= PAUSE_MAX {
                candidate.failures = 0;
            }
            candidate.retry(now, random);
        }
    }
}

impl Candidate {
    fn waits(&self, linked: &BTreeSet<DeviceId>) -> bool {
        !self.dialling && self.device.is_none_or(|device| !linked.contains(&device))
    }

    fn retry(&mut self, now: Duration, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause(self.failures, random);
    }
}

/// Between half and all of 1, 2, 4 … 60 s: devices that lost each other together do not all come back at once.
fn pause(failures: u32, random: u64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
    let half = u64::try_from(doubled.as_millis() / 2).expect("a minute at most");
    Duration::from_millis(half + random % (half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: DeviceId = DeviceId([1; 32]);
    const BEN: DeviceId = DeviceId([2; 32]);
    const LONG: u64 = 1_000; // random % (half + 1) is then the same small thing in each test

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn addresses(dials: &[Dial]) -> Vec<&str> {
        dials.iter().map(|dial| dial.address.as_str()).collect()
    }

    #[test]
    fn what_is_wanted_is_dialled_once_and_at_once() {
        let mut candidates = Candidates::default();
        candidates.want("ada", Some(ADA), at(5));
        assert_eq!(candidates.next_due(), Some(at(5)));
        assert_eq!(candidates.due(at(5), 9), [Dial { address: "ada".into(), expected: Some(ADA) }]);
        assert_eq!(candidates.due(at(6), 9), []);
        assert_eq!((candidates.dialling(), candidates.next_due()), (1, None));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_are_jittered() {
        for (failures, longest) in
            [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (9, 60), (u32::MAX, 60)]
        {
            let drawn: Vec<Duration> = (0..=30_000).map(|r| pause(failures, r)).collect();
            assert_eq!(drawn.iter().min().copied(), Some(at(longest) / 2), "{failures} failures");
            assert_eq!(drawn.iter().max().copied(), Some(at(longest)), "{failures} failures");
        }
    }

    #[test]
    fn a_failure_is_retried_after_its_pause_for_ever() {
        let mut candidates = Candidates::default();
        candidates.want("ada", None, at(0));
        let mut now = at(0);
        for failures in 1..100 {
            assert_eq!(addresses(&candidates.due(now, 9)), ["ada"]);
            candidates.failed("ada", now, LONG);
            assert_eq!(candidates.due(now, 9), []);
            let due = candidates.next_due().unwrap();
            assert_eq!(due, now + pause(failures, LONG));
            now = due;
        }
    }

    #[test]
    fn fresh_evidence_ends_the_pause() {
        let mut candidates = Candidates::default();
        candidates.want("ada", None, at(0));
        for _ in 0..5 {
            candidates.due(at(0), 9);
            candidates.failed("ada", at(0), LONG);
        }
        candidates.fresh(at(1));
        assert_eq!(addresses(&candidates.due(at(1), 9)), ["ada"]);
        candidates.failed("ada", at(1), 0);
        assert_eq!(candidates.next_due(), Some(at(1) + PAUSE_MIN / 2));
        candidates.want("ada", None, at(1));
        assert_eq!(addresses(&candidates.due(at(1), 9)), ["ada"]);
    }

    #[test]
    fn a_linked_device_is_not_dialled_at_any_address() {
        let mut candidates = Candidates::default();
        for address in ["home", "office"] {
            candidates.want(address, None, at(0));
            candidates.due(at(0), 9);
            candidates.reached(address, ADA);
            candidates.linked(ADA);
        }
        assert_eq!((candidates.next_due(), candidates.linked_at("office")), (None, Some(ADA)));
        assert_eq!(candidates.due(at(99), 9), []);

        candidates.lost(ADA, at(99), at(99), 0);

        assert_eq!(
            (candidates.next_due(), candidates.linked_at("office")),
            (Some(at(99) + PAUSE_MIN / 2), None)
        );
        assert_eq!(addresses(&candidates.due(at(100), 9)), ["home"], "one address of a device at a time");
        candidates.failed("home", at(100), 0);
        assert_eq!(addresses(&candidates.due(at(100), 9)), ["office"]);
    }

    #[test]
    fn a_link_that_breaks_at_once_is_a_failure_and_one_that_held_is_not() {
        let mut candidates = Candidates::default();
        candidates.want("ada", None, at(0));
        candidates.due(at(0), 9);
        candidates.reached("ada", ADA);
        for (lasted, pause) in [(0, 500), (1, 1_000), (2, 2_000), (3_600, 500), (5, 1_000)] {
            candidates.linked(ADA);
            candidates.lost(ADA, at(lasted), at(10), 0);
            assert_eq!(candidates.next_due(), Some(at(10) + Duration::from_millis(pause)), "lasted {lasted}");
        }
    }

    #[test]
    fn room_bounds_the_dials() {
        let mut candidates = Candidates::default();
        for address in ["ada", "ben", "cid"] {
            candidates.want(address, None, at(0));
        }
        assert_eq!(addresses(&candidates.due(at(0), 2)), ["ada", "ben"]);
        assert_eq!(addresses(&candidates.due(at(0), 0)), [""; 0]);
        assert_eq!(addresses(&candidates.due(at(0), 2)), ["cid"]);
    }

    #[test]
    fn what_is_forgotten_is_not_dialled_and_news_of_it_do_nothing() {
        let mut candidates = Candidates::default();
        candidates.want("ben", None, at(0));
        candidates.due(at(0), 9);
        candidates.forget("ben");
        candidates.reached("ben", BEN);
        candidates.failed("ben", at(0), 0);
        candidates.lost(BEN, at(0), at(0), 0);
        assert_eq!((candidates.next_due(), candidates.dialling()), (None, 0));
    }
}
