//! Device revocations that users sign for all their groups: they are kept beside the ops and never end. An
//! Admin also signs an op for each.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec;
use crate::id::{DeviceId, OpId, UserId, hash};
use crate::ledger::facts::Class;
use crate::ledger::op_set::OpSet;
use crate::ledger::refusal::SideRefusal;
use crate::ledger::side_set::Insertion;
use crate::ledger::state::Ledger;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::UserDeviceRevocation;

/// The outcome of admitting a device revocation by its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationOutcome {
    /// It was inserted: store it and send it on.
    New {
        /// The revocation that left the full set of its user: remove it from the store.
        evicted: Option<Envelope>,
    },
    /// It changes nothing.
    Known,
}

impl RevocationOutcome {
    /// Returns true if the revocation was inserted.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New { .. })
    }
}

impl Ledger {
    /// Admits a user's revocation of one of their devices.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_revocation(&mut self, envelope: Envelope) -> Result<RevocationOutcome, SideRefusal> {
        // A peer whose revocations differ sends all of them: those that change nothing cost no signature
        // check.
        let claimed =
            codec::decode::<UserDeviceRevocation>(&envelope.payload, UserDeviceRevocation::BYTES_MAX);
        if let Ok(UserDeviceRevocation { user, .. }) = claimed {
            let id = hash(UserDeviceRevocation::KIND, &[&envelope.payload]);
            if self.revocations.refuses(user, &id) {
                return Ok(RevocationOutcome::Known);
            }
        }
        let signed = Signed::<UserDeviceRevocation>::verify(envelope)?;
        let UserDeviceRevocation { user, device, .. } = *signed.record();
        if !self.targets.contains_key(&user) {
            return Err(SideRefusal::Stranger { user });
        }
        let Insertion::Inserted { evicted } = self.revocations.insert(user, signed) else {
            return Ok(RevocationOutcome::Known);
        };
        match (&evicted, self.roster_mut()) {
            (None, Some(roster)) => drop(roster.revoked_by_user.insert((user, device))),
            _ => self.roster = Default::default(),
        }
        Ok(RevocationOutcome::New { evicted: evicted.map(|signed| signed.envelope().clone()) })
    }

    /// The device revocations by users, as they are stored and sent.
    pub fn revocations(&self) -> impl Iterator<Item = &Envelope> {
        self.revocations.envelopes()
    }

    /// The devices that `user` revoked and for which the user signs an op now, each with the ops of the
    /// device that are alive and are not in `before`: the op is to be drafted as of before these (authority
    /// 3.5).
    pub(crate) fn revocations_to_sign(
        &self,
        user: UserId,
        before: &OpSet,
    ) -> BTreeMap<DeviceId, BTreeSet<OpId>> {
        let (graph, roster) = (self.resolver.graph(), self.roster());
        let revoked = roster.revoked_by_user(user).filter(|device| !self.is_revoked_by_op(user, *device));
        let mut to_sign: BTreeMap<_, _> = revoked.map(|device| (device, BTreeSet::new())).collect();
        for number in self.resolver.state().alive.iter().filter(|number| !before.contains(*number)) {
            let facts = &graph.node(number).facts;
            if let Some(device) = facts.device.filter(|_| facts.author == user)
                && roster.is_revoked_by_user(user, device)
            {
                to_sign.entry(device).or_default().insert(facts.id);
            }
        }
        to_sign
    }

    /// Returns true if a counting op revokes the device whatever it signs under its user's present grant: the
    /// grant had seen the op, or the op is no weaker than what the user signs now.
    pub(crate) fn is_revoked_by_op(&self, user: UserId, device: DeviceId) -> bool {
        let (graph, state) = (self.resolver.graph(), self.resolver.state());
        let Some(grant) = state.winner(user) else { return false };
        let now = graph.strength(state.role(user), grant, user);
        state.revocations(user, device).iter().any(|&revocation| {
            let facts = &graph.node(revocation).facts;
            graph.node(grant).past.contains(revocation)
                || facts.strength < now
                || facts.strength == now && facts.class == Class::OwnDevice
        })
    }

    /// The living ops.
    pub(crate) fn living(&self) -> &OpSet {
        &self.resolver.state().alive
    }

    /// The ops that are alive, of some.
    pub(crate) fn living_of(&self, ops: &BTreeSet<OpId>) -> BTreeSet<OpId> {
        let is_alive = |op: &&OpId| {
            let number = self.resolver.graph().number(**op);
            number.is_some_and(|number| self.living().contains(number))
        };
        ops.iter().filter(is_alive).copied().collect()
    }

    /// Of some ops those whose author had a deeper grant than the shallowest of their grants.
    pub(crate) fn without_oldest_grant(&self, ops: &BTreeSet<OpId>) -> BTreeSet<OpId> {
        let graph = self.resolver.graph();
        let grant = |op: &OpId| {
            let strength = graph.node(graph.number(*op)?).facts.strength;
            Some((strength.depth, strength.grant))
        };
        let oldest = ops.iter().filter_map(grant).min();
        ops.iter().copied().filter(|op| grant(op) != oldest).collect()
    }

    /// The device revocations by users.
    pub fn signed_revocations(&self) -> impl Iterator<Item = &Signed<UserDeviceRevocation>> {
        self.revocations.signed()
    }
}
