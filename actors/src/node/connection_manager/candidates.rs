//! Whom to dial, and when again (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::DeviceId;
use schema::limits::LINKS_CONTENT;

/// The pause after the first failure; it doubles with each more.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: a device that comes back is met within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Devices of which only a record tells that are dialled at the same time: most of a large group may be asleep.
const RECORDED_DIALS_MAX: usize = 4;

/// Addresses that are wanted, with what is known about each. Time is the clock's `instant`.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Asked for by somebody here.
    asked: BTreeMap<String, Candidate>,
    /// Said by the devices themselves. What one says of an address takes nothing from another's word.
    recorded: BTreeMap<Place, Recorded>,
    linked: BTreeSet<DeviceId>,
}

/// A device and where it says that it is.
pub(super) type Place = (DeviceId, String);

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

#[derive(Debug)]
struct Recorded {
    candidate: Candidate,
    /// The counters of the records that say so, one for each group.
    counters: Vec<u64>,
    /// Not to be dialled until a new record says it: somebody else is there, or one of both ends wants no link.
    is_aside: bool,
}

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) address: String,
    pub(super) expected: Option<DeviceId>,
    /// Only a record asks for it.
    pub(super) is_recorded: bool,
}

impl Candidates {
    /// Wants a link to whoever is at `address`, now: being asked for is fresh evidence.
    pub(super) fn want(&mut self, address: &str, expected: Option<DeviceId>, now: Duration) {
        let new = Candidate { expected, device: None, dialling: false, failures: 0, due: now };
        let candidate = self.asked.entry(address.to_owned()).or_insert(new);
        candidate.expected = expected;
        candidate.failures = 0;
        candidate.due = now;
    }

    /// Wants it no more.
    pub(super) fn forget(&mut self, address: &str) {
        self.asked.remove(address);
    }

    /// Takes what records say now, with the counters of those records, in the place of what they said before. A new
    /// word is fresh evidence; `random` keeps members who hear it together from dialling each other at once.
    pub(super) fn record(
        &mut self,
        places: BTreeMap<Place, Vec<u64>>,
        now: Duration,
        mut random: impl FnMut() -> u64,
    ) {
        self.recorded.retain(|place, _| places.contains_key(place));
        for (place, counters) in places {
            let (expected, soon) = (Some(place.0), now + half_and_more(PAUSE_MIN, random()));
            let known = self.recorded.entry(place).or_insert_with(|| {
                let candidate =
                    Candidate { expected, device: expected, dialling: false, failures: 0, due: soon };
                Recorded { candidate, counters: counters.clone(), is_aside: false }
            });
            if known.counters != counters {
                known.counters = counters;
                known.is_aside = false;
                known.candidate.failures = 0;
                known.candidate.due = known.candidate.due.min(soon);
            }
        }
    }

    /// Nobody is dialled at such a place because a record says so, until a new one does.
    pub(super) fn set_aside(&mut self, which: impl Fn(&Place) -> bool) {
        let there = self.recorded.iter_mut().filter(|(place, _)| which(place));
        there.for_each(|(_, recorded)| recorded.is_aside = true);
    }

    /// The device that said so is not where the dial went.
    pub(super) fn mistaken(&mut self, dial: &Dial) {
        if let Some(recorded) = place_of(dial).and_then(|place| self.recorded.get_mut(&place)) {
            recorded.is_aside = true;
        }
    }

    /// The way to everybody may have changed: nobody's failures count.
    pub(super) fn fresh(&mut self, now: Duration) {
        for candidate in self.all_mut() {
            candidate.failures = 0;
            candidate.due = candidate.due.min(now);
        }
    }

    /// The device at `address`, if it was asked for and there is a link to it.
    pub(super) fn linked_at(&self, address: &str) -> Option<DeviceId> {
        self.asked.get(address)?.device.filter(|device| self.linked.contains(device))
    }

