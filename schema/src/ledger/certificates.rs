//! Device certificates of a ledger: those that ops carry, a bounded number beside them, and a surplus.

use std::collections::BTreeSet;

use crate::codec;
use crate::id::{DeviceId, UserId, hash};
use crate::ledger::refusal::SideRefusal;
use crate::ledger::side_set::Insertion;
use crate::ledger::state::Ledger;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceCert;

/// The outcome of admitting a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateOutcome {
    /// It was inserted: store it and send it on.
    New {
        /// The certificate that left the full set of its user and is not pinned: remove it from the store.
        evicted: Option<Envelope>,
    },
    /// Its user signed more than a ledger holds. It is valid while it is remembered; it is neither stored nor
    /// sent on until its device is [pinned](Ledger::pin_certificates).
    Surplus,
    /// It changes nothing.
    Known,
}

impl CertificateOutcome {
    /// Returns true if the certificate is to be stored and sent on.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New { .. })
    }
}

impl Ledger {
    /// Admits a device certificate.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_certificate(&mut self, envelope: Envelope) -> Result<CertificateOutcome, SideRefusal> {
        let id = hash(DeviceCert::KIND, &[&envelope.payload]);
        if self.carried.contains_key(&id) {
            return Ok(CertificateOutcome::Known);
        }
        // A peer whose certificates differ sends all of them: those that change nothing cost no signature
        // check.
        let claimed = codec::decode::<DeviceCert>(&envelope.payload, DeviceCert::BYTES_MAX);
        if let Ok(DeviceCert { user, device, .. }) = claimed
            && self.certificates.refuses(user, &id)
            && self.certificates_of(user).any(|known| known.device == device)
        {
            return Ok(CertificateOutcome::Known);
        }
        let signed = Signed::<DeviceCert>::verify(envelope)?;
        let DeviceCert { user, device, .. } = *signed.record();
        if !self.targets.contains_key(&user) {
            return Err(SideRefusal::Stranger { user });
        }
        match self.certificates.insert(user, signed) {
            Insertion::Inserted { evicted: None } => {
                if let Some(roster) = self.roster_mut() {
                    roster.certified.insert((device, user));
                }
                Ok(CertificateOutcome::New { evicted: None })
            }
            Insertion::Inserted { evicted: Some(evicted) } => {
                let envelope = evicted.envelope().clone();
                self.surplus.insert(evicted);
                self.roster = Default::default();
                let is_pinned = self.pinned_certificates().any(|pinned| *pinned == envelope);
                Ok(CertificateOutcome::New { evicted: Some(envelope).filter(|_| !is_pinned) })
            }
            Insertion::Refused(signed) => {
                match (self.surplus.insert(signed), self.roster_mut()) {
                    (None, Some(roster)) => drop(roster.surplus_certified.insert((device, user))),
                    _ => self.roster = Default::default(),
                }
                let is_pinned = self.surplus.is_pinned(device);
                Ok(match is_pinned {
                    true => CertificateOutcome::New { evicted: None },
                    false => CertificateOutcome::Surplus,
                })
            }
        }
    }

    /// Pins the certificates of a device that wrote an accepted change: they stay, whatever else their user
    /// signs. Returns those that were surplus: store them and send them on.
    pub fn pin_certificates(&mut self, device: DeviceId) -> Vec<Envelope> {
        if !self.surplus.pin(device) {
            return Vec::new();
        }
        let of_device = self.surplus.all().filter(|certificate| certificate.record().device == device);
        of_device.map(|certificate| certificate.envelope().clone()).collect()
    }

    /// The bounded set of certificates that no op carries: the same on all devices.
    pub fn certificates(&self) -> impl Iterator<Item = &Envelope> {
        self.certificates.envelopes()
    }

    /// The certificates outside the bounded set that are pinned on this device.
    pub fn pinned_certificates(&self) -> impl Iterator<Item = &Envelope> {
        self.surplus.pinned().map(Signed::envelope)
    }

    /// The certificates to send to a peer, with the user who signed them, in user order: the pinned ones,
    /// and, if `with_bounded_set`, the bounded set too.
    pub(crate) fn certificates_by_user(
        &self,
        with_bounded_set: bool,
    ) -> impl Iterator<Item = (UserId, &Envelope)> {
        let bounded = move || self.certificates.signed().filter(move |_| with_bounded_set);
        let users: BTreeSet<UserId> =
            bounded().chain(self.surplus.pinned()).map(|signed| signed.record().user).collect();
        users.into_iter().flat_map(move |user| {
            let of_user = self.surplus.of(user);
            let pinned = of_user.filter(|known| self.surplus.is_pinned(known.record().device));
            let all = self.certificates.of(user).filter(move |_| with_bounded_set).chain(pinned);
            all.map(move |signed| (user, signed.envelope()))
        })
    }

    /// Every certificate, carried by ops or not.
    pub fn certified(&self) -> impl Iterator<Item = &DeviceCert> {
        self.common_certificates().chain(self.surplus.all().map(Signed::record))
    }

    /// The certificates that every device knows which knows the same ops: all but the surplus.
    pub(super) fn common_certificates(&self) -> impl Iterator<Item = &DeviceCert> {
        self.carried.values().chain(self.certificates.records())
    }

    /// Every certificate that `user` signed, carried by ops or not.
    pub fn certificates_of(&self, user: UserId) -> impl Iterator<Item = &DeviceCert> {
        let carried = self.carried.values().filter(move |certificate| certificate.user == user);
        let beside = self.certificates.of(user).chain(self.surplus.of(user));
        carried.chain(beside.map(Signed::record))
    }
}
