//! Addresses of this device: signed into every group in which its user takes part, whenever they change.
//!
//! A device that stops listening signs nothing: an address where nobody answers is dialled seldom.

use super::delta::LedgerDelta;
use super::group::Group;
use super::record::StoredRecord;
use super::{Gate, Step};
use crate::device::DeviceIdentity;
use crate::signed::{Envelope, Signed};
use crate::wire::device::DeviceRecord;
use crate::{GroupId, Timestamp};

impl Gate {
    pub(super) fn on_addresses(&mut self, step: &mut Step, addresses: Vec<String>) {
        self.addresses = addresses;
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.add_addresses(step, id);
        }
    }

    /// Adds this device's addresses to a group that does not have them.
    pub(super) fn add_addresses(&mut self, step: &mut Step, id: GroupId) {
        if !self.addresses.is_empty() && self.groups.get(&id).is_some_and(|group| group.is_wanted) {
            self.admit(step, id, LedgerDelta::default(), None);
        }
    }
}

impl Group {
    /// Signs the addresses of `own`, unless the ledger has them.
    pub(super) fn add_addresses(
        &mut self,
        own: &DeviceIdentity,
        addresses: &[String],
        now: Timestamp,
        records: &mut Vec<StoredRecord>,
    ) -> Option<Envelope> {
        let device = own.device();
        let is_member =
            self.is_wanted && !self.is_pending(own.user()) && self.ledger.roster().is_member_device(device);
        let known = self.ledger.record(device);
        if !is_member || addresses.is_empty() || known.is_some_and(|known| known.addresses == addresses) {
            return None;
        }
        // A record that was dropped while the user was no member, or lost with a disk, may live on at a peer.
        // The clock is likely to be ahead of its counter; where it is not, that record comes back and gets a
        // larger counter.
        let counter = known.map_or(0, |known| known.counter).checked_add(1)?.max(now.as_millis());
        let (group, addresses) = (self.ledger.group(), addresses.to_vec());
        let record = DeviceRecord { version: 1, group, device, counter, addresses };
        let envelope = Signed::sign(record, &own.signing).envelope().clone();
        let is_new = matches!(self.ledger.admit_record(envelope.clone()), Ok(true));
        is_new.then(|| {
            records.push(StoredRecord::DeviceRecord { device, envelope: envelope.clone() });
            envelope
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{ReceivedAt, StoredGroup};
    use super::super::tickets::Tickets;
    use super::*;
    use crate::key::{AgreementKey, SigningKey};
    use crate::ledger::Ledger;

    /// A phone, and the personal group of its user.
    fn personal() -> (DeviceIdentity, Group) {
        let [user, signing] = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]));
        let phone = DeviceIdentity::certify(&user, signing, AgreementKey::from_seed([3; 32]), "phone");
        let (mut ledger, _) = Ledger::personal(&user);
        ledger.admit_certificate(phone.certificate.envelope().clone()).unwrap();
        let (received_at, tickets) = (ReceivedAt::new(), Tickets::default());
        let mut group = Group::new(StoredGroup { ledger, received_at, tickets });
        group.is_wanted = true;
        (phone, group)
    }

    fn add(group: &mut Group, phone: &DeviceIdentity, address: &str, now: u64) -> Option<u64> {
        group.add_addresses(phone, &[address.to_owned()], Timestamp(now), &mut Vec::new())?;
        group.ledger.record(phone.device()).map(|record| record.counter)
    }

    #[test]
    fn a_device_signs_its_addresses_only_when_they_changed() {
        let (phone, mut group) = personal();
        assert_eq!(add(&mut group, &phone, "ws://barn:1", 0), Some(1));
        assert_eq!(add(&mut group, &phone, "ws://barn:1", 9), None);
        assert_eq!(add(&mut group, &phone, "ws://mill:1", 0), Some(2), "whatever the clock says");
        assert_eq!(add(&mut group, &phone, "ws://barn:1", 9), Some(9));
        assert_eq!(group.add_addresses(&phone, &[], Timestamp(0), &mut Vec::new()), None);

        group.is_wanted = false;
        assert_eq!(add(&mut group, &phone, "ws://mill:1", 0), None);
    }

    #[test]
    fn an_old_record_of_this_device_that_a_peer_returns_gets_a_larger_counter() {
        let (phone, mut group) = personal();
        add(&mut group, &phone, "ws://barn:1", 0).unwrap();
        let (id, device) = (group.ledger.group(), phone.device());
        let of = |counter| {
            let addresses = vec!["ws://old:1".to_owned()];
            let record = DeviceRecord { version: 1, group: id, device, counter, addresses };
            Signed::sign(record, &phone.signing).envelope().clone()
        };

        assert_eq!(group.ledger.admit_record(of(7)), Ok(true));
        assert_eq!(add(&mut group, &phone, "ws://barn:1", 0), Some(8));

        assert_eq!(group.ledger.admit_record(of(u64::MAX)), Ok(true));
        assert_eq!(add(&mut group, &phone, "ws://barn:1", 0), None, "no counter is larger");
    }
}
