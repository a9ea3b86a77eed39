//! Which members' devices were met and did not speak of a group with us.
//!
//! Nobody tells whoever was removed that they are (AUTHORITY 3.9): all that they see is that the others fall silent. So
//! that a person need not guess, it is noted who does. A silent member may also have left the group, or blocked us.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::{DeviceId, GroupId, Timestamp};

use super::State;

/// So long whoever was met may take until they speak of a group: they may have to hear first that we are in it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A member's device that was met and does not speak of a group with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Silent {
    /// The device.
    pub device: DeviceId,
    /// Since when, by this device's clock.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Timestamp,
}

impl State {
    /// Which members' devices were met and do not speak of a group.
    pub(super) fn silent(&self, group: GroupId) -> Vec<Silent> {
        let Some(entry) = self.entries.get(&group) else { return Vec::new() };
        let (roster, now) = (entry.ledger.roster(), self.arguments.clock.now());
        self.links.silence.about(group, now).filter(|silent| roster.is_member_device(silent.device)).collect()
    }
}

#[derive(Default)]
pub(super) struct Silence {
    since: BTreeMap<(GroupId, DeviceId), Timestamp>,
}

impl Silence {
    /// A device said of which groups it speaks, and this is none of them.
    pub(super) fn begins(&mut self, group: GroupId, device: DeviceId, now: Timestamp) {
        self.since.entry((group, device)).or_insert(now);
    }

    /// Both speak of the group.
    pub(super) fn ends(&mut self, group: GroupId, device: DeviceId) {
        self.since.remove(&(group, device));
    }

    /// Who has been silent about a group for a while.
    pub(super) fn about(&self, group: GroupId, now: Timestamp) -> impl Iterator<Item = Silent> {
        let of_group = (group, DeviceId([0; 32]))..=(group, DeviceId([0xff; 32]));
        let silent = self.since.range(of_group).map(|((_, device), since)| (*device, *since));
        let for_long = silent.filter(move |(_, since)| now.since(*since) >= PATIENCE);
        for_long.map(|(device, since)| Silent { device, since })
    }
}
