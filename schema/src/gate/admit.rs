//! Admission into ledgers: the one way by which an op, a certificate, a revocation or a device record enters.
//!
//! Order of one admission: the cells of removed peers close, the records are stored, and once they are
//! durable the roster is published, sent to peers and acted on.

use std::collections::BTreeSet;

use super::change::{ChangeRefusal, check_room};
use super::cut::{Draft, FreshCut, draft, set_cut};
use super::delta::LedgerDelta;
use super::devices::{UserRevocation, revocation};
use super::effect::{Effect, Warning};
use super::group::Group;
use super::record::StoredRecord;
use super::{Gate, LinkId, Step};
use crate::codec;
use crate::key::SigningKey;
use crate::ledger::{
    Body, By, CertificateOutcome, OpOutcome, OpSet, Refusal, RevocationOutcome, Role, SideRefusal,
};
use crate::limits::MEMBERS_MAX;
use crate::session::ledger::PendingOp;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceRecord;
use crate::{DeviceId, GroupId, OpId, UserId};

/// The outcome of a delta.
#[derive(Default)]
pub(super) struct AdmitOutcome {
    /// Ops that wait for others or for a manifest.
    pub(super) pending: Vec<PendingOp>,
    refusal: Option<Refusal>,
    /// Invalid ops, and records with a wrong signature: no honest device passes them on.
    pub(super) faults: usize,
    /// The device revocations that were new.
    revocations: Vec<UserRevocation>,
    /// A certificate was noted that no ledger keeps.
    has_surplus: bool,
}

impl AdmitOutcome {
    /// Notes a refused record. One that is not wrongly signed may have come too early, and is no fault.
    fn refuse(&mut self, step: &mut Step, refusal: SideRefusal) {
        if let SideRefusal::Envelope(_) = refusal {
            self.faults += 1;
            step.outbox.push(Effect::Warn(Warning::RecordRefused(refusal)));
        }
    }
}

/// Records that this user or device adds to a ledger beside what arrived.
pub(super) struct OwnRecords<'o> {
    /// Device revocations by users that ledgers here hold.
    pub(super) revocations: &'o [UserRevocation],
    /// The addresses of this device.
    pub(super) addresses: &'o [String],
    /// This user signs an op for every revoked device of theirs: as of before what came alive since.
    pub(super) reissues: Option<OpSet>,
}

impl Gate {
    /// Signs an op of this user and admits it.
    pub(super) fn author(&mut self, step: &mut Step, id: GroupId, body: Body) -> Result<OpId, ChangeRefusal> {
        self.author_before(step, id, &BTreeSet::new(), body, None)
    }

    /// Signs an op of this user as of before `before`, with the cut where it needs one, and admits it.
    pub(super) fn author_before(
        &mut self,
        step: &mut Step,
        id: GroupId,
        before: &BTreeSet<OpId>,
        mut body: Body,
        cut: Option<FreshCut>,
    ) -> Result<OpId, ChangeRefusal> {
        let author = step.keys.user();
        let signer = step.keys.signer(&body);
        let group = self.wanted(id)?;
        check_room(group.ledger.roster(), &body, MEMBERS_MAX)?;
        let admits_somebody = matches!(
            body, Body::SetRole { user, role, .. }
                if role > Role::None && group.ledger.roster().role(user) == Role::None
        );
        let (merges, drafted) = group.draft_merging(before, author, &signer, |ledger| {
            draft(ledger, before, author, &signer.by, &body)
        })?;
        let manifest = match &drafted {
            Draft::Op(_) => None,
            Draft::NeedsCut(target) => Some(group.check_cut(step, *target, cut)?),
        };
        // From here on nothing is refused: a refused change signs nothing, no merges either.
        if !merges.is_empty() {
            self.admit(step, id, LedgerDelta::of_ops(merges), None);
        }
        let group = self.groups.get_mut(&id).expect("it was here");
        let op = match (drafted, manifest) {
            (Draft::Op(op), _) => *op,
            (Draft::NeedsCut(_), manifest) => {
                manifest.into_iter().for_each(|manifest| {
                    group.attach(manifest);
                    set_cut(&mut body, manifest);
                });
                group.ledger.draft_without(before, author, signer.by, body)?
            }
        };
        let op = Signed::sign(op, &signer.key);
        let outcome = self.admit(step, id, LedgerDelta::of_ops(vec![op.envelope().clone()]), None);
        match outcome.refusal {
            Some(refusal) => Err(refusal.into()),
            None => {
                if admits_somebody {
                    step.outbox.push(Effect::RedialKnown);
                }
                Ok(OpId(op.id()))
            }
        }
    }

