//! Device revocations that users sign for all their groups: they are kept beside the ops and never end.

use crate::codec;
use crate::id::hash;
use crate::ledger::refusal::SideRefusal;
use crate::ledger::side_set::Insertion;
use crate::ledger::state::Ledger;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::UserDeviceRevocation;

impl Ledger {
    /// Admits a user's revocation of one of their devices; returns false if it changes nothing.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_revocation(&mut self, envelope: Envelope) -> Result<bool, SideRefusal> {
        // A peer whose revocations differ sends all of them: those that change nothing cost no signature
        // check.
        let claimed =
            codec::decode::<UserDeviceRevocation>(&envelope.payload, UserDeviceRevocation::BYTES_MAX);
        if let Ok(UserDeviceRevocation { user, .. }) = claimed {
            let id = hash(UserDeviceRevocation::KIND, &[&envelope.payload]);
            if self.revocations.refuses(user, &id) {
                return Ok(false);
            }
        }
        let signed = Signed::<UserDeviceRevocation>::verify(envelope)?;
        let UserDeviceRevocation { user, device, .. } = *signed.record();
        if !self.targets.contains_key(&user) {
            return Err(SideRefusal::Stranger { user });
        }
        let Insertion::Inserted { evicted } = self.revocations.insert(user, signed) else { return Ok(false) };
        match (evicted, self.roster_mut()) {
            (None, Some(roster)) => drop(roster.revoked_by_user.insert((user, device))),
            _ => self.roster = Default::default(),
        }
        Ok(true)
    }

    /// The device revocations by users, as they are stored and sent.
    pub fn revocations(&self) -> impl Iterator<Item = &Envelope> {
        self.revocations.envelopes()
    }

    /// The device revocations by users.
    pub fn signed_revocations(&self) -> impl Iterator<Item = &Signed<UserDeviceRevocation>> {
        self.revocations.signed()
    }
}
