//! Where an op must say up to where its target's changes stay: the cut is computed by the group, while membership goes
//! on, and what was to be said is said again with it.

use std::collections::BTreeSet;

use schema::ledger::{Body, By, Invalid, ManifestRef, Op, Refusal, Role};
use schema::{DeviceId, GroupId, OpId, UserId};

use super::{ChangeError, Entry, MembershipHandle, Saying};
use crate::node::group::cut::{self, Target};

impl MembershipHandle {
    /// Says something about members or invitations; the op, the last where there are two, is durable when it returns.
    /// Ending that somebody writes takes as long as going through what they wrote; `progress` hears how many documents
    /// are done.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn say(
        &self,
        group: GroupId,
        saying: Saying,
        progress: impl Fn(u64),
    ) -> Result<OpId, ChangeError> {
        match self.say_with(group, saying.clone(), None).await {
            Err(ChangeError::NeedsCut { user, device }) => {
                let cut = self.cut(group, user, device, progress).await?;
                self.say_with(group, saying, Some(cut)).await
            }
            said => said,
        }
    }

    /// Takes a device of this user back, in all groups and for ever; durable in all of them when it returns. Where this
    /// user is an Admin what the device wrote ends with it; elsewhere an Admin says up to where it stays.
    ///
    /// # Errors
    /// [`ChangeError::UnknownDevice`], [`ChangeError::OwnDevice`]. Should it end half-way, the same call goes on from
    /// there.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), ChangeError> {
        let (user, groups) = self.withdraw(device).await?;
        for group in groups {
            match self.say(group, Saying::RevokeDevice { user, device }, |_| {}).await {
                // A group whose rows are out of service: the device is out all the same.
                Ok(_) | Err(ChangeError::NeedsCut { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Up to where the changes of `user`, or of one device alone, stay: all that is known here.
    async fn cut(
        &self,
        group: GroupId,
        user: UserId,
        device: Option<DeviceId>,
        progress: impl Fn(u64),
    ) -> Result<ManifestRef, ChangeError> {
        let (Some(handle), Some(roster)) = (self.groups.get(group), self.roster(group)) else {
            return Err(ChangeError::NeedsCut { user, device });
        };
        let target = device.map_or(Target::User(user), Target::Device);
        Ok(cut::write(&self.store, handle.space(), &roster, target, progress).await?)
    }
}

impl Entry {
    /// The op that `author` would sign, with the cut where the rules want one.
    pub(super) fn draft(
        &self,
        rejected: &BTreeSet<OpId>,
        (author, by): (UserId, By),
        mut body: Body,
        cut: Option<ManifestRef>,
    ) -> Result<Op, ChangeError> {
        let draft = |body: &Body| self.ledger.draft_without(rejected, author, by.clone(), body.clone());
        let drafted = draft(&body);
        let (user, device, place) = match &mut body {
            Body::SetRole { user, cut, .. } => (*user, None, cut),
            Body::RevokeDevice { user, device, cut } => (*user, Some(*device), cut),
            _ => return Ok(drafted?),
        };
        let role = |user| self.ledger.roster().role(user);
        let needs_cut = match &drafted {
            Err(Refusal::Invalid { why: Invalid::Cut { needed: true, .. }, .. }) => true,
            // Nobody but an Admin can say up to where, and who is one need not wait for another.
            Ok(_) => device.is_some() && user == author && role(author) >= Role::Admin,
            Err(_) => false,
        };
        if needs_cut {
            *place = Some(cut.ok_or(ChangeError::NeedsCut { user, device })?);
            return Ok(draft(&body)?);
        }
        let drafted = drafted?;
        match drafted.body {
            // As of when they wrote nothing, so that there is nothing to keep.
            Body::SetRole { user, role: new, .. } if new < Role::Writer && role(user) >= Role::Writer => {
                Err(ChangeError::TakesAll(user))
            }
            _ => Ok(drafted),
        }
    }
}