    /// Admits a delta into one group; if it revokes a device, also into all others.
    pub(super) fn admit(
        &mut self,
        step: &mut Step,
        id: GroupId,
        delta: LedgerDelta,
        source: Option<LinkId>,
    ) -> AdmitOutcome {
        let outcome = self.admit_into(step, id, delta, source, None, false);
        if !outcome.revocations.is_empty() {
            self.spread_revocations(step, id, &outcome.revocations);
        }
        outcome
    }

    /// Admits a delta into one group alone, with what this user adds to it: those of `revocations` that the
    /// ledger lacks, by default of all that ledgers here hold, and an op for every revoked device of this
    /// user if `reissues`, or if the user's grant changes.
    pub(super) fn admit_into(
        &mut self,
        step: &mut Step,
        id: GroupId,
        delta: LedgerDelta,
        source: Option<LinkId>,
        revocations: Option<&[UserRevocation]>,
        reissues: bool,
    ) -> AdmitOutcome {
        let user = step.keys.user();
        let Some(group) = self.groups.get_mut(&id) else { return AdmitOutcome::default() };
        let mut records = Vec::new();
        let (grant, living) = (group.ledger.roster().grant(user), group.ledger.living().clone());
        let is_new = delta.is_empty();
        let (mut gained, outcome) = group.admit(step, delta, &mut records);
        // Only a new op names a user whose revocations this ledger may lack.
        let mut lacking = Vec::new();
        if revocations.is_none() && (is_new || !gained.ops.is_empty()) {
            let group = &self.groups[&id];
            lacking = self.revocations(|user, device| group.lacks_revocation(user, device));
        }
        let revocations = revocations.unwrap_or(&lacking);
        let group = self.groups.get_mut(&id).expect("it was here");
        let reissues = reissues || grant != group.ledger.roster().grant(user);
        let reissues = reissues.then_some(living);
        let own = OwnRecords { revocations, addresses: &self.addresses, reissues };
        let mut added = group.add_own(step, own, &mut records);
        group.spend_tickets(user, &mut records);
        if source.is_none() {
            // In one frame, so that a peer admits a revocation together with the op for it.
            gained.append(std::mem::take(&mut added));
        }
        // Records without a gain are tickets that were spent, and device records that were dropped.
        if gained.is_empty() && added.is_empty() && records.is_empty() && !outcome.has_surplus {
            return outcome;
        }
        step.outbox.store(id, records);
        if let Some(link) = source {
            self.count_records(step, id, link, &gained);
        }
        self.links.close_unadmitted(step, id, &self.groups[&id]);
        self.publish(step, id);
        self.links.push(step, &self.groups[&id], &gained, source);
        self.links.push(step, &self.groups[&id], &added, None);
        self.links.update(step, id, &self.groups);
        outcome
    }

    /// Keeps the certificates of devices whose changes were accepted, here and at every peer.
    pub(super) fn on_accepted(&mut self, step: &mut Step, id: GroupId, devices: Vec<DeviceId>) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let kept = devices.into_iter().flat_map(|device| group.ledger.pin_certificates(device));
        let gained = LedgerDelta { certificates: kept.collect(), ..LedgerDelta::default() };
        step.outbox.store(id, gained.certificates.iter().cloned().map(StoredRecord::Certificate).collect());
        self.links.push(step, &self.groups[&id], &gained, None);
    }
}

