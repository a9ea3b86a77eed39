//! Who is in a group now, with which role, device and grant: a ledger's answer to everybody else.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::Bound;
use crate::id::{ChangeHash, DeviceId, GroupId, OpId, UserId, hash};
use crate::ledger::facts::Strength;
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Role;
use crate::ledger::op_set::OpSet;
use crate::tip::Author;

/// The state of a ledger, apart from it. Clone the `Arc` that it comes in.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(crate) group: GroupId,
    pub(crate) founders: Vec<UserId>,
    /// Who signed the Create.
    pub(crate) creator: Option<UserId>,
    pub(crate) name: String,
    /// Everybody who has or had a role.
    pub(crate) members: BTreeMap<UserId, Member>,
    /// All SetRoles.
    pub(crate) grants: BTreeMap<OpId, Grant>,
    pub(crate) certified: BTreeSet<(DeviceId, UserId)>,
    /// The same by certificates that not everybody keeps: what follows from these is not compared.
    pub(crate) spared: BTreeSet<(DeviceId, UserId)>,
    /// What the ledger revoked, with the cuts.
    pub(crate) revoked: BTreeMap<(UserId, DeviceId), Vec<Cut>>,
    /// What its user took back in all groups.
    pub(crate) withdrawn: BTreeSet<(UserId, DeviceId)>,
}

/// One user's place in the group.
#[derive(Clone, Debug)]
pub struct Member {
    pub(crate) role: Role,
    pub(crate) grant: OpId,
    pub(crate) strength: Strength,
    /// `Cuts(u)` of authority 3.7.1.
    pub(crate) cuts: Vec<Cut>,
}

impl Member {
    /// The role now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The op, or Create, that gave it; new replicas are bound to it.
    pub fn grant(&self) -> OpId {
        self.grant
    }
}

/// What one SetRole gives.
#[derive(Clone, Debug)]
pub struct Grant {
    /// To whom.
    pub user: UserId,
    /// Which role.
    pub role: Role,
    /// Whether it stands; what was written under a void grant is refused.
    pub alive: bool,
    pub(crate) number: usize,
    pub(crate) past: OpSet,
}

/// A counting revocation and what of its target's changes stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The SetRole or RevokeDevice.
    pub revocation: OpId,
    /// What its author left standing; `None`: what [`seen`](Self::seen) leaves of the grants that those saw, of others
    /// nothing.
    pub manifest: Option<ManifestRef>,
    /// What the lowerings leave that bounded its target in its author's eyes: whoever is lowered again, or whose lowering
    /// is confirmed, keeps what they kept before.
    pub seen: Vec<Left>,
    /// What living amnesties bring back, in order of op.
    pub amnesties: Vec<(OpId, ManifestRef)>,
    pub(crate) number: usize,
}

impl Cut {
    /// Which op it is, and what was brought back of what it took; all else follows from the op.
    fn digest(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.revocation.0);
        let of_seen = self.seen.iter().map(|left| &left.amnesties);
        for amnesties in of_seen.chain([&self.amnesties]) {
            bytes.extend((amnesties.len() as u64).to_be_bytes());
            amnesties.iter().for_each(|(amnesty, _)| bytes.extend(amnesty.0));
        }
    }
}

/// What a lowering with a manifest leaves, to one without that saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The SetRole.
    pub revocation: OpId,
    /// What its author left standing.
    pub manifest: ManifestRef,
    /// What living amnesties bring back, in order of op.
    pub amnesties: Vec<(OpId, ManifestRef)>,
}

/// Why changes under a grant are not accepted (the part of `accept(c)` that concerns device and grant).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// No op here gives a role by that id; it may come.
    #[error("no grant {grant} is known")]
    UnknownGrant {
        /// The op that was named.
        grant: OpId,
    },
    /// The grant is void.
    #[error("grant {grant} is void")]
    VoidGrant {
        /// The op that was named.
        grant: OpId,
    },
    /// The grant does not let anybody write.
    #[error("grant {grant} gives only {role:?}")]
    NotAWriter {
        /// The op that was named.
        grant: OpId,
        /// The role that it gives.
        role: Role,
    },
    /// The user of the grant has not certified the device, as far as is known here; the certificate may come.
    #[error("device {device} is not certified by the user of grant {grant}")]
    NotCertified {
        /// The device.
        device: DeviceId,
        /// The op that was named.
        grant: OpId,
    },
}

