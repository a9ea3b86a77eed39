//! Where the devices of a group are reached: what this device says of itself, and what it knows of others.
//!
//! A device that listens says so in every group that its user takes part in, and says it again when its addresses have
//! changed. It says nothing when it stops: an address where nobody answers is dialled seldom.

use std::collections::BTreeMap;

use schema::device::DeviceIdentity;
use schema::ledger::Ledger;
use schema::signed::{Envelope, Signed};
use schema::wire::device::{DeviceCert, DeviceRecord};
use schema::{DeviceId, GroupId, Timestamp, UserId};

use super::admit::{LedgerDelta, put_record};
use super::{Entry, GroupState, State};
use crate::node::connection_manager::RecordedAddresses;
use crate::node::store::{Batch, StoreError};

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
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
        self.take(group, LedgerDelta::default(), None, false).await?;
        Ok(())
    }

    /// Whom this node may dial because a record says where: the devices of members, while its user is one.
    pub(super) fn reachable(
        &self,
        group: GroupId,
        state: GroupState,
    ) -> BTreeMap<DeviceId, RecordedAddresses> {
        let Some(entry) = self.entries.get(&group) else { return BTreeMap::new() };
        if !entry.wanted || state != GroupState::Active {
            return BTreeMap::new();
        }
        let own = self.arguments.device.device();
        let others = entry.ledger.records().map(Signed::record).filter(|record| record.device != own);
        let reach = |record: &DeviceRecord| RecordedAddresses {
            counter: record.counter,
            addresses: record.addresses.clone(),
        };
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
        let is_in =
            self.wanted && !self.is_pending(own.user()) && self.ledger.roster().is_member_device(device);
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

/// The devices of each member, by id. In one pass: a group may have thousands.
pub(super) fn member_devices(ledger: &Ledger) -> BTreeMap<UserId, Vec<MemberDevice>> {
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
    let mut of_members: BTreeMap<UserId, Vec<MemberDevice>> = BTreeMap::new();
    for device in devices.into_values() {
        of_members.entry(device.user).or_default().push(device);
    }
    of_members
}

#[cfg(test)]
mod tests {
    use schema::key::{AgreementKey, SigningKey};

    use super::super::admit::ReceivedAt;
    use super::super::tickets::Tickets;
    use super::*;
    use crate::node::store::StoreHandle;

    fn phone() -> (SigningKey, DeviceIdentity) {
        let [user, signing] = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]));
        let phone = DeviceIdentity::certify(&user, signing, AgreementKey::from_seed([3; 32]), "phone");
        (user, phone)
    }

    /// The personal group of whoever has the phone, with its space.
    fn personal() -> (StoreHandle, DeviceIdentity, Entry) {
        let (user, phone) = phone();
        let (mut ledger, _) = Ledger::personal(&user);
        ledger.admit_certificate(phone.certificate.envelope().clone()).unwrap();
        let store = StoreHandle::in_memory();
        let space = store.space(b"personal").unwrap();
        (
            store,
            phone,
            Entry { wanted: true, ..Entry::new((ledger, ReceivedAt::default()), Tickets::default(), space) },
        )
    }

    fn say(entry: &mut Entry, phone: &DeviceIdentity, address: &str, now: u64) -> Option<u64> {
        entry.say_where(phone, &[address.to_owned()], Timestamp(now), &mut Batch::default())?;
        entry.ledger.record(phone.device()).map(|record| record.counter)
    }

    #[test]
    fn a_device_says_where_it_is_only_when_that_is_news() {
        let (_store, phone, mut entry) = personal();
        assert_eq!(say(&mut entry, &phone, "ws://barn:1", 0), Some(1));
        assert_eq!(say(&mut entry, &phone, "ws://barn:1", 9), None);
        assert_eq!(say(&mut entry, &phone, "ws://mill:1", 0), Some(2), "whatever the clock says");
        assert_eq!(say(&mut entry, &phone, "ws://barn:1", 9), Some(9));
        assert_eq!(entry.say_where(&phone, &[], Timestamp(0), &mut Batch::default()), None);

        entry.wanted = false;
        assert_eq!(say(&mut entry, &phone, "ws://mill:1", 0), None);
    }

    #[test]
    fn an_own_record_that_comes_back_from_elsewhere_is_answered() {
        let (_store, phone, mut entry) = personal();
        say(&mut entry, &phone, "ws://barn:1", 0).unwrap();
        let (group, device) = (entry.ledger.group(), phone.device());
        let of = |counter| {
            let addresses = vec!["ws://old:1".to_owned()];
            let record = DeviceRecord { version: 1, group, device, counter, addresses };
            Signed::sign(record, &phone.signing).envelope().clone()
        };

        assert_eq!(entry.ledger.admit_record(of(7)), Ok(true));
        assert_eq!(say(&mut entry, &phone, "ws://barn:1", 0), Some(8));

        assert_eq!(entry.ledger.admit_record(of(u64::MAX)), Ok(true));
        assert_eq!(say(&mut entry, &phone, "ws://barn:1", 0), None, "nothing is greater");
    }
}
