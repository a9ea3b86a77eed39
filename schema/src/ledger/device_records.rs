//! Where the devices of a group are reached: the newest record of each device that a member vouches for.
//!
//! A record is a device's own word, so a Reader has one too. Which records count follows from the roster alone: two
//! ledgers with the same ops, certificates, revocations and records agree, whatever came first.

use std::cmp::Reverse;

use crate::codec;
use crate::id::DeviceId;
use crate::ledger::{Ledger, SideRefusal};
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceRecord;

impl Ledger {
    /// Takes a device's record in, in the place of an older one; `false` when it changes nothing.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_record(&mut self, envelope: Envelope) -> Result<bool, SideRefusal> {
        // Whoever compares ledgers sends all records: those that are here cost no signature.
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

    /// The records that count, by device.
    pub fn records(&self) -> impl Iterator<Item = &Signed<DeviceRecord>> {
        let roster = self.roster();
        self.records.iter().filter(|(device, _)| roster.is_member_device(**device)).map(|(_, record)| record)
    }

    /// What a device says of itself, if that counts.
    pub fn record(&self, device: DeviceId) -> Option<&DeviceRecord> {
        self.records.get(&device).filter(|_| self.roster().is_member_device(device)).map(Signed::record)
    }

    /// Drops the records that count no longer: whose they were.
    pub fn drop_records(&mut self) -> Vec<DeviceId> {
        let roster = self.roster().clone();
        let gone: Vec<_> =
            self.records.keys().copied().filter(|device| !roster.is_member_device(*device)).collect();
        for device in &gone {
            self.records.remove(device);
        }
        gone
    }
}

/// Greater is newer; where a device used a counter twice, everybody keeps the same one.
fn age(record: &Signed<DeviceRecord>) -> (u64, Reverse<[u8; 32]>) {
    (record.record().counter, Reverse(record.id()))
}
