//! Admission of ops: verifies an op, judges it against its own past, inserts it.

use std::sync::OnceLock;

use crate::id::{DeviceId, GroupId, OpId, hash};
use crate::ledger::facts::{OpAction, Proposal};
use crate::ledger::manifest::ManifestRef;
use crate::ledger::op::Body::{Amnesty, CloseInvite, Create, OpenInvite, RevokeDevice, SetMeta, SetRole};
use crate::ledger::op::{By, Op};
use crate::ledger::refusal::{Invalid, Refusal};
use crate::ledger::resolver::{PastState, Resolver};
use crate::ledger::state::Ledger;
use crate::signed::{Envelope, Record, Signed};
use crate::wire::device::DeviceCert;

/// The outcome of admitting a valid op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// It was inserted.
    New(OpId),
    /// It was known already.
    Known,
}

impl Ledger {
    /// Admits an op from our own store, whose attachments are there.
    ///
    /// # Errors
    /// [`Refusal::MissingParents`] if the op came before its parents, [`Refusal::Invalid`] if it can never be
    /// admitted.
    pub fn admit(&mut self, envelope: Envelope) -> Result<OpOutcome, Refusal> {
        self.admit_with(envelope, |_| true)
    }

    /// Admits an op from a peer. One that is valid and names a manifest is admitted only if `has` returns
    /// true, that is if all pages of the manifest are stored: they are a required attachment (authority 3.0).
    ///
    /// # Errors
    /// As [`admit`](Self::admit), and [`Refusal::MissingManifest`].
    pub fn admit_with(
        &mut self,
        envelope: Envelope,
        has: impl FnOnce(&ManifestRef) -> bool,
    ) -> Result<OpOutcome, Refusal> {
        let id = OpId(hash(Op::KIND, &[&envelope.payload]));
        if self.contains(id) {
            return Ok(OpOutcome::Known);
        }
        let invalid = |why| Refusal::Invalid { op: id, why };
        let signed = Signed::<Op>::verify(envelope).map_err(|cause| invalid(Invalid::Envelope(cause)))?;
        let op = signed.record();
        if let Create { founders, .. } = &op.body {
            if id.0 != self.group.0 {
                return Err(invalid(Invalid::Group { got: GroupId(id.0) }));
            }
            self.resolver = Resolver::new(id, founders.clone());
            for founder in founders {
                self.targets.entry(*founder).or_default();
            }
            self.roster = OnceLock::new();
        } else {
            if op.group != self.group {
                return Err(invalid(Invalid::Group { got: op.group }));
            }
            let judged = self.resolver.judge(id, &proposal(op))?;
            let past = self.resolver.state_at(judged.past);
            self.check_references(op, &judged.node, past).map_err(invalid)?;
            let inherited = self.inherited_lowerings(op, past);
            if let Some(manifest) = op.manifest().copied().filter(|manifest| !has(manifest)) {
                return Err(Refusal::MissingManifest { op: id, manifest });
            }
            if judged.past != PastState::Current {
                self.roster = OnceLock::new();
            }
            self.resolver.insert(judged);
            if !inherited.is_empty() {
                self.inherited.insert(self.ops.len(), inherited);
            }
        }
        self.index(signed, id);
        Ok(OpOutcome::New(id))
    }

    /// Indexes an op that the resolver has just inserted.
    fn index(&mut self, signed: Signed<Op>, id: OpId) {
        let number = self.ops.len();
        let op = signed.record();
        for parent in &op.parents {
            self.heads.remove(parent);
        }
        self.heads.insert(id);
        match &op.body {
            SetRole { user, via, .. } => {
                self.targets.entry(*user).or_default().push(number);
                if let Some(proof) = via {
                    self.referring.entry(proof.invite).or_default().push(number);
                }
            }
            Amnesty { revocation: named, .. } | CloseInvite { invite: named } => {
                self.referring.entry(*named).or_default().push(number);
            }
            SetMeta { key, .. } => self.metas.entry(key.clone()).or_default().push(number),
            Create { .. } | RevokeDevice { .. } | OpenInvite { .. } => {}
        }
        if let (By::Device(envelope), Some(certificate)) = (&op.by, op.certificate()) {
            let certificate_id = hash(DeviceCert::KIND, &[&envelope.payload]);
            self.certificates.remove(certificate.user, &certificate_id);
            self.carried.insert(certificate_id, certificate);
        }
        self.ops.push(signed);
        self.refresh_roster(number);
    }
}

/// The parts of an op that resolution reads.
pub(super) fn proposal(op: &Op) -> Proposal {
    let device: Option<DeviceId> = op.certificate().map(|certificate| certificate.device);
    let action = match op.body {
        SetRole { user, role, .. } => OpAction::SetRole { user, role },
        RevokeDevice { user, device, .. } => OpAction::RevokeDevice { user, device },
        Create { .. } | Amnesty { .. } | OpenInvite { .. } | CloseInvite { .. } | SetMeta { .. } => {
            OpAction::Other
        }
    };
    Proposal { parents: op.parents.clone(), author: op.author, device, action }
}
