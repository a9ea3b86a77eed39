//! Where an op must say up to where its target's changes stay: the cut is computed by the group, while membership goes
//! on, and what was to be said is said again with it.

use std::collections::BTreeSet;
use std::time::Duration;

use schema::ledger::{Body, By, Invalid, ManifestRef, Op, Refusal, Role};
use schema::{DeviceId, GroupId, OpId, UserId};

use super::{ChangeError, Entry, MembershipChange, MembershipHandle, Receipt, SubmitOptions};
use crate::call::CallError;
use crate::node::group::GroupHandle;
use crate::node::group::cut::{self, CutError, Settled, Target};

/// How often a cut is made of what is accepted, while other ops change that before the cut is said.
const TRIES: usize = 5;
/// Until the group is asked again how far judging anew is.
const PAUSE: Duration = Duration::from_millis(100);
/// How long judging anew may be no further than it was.
const STALLED: Duration = Duration::from_secs(60);

/// A cut that the group made of what it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeCut {
    manifest: ManifestRef,
    /// Damaged documents that it does not name.
    left_out: u64,
    /// The state of the ledger by which that was accepted: by another one more may be.
    state: [u8; 32],
}

impl MembershipHandle {
    /// Signs and stores a membership change; durable when it returns. Where it ends that somebody writes, the cut is made
    /// first, which takes as long as going through what they wrote: `progress` is called with the number of documents
    /// that are done, and with 0 while documents are still re-judged.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn submit(
        &self,
        group: GroupId,
        change: MembershipChange,
        options: SubmitOptions,
        progress: impl Fn(u64),
    ) -> Result<Receipt, ChangeError> {
        // Pages that no op names yet are not deleted meanwhile.
        let _cutting = self.cutting.read().await;
        let mut cut = None;
        for _ in 0..=TRIES {
            match self.submit_with(group, change.clone(), cut).await {
                Err(ChangeError::NeedsCut { user, device }) => {
                    cut = self.cut(group, (user, device), options.without_damaged, &progress).await?;
                }
                op => return Ok(Receipt { op: op?, damaged_left_out: cut.map_or(0, |cut| cut.left_out) }),
            }
        }
        Err(ChangeError::Unsettled(group))
    }

    /// Takes a device of this user back, in all groups and for ever; durable in all of them when it returns. Where this
    /// user is an Admin what the device wrote ends with it; elsewhere an Admin says up to where it stays.
    ///
    /// # Errors
    /// [`ChangeError::UnknownDevice`], [`ChangeError::OwnDevice`]; the first trouble in a group, when all others are done.
    /// Should it end half-way, the same call goes on from there.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), ChangeError> {
        let (user, groups) = self.withdraw(device).await?;
        let mut trouble = None;
        for group in groups {
            match self
                .submit(
                    group,
                    MembershipChange::RevokeDevice { user, device },
                    SubmitOptions::default(),
                    |_| {},
                )
                .await
            {
                // A group whose rows are out of service: the device is out all the same.
                Ok(_) | Err(ChangeError::NeedsCut { .. }) => {}
                // It is out, and the other groups have nothing to do with it.
                Err(error) => drop(trouble.get_or_insert(error)),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Up to where the changes of `user`, or of one device alone, stay: all that is known here; `None` when something of
    /// it was judged anew meanwhile.
    async fn cut(
        &self,
        group: GroupId,
        (user, device): (UserId, Option<DeviceId>),
        anyway: bool,
        progress: impl Fn(u64),
    ) -> Result<Option<MadeCut>, ChangeError> {
        let out_of_service = || ChangeError::NeedsCut { user, device };
        let handle = self.groups.get(group).ok_or_else(out_of_service)?;
        let target = device.map_or(Target::User(user), Target::Device);
        let settled = self.settled(&handle, &progress).await?.ok_or_else(out_of_service)?;
        let of_whom = (&*settled.roster, target);
        let written = cut::write(&self.store, handle.space(), of_whom, anyway, &progress).await;
        let (manifest, left_out) = written.map_err(|error| match error {
            CutError::Damaged { documents, count } => ChangeError::Damaged { user, documents, count },
            CutError::Store(error) => error.into(),
        })?;
        let later = self.settled(&handle, |_| ()).await?;
        let is_still = later.is_some_and(|later| settled.is_still(&later));
        Ok(is_still.then(|| MadeCut { manifest, left_out, state: settled.roster.state_digest() }))
    }

    /// Waits until the group has all that its members allow: while it judges anew what a removal took, or gives back, a
    /// cut would name too little, and what it does not name is lost to everybody. `None`: the group is out of service.
    async fn settled(
        &self,
        handle: &GroupHandle,
        progress: impl Fn(u64),
    ) -> Result<Option<Settled>, ChangeError> {
        let (mut last, mut since) = (None, self.clock.instant());
        loop {
            let how_far = match handle.settled().await {
                Ok(Ok(settled)) => return Ok(Some(settled)),
                Ok(Err(how_far)) => Some(how_far),
                Err(CallError::Stopped) => return Ok(None),
                // It goes on from where it was, or has much to do.
                Err(_) => None,
            };
            // As long as it goes on, it may take as long as it takes.
            if how_far.is_some() && how_far != last {
                (last, since) = (how_far, self.clock.instant());
            }
            if self.clock.instant() - since > STALLED {
                return Err(ChangeError::Unsettled(handle.id()));
            }
            progress(0);
            self.clock.sleep(PAUSE).await;
        }
    }
}

impl Entry {
    /// The manifest of a cut, unless more may be accepted by now than it was made of.
    pub(super) fn take_cut(&mut self, cut: MadeCut) -> Option<ManifestRef> {
        let is_of_now = self.ledger.roster().state_digest() == cut.state;
        // The group has just made it from what it has.
        is_of_now.then(|| self.attach(cut.manifest));
        is_of_now.then_some(cut.manifest)
    }

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
