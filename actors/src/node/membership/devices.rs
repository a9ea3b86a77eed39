//! The devices of a user: which there are, and which were taken back (AUTHORITY 3.5; stepped by `membership`).
//!
//! A user takes a device back once. The signed word for it goes into the ledger of every group that knows the user, and
//! from each ledger that hears of it into all others; gates close where it arrives. Whoever takes a device back says the
//! same as an op in each group, so that what the device said to nobody yet is void. Any device that holds the user key
//! says it again after the user was removed and let in again.

use std::collections::{BTreeMap, BTreeSet};

use schema::ledger::{Body, By, Refusal, Role};
use schema::signed::{Envelope, Signed};
use schema::wire::device::{DeviceCert, UserDeviceRevocation};
use schema::{DeviceId, GroupId, Timestamp, UserId};

use super::admit::{LedgerDelta, put_side};
use super::{Arguments, ChangeError, Entry, State};
use crate::node::keys;
use crate::node::store::{Batch, StoreError};

/// A device of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Device {
    /// Its verifying key.
    pub id: DeviceId,
    /// What its user calls it; of several certificates the first label in order that is not empty.
    pub label: String,
    /// It was taken back.
    pub is_revoked: bool,
    /// It is the one that was asked.
    pub is_this: bool,
}

/// Signed words that devices are out, with what they say.
pub(super) type Withdrawn = Vec<(UserId, DeviceId, Envelope)>;

impl State {
    /// This user's devices, by id.
    pub(super) fn devices(&self) -> Vec<Device> {
        let (user, this) = (self.user(), self.arguments.device.device());
        let mut devices: BTreeMap<DeviceId, Device> = BTreeMap::new();
        for entry in self.entries.values() {
            let revoked = |id| entry.ledger.roster().is_device_revoked(user, id);
            for DeviceCert { device: id, label, .. } in entry.ledger.certificates_of(user) {
                let new =
                    || Device { id: *id, label: String::new(), is_revoked: false, is_this: *id == this };
                let device = devices.entry(*id).or_insert_with(new);
                device.is_revoked |= revoked(*id);
                if device.label.is_empty() || !label.is_empty() && *label < device.label {
                    device.label.clone_from(label);
                }
            }
        }
        devices.into_values().collect()
    }

    /// Takes a device back: the personal group hears of it first, and through it all others. Where our user may say up
    /// to where its changes stay, and has not, that is still to be said.
    pub(super) async fn revoke_device(
        &mut self,
        device: DeviceId,
    ) -> Result<(UserId, Vec<GroupId>), ChangeError> {
        if device == self.arguments.device.device() {
            return Err(ChangeError::OwnDevice);
        }
        if !self.devices().iter().any(|known| known.id == device) {
            return Err(ChangeError::UnknownDevice(device));
        }
        let revocation = UserDeviceRevocation { version: 1, user: self.user(), device };
        let revocation = Signed::sign(revocation, &self.arguments.user).envelope().clone();
        let gained = LedgerDelta { revocations: vec![revocation], ..LedgerDelta::default() };
        let personal = self.arguments.personal;
        self.take(personal, gained, None, true).await?;
        self.spread_revocations(personal, true).await?;
        let user = self.user();
        let is_uncut = |entry: &Entry| {
            let roster = entry.ledger.roster();
            let may_cut = roster.role(user) >= Role::Admin && roster.is_certified(user, device);
            entry.wanted && may_cut && !entry.is_pending(user) && !roster.is_cut(user, device)
        };
        let uncut = self.entries.iter().filter(|(_, entry)| is_uncut(entry)).map(|(group, _)| *group);
        Ok((user, uncut.collect()))
    }

    /// What the ledgers here know of devices that were taken back: seldom more than a few.
    pub(super) fn withdrawn(&self) -> Withdrawn {
        let known = self.entries.values().flat_map(|entry| entry.ledger.signed_revocations());
        let mut known: Withdrawn = known
            .map(|signed| {
                let UserDeviceRevocation { user, device, .. } = *signed.record();
                (user, device, signed.envelope().clone())
            })
            .collect();
        known.sort_unstable_by_key(|(user, device, _)| (*user, *device));
        known.dedup_by_key(|(user, device, _)| (*user, *device));
        known
    }

    /// Has all other groups hear of what `source` knows.
    pub(super) async fn spread_revocations(&mut self, source: GroupId, says: bool) -> Result<(), StoreError> {
        for group in self.entries.keys().copied().filter(|group| *group != source).collect::<Vec<_>>() {
            self.take(group, LedgerDelta::default(), None, says).await?;
        }
        Ok(())
    }
}

impl Entry {
    /// Hears of the devices that other ledgers know to be out; what is new here.
    pub(super) fn learn(&mut self, withdrawn: &Withdrawn, batch: &mut Batch) -> Vec<Envelope> {
        let mut learnt = Vec::new();
        for (user, device, envelope) in withdrawn {
            let roster = self.ledger.roster();
            let is_news = roster.grant(*user).is_some() && !roster.is_revoked_by_user(*user, *device);
            if is_news && matches!(self.ledger.admit_revocation(envelope.clone()), Ok(true)) {
                put_side(batch, keys::REVOCATION, envelope);
                learnt.push(envelope.clone());
            }
        }
        learnt
    }

    /// Says as ops which devices of our user are out, where none says it yet.
    pub(super) fn shut_out(
        &mut self,
        arguments: &Arguments,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Vec<Envelope> {
        let user = arguments.device.user();
        let unsaid: Vec<_> = self.ledger.roster().revoked_outside_ledger(user).collect();
        let mut ops = Vec::new();
        for device in unsaid {
            // No cut: what the device wrote stays, until an Admin, perhaps our user, says up to where (authority 3.5).
            let body = Body::RevokeDevice { user, device, cut: None };
            let mut drafted = self.ledger.draft(user, By::User, body.clone());
            if let Err(Refusal::TooManyHeads { .. }) = drafted {
                let merges = self.ledger.merges(&BTreeSet::new(), user, &By::User, &arguments.user);
                for merge in merges.into_iter().flatten() {
                    self.say_own(merge.envelope(), now, batch, &mut ops);
                }
                drafted = self.ledger.draft(user, By::User, body);
            }
            // Who is no member now has nothing to say, and says it when they are let in again.
            let Ok(op) = drafted else { continue };
            self.say_own(Signed::sign(op, &arguments.user).envelope(), now, batch, &mut ops);
        }
        ops
    }

    fn say_own(&mut self, op: &Envelope, now: Timestamp, batch: &mut Batch, said: &mut Vec<Envelope>) {
        if self.take_op(op, now, batch).is_ok() {
            said.push(op.clone());
        }
    }
}
