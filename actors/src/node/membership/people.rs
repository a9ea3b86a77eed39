//! What an Admin says about people, and what people are shown of it (AUTHORITY 3.4).

use std::collections::{BTreeMap, BTreeSet};

use schema::ledger::{Body, Contestable, InviteStatus, Ledger, OpAction, OpStatus, Role, Roster};
use schema::{DeviceId, GroupId, OpId, Timestamp, UserId};

use super::admit::ReceivedAt;
use super::cut::MadeCut;
use super::reach::{MemberDevice, member_devices};
use super::tickets::Declined;
use super::{ChangeError, Entry, State};

/// A change of who takes part in a group, or of its invitations; [`MembershipHandle::submit`] signs it.
///
/// [`MembershipHandle::submit`]: super::MembershipHandle::submit
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

/// Options of [`MembershipHandle::submit`](super::MembershipHandle::submit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    /// Makes a cut although documents are damaged here: whatever its target wrote to those is lost to everybody.
    pub without_damaged: bool,
}

/// A membership change that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The op; of a transfer the second, of an admission that changes nothing the one that gave the role.
    pub op: OpId,
    /// Damaged documents that its cut leaves out; 0 unless [`SubmitOptions::without_damaged`].
    pub damaged_left_out: u64,
}

/// An op about a member, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct MemberOp {
    /// The op.
    pub op: OpId,
    /// Who said it.
    pub author: UserId,
    /// What it says.
    #[cfg_attr(feature = "control", serde(flatten))]
    pub act: OpAction,
    /// Whether it has an effect.
    pub standing: OpStatus,
}

/// An invitation, as its group knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Invitation {
    /// The op that opened it.
    pub id: OpId,
    /// Who opened it.
    pub author: UserId,
    /// What it grants.
    pub role: Role,
    /// How many users it was to let in.
    pub uses: u16,
    /// How many it let in: more than `uses`, where Admins' devices that were apart each let the last one in.
    pub used: usize,
    /// When Admins' devices stop accepting it, each by its own clock.
    #[cfg_attr(feature = "control", serde(rename = "expires_ms"))]
    pub expires: Timestamp,
    /// Whether it lets anybody in.
    #[cfg_attr(feature = "control", serde(flatten))]
    pub standing: InviteStatus,
}

/// What is published beside a roster, for people alone: it decides nothing.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// Who gave each member their role; founders have it from nobody.
    pub granted_by: BTreeMap<UserId, UserId>,
    /// When this device took the op in that gave each member their role, by its own clock.
    pub since: BTreeMap<UserId, Timestamp>,
    /// The devices of each member that were not shut out, by id.
    pub devices: BTreeMap<UserId, Vec<MemberDevice>>,
    /// The lowerings that may still be contested, by user.
    pub contestable: Vec<Contestable>,
    /// What came last of this user's ticket, where they are not in.
    pub declined: Option<Declined>,
    /// What this user said of others and that came to nothing, whether or not it is so all the same.
    pub(crate) own_void: BTreeSet<OpId>,
}

impl People {
    pub(super) fn of(ledger: &Ledger, taken: &ReceivedAt, user: UserId) -> Self {
        let granted_by = |(member, grant): (UserId, OpId)| {
            let grant = ledger.op(grant)?.record();
            matches!(grant.body, Body::SetRole { .. }).then_some((member, grant.author))
        };
        let grants = || ledger.roster().members().map(|(member, entry)| (member, entry.grant()));
        let since = |(member, grant): (UserId, OpId)| Some((member, *taken.get(&grant)?));
        let own = ledger.without_effect().filter(|facts| facts.author == user);
        Self {
            granted_by: grants().filter_map(granted_by).collect(),
            since: grants().filter_map(since).collect(),
            devices: member_devices(ledger),
            contestable: ledger.contestable(),
            declined: None,
            own_void: own.map(|facts| facts.id).collect(),
        }
    }
}

