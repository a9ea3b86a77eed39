//! The address book: which addresses to dial, and when to try each again (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::DeviceId;
use schema::limits::{DIALLED_LINKS, LINKS_CONTENT};

/// The pause after the first failure; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: a device that is online again is dialled within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Dials in progress to addresses that only a device record names: most devices of a large group may be
/// offline.
const RECORDED_DIALS_MAX: usize = 4;

/// Addresses to dial, with the state of each. Time is the clock's `instant`.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// Addresses that this node was told to dial.
    requested: BTreeMap<String, DialState>,
    /// Addresses from device records. A record of one device does not affect that of another for the same
    /// address.
    recorded: BTreeMap<DeviceAddress, RecordedAddress>,
    /// The linked devices, and whether this node dialled them.
    linked: BTreeMap<DeviceId, bool>,
}

/// An address that a device's record names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceAddress {
    pub(super) device: DeviceId,
    pub(super) address: String,
}

#[derive(Debug)]
struct DialState {
    /// The device that must answer, if only one will do.
    expected: Option<DeviceId>,
    /// The device that answered last.
    device: Option<DeviceId>,
    is_dialling: bool,
    /// Failures since the last link that lasted.
    failures: u32,
    due: Duration,
}

#[derive(Debug)]
struct RecordedAddress {
    dial: DialState,
    /// The counters of the records that name it, one for each group.
    counters: Vec<u64>,
    /// Not dialled until a newer record names it: another device answered there, or a side closed the link
    /// for good.
    is_suspended: bool,
}

/// A dial to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) address: String,
    pub(super) expected: Option<DeviceId>,
    /// Only a device record names the address.
    pub(super) is_recorded: bool,
}

impl AddressBook {
    /// Requests a link to the device at `address`, now: a new request clears earlier failures.
    pub(super) fn request(&mut self, address: &str, expected: Option<DeviceId>, now: Duration) {
        let new = DialState { expected, device: None, is_dialling: false, failures: 0, due: now };
        let state = self.requested.entry(address.to_owned()).or_insert(new);
        state.expected = expected;
        state.failures = 0;
        state.due = now;
    }

    /// Cancels a request; an open link stays.
    pub(super) fn forget(&mut self, address: &str) {
        self.requested.remove(address);
    }

    /// Replaces the addresses from device records; each comes with the counters of the records that name it.
    /// A newer counter clears earlier failures. `random` spreads the first dials, so that members who receive
    /// a record at the same time do not dial each other at once.
    pub(super) fn set_recorded(
        &mut self,
        addresses: BTreeMap<DeviceAddress, Vec<u64>>,
        now: Duration,
        mut random: impl FnMut() -> u64,
    ) {
        self.recorded.retain(|address, _| addresses.contains_key(address));
        for (address, counters) in addresses {
            let (expected, soon) = (Some(address.device), now + half_to_full(PAUSE_MIN, random()));
            let recorded = self.recorded.entry(address).or_insert_with(|| {
                let dial =
                    DialState { expected, device: expected, is_dialling: false, failures: 0, due: soon };
                RecordedAddress { dial, counters: counters.clone(), is_suspended: false }
            });
            if recorded.counters != counters {
                recorded.counters = counters;
                recorded.is_suspended = false;
                recorded.dial.failures = 0;
                recorded.dial.due = recorded.dial.due.min(soon);
            }
        }
    }

    /// Stops dialling these recorded addresses until a newer record names them.
    pub(super) fn suspend(&mut self, which: impl Fn(&DeviceAddress) -> bool) {
        let suspended = self.recorded.iter_mut().filter(|(address, _)| which(address));
        suspended.for_each(|(_, recorded)| recorded.is_suspended = true);
    }

    /// Stops dialling the recorded address of this dial: the device is not there.
    pub(super) fn suspend_dial(&mut self, dial: &Dial) {
        if let Some(recorded) = dial.recorded().and_then(|address| self.recorded.get_mut(&address)) {
            recorded.is_suspended = true;
        }
    }

    /// Makes every address due and clears all failures: the network has changed.
    pub(super) fn retry_all(&mut self, now: Duration) {
        for state in self.all_mut() {
            state.failures = 0;
            state.due = state.due.min(now);
        }
    }

    /// The device at `address`, if a link to it was requested and exists.
    pub(super) fn linked_device_at(&self, address: &str) -> Option<DeviceId> {
        self.requested.get(address)?.device.filter(|device| self.linked.contains_key(device))
    }

    /// Takes the dials that are due now, at most `room`. They count as being dialled until
    /// [`on_reached`](Self::on_reached) or [`on_failed`](Self::on_failed). A device is dialled at one address
    /// at a time.
    pub(super) fn take_due(&mut self, now: Duration, room: usize) -> Vec<Dial> {
        let mut busy = self.busy();
        let mut dials = self.take_due_requests(now, room, &mut busy);
        // The longest wait first: offline devices do not keep an online one from being dialled.
        let mut waiting: Vec<_> = self.dialable(&busy).filter(|(due, _)| *due <= now).collect();
        waiting.sort_unstable();
        let waiting: Vec<DeviceAddress> = waiting.into_iter().map(|(_, address)| address.clone()).collect();
        let mut left = self.recorded_room().min(room - dials.len());
        for recorded in waiting {
            if left > 0 && busy.insert(recorded.device) {
                left -= 1;
                self.recorded.get_mut(&recorded).expect("it was listed").dial.is_dialling = true;
                let DeviceAddress { device, address } = recorded;
                dials.push(Dial { address, expected: Some(device), is_recorded: true });
            }
        }
        dials
    }