impl Roster {
    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// What the group is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its founders, the most senior first, whether or not they still are.
    pub fn founders(&self) -> &[UserId] {
        &self.founders
    }

    /// The recovery founder: one whom whoever made the group put above themselves, and who still is a founder.
    /// Nobody can act on it (authority 3.4).
    pub fn recovery(&self) -> Option<UserId> {
        let first = self.founders.first().copied();
        first.filter(|first| Some(*first) != self.creator && self.role(*first) == Role::Founder)
    }

    /// Who has a role now, in user order.
    pub fn members(&self) -> impl Iterator<Item = (UserId, &Member)> {
        let now = self.members.iter().filter(|(_, member)| member.role > Role::None);
        now.map(|(user, member)| (*user, member))
    }

    /// A user's role.
    pub fn role(&self, user: UserId) -> Role {
        self.members.get(&user).map_or(Role::None, |member| member.role)
    }

    /// Whether a user had a role and has none now.
    pub fn was_removed(&self, user: UserId) -> bool {
        self.members.get(&user).is_some_and(|member| member.role == Role::None)
    }

    /// The op, or Create, that gave or took a user's role.
    pub fn grant(&self, user: UserId) -> Option<OpId> {
        self.members.get(&user).map(|member| member.grant)
    }

    /// What a SetRole gives, and whether it stands; the Create, which gives to several, is none.
    pub fn grant_by_id(&self, grant: OpId) -> Option<&Grant> {
        self.grants.get(&grant)
    }

    /// Whether `user` vouches for `device`.
    pub fn is_certified(&self, user: UserId, device: DeviceId) -> bool {
        self.certified.contains(&(device, user)) || self.spared.contains(&(device, user))
    }

    /// Lists the users who certify `device`, by id.
    pub fn certifiers(&self, device: DeviceId) -> impl Iterator<Item = UserId> {
        let of_device = || (device, UserId([0; 32]))..=(device, UserId([0xff; 32]));
        let certified = self.certified.range(of_device()).chain(self.spared.range(of_device()));
        certified.map(|(_, user)| *user).collect::<BTreeSet<_>>().into_iter()
    }

    /// The devices that `user` vouches for and that are not revoked.
    pub fn devices(&self, user: UserId) -> impl Iterator<Item = DeviceId> {
        let certified = self.certified.union(&self.spared).filter(move |(_, by)| *by == user);
        certified.map(|(device, _)| *device).filter(move |device| !self.is_device_revoked(user, *device))
    }

    /// Whether some member vouches for a device that is not shut out, by a certificate that everybody keeps.
    pub fn is_member_device(&self, device: DeviceId) -> bool {
        let of_device = (device, UserId([0; 32]))..=(device, UserId([0xff; 32]));
        self.certified.range(of_device).any(|(_, user)| self.may_read(*user, device))
    }

    /// Whether the ledger or its user shut the device out.
    pub fn is_device_revoked(&self, user: UserId, device: DeviceId) -> bool {
        self.revoked.contains_key(&(user, device)) || self.is_revoked_by_user(user, device)
    }

    /// Whether a counting op says up to where the device's changes stay.
    pub fn is_cut(&self, user: UserId, device: DeviceId) -> bool {
        self.revoked.get(&(user, device)).is_some_and(|cuts| !cuts.is_empty())
    }

    /// Whether its user took the device back: for ever, and in all groups.
    pub fn is_revoked_by_user(&self, user: UserId, device: DeviceId) -> bool {
        self.withdrawn.contains(&(user, device))
    }

    /// The devices that `user` took back and that no counting op of this ledger shuts out.
    pub fn revoked_outside_ledger(&self, user: UserId) -> impl Iterator<Item = DeviceId> {
        let withdrawn = self.withdrawn.range((user, DeviceId([0; 32]))..=(user, DeviceId([0xff; 32])));
        withdrawn.filter(|pair| !self.revoked.contains_key(pair)).map(|(_, device)| *device)
    }

