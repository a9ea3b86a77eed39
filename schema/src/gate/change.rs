//! Membership changes of this user: what each asks to be signed, and why it may be refused.

use std::collections::BTreeSet;

use super::cut::{CutTarget, FreshCut};
use super::effect::Answer;
use super::group::Group;
use super::outbox::Scope;
use super::{Gate, Keys, Step};
use crate::ledger::{Body, InviteStatus, OpAction, Refusal, Role, Roster};
use crate::{DeviceId, GroupId, OpId, UserId};

/// A change of who takes part in a group, or of its invitations.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// Admits a user with a role, or raises a member to it.
    Admit {
        /// The user.
        user: UserId,
        /// Their new role.
        role: Role,
    },
    /// Gives a user a role; `Role::None` removes them.
    SetRole {
        /// The user.
        user: UserId,
        /// Their new role.
        role: Role,
        /// Signs the op as of before these ops, so that a stronger author voids them; empty: as of now.
        before: BTreeSet<OpId>,
    },
    /// Revokes one device of a user; its changes stay as far as they are known here.
    RevokeDevice {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
        /// Signs the op as of before these ops, so that those that the device signed become void; empty: as
        /// of now.
        before: BTreeSet<OpId>,
    },
    /// Gives this user's role to another member and makes this user an Admin: two ops.
    Transfer {
        /// The heir.
        to: UserId,
    },
    /// Confirms a lowering that may still be contested.
    Confirm {
        /// The lowering.
        op: OpId,
    },
    /// Re-issues a voided op, signed by this user.
    Reissue {
        /// The voided op.
        op: OpId,
    },
    /// Closes an invitation.
    CloseInvite {
        /// Its OpenInvite.
        invite: OpId,
    },
}

/// The reason for which a membership change was refused; nothing was signed, but perhaps the first of the two
/// ops of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRefusal {
    /// The group is not known here, or not wanted; its ledger may not have arrived yet.
    #[error("group {0} is not known here")]
    UnknownGroup(GroupId),
    /// A rule of the ledger forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its cut is missing, or more of its target may be accepted since it was made: make it again.
    #[error("the roster changed while the cut of user {} was made", .0.user)]
    CutOutdated(CutTarget),
    /// Admitting a member means giving a higher role: set their role, or remove them.
    #[error(
        "user {user} is {role:?}, and is admitted only with a higher role: set their role, or remove them"
    )]
    NotAbove {
        /// The user.
        user: UserId,
        /// The user's role.
        role: Role,
    },
    /// Leave out fewer ops, or none.
    #[error("as of then user {0} had written nothing, and all that they wrote since would be lost")]
    TakesAll(UserId),
    /// A role is given to members alone: admit the user.
    #[error("user {0} is no member")]
    NotAMember(UserId),
    /// Make another member an Admin first, one with a device in the group.
    #[error(
        "nobody would be in charge: make another member an Admin first, one who has come in with a device"
    )]
    NobodyInCharge,
    /// Remove a member first. Admins that are disconnected may exceed it together, which harms nobody.
    #[error("the group has {max} members, as many as it may")]
    Full {
        /// Members that a group may have.
        max: usize,
    },
    /// Only an Owner or Founder transfers a group.
    #[error("only an Owner or Founder transfers a group, and this user is {role:?}")]
    NotAnOwner {
        /// This user's role.
        role: Role,
    },
    /// The heir is another member who has a device in the group.
    #[error("user {0} is no other member with a device in the group")]
    NoHeir(UserId),
    /// An op to be left out is not here, or is the group's founding.
    #[error("op {0} cannot be left out here")]
    UnknownOp(OpId),
    /// There is no such invitation.
    #[error("no invitation {0} here")]
    UnknownInvite(OpId),
    /// The op is no lowering that may still be contested.
    #[error("op {0} is none that may be contested; perhaps it was confirmed, or is void by now")]
    NotContestable(OpId),
    /// Only lowerings below Admin are confirmed (authority 3.2): set another role.
    #[error("op {op} leaves them {role:?}, and only a role below Admin is confirmed: set another role")]
    NotConfirmable {
        /// The lowering.
        op: OpId,
        /// The role that it leaves.
        role: Role,
    },
    /// Ask a member who is stronger than the author.
    #[error("op {op} can be confirmed only by a member stronger than its author {author}")]
    TooWeakToConfirm {
        /// The lowering.
        op: OpId,
        /// The author of the contested op.
        author: UserId,
    },
    /// The op has an effect, or what it says holds anyway, or it is not here.
    #[error("op {0} is no voided op that can be re-issued")]
    NotVoided(OpId),
    /// The user has no such device, as far as certificates are here.
    #[error("device {0} is not known as one of this user")]
    UnknownDevice(DeviceId),
    /// Revoke a device from another one.
    #[error("a device does not revoke itself")]
    OwnDevice,
    /// Revoke an own device in all groups at once.
    #[error("this user is {role:?}, and revokes a device of theirs in all groups at once, not in one")]
    RevokesInAllGroups {
        /// This user's role.
        role: Role,
    },
}

