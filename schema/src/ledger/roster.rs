//! The roster: the members of a group with their roles, grants, devices and cuts, apart from the ledger.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{DeviceId, GroupId, OpId, UserId};
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;

/// The state that a ledger resolves to. Clone the `Arc` that it comes in.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) group: GroupId,
    pub(super) founders: Vec<UserId>,
    /// The author of the Create.
    pub(super) creator: Option<UserId>,
    pub(super) name: String,
    /// Every user who has or had a role.
    pub(super) members: BTreeMap<UserId, Member>,
    /// All SetRoles, void ones too.
    pub(super) grants: BTreeMap<OpId, Grant>,
    pub(super) certified: BTreeSet<(DeviceId, UserId)>,
    /// The devices that are certified only by surplus certificates, which not every device holds: no digest
    /// covers these.
    pub(super) surplus_certified: BTreeSet<(DeviceId, UserId)>,
    /// The devices that counting ops revoke, with their cuts.
    pub(super) revoked: BTreeMap<(UserId, DeviceId), Vec<Cut>>,
    /// The devices that their users revoked in all groups.
    pub(super) revoked_by_user: BTreeSet<(UserId, DeviceId)>,
}

/// One user's role, grant and cuts.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) role: Role,
    pub(super) grant: OpId,
    /// `Cuts(u)` of authority 3.7.1.
    pub(super) cuts: Vec<Cut>,
}

impl Member {
    /// The current role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The op, or Create, that gave it; new replicas are bound to it.
    pub fn grant(&self) -> OpId {
        self.grant
    }
}

/// A SetRole as the data rule reads it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The target.
    pub user: UserId,
    /// The role that it gives.
    pub role: Role,
    /// False if the op is void; changes under a void grant are refused.
    pub alive: bool,
    pub(super) number: usize,
    pub(super) past: OpSet,
}

/// A counting revocation with the part of its target's changes that stays accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The SetRole or RevokeDevice.
    pub revocation: OpId,
    /// The changes that stay; `None` for a lowering that [inherits](Self::inherited) its cut.
    pub manifest: Option<ManifestRef>,
    /// For a lowering without a manifest, the cuts that bounded its target in its author's view: a member who
    /// is lowered again, or whose lowering is confirmed, keeps what they kept before. Each applies to the
    /// grants in its own past; under other grants nothing stays.
    pub inherited: Vec<InheritedCut>,
    /// The living amnesties with their manifests, in order of op.
    pub amnesties: Vec<(OpId, ManifestRef)>,
    pub(super) number: usize,
}

/// A cut that a later lowering without a manifest inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritedCut {
    /// The SetRole.
    pub revocation: OpId,
    /// The changes that stay.
    pub manifest: ManifestRef,
    /// The living amnesties with their manifests, in order of op.
    pub amnesties: Vec<(OpId, ManifestRef)>,
}

impl Roster {
    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The founders, the most senior first, including those who lost their role.
    pub fn founders(&self) -> &[UserId] {
        &self.founders
    }

    /// The recovery founder: the first founder, where the author of the Create is another one, and while they
    /// still are a Founder. No op of another user can act on it (authority 3.4).
    pub fn recovery(&self) -> Option<UserId> {
        let first = self.founders.first().copied();
        first.filter(|first| Some(*first) != self.creator && self.role(*first) == Role::Founder)
    }

    /// The members, in user order.
    pub fn members(&self) -> impl Iterator<Item = (UserId, &Member)> {
        let now = self.members.iter().filter(|(_, member)| member.role > Role::None);
        now.map(|(user, member)| (*user, member))
    }

    /// A user's role.
    pub fn role(&self, user: UserId) -> Role {
        self.members.get(&user).map_or(Role::None, |member| member.role)
    }

    /// Returns true if a user had a role and has none now.
    pub fn was_removed(&self, user: UserId) -> bool {
        self.members.get(&user).is_some_and(|member| member.role == Role::None)
    }

    /// The op, or Create, that decides a user's role.
    pub fn grant(&self, user: UserId) -> Option<OpId> {
        self.members.get(&user).map(|member| member.grant)
    }

    /// The SetRole `grant`. The Create, which gives roles to several users, is none.
    pub fn grant_by_id(&self, grant: OpId) -> Option<&Grant> {
        self.grants.get(&grant)
    }

    /// Returns true if `user` certifies `device`.
    pub fn is_certified(&self, user: UserId, device: DeviceId) -> bool {
        self.certified.contains(&(device, user)) || self.surplus_certified.contains(&(device, user))
    }

    /// The users who certify `device`, by id.
    pub fn certifiers(&self, device: DeviceId) -> impl Iterator<Item = UserId> {
        let of_device = || (device, UserId([0; 32]))..=(device, UserId([0xff; 32]));
        let certified = self.certified.range(of_device()).chain(self.surplus_certified.range(of_device()));
        certified.map(|(_, user)| *user).collect::<BTreeSet<_>>().into_iter()
    }

    /// The devices that `user` certifies and that are not revoked.
    pub fn devices(&self, user: UserId) -> impl Iterator<Item = DeviceId> {
        let certified = self.certified.union(&self.surplus_certified).filter(move |(_, by)| *by == user);
        certified.map(|(device, _)| *device).filter(move |device| !self.is_device_revoked(user, *device))
    }

    /// Returns true if a member certifies the device by a certificate that all devices hold, and it is not
    /// revoked.
    pub fn is_member_device(&self, device: DeviceId) -> bool {
        let of_device = (device, UserId([0; 32]))..=(device, UserId([0xff; 32]));
        self.certified.range(of_device).any(|(_, user)| self.may_read(*user, device))
    }

    /// Returns true if the ledger or the device's user revoked it.
    pub fn is_device_revoked(&self, user: UserId, device: DeviceId) -> bool {
        self.revoked.contains_key(&(user, device)) || self.is_revoked_by_user(user, device)
    }

    /// Returns true if a counting op of this ledger cuts the device's changes.
    pub fn is_cut(&self, user: UserId, device: DeviceId) -> bool {
        self.revoked.get(&(user, device)).is_some_and(|cuts| !cuts.is_empty())
    }

    /// Returns true if the device's user revoked it: for ever, and in all groups.
    pub fn is_revoked_by_user(&self, user: UserId, device: DeviceId) -> bool {
        self.revoked_by_user.contains(&(user, device))
    }

    /// The devices that `user` revoked in all groups.
    pub fn revoked_by_user(&self, user: UserId) -> impl Iterator<Item = DeviceId> {
        let of_user = (user, DeviceId([0; 32]))..=(user, DeviceId([0xff; 32]));
        self.revoked_by_user.range(of_user).map(|(_, device)| *device)
    }

    /// Returns true if that device of that user, proven by its certificate, may read the group.
    pub fn may_read(&self, user: UserId, device: DeviceId) -> bool {
        self.role(user) >= Role::Reader && !self.is_device_revoked(user, device)
    }

    /// Returns true if that device of that user may write now, under [`grant`](Self::grant).
    pub fn may_write(&self, user: UserId, device: DeviceId) -> bool {
        self.role(user) >= Role::Writer && !self.is_device_revoked(user, device)
    }

    /// The grant under which that device of that user writes now; `None`: what it writes is refused.
    pub fn grant_to_write(&self, user: UserId, device: DeviceId) -> Option<OpId> {
        let grant = self.grant(user).filter(|_| self.may_write(user, device))?;
        self.accepts(device, grant).ok().map(|_| grant)
    }
}