    fn take_due_requests(&mut self, now: Duration, room: usize, busy: &mut BTreeSet<DeviceId>) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (address, state) in &mut self.requested {
            if dials.len() == room {
                break;
            }
            let is_free = state.device.is_none_or(|device| !busy.contains(&device));
            if state.is_waiting(&self.linked) && state.due <= now && is_free {
                state.is_dialling = true;
                busy.extend(state.device.or(state.expected));
                let (address, expected) = (address.clone(), state.expected);
                dials.push(Dial { address, expected, is_recorded: false });
            }
        }
        dials
    }

    /// The time of the next dial.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let busy = self.busy();
        let is_free = |state: &&DialState| state.device.is_none_or(|device| !busy.contains(&device));
        let waiting = self.requested.values().filter(|state| state.is_waiting(&self.linked));
        let requested = waiting.filter(is_free).map(|state| state.due);
        let recorded = self.dialable(&busy).map(|(due, _)| due).filter(|_| self.recorded_room() > 0);
        requested.chain(recorded).min()
    }

    /// Number of dials in progress.
    pub(super) fn dialling(&self) -> usize {
        self.all().filter(|state| state.is_dialling).count()
    }

    /// `device` answered a dial.
    pub(super) fn on_reached(&mut self, dial: &Dial, device: DeviceId) {
        if let Some(state) = self.get_mut(dial) {
            state.is_dialling = false;
            state.device = Some(device);
        }
    }

    /// A dial failed, or its link was not kept.
    pub(super) fn on_failed(&mut self, dial: &Dial, now: Duration, random: u64) {
        if let Some(state) = self.get_mut(dial) {
            state.is_dialling = false;
            state.schedule_retry(now, random);
        }
    }

    /// A link to `device` exists.
    pub(super) fn on_linked(&mut self, device: DeviceId, is_dialled: bool) {
        self.linked.insert(device, is_dialled);
    }

    /// The link to `device` ended after `lasted`. A link that lasted clears earlier failures; one that broke
    /// at once counts as another failure.
    pub(super) fn on_lost(&mut self, device: DeviceId, lasted: Duration, now: Duration, random: u64) {
        self.linked.remove(&device);
        for state in self.all_mut().filter(|state| state.device == Some(device)) {
            if lasted >= PAUSE_MAX {
                state.failures = 0;
            }
            state.schedule_retry(now, random);
        }
    }

    /// Recorded addresses that may be dialled once they are due. Requested addresses are dialled as requests.
    fn dialable<'a>(
        &'a self,
        busy: &'a BTreeSet<DeviceId>,
    ) -> impl Iterator<Item = (Duration, &'a DeviceAddress)> + 'a {
        let is_requested = |recorded: &DeviceAddress| {
            let requested = self.requested.get(&recorded.address);
            requested.is_some_and(|state| state.expected.is_none_or(|expected| expected == recorded.device))
        };
        let is_dialable = move |address: &DeviceAddress, recorded: &RecordedAddress| {
            let waits = !recorded.is_suspended && recorded.dial.is_waiting(&self.linked);
            waits && !busy.contains(&address.device) && !is_requested(address)
        };
        let found = self.recorded.iter().filter(move |(address, recorded)| is_dialable(address, recorded));
        found.map(|(address, recorded)| (recorded.dial.due, address))
    }

    /// Number of further recorded addresses that may be dialled now. Accepted links alone leave the node room
    /// for dials: peers that dial in do not decide about all of its links.
    fn recorded_room(&self) -> usize {
        let dialled = self.recorded.values().filter(|recorded| recorded.dial.is_dialling).count();
        let accepted = self.linked.values().filter(|is_dialled| !**is_dialled).count();
        let links = self.linked.len() - accepted + accepted.min(LINKS_CONTENT - DIALLED_LINKS);
        let links = LINKS_CONTENT.saturating_sub(links + self.dialling());
        links.min(RECORDED_DIALS_MAX.saturating_sub(dialled))
    }

    /// The devices that are being dialled, as far as it is known which will answer.
    fn busy(&self) -> BTreeSet<DeviceId> {
        let dialling = self.all().filter(|state| state.is_dialling);
        dialling.filter_map(|state| state.device.or(state.expected)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &DialState> {
        self.requested.values().chain(self.recorded.values().map(|recorded| &recorded.dial))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut DialState> {
        self.requested.values_mut().chain(self.recorded.values_mut().map(|recorded| &mut recorded.dial))
    }

    fn get_mut(&mut self, dial: &Dial) -> Option<&mut DialState> {
        match dial.recorded() {
            Some(address) => self.recorded.get_mut(&address).map(|recorded| &mut recorded.dial),
            None => self.requested.get_mut(&dial.address),
        }
    }
}

impl Dial {
    /// The recorded address, if only a record names it.
    fn recorded(&self) -> Option<DeviceAddress> {
        let device = self.expected.filter(|_| self.is_recorded)?;
        Some(DeviceAddress { device, address: self.address.clone() })
    }
}

impl DialState {
    fn is_waiting(&self, linked: &BTreeMap<DeviceId, bool>) -> bool {
        !self.is_dialling && self.device.is_none_or(|device| !linked.contains_key(&device))
    }

    fn schedule_retry(&mut self, now: Duration, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause(self.failures, random);
    }
}

/// Half to all of 1, 2, 4 … 60 s: devices that lost each other at the same time do not all dial at once.
fn pause(failures: u32, random: u64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
    half_to_full(doubled, random)
}

/// Half to all of a pause of at most a minute.
fn half_to_full(pause: Duration, random: u64) -> Duration {
    let half = u64::try_from(pause.as_millis() / 2).expect("a minute at most");
    Duration::from_millis(half + random % (half + 1))
}

#[cfg(test)]
mod tests;
