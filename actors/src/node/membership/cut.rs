//! Membership changes with their cuts: the cut is made first, from the stored documents, while membership
//! goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use schema::gate::{ChangeRefusal, CutTarget, FreshCut, Input, MembershipChange, target_digest};
use schema::{DeviceId, DocumentId, GroupId, OpId};

use super::{Answer, ChangeError, MembershipHandle};
use crate::call::CallError;
use crate::node::group::GroupHandle;
use crate::node::group::cut::{self, CutError, CutRequest, JudgedMoment, Target};

/// The pause between two questions to a group about its re-judging.
const PAUSE: Duration = Duration::from_millis(100);
/// Re-judging that stands still for so long ends the change with an error.
const STALLED: Duration = Duration::from_secs(60);
/// Cuts that are made for one change, each because documents were re-judged while the one before was made.
const TRIES: usize = 3;

/// No documents.
static NONE: BTreeSet<DocumentId> = BTreeSet::new();

/// Options of [`MembershipHandle::submit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    /// Makes a cut although documents are damaged here: whatever its target wrote to those is lost to
    /// everybody.
    pub without_damaged: bool,
    /// Of rows that are not materialised here, the cut keeps only what they show here: the later changes of
    /// its target, and what others built on those, are lost to everybody.
    pub without_unmaterialised: bool,
}

/// A membership change that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The op; of a transfer the second, of an admission that changes nothing the one that gave the role.
    pub op: OpId,
    /// Damaged documents that its cut leaves out; 0 unless `SubmitOptions::without_damaged`.
    pub damaged_left_out: u64,
}

impl MembershipHandle {
    /// Signs and stores a membership change; durable when it returns. Where it ends that somebody writes, the
    /// cut is made first, which takes as long as going through what they wrote: `progress` is called with the
    /// number of documents that are done, and with 0 while documents are still re-judged.
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
        for _ in 0..TRIES {
            // Pages that no op names yet are not deleted until the gate has stepped the change.
            let cutting = self.cutting.clone().read_owned().await;
            let (cut, damaged_left_out) = match self.cut_target(group, change.clone()).await? {
                Some(target) => match self.make_cut(group, target, options, &progress).await? {
                    Some((cut, left_out)) => (Some(cut), left_out),
                    None => continue,
                },
                None => (None, 0),
            };
            let input = Input::Submit { group, change: change.clone(), cut };
            let Answer::Submitted(op) = self.ask_holding(input, Some(cutting)).await? else {
                unreachable!("each request has its answer")
            };
            match op {
                Ok(op) => return Ok(Receipt { op, damaged_left_out }),
                Err(ChangeRefusal::CutOutdated(_)) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(ChangeError::Unsettled(group))
    }

    /// Revokes a device of this user in all groups, for ever; durable in all of them when it returns. Where
    /// this user is an Admin the op cuts what the device wrote; elsewhere an Admin does so later.
    ///
    /// # Errors
    /// [`ChangeRefusal::UnknownDevice`], [`ChangeRefusal::OwnDevice`]; the first error in a group, after all
    /// others are done. After an error, or a stop half-way, the same call goes on from there.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), ChangeError> {
        let Answer::Revoked(uncut) = self.ask(Input::RevokeDevice(device)).await? else {
            unreachable!("each request has its answer")
        };
        let (user, mut first) = (self.user, None);
        for group in uncut? {
            let change = MembershipChange::RevokeDevice { user, device, before: BTreeSet::new() };
            match self.submit(group, change, SubmitOptions::default(), |_| {}).await {
                // The rows of this group are unavailable: the device is revoked all the same.
                Ok(_) | Err(ChangeError::NeedsCut { .. }) => {}
                // It is revoked, and the other groups do not depend on this one.
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn cut_target(
        &self,
        group: GroupId,
        change: MembershipChange,
    ) -> Result<Option<CutTarget>, ChangeError> {
        Ok(self.read_gate(Some(group), move |gate| gate.cut_target(group, &change)).await??)
    }

    /// Makes a cut of everything that is accepted here of its target, and counts the damaged documents that
    /// it leaves out. `None`: documents were re-judged meanwhile, and pages that were written before may lack
    /// what came to be accepted again.
    async fn make_cut(
        &self,
        group: GroupId,
        target: CutTarget,
        options: SubmitOptions,
        progress: impl Fn(u64),
    ) -> Result<Option<(FreshCut, u64)>, ChangeError> {
        let CutTarget { user, device } = target;
        let unavailable = || ChangeError::NeedsCut { user, device };
        let handle = self.groups.get(group).ok_or_else(unavailable)?;
        let settled = self.settled(&handle, &progress).await?.ok_or_else(unavailable)?;
        let request = CutRequest {
            roster: &settled.roster,
            target: device.map_or(Target::User(user), Target::Device),
            without_damaged: options.without_damaged,
            as_read: if options.without_unmaterialised { &settled.unmaterialised } else { &NONE },
        };
        let written = cut::write(&self.store, handle.space(), request, &progress).await;
        let (manifest, left_out) = written.map_err(|error| match error {
            CutError::Damaged { documents, count } => ChangeError::Damaged { user, documents, count },
            CutError::Store(error) => error.into(),
        })?;
        let later = self.settled(&handle, &progress).await?.ok_or_else(unavailable)?;
        let target_digest = target_digest(&settled.roster, target);
        Ok(settled.is_still(&later).then_some((FreshCut { manifest, target_digest }, left_out)))
    }

    /// Waits until the group's documents are judged by its roster: a cut of documents that are being
    /// re-judged would name too little, and what it does not name is lost to everybody. `None`: the documents
    /// of the group are not running.
    async fn settled(
        &self,
        handle: &GroupHandle,
        progress: impl Fn(u64),
    ) -> Result<Option<JudgedMoment>, ChangeError> {
        let (mut last, mut since) = (None, self.clock.instant());
        loop {
            let rejudged = match handle.settled().await {
                Ok(Ok(settled)) => return Ok(Some(settled)),
                Ok(Err(rejudged)) => Some(rejudged),
                Err(CallError::Stopped) => return Ok(None),
                // It restarts, or is busy.
                Err(_) => None,
            };
            // As long as it makes progress, it may take any time.
            if rejudged.is_some() && rejudged != last {
                (last, since) = (rejudged, self.clock.instant());
            }
            if self.clock.instant() - since > STALLED {
                return Err(ChangeError::Unsettled(handle.id()));
            }
            progress(0);
            self.clock.sleep(PAUSE).await;
        }
    }
}
