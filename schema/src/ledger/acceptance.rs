//! The data rule: how far the changes of an author are accepted under a roster (authority 3.7.1).

use crate::document::Bound;
use crate::id::{ChangeHash, DeviceId, OpId, UserId, hash};
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Role;
use crate::ledger::roster::{Cut, Roster};
use crate::tip::Author;

/// The reason for which no change of a device under a grant is accepted: the part of `accept(c)` that
/// concerns device and grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// No known op gives a role by that id; it may arrive.
    #[error("no grant {grant} is known")]
    UnknownGrant {
        /// The grant that the change names.
        grant: OpId,
    },
    /// The grant is void.
    #[error("grant {grant} is void")]
    VoidGrant {
        /// The grant that the change names.
        grant: OpId,
    },
    /// The grant gives a role below Writer.
    #[error("grant {grant} gives only {role:?}")]
    NotAWriter {
        /// The grant that the change names.
        grant: OpId,
        /// The role that it gives.
        role: Role,
    },
    /// No known certificate of the grant's user is for the device; it may arrive.
    #[error("device {device} is not certified by the user of grant {grant}")]
    NotCertified {
        /// The device.
        device: DeviceId,
        /// The grant that the change names.
        grant: OpId,
    },
}

impl Roster {
    /// The user whose changes `device` writes under `grant`, where these are accepted up to the
    /// [`cuts`](Self::cuts). A revoked device's changes are accepted up to its cuts too.
    ///
    /// # Errors
    /// [`NotAccepted`] names the clause; an unknown grant or certificate may still arrive.
    pub fn accepts(&self, device: DeviceId, grant: OpId) -> Result<UserId, NotAccepted> {
        let user = if grant.0 == self.group.0 {
            self.founder_of(device)
        } else {
            let known = self.grants.get(&grant).ok_or(NotAccepted::UnknownGrant { grant })?;
            if known.role < Role::Writer {
                return Err(NotAccepted::NotAWriter { grant, role: known.role });
            }
            if !known.alive {
                return Err(NotAccepted::VoidGrant { grant });
            }
            Some(known.user).filter(|user| self.is_certified(*user, device))
        };
        user.ok_or(NotAccepted::NotCertified { device, grant })
    }

    /// The counting cuts that bound the changes of `user`'s `device` under `grant`.
    pub fn cuts(&self, user: UserId, device: DeviceId, grant: OpId) -> impl Iterator<Item = &Cut> {
        // The Create has no past: every cut of a founder bounds the changes under it.
        let is_later =
            move |cut: &&Cut| self.grants.get(&grant).is_none_or(|known| !known.past.contains(cut.number));
        let of_user = self.members.get(&user).into_iter().flat_map(|member| &member.cuts).filter(is_later);
        of_user.chain(self.revoked.get(&(user, device)).into_iter().flatten())
    }

