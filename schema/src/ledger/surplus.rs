//! Certificates beyond those that the bounded set of a ledger holds, and the devices whose certificates must
//! stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{DeviceId, UserId};
use crate::limits::DEVICES_MAX;
use crate::signed::Signed;
use crate::wire::device::DeviceCert;

/// Certificates that do not fit in the full set of their user, one for each device.
///
/// A user can sign so many certificates that those of their own devices are evicted everywhere. All changes
/// of these devices would then be refused, and with them the changes of others that depend on them. So the
/// certificates of devices that wrote an accepted change are pinned: they are never evicted. Of the rest the
/// most recent `DEVICES_MAX` of each user wait for such a change.
///
/// The content depends on what this device has received, so that ledgers are not compared by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SurplusCertificates {
    pinned: BTreeSet<DeviceId>,
    /// In order of arrival.
    by_user: BTreeMap<UserId, Vec<Signed<DeviceCert>>>,
}

impl SurplusCertificates {
    /// Inserts a certificate and returns the one that is evicted for it.
    pub(crate) fn insert(&mut self, certificate: Signed<DeviceCert>) -> Option<Signed<DeviceCert>> {
        let of_user = self.by_user.entry(certificate.record().user).or_default();
        let device = certificate.record().device;
        of_user.retain(|known| known.record().device != device || self.pinned.contains(&device));
        if of_user.iter().any(|known| known.record().device == device) {
            return None;
        }
        of_user.push(certificate);
        let mut waiting =
            (0..of_user.len()).filter(|at| !self.pinned.contains(&of_user[*at].record().device));
        let oldest = waiting.next()?;
        (waiting.count() >= DEVICES_MAX).then(|| of_user.remove(oldest))
    }

    /// Pins the certificates of a device; returns false if they are pinned already.
    pub(crate) fn pin(&mut self, device: DeviceId) -> bool {
        self.pinned.insert(device)
    }

    pub(crate) fn is_pinned(&self, device: DeviceId) -> bool {
        self.pinned.contains(&device)
    }

    pub(crate) fn of(&self, user: UserId) -> impl Iterator<Item = &Signed<DeviceCert>> {
        self.by_user.get(&user).into_iter().flatten()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Signed<DeviceCert>> {
        self.by_user.values().flatten()
    }

    /// The pinned certificates.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = &Signed<DeviceCert>> {
        self.all().filter(|certificate| self.is_pinned(certificate.record().device))
    }
}
