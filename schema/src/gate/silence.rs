//! Silence: members' devices that are connected and do not announce a group that this user is in.
//!
//! A removed user is not told (authority 3.9): the other members stop announcing the group to them. A person
//! need not guess which members do. A silent member may also have left the group, or blocked this user.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Gate, Now};
use crate::time::Moment;
use crate::{DeviceId, GroupId, Timestamp};

/// A connected device that announces a group later than this counts as silent until then: it may have to
/// receive first that this user is a member.
const PATIENCE: Duration = Duration::from_secs(5);

/// A member's device that was connected and did not announce a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Silent {
    /// The device.
    pub device: DeviceId,
    /// The begin of its silence, by this device's clock.
    #[cfg_attr(feature = "control", serde(rename = "since_ms"))]
    pub since: Timestamp,
}

impl Gate {
    /// The silent devices of a group's members, by id.
    pub fn silent(&self, id: GroupId, now: Moment) -> Vec<Silent> {
        let Some(group) = self.groups.get(&id) else { return Vec::new() };
        let roster = group.ledger.roster();
        self.links.silence.of(id, now).filter(|silent| roster.is_member_device(silent.device)).collect()
    }
}

/// The begin of the silence of each device about each group.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: BTreeMap<(GroupId, DeviceId), Now>,
}

impl Silence {
    /// Notes that a device left out a group; an earlier begin stands.
    pub(super) fn begin(&mut self, group: GroupId, device: DeviceId, now: Now) {
        self.since.entry((group, device)).or_insert(now);
    }

    /// Notes that the group is open on a link to the device.
    pub(super) fn end(&mut self, group: GroupId, device: DeviceId) {
        self.since.remove(&(group, device));
    }

    /// The devices that have been silent about a group for [`PATIENCE`].
    fn of(&self, group: GroupId, now: Moment) -> impl Iterator<Item = Silent> {
        let of_group = (group, DeviceId([0; 32]))..=(group, DeviceId([0xff; 32]));
        let silent = self.since.range(of_group).map(|((_, device), since)| (*device, *since));
        let for_long = silent.filter(move |(_, since)| now.since(since.moment()) >= PATIENCE);
        for_long.map(|(device, since)| Silent { device, since: since.wall })
    }
}