impl State {
    pub(super) async fn submit(
        &mut self,
        group: GroupId,
        change: MembershipChange,
        made: Option<MadeCut>,
    ) -> Result<OpId, ChangeError> {
        let me = self.user();
        let entry = self.entries.get_mut(&group).filter(|entry| entry.wanted);
        let entry = entry.ok_or(ChangeError::UnknownGroup(group))?;
        let cut = made.and_then(|made| entry.take_cut(made));
        let set_role = |user, role| Body::SetRole { user, role, cut: None, via: None };
        match change {
            MembershipChange::Admit { user, role } => match entry.check_admission(user, role)? {
                Some(grant) => Ok(grant),
                None => self.author_with(group, &BTreeSet::new(), set_role(user, role), cut).await,
            },
            MembershipChange::SetRole { user, role, before } => {
                entry.check_set_role(me, user, role)?;
                entry.check_as_of(&before)?;
                self.author_with(group, &before, set_role(user, role), cut).await
            }
            MembershipChange::RevokeDevice { user, device } => {
                entry.check_device(user, device)?;
                if device == self.arguments.device.device() {
                    return Err(ChangeError::OwnDevice);
                }
                let body = Body::RevokeDevice { user, device, cut: None };
                self.author_with(group, &BTreeSet::new(), body, cut).await
            }
            MembershipChange::Transfer { to } => {
                let role = entry.check_transfer(me, to)?;
                if entry.ledger.roster().role(to) < role {
                    self.author(group, set_role(to, role)).await?;
                }
                self.author(group, set_role(me, Role::Admin)).await
            }
            MembershipChange::Confirm { op } => {
                let contestable = entry.ledger.contestable();
                let contestable = contestable.iter().find(|contestable| contestable.op == op);
                let contestable = contestable.ok_or(ChangeError::NotContestable(op))?;
                if contestable.role >= Role::Admin {
                    return Err(ChangeError::NotConfirmable { op, role: contestable.role });
                }
                if !entry.ledger.confirms(contestable, me) {
                    return Err(ChangeError::TooWeakToConfirm { op, author: contestable.author });
                }
                self.author(group, set_role(contestable.user, contestable.role)).await
            }
            MembershipChange::Reissue { op } => {
                let again = entry.reissue(op)?;
                Box::pin(self.submit(group, again, made)).await
            }
            MembershipChange::CloseInvite { invite } => match entry.ledger.invite(invite) {
                None => Err(ChangeError::UnknownInvite(invite)),
                Some(known) if known.status == InviteStatus::Closed => Ok(invite),
                Some(_) => self.author(group, Body::CloseInvite { invite }).await,
            },
        }
    }
}

/// Whether there is room for whom an op lets in. Checked by who says it alone: an op by somebody who has not heard of
/// others is valid all the same, or devices would have to agree on who came last.
pub(super) fn check_room(roster: &Roster, body: &Body, max: usize) -> Result<(), ChangeError> {
    let lets_in = |user, role| role > Role::None && roster.role(user) == Role::None;
    match body {
        Body::SetRole { user, role, .. } if lets_in(*user, *role) && roster.members().count() >= max => {
            Err(ChangeError::Full { max })
        }
        _ => Ok(()),
    }
}

/// Whether nobody but `me` has the say and a device in the group to use it: a recovery key has none.
pub(super) fn is_alone_in_charge(roster: &Roster, me: UserId) -> bool {
    let others = || roster.members().filter(|(other, _)| *other != me);
    let mut in_charge = others().filter(|(_, member)| member.role() >= Role::Admin);
    let is_here = |other: UserId| roster.devices(other).next().is_some();
    roster.role(me) >= Role::Admin && !in_charge.any(|(other, _)| is_here(other))
}

impl Entry {
    /// What the rules would allow and nobody means.
    fn check_set_role(&self, me: UserId, user: UserId, role: Role) -> Result<(), ChangeError> {
        let roster = self.ledger.roster();
        if role == Role::None && roster.role(user) == Role::None {
            return Err(ChangeError::NotAMember(user));
        }
        let leaves_nobody = user == me && role < Role::Admin && is_alone_in_charge(roster, me);
        if leaves_nobody { Err(ChangeError::NobodyInCharge) } else { Ok(()) }
    }

    /// The grant by which they have that very role already.
    fn check_admission(&self, user: UserId, role: Role) -> Result<Option<OpId>, ChangeError> {
        let roster = self.ledger.roster();
        let now = roster.role(user);
        if role < now || role == Role::None {
            return Err(ChangeError::NotAbove { user, role: now });
        }
        Ok(roster.grant(user).filter(|_| role == now))
    }

    /// What is left out is here.
    fn check_as_of(&self, without: &BTreeSet<OpId>) -> Result<(), ChangeError> {
        let create = OpId(self.ledger.group().0);
        match without.iter().find(|op| **op == create || !self.ledger.contains(**op)) {
            Some(op) => Err(ChangeError::UnknownOp(*op)),
            None => Ok(()),
        }
    }

