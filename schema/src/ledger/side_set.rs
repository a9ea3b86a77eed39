//! Certificates and device revocations that no op carries: a bounded number for each user, which all devices choose
//! alike; and the certificates that must not go with what that leaves out.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{DeviceId, UserId};
use crate::limits::DEVICES_MAX;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceCert;

/// Records by the user who signed them. Of more than `max` for one user the greatest ids go, so that the same
/// records leave the same set in any order.
#[derive(Clone, Debug)]
pub(crate) struct SideSet<T> {
    max: usize,
    by_user: BTreeMap<UserId, BTreeMap<[u8; 32], Signed<T>>>,
}

impl<T: Record + Clone> SideSet<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, by_user: BTreeMap::new() }
    }

    /// Whether [`insert`](Self::insert) would change nothing.
    pub(crate) fn refuses(&self, user: UserId, id: &[u8; 32]) -> bool {
        let of_user = self.by_user.get(&user);
        of_user.is_some_and(|records| {
            let is_last = records.last_key_value().is_none_or(|(last, _)| last < id);
            records.contains_key(id) || records.len() >= self.max && is_last
        })
    }

    /// Takes a record in: what was pushed out for it, or the record itself when it was here or has no place.
    pub(crate) fn insert(&mut self, user: UserId, record: Signed<T>) -> Result<Option<Signed<T>>, Signed<T>> {
        let id = record.id();
        if self.refuses(user, &id) {
            return Err(record);
        }
        let records = self.by_user.entry(user).or_default();
        let full = records.len() >= self.max;
        let out = if full { records.pop_last().map(|(_, record)| record) } else { None };
        records.insert(id, record);
        Ok(out)
    }

    pub(crate) fn remove(&mut self, user: UserId, id: &[u8; 32]) {
        if let Some(records) = self.by_user.get_mut(&user) {
            records.remove(id);
        }
    }

    pub(crate) fn of(&self, user: UserId) -> impl Iterator<Item = &Signed<T>> {
        self.by_user.get(&user).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &T> {
        self.signed().map(Signed::record)
    }

    pub(crate) fn signed(&self) -> impl Iterator<Item = &Signed<T>> {
        self.by_user.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.signed().map(Signed::envelope)
    }

    /// All ids, after their number.
    pub(crate) fn digest(&self, into: &mut Vec<u8>) {
        let ids: Vec<&[u8; 32]> = self.by_user.values().flat_map(BTreeMap::keys).collect();
        into.extend((ids.len() as u64).to_be_bytes());
        ids.into_iter().for_each(|id| into.extend(id));
    }
}

/// Certificates that have no place in a full set, one for each device. Anybody can sign so many that those of their own
/// devices are left out everywhere, and all that these wrote would fall with them, and what others wrote on top of that.
/// So those of devices that wrote something here stay, whatever comes; of the others the last that came wait for
/// something to be written under them.
///
/// What is here follows from what this device saw: it is no part of what ledgers are compared by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spares {
    writers: BTreeSet<DeviceId>,
    /// In the order in which they came.
    by_user: BTreeMap<UserId, Vec<Signed<DeviceCert>>>,
}

impl Spares {
    /// Takes one in: what had to go for it.
    pub(crate) fn insert(&mut self, certificate: Signed<DeviceCert>) -> Option<Signed<DeviceCert>> {
        let spares = self.by_user.entry(certificate.record().user).or_default();
        let device = certificate.record().device;
        spares.retain(|spare| spare.record().device != device || self.writers.contains(&device));
        if spares.iter().any(|spare| spare.record().device == device) {
            return None;
        }
        spares.push(certificate);
        let mut waiting = (0..spares.len()).filter(|at| !self.writers.contains(&spares[*at].record().device));
        let oldest = waiting.next()?;
        (waiting.count() >= DEVICES_MAX).then(|| spares.remove(oldest))
    }

    /// Notes that a device wrote something; whether that is new.
    pub(crate) fn wrote(&mut self, device: DeviceId) -> bool {
        self.writers.insert(device)
    }

    pub(crate) fn is_writer(&self, device: DeviceId) -> bool {
        self.writers.contains(&device)
    }

    pub(crate) fn of(&self, user: UserId) -> impl Iterator<Item = &Signed<DeviceCert>> {
        self.by_user.get(&user).into_iter().flatten()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Signed<DeviceCert>> {
        self.by_user.values().flatten()
    }

    /// Those that stay.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Signed<DeviceCert>> {
        self.all().filter(|spare| self.is_writer(spare.record().device))
    }
}
