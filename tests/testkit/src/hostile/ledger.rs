//! A member below Admin whose ledger records never end: device revocations and device records.

use std::cmp::Reverse;

use schema::device::DeviceIdentity;
use schema::id::hash;
use schema::key::SigningKey;
use schema::signed::{Envelope, Signed};
use schema::wire::device::{DeviceRecord, UserDeviceRevocation};
use schema::wire::ledger::LedgerFrame;
use schema::{DeviceId, GroupId, UserId};

/// A frame with one record, so that each costs the most.
fn push(certificates: Vec<Envelope>, revocations: Vec<Envelope>, records: Vec<Envelope>) -> LedgerFrame {
    LedgerFrame::Push { ops: Vec::new(), certificates, revocations, records, last: false }
}

/// Revocations of devices that never existed, each with a smaller id than all before, so that a full set
/// admits it.
pub fn revocations(key: &SigningKey, count: u32) -> impl Iterator<Item = LedgerFrame> + use<> {
    let mut flood: Vec<_> = (0..count)
        .map(|number| {
            let device = DeviceId(hash("device", &[&number.to_be_bytes()]));
            let user = UserId(key.public());
            Signed::sign(UserDeviceRevocation { version: 1, user, device }, key)
        })
        .collect();
    flood.sort_by_key(|signed| Reverse(signed.id()));
    flood.into_iter().map(|signed| push(Vec::new(), vec![signed.envelope().clone()], Vec::new()))
}

/// Device records, each newer than all before, behind the certificate of their device.
pub fn records(device: DeviceIdentity, group: GroupId) -> impl Iterator<Item = LedgerFrame> {
    let certificate = push(vec![device.certificate.envelope().clone()], Vec::new(), Vec::new());
    let records = (1..).map(move |counter| {
        let addresses = Vec::new();
        let record = DeviceRecord { version: 1, group, device: device.device(), counter, addresses };
        push(Vec::new(), Vec::new(), vec![Signed::sign(record, &device.signing).envelope().clone()])
    });
    [certificate].into_iter().chain(records)
}