    /// Whether that device of that user, proven by its certificate, may be served.
    pub fn may_read(&self, user: UserId, device: DeviceId) -> bool {
        self.role(user) >= Role::Reader && !self.is_device_revoked(user, device)
    }

    /// Whether that device of that user may write now, under [`grant`](Self::grant).
    pub fn may_write(&self, user: UserId, device: DeviceId) -> bool {
        self.role(user) >= Role::Writer && !self.is_device_revoked(user, device)
    }

    /// Whose changes those of `device` under `grant` are, where they are accepted up to the [`cuts`](Self::cuts):
    /// the clauses of `accept(c)` (authority 3.7.1) that concern the grant and the device.
    ///
    /// A revoked device's changes are accepted up to its cuts too.
    ///
    /// # Errors
    /// [`NotAccepted`] names the clause; an unknown grant or certificate may still come.
    pub fn accepts(&self, device: DeviceId, grant: OpId) -> Result<UserId, NotAccepted> {
        let user = if grant.0 == self.group.0 {
            self.founder_of(device)
        } else {
            let given = self.grants.get(&grant).ok_or(NotAccepted::UnknownGrant { grant })?;
            if given.role < Role::Writer {
                return Err(NotAccepted::NotAWriter { grant, role: given.role });
            }
            if !given.alive {
                return Err(NotAccepted::VoidGrant { grant });
            }
            Some(given.user).filter(|user| self.is_certified(*user, device))
        };
        user.ok_or(NotAccepted::NotCertified { device, grant })
    }

    /// The counting cuts that bound what `user`'s `device` wrote under `grant`.
    pub fn cuts(&self, user: UserId, device: DeviceId, grant: OpId) -> impl Iterator<Item = &Cut> {
        // The Create has no past: every cut of a founder bounds what was written under it.
        let later =
            move |cut: &&Cut| self.grants.get(&grant).is_none_or(|given| !given.past.contains(cut.number));
        let of_user = self.members.get(&user).into_iter().flat_map(|member| &member.cuts).filter(later);
        of_user.chain(self.revoked.get(&(user, device)).into_iter().flatten())
    }

