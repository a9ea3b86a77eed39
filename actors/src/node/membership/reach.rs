//! Where the devices of a group are reached: what this device says of itself, and what it knows of others.
//!
//! A device that listens says so in every group that its user takes part in, and says it again when its addresses have
//! changed. It says nothing when it stops: an address where nobody answers is dialled seldom.

use std::collections::BTreeMap;

use schema::device::{DeviceCert, DeviceIdentity, DeviceRecord};
use schema::ledger::Ledger;
use schema::signed::{Envelope, Signed};
use schema::{DeviceId, GroupId, Timestamp, UserId};

use super::admit::{Gained, put_record};
use super::{Entry, GroupState, State};
use crate::node::connection_manager::Reach;
use crate::node::store::{Batch, StoreError};

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDevice {
    /// The member who vouches for it.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// What its user calls it; of several certificates the first label in order that is not empty.
    pub label: String,
    /// Where it said last that it is reached, the best first; none where it never did.
    pub addresses: Vec<String>,
}

impl State {
    /// Looks at where this device is reached, and says it where it is news.
    pub(super) async fn addresses_moved(&mut self) -> Result<(), StoreError> {
        self.addresses = self.arguments.connections.published();
        self.say_where().await
    }

    /// Says where this device is reached in every group that has not heard it.
    pub(super) async fn say_where(&mut self) -> Result<(), StoreError> {
        for group in self.entries.keys().copied().collect::<Vec<_>>() {
            self.say_where_in(group).await?;
        }
        Ok(())
    }

    /// Says where this device is reached in a group, unless it has heard it.
    pub(super) async fn say_where_in(&mut self, group: GroupId) -> Result<(), StoreError> {
        if self.addresses.is_empty() || !self.entries.get(&group).is_some_and(|entry| entry.wanted) {
            return Ok(());
        }
        self.take(group, Gained::default(), None, false).await?;
        Ok(())
    }

    /// Whom this node may dial because a record says where: the devices of members, while its user is one.
    pub(super) fn reachable(&self, group: GroupId, state: GroupState) -> BTreeMap<DeviceId, Reach> {
        let Some(entry) = self.entries.get(&group) else { return BTreeMap::new() };
        if !entry.wanted || state != GroupState::Active {
            return BTreeMap::new();
        }
        let own = self.arguments.device.device();
        let others = entry.ledger.records().map(Signed::record).filter(|record| record.device != own);
        let reach =
            |record: &DeviceRecord| Reach { counter: record.counter, addresses: record.addresses.clone() };
        others.map(|record| (record.device, reach(record))).collect()
    }
}

impl Entry {
    /// Says where `own` is reached, unless that is known.
    pub(super) fn say_where(
        &mut self,
        own: &DeviceIdentity,
        addresses: &[String],
        now: Timestamp,
        batch: &mut Batch,
    ) -> Option<Envelope> {
        let device = own.device();
        let is_in = self.wanted && !self.is_pending(own.user()) && self.ledger.roster().is_served(device);
        let said = self.ledger.record(device);
        if !is_in || addresses.is_empty() || said.is_some_and(|said| said.addresses == addresses) {
            return None;
        }
        // A record that was dropped while the user was out, or lost with a disk, may live on with somebody: the clock is
        // likely to be ahead of it. Where it is not, that record comes back, and is answered with a greater counter.
        let counter = said.map_or(0, |said| said.counter).checked_add(1)?.max(now.as_millis());
        let (group, addresses) = (self.ledger.group(), addresses.to_vec());
        let record = DeviceRecord { version: 1, group, device, counter, addresses };
        let envelope = Signed::sign(record, &own.signing).envelope().clone();
        matches!(self.ledger.admit_record(envelope.clone()), Ok(true)).then(|| {
            put_record(batch, &envelope);
            envelope
        })
    }
}

/// The devices of the members, by user and device.
pub(super) fn member_devices(ledger: &Ledger) -> Vec<MemberDevice> {
    let roster = ledger.roster();
    let mut devices: BTreeMap<(UserId, DeviceId), MemberDevice> = BTreeMap::new();
    for DeviceCert { user, device, label, .. } in ledger.certified() {
        if !roster.may_read(*user, *device) {
            continue;
        }
        let known = devices.entry((*user, *device)).or_insert_with(|| {
            let addresses = ledger.record(*device).map(|record| record.addresses.clone());
            let (user, device, label) = (*user, *device, String::new());
            MemberDevice { user, device, label, addresses: addresses.unwrap_or_default() }
        });
        if known.label.is_empty() || !label.is_empty() && *label < known.label {
            known.label.clone_from(label);
        }
    }
    devices.into_values().collect()
}