    /// Who is to be dialled now, at most `room`; they count as being dialled until
    /// [`reached`](Self::reached) or [`failed`](Self::failed). One address of a device at a time.
    pub(super) fn due(&mut self, now: Duration, room: usize) -> Vec<Dial> {
        let mut dials = Vec::new();
        let mut busy = self.busy();
        for (address, candidate) in &mut self.asked {
            if dials.len() == room {
                return dials;
            }
            let is_free = candidate.device.is_none_or(|device| !busy.contains(&device));
            if candidate.waits(&self.linked) && candidate.due <= now && is_free {
                candidate.dialling = true;
                busy.extend(candidate.device.or(candidate.expected));
                let (address, expected) = (address.clone(), candidate.expected);
                dials.push(Dial { address, expected, is_recorded: false });
            }
        }
        // Who waits longest comes first: a group of sleepers does not keep anybody from being met.
        let mut waiting: Vec<_> = self.dialable(&busy).filter(|(due, _)| *due <= now).collect();
        waiting.sort_unstable();
        let waiting: Vec<Place> = waiting.into_iter().map(|(_, place)| place.clone()).collect();
        let mut left = self.recorded_room().min(room - dials.len());
        for place in waiting {
            if left > 0 && busy.insert(place.0) {
                left -= 1;
                let recorded = self.recorded.get_mut(&place).expect("it was listed");
                recorded.candidate.dialling = true;
                let (device, address) = place;
                dials.push(Dial { address, expected: Some(device), is_recorded: true });
            }
        }
        dials
    }

    /// When to ask again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let busy = self.busy();
        let is_free = |candidate: &&Candidate| candidate.device.is_none_or(|device| !busy.contains(&device));
        let asked = self.asked.values().filter(|c| c.waits(&self.linked)).filter(is_free).map(|c| c.due);
        let recorded = self.dialable(&busy).map(|(due, _)| due).filter(|_| self.recorded_room() > 0);
        asked.chain(recorded).min()
    }

    /// How many are being dialled.
    pub(super) fn dialling(&self) -> usize {
        self.all().filter(|candidate| candidate.dialling).count()
    }

    /// `device` has answered.
    pub(super) fn reached(&mut self, dial: &Dial, device: DeviceId) {
        if let Some(candidate) = self.get_mut(dial) {
            candidate.dialling = false;
            candidate.device = Some(device);
        }
    }

    /// Nobody has answered, or nobody worth a link.
    pub(super) fn failed(&mut self, dial: &Dial, now: Duration, random: u64) {
        if let Some(candidate) = self.get_mut(dial) {
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
        for candidate in self.all_mut().filter(|c| c.device == Some(device)) {
            if lasted >= PAUSE_MAX {
                candidate.failures = 0;
            }
            candidate.retry(now, random);
        }
    }

    /// The places of records that may be dialled when they are due. What is asked for is dialled as such.
    fn dialable<'a>(
        &'a self,
        busy: &'a BTreeSet<DeviceId>,
    ) -> impl Iterator<Item = (Duration, &'a Place)> + 'a {
        let is_asked = |(device, address): &Place| {
            let asked = self.asked.get(address);
            asked.is_some_and(|asked| asked.expected.is_none_or(|expected| expected == *device))
        };
        let may = move |place: &Place, recorded: &Recorded| {
            let waits = !recorded.is_aside && recorded.candidate.waits(&self.linked);
            waits && !busy.contains(&place.0) && !is_asked(place)
        };
        let places = self.recorded.iter().filter(move |(place, recorded)| may(place, recorded));
        places.map(|(place, recorded)| (recorded.candidate.due, place))
    }

    /// How many more may be dialled of whom only a record tells.
    fn recorded_room(&self) -> usize {
        let dialled = self.recorded.values().filter(|recorded| recorded.candidate.dialling).count();
        let links = LINKS_CONTENT.saturating_sub(self.linked.len() + self.dialling());
        links.min(RECORDED_DIALS_MAX.saturating_sub(dialled))
    }

    /// The devices that are being dialled, as far as it is known who will answer.
    fn busy(&self) -> BTreeSet<DeviceId> {
        self.all().filter(|c| c.dialling).filter_map(|c| c.device.or(c.expected)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.asked.values().chain(self.recorded.values().map(|recorded| &recorded.candidate))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        self.asked.values_mut().chain(self.recorded.values_mut().map(|recorded| &mut recorded.candidate))
    }

    fn get_mut(&mut self, dial: &Dial) -> Option<&mut Candidate> {
        match place_of(dial) {
            Some(place) => self.recorded.get_mut(&place).map(|recorded| &mut recorded.candidate),
            None => self.asked.get_mut(&dial.address),
        }
    }
}

/// The place of a dial that only a record asked for.
fn place_of(dial: &Dial) -> Option<Place> {
    dial.expected.filter(|_| dial.is_recorded).map(|device| (device, dial.address.clone()))
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
    half_and_more(doubled, random)
}

/// Between half and all of a pause of a minute at most.
fn half_and_more(pause: Duration, random: u64) -> Duration {
    let half = u64::try_from(pause.as_millis() / 2).expect("a minute at most");
    Duration::from_millis(half + random % (half + 1))
}

#[cfg(test)]
mod tests;