    fn check_device(&self, user: UserId, device: DeviceId) -> Result<(), ChangeError> {
        let is_known = self.ledger.roster().is_certified(user, device);
        if is_known { Ok(()) } else { Err(ChangeError::UnknownDevice(device)) }
    }

    /// The role that is handed over. Whoever gets it has a device in the group, or nobody might be in charge.
    fn check_transfer(&self, me: UserId, to: UserId) -> Result<Role, ChangeError> {
        let roster = self.ledger.roster();
        let role = roster.role(me);
        if role < Role::Owner {
            return Err(ChangeError::NotAnOwner { role });
        }
        let is_here = to != me && roster.role(to) > Role::None && roster.devices(to).next().is_some();
        if is_here { Ok(role) } else { Err(ChangeError::NoHeir(to)) }
    }

    /// What an op said that came to nothing, to be said now by this user: what is cut is what is known now, and an
    /// invitation is not used twice.
    fn reissue(&self, op: OpId) -> Result<MembershipChange, ChangeError> {
        let act = self.reissuable().into_iter().find(|said| said.op == op).map(|said| said.act);
        match act {
            Some(OpAction::SetRole { user, role }) => {
                Ok(MembershipChange::SetRole { user, role, before: BTreeSet::new() })
            }
            Some(OpAction::RevokeDevice { user, device }) => {
                Ok(MembershipChange::RevokeDevice { user, device })
            }
            _ => Err(ChangeError::NotVoided(op)),
        }
    }

    /// Every op about a member, parents before children.
    pub(super) fn log(&self) -> Vec<MemberOp> {
        let about_somebody = self.ledger.facts().filter(|facts| facts.action.target().is_some());
        let log = about_somebody.filter_map(|facts| {
            let standing = self.ledger.status(facts.id)?;
            Some(MemberOp { op: facts.id, author: facts.author, act: facts.action, standing })
        });
        log.collect()
    }

    /// The ops that came to nothing, except those of which what they said is so all the same.
    pub(super) fn reissuable(&self) -> Vec<MemberOp> {
        let roster = self.ledger.roster();
        let holds = |act: &OpAction| match *act {
            OpAction::SetRole { user, role } => roster.role(user) == role,
            OpAction::RevokeDevice { user, device } => roster.is_device_revoked(user, device),
            OpAction::Other => true,
        };
        let mut log = self.log();
        log.retain(|op| op.standing != OpStatus::Counts && !holds(&op.act));
        log
    }

    /// Every invitation, the oldest first.
    pub(super) fn invites(&self) -> Vec<Invitation> {
        let invites = self.ledger.invites().map(|(id, author, invite)| Invitation {
            id,
            author,
            role: invite.max_role,
            uses: invite.uses,
            used: invite.used,
            expires: Timestamp(invite.hint_expiry),
            standing: invite.status,
        });
        invites.collect()
    }
}

#[cfg(test)]
mod tests {
    use schema::key::SigningKey;
    use schema::ledger::By;
    use schema::signed::Signed;

    use super::*;

    const BEN: UserId = UserId([2; 32]);
    const CID: UserId = UserId([3; 32]);

    fn set_role(user: UserId, role: Role) -> Body {
        Body::SetRole { user, role, cut: None, via: None }
    }

    /// Ada says these in turn, in a group for two; what becomes of the last.
    fn last_of(said: &[(UserId, Role)]) -> Result<(), ChangeError> {
        let key = SigningKey::from_seed([1; 32]);
        let ada = UserId(key.public());
        let (mut ledger, _) = Ledger::create([0; 32], vec![ada], "home", ada, By::User, &key).unwrap();
        let mut last = Ok(());
        for (user, role) in said {
            last.unwrap();
            last = check_room(ledger.roster(), &set_role(*user, *role), 2);
            let op = ledger.draft(ada, By::User, set_role(*user, *role)).unwrap();
            ledger.admit(Signed::sign(op, &key).envelope().clone()).unwrap();
        }
        last
    }

    #[test]
    fn a_full_group_lets_nobody_in_until_somebody_is_out() {
        use Role::{Admin, None as Out, Reader, Writer};
        let full = |said: &[_]| matches!(last_of(said), Err(ChangeError::Full { max: 2 }));
        assert!(full(&[(BEN, Reader), (CID, Reader)]));
        assert!(full(&[(BEN, Admin), (BEN, Writer), (CID, Admin)]), "who is in may change");
        assert!(!full(&[(BEN, Reader), (BEN, Out), (CID, Reader)]));
    }
}