/// The ops that a change asks for.
pub(super) enum Plan {
    /// Nothing: this op says it already.
    Done(OpId),
    /// Ops to be signed one after the other, as of before some.
    Sign { bodies: Vec<Body>, before: BTreeSet<OpId> },
}

impl Plan {
    fn sign(body: Body) -> Self {
        Self::Sign { bodies: vec![body], before: BTreeSet::new() }
    }
}

impl Gate {
    pub(super) fn on_submit(
        &mut self,
        step: &mut Step,
        id: GroupId,
        change: &MembershipChange,
        cut: Option<FreshCut>,
    ) {
        let submitted = self.submit(step, id, change, cut);
        step.outbox.answer(Scope::group(id), Answer::Submitted(submitted));
    }

    fn submit(
        &mut self,
        step: &mut Step,
        id: GroupId,
        change: &MembershipChange,
        cut: Option<FreshCut>,
    ) -> Result<OpId, ChangeRefusal> {
        match change.plan(self.wanted(id)?, &step.keys)? {
            Plan::Done(op) => Ok(op),
            Plan::Sign { bodies, before } => {
                let mut last = None;
                for body in bodies {
                    last = Some(self.author_before(step, id, &before, body, cut)?);
                }
                Ok(last.expect("a plan has an op"))
            }
        }
    }

    /// A group in which the user takes part.
    pub(super) fn wanted(&self, id: GroupId) -> Result<&Group, ChangeRefusal> {
        let group = self.groups.get(&id).filter(|group| group.is_wanted);
        group.ok_or(ChangeRefusal::UnknownGroup(id))
    }
}

