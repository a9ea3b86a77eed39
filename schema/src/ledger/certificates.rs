//! Which devices users vouch for: certificates that ops carry, a bounded number beside them, and those that are kept
//! because something was written under them.

use std::collections::BTreeSet;

use crate::codec;
use crate::id::{DeviceId, UserId, hash};
use crate::ledger::{Ledger, SideRefusal};
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceCert;

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateOutcome {
    /// It was taken in: to be stored and passed on.
    New,
    /// Its user signed more than are kept. While it is remembered it holds like the others; neither stored nor passed on
    /// until its device [writes](Ledger::pin_certificates).
    Spare,
    /// It changes nothing.
    Known,
}

impl Ledger {
    /// Takes a certificate in.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_certificate(&mut self, envelope: Envelope) -> Result<CertificateOutcome, SideRefusal> {
        let id = hash(DeviceCert::KIND, &[&envelope.payload]);
        if self.carried.contains_key(&id) {
            return Ok(CertificateOutcome::Known);
        }
        // Whoever compares ledgers sends all: those that change nothing cost no signature.
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
            Ok(evicted) => {
                match (evicted, self.roster_mut()) {
                    (None, Some(roster)) => drop(roster.certified.insert((device, user))),
                    (Some(evicted), _) => {
                        self.spares.insert(evicted);
                        self.roster = Default::default();
                    }
                    (None, None) => {}
                }
                Ok(CertificateOutcome::New)
            }
            Err(signed) => {
                match (self.spares.insert(signed), self.roster_mut()) {
                    (None, Some(roster)) => drop(roster.spared.insert((device, user))),
                    _ => self.roster = Default::default(),
                }
                Ok(if self.spares.is_writer(device) {
                    CertificateOutcome::New
                } else {
                    CertificateOutcome::Spare
                })
            }
        }
    }

    /// A device has written something that was accepted here: what vouches for it stays, whatever else its user signs.
    /// Gives the certificates that were spare: to be stored and passed on.
    pub fn pin_certificates(&mut self, device: DeviceId) -> Vec<Envelope> {
        if !self.spares.wrote(device) {
            return Vec::new();
        }
        let spare = self.spares.all().filter(|spare| spare.record().device == device);
        spare.map(|spare| spare.envelope().clone()).collect()
    }

    /// Certificates that no op carries, as all devices choose them.
    pub fn certificates(&self) -> impl Iterator<Item = &Envelope> {
        self.certificates.envelopes()
    }

    /// Certificates that have no place among these, and are kept here because something was written under them.
    pub fn pinned_certificates(&self) -> impl Iterator<Item = &Envelope> {
        self.spares.kept().map(Signed::envelope)
    }

    /// What is passed on, with who signed it, in user order: what is kept here, and `all` the others too.
    pub(crate) fn certificates_by_user(&self, all: bool) -> impl Iterator<Item = (UserId, &Envelope)> {
        let chosen = move || self.certificates.signed().filter(move |_| all);
        let users: BTreeSet<UserId> =
            chosen().chain(self.spares.kept()).map(|signed| signed.record().user).collect();
        users.into_iter().flat_map(move |user| {
            let kept = self.spares.of(user).filter(|spare| self.spares.is_writer(spare.record().device));
            let of_user = self.certificates.of(user).filter(move |_| all).chain(kept);
            of_user.map(move |signed| (user, signed.envelope()))
        })
    }

    /// Every certificate, carried by ops or not.
    pub fn certified(&self) -> impl Iterator<Item = &DeviceCert> {
        self.chosen().chain(self.spares.all().map(Signed::record))
    }

    /// Every certificate that all devices know which know the same ops.
    pub(super) fn chosen(&self) -> impl Iterator<Item = &DeviceCert> {
        self.carried.values().chain(self.certificates.records())
    }

    /// Every certificate that `user` signed, carried by ops or not.
    pub fn certificates_of(&self, user: UserId) -> impl Iterator<Item = &DeviceCert> {
        let carried = self.carried.values().filter(move |certificate| certificate.user == user);
        let beside = self.certificates.of(user).chain(self.spares.of(user));
        carried.chain(beside.map(Signed::record))
    }
}
