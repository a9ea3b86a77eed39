//! Devices of this user, and revocations by users (authority 3.5).
//!
//! A user revokes a device once. The signed revocation enters the ledger of every group that names the user,
//! and from each ledger that receives it all others here; cells close as it arrives. The revoking user also
//! signs it as an op of each group, so that ops of the device that no peer has yet are void. Any device with
//! the user key signs that op again after the user was removed and admitted again.

use std::collections::{BTreeMap, BTreeSet};

use super::delta::LedgerDelta;
use super::effect::{Answer, Effect};
use super::group::Group;
use super::record::StoredRecord;
use super::view::prefer_label;
use super::{ChangeRefusal, Gate, Step};
use crate::ledger::{Body, By, Role};
use crate::signed::{Envelope, Signed};
use crate::wire::device::{DeviceCert, UserDeviceRevocation};
use crate::{DeviceId, GroupId, UserId};

/// A device of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Device {
    /// Its verifying key.
    pub id: DeviceId,
    /// Its label; of several certificates the first in order that is not empty.
    pub label: String,
    /// True if it was revoked.
    pub is_revoked: bool,
    /// True for the device that was asked.
    pub is_this: bool,
}

/// Revocations by users, by user and device.
pub(super) type Revocations = Vec<(UserId, DeviceId, Envelope)>;

impl Gate {
    /// This user's devices, by id.
    pub fn devices(&self) -> Vec<Device> {
        let (user, this) = (self.keys.user(), self.keys.device.device());
        let mut devices: BTreeMap<DeviceId, Device> = BTreeMap::new();
        for group in self.groups.values() {
            for DeviceCert { device: id, label, .. } in group.ledger.certificates_of(user) {
                let new =
                    || Device { id: *id, label: String::new(), is_revoked: false, is_this: *id == this };
                let device = devices.entry(*id).or_insert_with(new);
                device.is_revoked |= group.ledger.roster().is_device_revoked(user, *id);
                prefer_label(&mut device.label, label);
            }
        }
        devices.into_values().collect()
    }

    pub(super) fn on_revoke_device(&mut self, step: &mut Step, device: DeviceId) {
        let revoked = self.revoke_device(step, device);
        step.outbox.push(Effect::Answer(Answer::Revoked(revoked)));
    }

    /// Revokes a device: in the personal group first, and through it in all others. Returns the groups in
    /// which this user may cut what it wrote, and has not.
    fn revoke_device(&mut self, step: &mut Step, device: DeviceId) -> Result<Vec<GroupId>, ChangeRefusal> {
        if device == step.keys.device.device() {
            return Err(ChangeRefusal::OwnDevice);
        }
        if !self.devices().iter().any(|known| known.id == device) {
            return Err(ChangeRefusal::UnknownDevice(device));
        }
        let user = step.keys.user();
        let revocation = UserDeviceRevocation { version: 1, user, device };
        let revocation = Signed::sign(revocation, &step.keys.user).envelope().clone();
        let delta = LedgerDelta { revocations: vec![revocation], ..LedgerDelta::default() };
        self.admit_into(step, self.personal, delta, None, true);
        self.spread_revocations(step, self.personal, true);
        let is_uncut = |group: &Group| {
            let roster = group.ledger.roster();
            let may_cut = roster.role(user) >= Role::Admin && roster.is_certified(user, device);
            group.is_wanted && may_cut && !group.is_pending(user) && !roster.is_cut(user, device)
        };
        let uncut = self.groups.iter().filter(|(_, group)| is_uncut(group));
        Ok(uncut.map(|(id, _)| *id).collect())
    }

    /// The revocations by users that ledgers here hold: seldom more than a few.
    pub(super) fn revocations(&self) -> Revocations {
        let known = self.groups.values().flat_map(|group| group.ledger.signed_revocations());
        let mut known: Revocations = known
            .map(|signed| {
                let UserDeviceRevocation { user, device, .. } = *signed.record();
                (user, device, signed.envelope().clone())
            })
            .collect();
        known.sort_unstable_by_key(|(user, device, _)| (*user, *device));
        known.dedup_by_key(|(user, device, _)| (*user, *device));
        known
    }

    /// Admits what `source` holds of revocations into all other groups.
    pub(super) fn spread_revocations(&mut self, step: &mut Step, source: GroupId, reissues: bool) {
        for id in self.groups.keys().copied().filter(|id| *id != source).collect::<Vec<_>>() {
            self.admit_into(step, id, LedgerDelta::default(), None, reissues);
        }
    }
}

impl Group {
    /// Admits revocations that other ledgers hold; those that are new here.
    pub(super) fn add_revocations(
        &mut self,
        revocations: &Revocations,
        records: &mut Vec<StoredRecord>,
    ) -> Vec<Envelope> {
        let mut added = Vec::new();
        for (user, device, envelope) in revocations {
            let roster = self.ledger.roster();
            let is_news = roster.grant(*user).is_some() && !roster.is_revoked_by_user(*user, *device);
            if is_news && matches!(self.ledger.admit_revocation(envelope.clone()), Ok(true)) {
                records.push(StoredRecord::Revocation(envelope.clone()));
                added.push(envelope.clone());
            }
        }
        added
    }

    /// Signs an op for every revoked device of this user that no counting op revokes.
    pub(super) fn revoke_own_devices(
        &mut self,
        step: &Step,
        records: &mut Vec<StoredRecord>,
    ) -> Vec<Envelope> {
        let keys = &step.keys;
        let user = keys.user();
        let missing: Vec<_> = self.ledger.roster().revoked_outside_ledger(user).collect();
        let mut ops = Vec::new();
        for device in missing {
            // Without a cut: what the device wrote stays until an Admin, perhaps this user, cuts it
            // (authority 3.5).
            let body = Body::RevokeDevice { user, device, cut: None };
            let drafted = self.draft_merging(&BTreeSet::new(), user, (&By::User, &keys.user), |ledger| {
                Ok(ledger.draft(user, By::User, body.clone())?)
            });
            // A user who is no member now signs it once they are admitted again.
            let Ok((merges, op)) = drafted else { continue };
            for merge in &merges {
                self.add_op(step, merge, records, &mut ops);
            }
            self.add_op(step, Signed::sign(op, &keys.user).envelope(), records, &mut ops);
        }
        ops
    }

    fn add_op(
        &mut self,
        step: &Step,
        op: &Envelope,
        records: &mut Vec<StoredRecord>,
        ops: &mut Vec<Envelope>,
    ) {
        if self.admit_op(step, op, records).is_ok() {
            ops.push(op.clone());
        }
    }
}