impl MembershipChange {
    /// Checks what the rules would allow and no user means, and plans the ops.
    pub(super) fn plan(&self, group: &Group, keys: &Keys) -> Result<Plan, ChangeRefusal> {
        let me = keys.user();
        let set_role = |user, role| Body::SetRole { user, role, cut: None, via: None };
        match *self {
            Self::Admit { user, role } => Ok(match group.check_admission(user, role)? {
                Some(grant) => Plan::Done(grant),
                None => Plan::sign(set_role(user, role)),
            }),
            Self::SetRole { user, role, ref before } => {
                group.check_set_role(me, user, role, before)?;
                group.check_before(before)?;
                Ok(Plan::Sign { bodies: vec![set_role(user, role)], before: before.clone() })
            }
            Self::RevokeDevice { user, device, ref before } => {
                if !group.ledger.roster().is_certified(user, device) {
                    return Err(ChangeRefusal::UnknownDevice(device));
                }
                if device == keys.device.device() {
                    return Err(ChangeRefusal::OwnDevice);
                }
                let role = group.ledger.roster().role(me);
                if user == me && role < Role::Admin {
                    return Err(ChangeRefusal::RevokesInAllGroups { role });
                }
                group.check_before(before)?;
                let body = Body::RevokeDevice { user, device, cut: None };
                Ok(Plan::Sign { bodies: vec![body], before: before.clone() })
            }
            Self::Transfer { to } => {
                let role = group.check_transfer(me, to)?;
                let is_needed = group.ledger.roster().role(to) < role;
                let raise = is_needed.then(|| set_role(to, role));
                let bodies = raise.into_iter().chain([set_role(me, Role::Admin)]).collect();
                Ok(Plan::Sign { bodies, before: BTreeSet::new() })
            }
            Self::Confirm { op } => {
                let contestable = group.ledger.contestable();
                let lowering = contestable.iter().find(|contestable| contestable.op == op);
                let lowering = lowering.ok_or(ChangeRefusal::NotContestable(op))?;
                if lowering.role >= Role::Admin {
                    return Err(ChangeRefusal::NotConfirmable { op, role: lowering.role });
                }
                if !group.ledger.confirms(lowering, me) {
                    return Err(ChangeRefusal::TooWeakToConfirm { op, author: lowering.author });
                }
                Ok(Plan::sign(set_role(lowering.user, lowering.role)))
            }
            Self::Reissue { op } => group.reissue(op)?.plan(group, keys),
            Self::CloseInvite { invite } => match group.ledger.invite(invite) {
                None => Err(ChangeRefusal::UnknownInvite(invite)),
                Some(known) if known.status == InviteStatus::Closed => Ok(Plan::Done(invite)),
                Some(_) => Ok(Plan::sign(Body::CloseInvite { invite })),
            },
        }
    }
}

/// Refuses an admission into a full group. Checked by its author alone: an op of an author who does not know
/// of others is valid all the same, or devices would have to agree on the last one that fits.
pub(super) fn check_room(roster: &Roster, body: &Body, max: usize) -> Result<(), ChangeRefusal> {
    let admits = |user, role| role > Role::None && roster.role(user) == Role::None;
    match body {
        Body::SetRole { user, role, .. } if admits(*user, *role) && roster.members().count() >= max => {
            Err(ChangeRefusal::Full { max })
        }
        _ => Ok(()),
    }
}

/// Returns true if no other member is an Admin with a device in the group: a recovery key has none.
fn is_alone_in_charge(roster: &Roster, me: UserId) -> bool {
    let others = roster.members().filter(|(other, _)| *other != me);
    let mut in_charge = others.filter(|(_, member)| member.role() >= Role::Admin);
    let has_device = |other: UserId| roster.devices(other).next().is_some();
    roster.role(me) >= Role::Admin && !in_charge.any(|(other, _)| has_device(other))
}

/// Returns true if `me` is alone in charge of others. The recovery key, which has no device, is not counted.
pub fn is_needed_in_charge(roster: &Roster, me: UserId) -> bool {
    let others = roster.members().filter(|(other, _)| *other != me);
    let mut others = others.filter(|(other, _)| Some(*other) != roster.recovery());
    others.next().is_some() && is_alone_in_charge(roster, me)
}

impl Group {
    /// A role is for members, and for who was one as of before the ops that are rejected.
    fn check_set_role(
        &self,
        me: UserId,
        user: UserId,
        role: Role,
        before: &BTreeSet<OpId>,
    ) -> Result<(), ChangeRefusal> {
        let roster = self.ledger.roster();
        let was_one = || role > Role::None && self.ledger.role_without(before, user) > Role::None;
        if roster.role(user) == Role::None && !was_one() {
            return Err(ChangeRefusal::NotAMember(user));
        }
        let leaves_nobody = user == me && role < Role::Admin && is_alone_in_charge(roster, me);
        if leaves_nobody { Err(ChangeRefusal::NobodyInCharge) } else { Ok(()) }
    }

