//! Devices of this user, and revocations by users (authority 3.5).
//!
//! A user revokes a device once. The signed revocation enters the ledger of every group that names the user,
//! and from each ledger that receives it all others here; cells close as it arrives. Where the user is an
//! Admin, they also sign an op, so that ops of the device that no peer has yet are void. Any device with the
//! user key signs that op when the user becomes an Admin, and again after the user was removed and admitted
//! again.

use std::collections::{BTreeMap, BTreeSet};

use super::admit::OpSigner;
use super::delta::LedgerDelta;
use super::effect::Answer;
use super::group::Group;
use super::outbox::Scope;
use super::record::StoredRecord;
use super::view::prefer_label;
use super::{ChangeRefusal, Gate, Step};
use crate::codec;
use crate::ledger::{Body, By, OpSet, RevocationOutcome, Role};
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::{DeviceCert, UserDeviceRevocation};
use crate::{DeviceId, GroupId, OpId, UserId};

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

/// A revocation of a device by its user.
pub(super) struct UserRevocation {
    user: UserId,
    device: DeviceId,
    envelope: Envelope,
}

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
        step.outbox.answer(Scope::All, Answer::Revoked(revoked));
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
        self.admit_into(step, self.personal, delta, None, Some(&[]), true);
        self.revoke_everywhere(step);
        let is_uncut = |group: &Group| {
            let roster = group.ledger.roster();
            let may_cut = roster.role(user) >= Role::Admin && roster.is_certified(user, device);
            group.is_wanted && may_cut && !group.is_pending(user) && !roster.is_cut(user, device)
        };
        let uncut = self.groups.iter().filter(|(_, group)| is_uncut(group));
        Ok(uncut.map(|(id, _)| *id).collect())
    }

    /// The revocations by users that ledgers here hold and that `is_lacking` selects, by user and device.
    pub(super) fn revocations(&self, is_lacking: impl Fn(UserId, DeviceId) -> bool) -> Vec<UserRevocation> {
        let known = self.groups.values().flat_map(|group| group.ledger.signed_revocations());
        let mut lacking: Vec<UserRevocation> = known
            .filter_map(|signed| {
                let UserDeviceRevocation { user, device, .. } = *signed.record();
                let envelope = || signed.envelope().clone();
                is_lacking(user, device).then(|| UserRevocation { user, device, envelope: envelope() })
            })
            .collect();
        lacking.sort_unstable_by_key(|known| (known.user, known.device));
        lacking.dedup_by_key(|known| (known.user, known.device));
        lacking
    }

    /// Admits device revocations that are new in `source` into the other groups that lack one of them.
    pub(super) fn spread_revocations(&mut self, step: &mut Step, source: GroupId, news: &[UserRevocation]) {
        let lacks = |group: &Group| news.iter().any(|new| group.lacks_revocation(new.user, new.device));
        let others = self.groups.iter().filter(|(id, group)| **id != source && lacks(group));
        for id in others.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.admit_into(step, id, LedgerDelta::default(), None, Some(news), false);
        }
    }

    /// Admits every known device revocation into all groups, and signs the ops for those of this user.
    pub(super) fn revoke_everywhere(&mut self, step: &mut Step) {
        let known = self.revocations(|_, _| true);
        let others = self.groups.keys().copied().filter(|id| *id != self.personal);
        for id in [self.personal].into_iter().chain(others).collect::<Vec<_>>() {
            self.admit_into(step, id, LedgerDelta::default(), None, Some(&known), true);
        }
    }
}

impl Group {
    /// Admits revocations that other ledgers hold; those that are new here.
    pub(super) fn add_revocations(
        &mut self,
        revocations: &[UserRevocation],
        records: &mut Vec<StoredRecord>,
    ) -> Vec<Envelope> {
        let mut added = Vec::new();
        for UserRevocation { user, device, envelope } in revocations {
            if !self.lacks_revocation(*user, *device) {
                continue;
            }
            let admitted = self.ledger.admit_revocation(envelope.clone());
            if let Ok(RevocationOutcome::New { evicted }) = admitted {
                records.push(StoredRecord::Revocation(envelope.clone()));
                records.extend(evicted.map(StoredRecord::NoRevocation));
                added.push(envelope.clone());
            }
        }
        added
    }

    pub(super) fn lacks_revocation(&self, user: UserId, device: DeviceId) -> bool {
        let roster = self.ledger.roster();
        roster.grant(user).is_some() && !roster.is_revoked_by_user(user, device)
    }

    /// Signs an op for every revoked device of this user that no op revokes for good, as of before the ops of
    /// the device that are alive and were not `before` (authority 3.5). Below Admin no user signs any.
    pub(super) fn revoke_own_devices(
        &mut self,
        step: &Step,
        before: &OpSet,
        records: &mut Vec<StoredRecord>,
    ) -> Vec<Envelope> {
        let (user, mut ops) = (step.keys.user(), Vec::new());
        if self.ledger.roster().role(user) < Role::Admin {
            return ops;
        }
        for (device, mut rejected) in self.ledger.revocations_to_sign(user, before) {
            loop {
                let is_signed = self.revoke_before(step, &rejected, device, records, &mut ops);
                if rejected.is_empty() {
                    break;
                }
                let left = if is_signed { self.ledger.living_of(&rejected) } else { rejected.clone() };
                // The author who changed the user's role since has seen those that stay: no op of the older
                // grant voids them.
                let is_stuck = left == rejected;
                rejected = if is_stuck { self.ledger.without_oldest_grant(&left) } else { left };
                if rejected.is_empty() && self.ledger.is_revoked_by_op(user, device) {
                    break;
                }
            }
        }
        ops
    }

    /// Signs the op that revokes an own device, as of before `rejected`; returns false if it would have no
    /// effect.
    fn revoke_before(
        &mut self,
        step: &Step,
        rejected: &BTreeSet<OpId>,
        device: DeviceId,
        records: &mut Vec<StoredRecord>,
        ops: &mut Vec<Envelope>,
    ) -> bool {
        let (user, key) = (step.keys.user(), &step.keys.user);
        // Without a cut: what the device wrote stays until an Admin, perhaps this user, cuts it (authority
        // 3.5).
        let body = Body::RevokeDevice { user, device, cut: None };
        let signer = OpSigner { by: By::User, key: key.clone() };
        let drafted = self.draft_merging(rejected, user, &signer, |ledger| {
            Ok(ledger.draft_without(rejected, user, By::User, body.clone())?)
        });
        let Ok((merges, op)) = drafted else { return false };
        for merge in &merges {
            self.add_op(step, merge, records, ops);
        }
        self.add_op(step, Signed::sign(op, key).envelope(), records, ops)
    }

    fn add_op(
        &mut self,
        step: &Step,
        op: &Envelope,
        records: &mut Vec<StoredRecord>,
        ops: &mut Vec<Envelope>,
    ) -> bool {
        let is_admitted = self.admit_op(step, op, records).is_ok();
        if is_admitted {
            ops.push(op.clone());
        }
        is_admitted
    }
}

/// A device revocation that a ledger admitted.
pub(super) fn revocation(envelope: &Envelope) -> UserRevocation {
    let decoded = codec::decode::<UserDeviceRevocation>(&envelope.payload, UserDeviceRevocation::BYTES_MAX);
    let UserDeviceRevocation { user, device, .. } = decoded.expect("it was admitted");
    UserRevocation { user, device, envelope: envelope.clone() }
}