    /// `accept(c)` of authority 3.7.1 for one replica: how far what `author` wrote to a document is accepted. `end`
    /// looks the replica up in a manifest.
    ///
    /// # Errors
    /// The inner error names the clause; the outer one is that of `end`.
    pub fn bounds<E>(
        &self,
        author: &Author,
        mut end: impl FnMut(&ManifestRef) -> Result<Option<(u64, ChangeHash)>, E>,
    ) -> Result<Result<Vec<Bound>, NotAccepted>, E> {
        let user = match self.accepts(author.device, author.grant) {
            Ok(user) => user,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut bounds = Vec::new();
        for cut in self.cuts(user, author.device, author.grant) {
            let of_cut = cut.manifest.iter().map(|manifest| (manifest, &[][..]));
            let of_seen = cut.seen.iter().filter(|left| self.has_seen(left.revocation, author.grant));
            let left: Vec<_> =
                of_cut.chain(of_seen.map(|left| (&left.manifest, &left.amnesties[..]))).collect();
            let revocation = cut.revocation;
            let amnestied = longest(cut.amnesties.iter().map(|(_, manifest)| manifest), &mut end)?;
            if left.is_empty() {
                bounds.push(Bound { revocation, end: amnestied });
            }
            for (manifest, amnesties) in left {
                let also = amnesties.iter().map(|(_, manifest)| manifest);
                let end = longest(also.chain([manifest]), &mut end)?.max(amnestied);
                bounds.push(Bound { revocation, end });
            }
        }
        Ok(Ok(bounds))
    }

    /// Whether `grant` is in the past of a SetRole.
    fn has_seen(&self, set_role: OpId, grant: OpId) -> bool {
        let number = self.grants.get(&grant).map_or(0, |given| given.number);
        self.grants.get(&set_role).is_some_and(|lowering| lowering.past.contains(number))
    }

    /// Whose changes are written under `grant` by `device`, accepted or not.
    pub fn user_of(&self, device: DeviceId, grant: OpId) -> Option<UserId> {
        match grant.0 == self.group.0 {
            true => self.founder_of(device),
            false => self.grants.get(&grant).map(|given| given.user),
        }
    }

    /// The founder whose device that is: of several who certify it the most senior of those who still are founders. They
    /// could as well act on the others; a founder who was lowered could not.
    fn founder_of(&self, device: DeviceId) -> Option<UserId> {
        let founders = self.founders.iter().copied().filter(|user| self.is_certified(*user, device));
        founders.min_by_key(|user| self.role(*user) != Role::Founder)
    }

    /// A hash over all that decides how far what `device` wrote under `grant` is accepted.
    pub fn judgement(&self, device: DeviceId, grant: OpId) -> [u8; 32] {
        let mut bytes = Vec::new();
        match self.accepts(device, grant) {
            Err(refusal) => bytes.extend(refusal.to_string().into_bytes()),
            Ok(user) => {
                self.cuts(user, device, grant).for_each(|cut| cut.digest(&mut bytes));
            }
        }
        hash("state", &[b"author", &bytes])
    }

    /// Bytes over all that decides how far the changes of `user`, or of one `device` of theirs, are accepted: role, grant,
    /// living grants to write, cuts, revocations.
    pub(crate) fn standing(&self, user: UserId, device: Option<DeviceId>) -> Vec<u8> {
        let mut bytes = user.0.to_vec();
        if let Some(member) = self.members.get(&user) {
            bytes.push(member.role.number());
            bytes.extend(member.grant.0);
            member.cuts.iter().for_each(|cut| cut.digest(&mut bytes));
        }
        let grants = self.grants.iter().filter(|(_, grant)| grant.user == user && grant.alive);
        grants.for_each(|(op, _)| bytes.extend(op.0));
        let of_user = (user, DeviceId([0; 32]))..=(user, DeviceId([0xff; 32]));
        let is_meant = |of: &DeviceId| device.is_none_or(|device| device == *of);
        for ((_, revoked), cuts) in self.revoked.range(of_user.clone()).filter(|((_, of), _)| is_meant(of)) {
            bytes.extend(revoked.0);
            cuts.iter().for_each(|cut| cut.digest(&mut bytes));
        }
        let withdrawn = self.withdrawn.range(of_user).filter(|(_, of)| is_meant(of));
        withdrawn.for_each(|(_, revoked)| bytes.extend(revoked.0));
        bytes
    }

    /// `H("state", …)`: equal where roles, winners, living grants to write, cuts and revoked devices are, that is
    /// where the same changes are accepted.
    pub fn state_digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        let count = |bytes: &mut Vec<u8>, count: usize| bytes.extend((count as u64).to_be_bytes());
        let cuts = |bytes: &mut Vec<u8>, cuts: &[Cut]| {
            count(bytes, cuts.len());
            cuts.iter().for_each(|cut| cut.digest(bytes));
        };
        count(&mut bytes, self.members.len());
        for (user, member) in &self.members {
            bytes.extend(user.0);
            bytes.push(member.role.number());
            bytes.extend(member.grant.0);
            cuts(&mut bytes, &member.cuts);
        }
        let writers = || self.grants.iter().filter(|(_, grant)| grant.alive && grant.role >= Role::Writer);
        count(&mut bytes, writers().count());
        writers().for_each(|(op, _)| bytes.extend(op.0));
        count(&mut bytes, self.revoked.len());
        for ((user, device), of_device) in &self.revoked {
            bytes.extend(user.0);
            bytes.extend(device.0);
            cuts(&mut bytes, of_device);
        }
        hash("state", &[&bytes])
    }
}

/// The longest of what some manifests name.
fn longest<'a, E>(
    manifests: impl Iterator<Item = &'a ManifestRef>,
    mut end: impl FnMut(&ManifestRef) -> Result<Option<(u64, ChangeHash)>, E>,
) -> Result<Option<(u64, ChangeHash)>, E> {
    let mut longest = None;
    for manifest in manifests {
        longest = longest.max(end(manifest)?);
    }
    Ok(longest)
}