    /// `accept(c)` of authority 3.7.1 for one replica: the bounds within which the changes of `author` in one
    /// document are accepted. `end` looks up the end of the replica in a manifest.
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
            let revocation = cut.revocation;
            let own = cut.manifest.iter().map(|manifest| (manifest, &[][..]));
            let inherited = cut.inherited.iter().filter(|cut| self.is_in_past(author.grant, cut.revocation));
            let inherited = inherited.map(|cut| (&cut.manifest, &cut.amnesties[..]));
            let manifests: Vec<_> = own.chain(inherited).collect();
            let amnestied = longest(cut.amnesties.iter().map(|(_, manifest)| manifest), &mut end)?;
            if manifests.is_empty() {
                bounds.push(Bound { revocation, end: amnestied });
            }
            for (manifest, amnesties) in manifests {
                let of_amnesties = amnesties.iter().map(|(_, manifest)| manifest);
                let end = longest(of_amnesties.chain([manifest]), &mut end)?.max(amnestied);
                bounds.push(Bound { revocation, end });
            }
        }
        Ok(Ok(bounds))
    }

    /// Returns true if `grant` is in the past of `set_role`.
    fn is_in_past(&self, grant: OpId, set_role: OpId) -> bool {
        let number = self.grants.get(&grant).map_or(0, |known| known.number);
        self.grants.get(&set_role).is_some_and(|lowering| lowering.past.contains(number))
    }

    /// The user whose changes `device` writes under `grant`, accepted or not.
    pub fn user_of(&self, device: DeviceId, grant: OpId) -> Option<UserId> {
        match grant.0 == self.group.0 {
            true => self.founder_of(device),
            false => self.grants.get(&grant).map(|known| known.user),
        }
    }

    /// The founder who certifies a device. Of several, the most senior of those who still are founders: they
    /// could act on the others anyway; a founder who was lowered could not.
    fn founder_of(&self, device: DeviceId) -> Option<UserId> {
        let founders = self.founders.iter().copied().filter(|user| self.is_certified(*user, device));
        founders.min_by_key(|user| self.role(*user) != Role::Founder)
    }

    /// A hash over everything that decides how far the changes of `device` under `grant` are accepted.
    pub fn judgement(&self, device: DeviceId, grant: OpId) -> [u8; 32] {
        let mut bytes = Vec::new();
        match self.accepts(device, grant) {
            Err(refusal) => bytes.extend(refusal.to_string().into_bytes()),
            Ok(user) => {
                self.cuts(user, device, grant).for_each(|cut| digest_cut(cut, &mut bytes));
            }
        }
        hash("state", &[b"author", &bytes])
    }

    /// `H("cut-target", …)`: while it is equal, no more changes of `user`, or of one `device` of theirs, are
    /// accepted than before. It covers the target's role, grant, living grants and cuts. A device revocation
    /// without a cut bounds nothing: users sign these at will, and could otherwise outdate every cut of
    /// theirs.
    ///
    /// A change is accepted only after its dependencies, which others wrote. Their changes are accepted again
    /// when an op is voided that removed or revoked them, or when a void grant counts again. So the counting
    /// cuts and the void grants of everybody are covered too; the admission of a member alters neither.
    pub(crate) fn target_digest(&self, user: UserId, device: Option<DeviceId>) -> [u8; 32] {
        let mut bytes = user.0.to_vec();
        if let Some(member) = self.members.get(&user) {
            bytes.push(member.role.number());
            bytes.extend(member.grant.0);
            digest_cuts(&member.cuts, &mut bytes);
        }
        let grants = self.grants.iter().filter(|(_, grant)| grant.user == user && grant.alive);
        grants.for_each(|(op, _)| bytes.extend(op.0));
        let of_user = (user, DeviceId([0; 32]))..=(user, DeviceId([0xff; 32]));
        let is_target = |of: &DeviceId| device.is_none_or(|device| device == *of);
        let cut = self.revoked.range(of_user).filter(|((_, of), cuts)| is_target(of) && !cuts.is_empty());
        for ((_, revoked), cuts) in cut {
            bytes.extend(revoked.0);
            digest_cuts(cuts, &mut bytes);
        }
        let mut of_others = Vec::new();
        // A member without cuts adds nothing, so that an admission does not make the cut outdated.
        for (other, member) in self.members.iter().filter(|(_, member)| !member.cuts.is_empty()) {
            of_others.extend(other.0);
            digest_cuts(&member.cuts, &mut of_others);
        }
        let cut = self.revoked.values().filter(|cuts| !cuts.is_empty());
        cut.for_each(|cuts| digest_cuts(cuts, &mut of_others));
        let void = self.grants.iter().filter(|(_, grant)| !grant.alive);
        void.for_each(|(op, _)| of_others.extend(op.0));
        hash("cut-target", &[&bytes, &of_others])
    }

    /// `H("state", …)`: equal where roles, winners, living grants to write, cuts and revoked devices are,
    /// that is where the same changes are accepted.
    pub fn state_digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        digest_count(self.members.len(), &mut bytes);
        for (user, member) in &self.members {
            bytes.extend(user.0);
            bytes.push(member.role.number());
            bytes.extend(member.grant.0);
            digest_cuts(&member.cuts, &mut bytes);
        }
        let writers = || self.grants.iter().filter(|(_, grant)| grant.alive && grant.role >= Role::Writer);
        digest_count(writers().count(), &mut bytes);
        writers().for_each(|(op, _)| bytes.extend(op.0));
        digest_count(self.revoked.len(), &mut bytes);
        for ((user, device), cuts) in &self.revoked {
            bytes.extend(user.0);
            bytes.extend(device.0);
            digest_cuts(cuts, &mut bytes);
        }
        hash("state", &[&bytes])
    }
}

fn digest_count(count: usize, bytes: &mut Vec<u8>) {
    bytes.extend((count as u64).to_be_bytes());
}

fn digest_cuts(cuts: &[Cut], bytes: &mut Vec<u8>) {
    digest_count(cuts.len(), bytes);
    cuts.iter().for_each(|cut| digest_cut(cut, bytes));
}

/// The op and its amnesties; all else follows from the op.
fn digest_cut(cut: &Cut, bytes: &mut Vec<u8>) {
    bytes.extend(cut.revocation.0);
    let of_inherited = cut.inherited.iter().map(|inherited| &inherited.amnesties);
    for amnesties in of_inherited.chain([&cut.amnesties]) {
        digest_count(amnesties.len(), bytes);
        amnesties.iter().for_each(|(amnesty, _)| bytes.extend(amnesty.0));
    }
}

/// The longest of the ends that some manifests name.
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