impl Group {
    /// Admits a delta into the ledger: what is new of it, and what became of the rest.
    fn admit(
        &mut self,
        step: &mut Step,
        delta: LedgerDelta,
        records: &mut Vec<StoredRecord>,
    ) -> (LedgerDelta, AdmitOutcome) {
        let (mut gained, mut outcome) = (LedgerDelta::default(), AdmitOutcome::default());
        for envelope in delta.ops {
            match self.admit_op(step, &envelope, records) {
                Ok(OpOutcome::New(_)) => gained.ops.push(envelope),
                Ok(OpOutcome::Known) => {}
                Err(Refusal::MissingParents { .. }) => {
                    outcome.pending.push(PendingOp { envelope, manifest: None })
                }
                Err(Refusal::MissingManifest { manifest, .. }) => {
                    outcome.pending.push(PendingOp { envelope, manifest: Some(manifest) });
                }
                Err(refusal) => {
                    let group = self.ledger.group();
                    step.outbox.push(Effect::Warn(Warning::OpRefused { group, refusal: refusal.clone() }));
                    outcome.faults += usize::from(matches!(refusal, Refusal::Invalid { .. }));
                    outcome.refusal = Some(refusal);
                }
            }
        }
        // After the ops: only users that one of them names may have certificates. One that comes too early is
        // no fault.
        for envelope in delta.certificates {
            match self.ledger.admit_certificate(envelope.clone()) {
                Ok(CertificateOutcome::New { evicted }) => {
                    records.push(StoredRecord::Certificate(envelope.clone()));
                    records.extend(evicted.map(StoredRecord::NoCertificate));
                    gained.certificates.push(envelope);
                }
                Ok(vouched) => outcome.has_surplus |= vouched == CertificateOutcome::Surplus,
                Err(refusal) => outcome.refuse(step, refusal),
            }
        }
        for envelope in delta.revocations {
            match self.ledger.admit_revocation(envelope.clone()) {
                Ok(RevocationOutcome::New { evicted }) => {
                    records.push(StoredRecord::Revocation(envelope.clone()));
                    records.extend(evicted.map(StoredRecord::NoRevocation));
                    outcome.revocations.push(revocation(&envelope));
                    gained.revocations.push(envelope);
                }
                Ok(RevocationOutcome::Known) => {}
                Err(refusal) => outcome.refuse(step, refusal),
            }
        }
        for envelope in delta.records {
            // A device record is a hint: those of devices admitted later come with a comparison.
            match self.ledger.admit_record(envelope.clone()) {
                Ok(true) => {
                    records.push(device_record(&envelope));
                    gained.records.push(envelope);
                }
                Ok(false) => {}
                Err(refusal) => outcome.refuse(step, refusal),
            }
        }
        (gained, outcome)
    }

    /// Adds this device's certificate and addresses, revocations that other ledgers know, and ops for revoked
    /// devices of this user; all that was new.
    fn add_own(
        &mut self,
        step: &mut Step,
        own: OwnRecords<'_>,
        records: &mut Vec<StoredRecord>,
    ) -> LedgerDelta {
        let mut added = LedgerDelta::default();
        let device = &step.keys.device;
        let roster = self.ledger.roster();
        // A peer that judges our changes needs the certificate of this device.
        if roster.role(device.user()) != Role::None && !roster.is_certified(device.user(), device.device()) {
            let certificate = device.certificate.envelope();
            let admitted = self.ledger.admit_certificate(certificate.clone());
            if let Ok(CertificateOutcome::New { evicted }) = admitted {
                records.push(StoredRecord::Certificate(certificate.clone()));
                records.extend(evicted.map(StoredRecord::NoCertificate));
                added.certificates.push(certificate.clone());
            }
        }
        added.revocations = self.add_revocations(own.revocations, records);
        if let Some(before) = own.reissues {
            added.ops = self.revoke_own_devices(step, &before, records);
        }
        added.records.extend(self.add_addresses(device, own.addresses, step.now.wall, records));
        records.extend(self.ledger.drop_records().into_iter().map(StoredRecord::NoDeviceRecord));
        added
    }
}

/// The stored form of a device record that was admitted.
pub(super) fn device_record(envelope: &Envelope) -> StoredRecord {
    let record = codec::decode::<DeviceRecord>(&envelope.payload, DeviceRecord::BYTES_MAX);
    let device = record.expect("it was admitted").device;
    StoredRecord::DeviceRecord { device, envelope: envelope.clone() }
}

/// The key by which an op is signed, and the form in which the op names it.
pub(super) struct OpSigner {
    pub(super) by: By,
    pub(super) key: SigningKey,
}

impl super::Keys {
    /// The key by which an op of this user is signed. A revocation of their own device takes the user key: a
    /// stolen device must not revoke the others.
    pub(super) fn signer(&self, body: &Body) -> OpSigner {
        let author: UserId = self.user();
        match body {
            Body::RevokeDevice { user, .. } if *user == author => {
                OpSigner { by: By::User, key: self.user.clone() }
            }
            Body::Create { .. }
            | Body::SetRole { .. }
            | Body::RevokeDevice { .. }
            | Body::Amnesty { .. }
            | Body::OpenInvite { .. }
            | Body::CloseInvite { .. }
            | Body::SetMeta { .. } => OpSigner {
                by: By::Device(self.device.certificate.envelope().clone()),
                key: self.device.signing.clone(),
            },
        }
    }
}
