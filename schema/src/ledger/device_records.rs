//! The addresses of a group's devices: the newest device record of each device that a member certifies.
//!
//! A device signs its own record, so a Reader's has one too. Which records count follows from the roster
//! alone: two ledgers with the same ops, certificates, revocations and records agree, in any order of
//! arrival.

use std::cmp::Reverse;

use crate::codec;
use crate::id::DeviceId;
use crate::ledger::refusal::SideRefusal;
use crate::ledger::state::Ledger;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceRecord;

impl Ledger {
    /// Admits a device record in place of an older one; returns false if it changes nothing.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_record(&mut self, envelope: Envelope) -> Result<bool, SideRefusal> {
        // A peer whose records differ sends all of them: known ones cost no signature check.
        let claimed = codec::decode::<DeviceRecord>(&envelope.payload, DeviceRecord::BYTES_MAX);
        let known = claimed.ok().and_then(|claimed| self.records.get(&claimed.device));
        if known.is_some_and(|known| *known.envelope() == envelope) {
            return Ok(false);
        }
        let signed = Signed::<DeviceRecord>::verify(envelope)?;
        let &DeviceRecord { group, device, .. } = signed.record();
        if group != self.group {
            return Err(SideRefusal::OtherGroup { got: group });
        }
        if !self.roster().is_member_device(device) {
            return Err(SideRefusal::Outsider { device });
        }
        if self.records.get(&device).is_some_and(|known| age(known) >= age(&signed)) {
            return Ok(false);
        }
        self.records.insert(device, signed);
        Ok(true)
    }

    /// The records of members' devices, by device.
    pub fn records(&self) -> impl Iterator<Item = &Signed<DeviceRecord>> {
        let roster = self.roster();
        self.records.iter().filter(|(device, _)| roster.is_member_device(**device)).map(|(_, record)| record)
    }

    /// The record of a device, if it is a member's.
    pub fn record(&self, device: DeviceId) -> Option<&DeviceRecord> {
        self.records.get(&device).filter(|_| self.roster().is_member_device(device)).map(Signed::record)
    }

    /// Drops the records of devices that are no member's any more, and returns these devices.
    pub fn drop_records(&mut self) -> Vec<DeviceId> {
        let roster = self.roster().clone();
        let is_outside = |device: &DeviceId| !roster.is_member_device(*device);
        let outside: Vec<_> = self.records.keys().copied().filter(is_outside).collect();
        for device in &outside {
            self.records.remove(device);
        }
        outside
    }
}

/// The greater is the newer. Of two records with one counter all devices keep the one with the smaller id.
fn age(record: &Signed<DeviceRecord>) -> (u64, Reverse<[u8; 32]>) {
    (record.record().counter, Reverse(record.id()))
}
