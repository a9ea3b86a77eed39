//! Cuts: which membership changes need one, and for which state of its target a cut is good.
//!
//! A change that ends the writing of a user or of a device names the last of their changes that stay
//! accepted. The shell makes that cut from the stored documents, which takes long, while the gate goes on. It
//! stays good while the target's role, grants and cuts are the same and nothing that others wrote is accepted
//! again; an admission of others meanwhile does not matter.

use std::collections::BTreeSet;

use super::admit::OpSigner;
use super::change::{ChangeRefusal, MembershipChange, Plan};
use super::group::Group;
use super::{Gate, Keys, Step};
use crate::ledger::{Body, By, Invalid, Ledger, ManifestRef, Op, Refusal, Role, Roster};
use crate::signed::Envelope;
use crate::{DeviceId, GroupId, OpId, UserId};

/// The author whose changes a cut bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutTarget {
    /// The user.
    pub user: UserId,
    /// One device of theirs; `None`: all of them.
    pub device: Option<DeviceId>,
}

/// A cut that was just made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshCut {
    /// Its manifest; every page of it is stored.
    pub manifest: ManifestRef,
    /// The [`target_digest`] in the roster from which it was made.
    pub target_digest: [u8; 32],
}

/// A hash over everything in a roster by which more of the target's changes may come to be accepted: the
/// target's own role, grants and cuts, and the cuts and void grants of everybody.
pub fn target_digest(roster: &Roster, target: CutTarget) -> [u8; 32] {
    roster.target_digest(target.user, target.device)
}

/// An op as it would be signed.
pub(super) enum Draft {
    /// It can be signed.
    Op(Box<Op>),
    /// It needs a cut for this target first.
    NeedsCut(CutTarget),
}

/// Drafts an op as of before `before`. One that lacks a cut is no refusal: the cut is to be made.
pub(super) fn draft(
    ledger: &Ledger,
    before: &BTreeSet<OpId>,
    author: UserId,
    by: &By,
    body: &Body,
) -> Result<Draft, ChangeRefusal> {
    let drafted = ledger.draft_without(before, author, by.clone(), body.clone());
    let (user, device) = match *body {
        Body::SetRole { user, .. } => (user, None),
        Body::RevokeDevice { user, device, .. } => (user, Some(device)),
        Body::Create { .. }
        | Body::Amnesty { .. }
        | Body::OpenInvite { .. }
        | Body::CloseInvite { .. }
        | Body::SetMeta { .. } => return Ok(Draft::Op(Box::new(drafted?))),
    };
    let role = |user| ledger.roster().role(user);
    let needs_cut = match &drafted {
        Err(Refusal::Invalid { why: Invalid::Cut { needed: true, .. }, .. }) => true,
        // Only an Admin can cut; one who is does it at once.
        Ok(_) => device.is_some() && user == author && role(author) >= Role::Admin,
        Err(_) => false,
    };
    if needs_cut {
        return Ok(Draft::NeedsCut(CutTarget { user, device }));
    }
    let op = drafted?;
    match op.body {
        // As of before they wrote, when there was nothing to keep.
        Body::SetRole { user, role: new, .. } if new < Role::Writer && role(user) >= Role::Writer => {
            Err(ChangeRefusal::TakesAll(user))
        }
        _ => Ok(Draft::Op(Box::new(op))),
    }
}

/// Names the cut in an op that ends the writing of its target.
pub(super) fn set_cut(body: &mut Body, manifest: ManifestRef) {
    if let Body::SetRole { cut, .. } | Body::RevokeDevice { cut, .. } = body {
        *cut = Some(manifest);
    }
}

impl Gate {
    /// The target of the cut that a change needs, if any. Pure: the shell asks this first, makes the cut, and
    /// submits the change with it once.
    ///
    /// # Errors
    /// [`ChangeRefusal`] of a change that would be refused with a cut too.
    pub fn cut_target(
        &self,
        id: GroupId,
        change: &MembershipChange,
    ) -> Result<Option<CutTarget>, ChangeRefusal> {
        let group = self.wanted(id)?;
        match change.plan(group, &self.keys)? {
            Plan::Sign { bodies, before } => match &bodies[..] {
                [body] => group.cut_target(&self.keys, &before, body),
                _ => Ok(None),
            },
            Plan::Done(_) => Ok(None),
        }
    }
}

impl Group {
    pub(super) fn cut_target(
        &self,
        keys: &Keys,
        before: &BTreeSet<OpId>,
        body: &Body,
    ) -> Result<Option<CutTarget>, ChangeRefusal> {
        let (author, signer) = (keys.user(), keys.signer(body));
        let drafted = self
            .draft_merging(before, author, &signer, |ledger| draft(ledger, before, author, &signer.by, body));
        match drafted?.1 {
            Draft::Op(_) => Ok(None),
            Draft::NeedsCut(target) => Ok(Some(target)),
        }
    }

    /// Drafts an op as of before `before`, where the ledger has too many heads on a copy with merges of them:
    /// these merges, signed and not admitted yet, and the draft.
    pub(super) fn draft_merging<T>(
        &self,
        before: &BTreeSet<OpId>,
        author: UserId,
        signer: &OpSigner,
        draft: impl Fn(&Ledger) -> Result<T, ChangeRefusal>,
    ) -> Result<(Vec<Envelope>, T), ChangeRefusal> {
        match draft(&self.ledger) {
            Err(ChangeRefusal::Refused(Refusal::TooManyHeads { .. })) => {}
            drafted => return Ok((Vec::new(), drafted?)),
        }
        let (mut ledger, mut merges) = (self.ledger.clone(), Vec::new());
        for merge in self.ledger.merges(before, author, &signer.by, &signer.key)? {
            ledger.admit(merge.envelope().clone())?;
            merges.push(merge.envelope().clone());
        }
        Ok((merges, draft(&ledger)?))
    }

    /// Returns the manifest of the cut for a target, unless it is missing, outdated or deleted.
    pub(super) fn check_cut(
        &self,
        step: &Step,
        target: CutTarget,
        cut: Option<FreshCut>,
    ) -> Result<ManifestRef, ChangeRefusal> {
        let now = target_digest(self.ledger.roster(), target);
        let id = self.ledger.group();
        let is_good = |cut: &FreshCut| cut.target_digest == now && step.has_list(id, &cut.manifest);
        let cut = cut.filter(is_good).ok_or(ChangeRefusal::CutOutdated(target))?;
        Ok(cut.manifest)
    }
}