    /// The grant by which a user has that very role already.
    fn check_admission(&self, user: UserId, role: Role) -> Result<Option<OpId>, ChangeRefusal> {
        let roster = self.ledger.roster();
        let now = roster.role(user);
        if role < now || role == Role::None {
            return Err(ChangeRefusal::NotAbove { user, role: now });
        }
        Ok(roster.grant(user).filter(|_| role == now))
    }

    /// Refuses to leave out the founding, or ops that are not here.
    fn check_before(&self, before: &BTreeSet<OpId>) -> Result<(), ChangeRefusal> {
        let create = OpId(self.ledger.group().0);
        match before.iter().find(|op| **op == create || !self.ledger.contains(**op)) {
            Some(op) => Err(ChangeRefusal::UnknownOp(*op)),
            None => Ok(()),
        }
    }

    /// The role that is transferred. Its heir has a device in the group, or nobody might be in charge.
    fn check_transfer(&self, me: UserId, to: UserId) -> Result<Role, ChangeRefusal> {
        let roster = self.ledger.roster();
        let role = roster.role(me);
        if role < Role::Owner {
            return Err(ChangeRefusal::NotAnOwner { role });
        }
        let is_heir = to != me && roster.role(to) > Role::None && roster.devices(to).next().is_some();
        if is_heir { Ok(role) } else { Err(ChangeRefusal::NoHeir(to)) }
    }

    /// The change that a voided op asks for. Its cut is made from what is known now, and an invitation is not
    /// used twice.
    fn reissue(&self, op: OpId) -> Result<MembershipChange, ChangeRefusal> {
        let voided = self.reissuable().into_iter().find(|voided| voided.op == op);
        match voided.map(|voided| voided.action) {
            Some(OpAction::SetRole { user, role }) if self.ledger.roster().role(user) == Role::None => {
                Ok(MembershipChange::Admit { user, role })
            }
            Some(OpAction::SetRole { user, role }) => {
                Ok(MembershipChange::SetRole { user, role, before: BTreeSet::new() })
            }
            Some(OpAction::RevokeDevice { user, device }) => {
                Ok(MembershipChange::RevokeDevice { user, device, before: BTreeSet::new() })
            }
            _ => Err(ChangeRefusal::NotVoided(op)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use crate::ledger::{By, Ledger};
    use crate::signed::Signed;

    const BEN: UserId = UserId([2; 32]);
    const CID: UserId = UserId([3; 32]);

    fn set_role(user: UserId, role: Role) -> Body {
        Body::SetRole { user, role, cut: None, via: None }
    }

    /// Ada signs these in turn, in a group for two; the answer to the last.
    fn last_of(roles: &[(UserId, Role)]) -> Result<(), ChangeRefusal> {
        let key = SigningKey::from_seed([1; 32]);
        let ada = UserId(key.public());
        let (mut ledger, _) = Ledger::create([0; 32], vec![ada], "home", ada, By::User, &key).unwrap();
        let mut last = Ok(());
        for (user, role) in roles {
            last.unwrap();
            last = check_room(ledger.roster(), &set_role(*user, *role), 2);
            let op = ledger.draft(ada, By::User, set_role(*user, *role)).unwrap();
            ledger.admit(Signed::sign(op, &key).envelope().clone()).unwrap();
        }
        last
    }

    #[test]
    fn a_full_group_admits_nobody_until_a_member_is_removed() {
        use Role::{Admin, None as Out, Reader, Writer};
        let full = Err(ChangeRefusal::Full { max: 2 });
        assert_eq!(last_of(&[(BEN, Reader), (CID, Reader)]), full);
        assert_eq!(
            last_of(&[(BEN, Admin), (BEN, Writer), (CID, Admin)]),
            full,
            "roles of members may change"
        );
        assert_eq!(last_of(&[(BEN, Reader), (BEN, Out), (CID, Reader)]), Ok(()));
    }
}
