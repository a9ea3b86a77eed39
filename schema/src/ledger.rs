//! Who may do what, from signed ops: one group's membership ledger (AUTHORITY 3.0–3.5).
//!
//! A ledger is a grow-only DAG of signed ops. Its state is a pure function of the set of ops: no clock, no votes, any
//! order of arrival.

mod certificates;
mod compare;
mod device_records;
mod disputes;
mod draft;
mod facts;
mod graph;
pub mod manifest;
mod op;
mod op_set;
mod projection;
mod references;
mod resolve;
mod roster;
mod side_set;
mod validity;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

pub use certificates::CertificateOutcome;
pub use disputes::Contestable;
pub use draft::MERGE;
pub use facts::{Class, Facts, OpAction, Proposal, Strength};
pub use graph::{Graph, OpStatus};
pub use manifest::ManifestRef;
pub use op::{Body, By, InviteProof, Op, Role};
pub use references::{Invite, InviteStatus};
pub use roster::{Cut, Grant, Member, NotAccepted, Roster};
pub use validity::{Invalid, Refusal};

use crate::codec;
use crate::id::{DeviceId, GroupId, OpId, UserId, hash};
use crate::key::SigningKey;
use crate::limits::{DEVICE_REVOCATIONS_MAX, DEVICES_MAX};
use crate::signed::{Envelope, Record, Signed, SignedError};
use crate::wire::device::{DeviceCert, DeviceRecord, UserDeviceRevocation};
use graph::Place;
use op::Body::{Amnesty, CloseInvite, Create, OpenInvite, RevokeDevice, SetMeta, SetRole};
use side_set::{SideSet, Spares};

/// The ledger of one group.
#[derive(Clone, Debug)]
pub struct Ledger {
    group: GroupId,
    graph: Graph,
    /// By number in `graph`.
    ops: Vec<Signed<Op>>,
    heads: BTreeSet<OpId>,
    /// SetRoles on each user, void ones too; founders have an entry.
    targets: BTreeMap<UserId, Vec<usize>>,
    /// Amnesties, CloseInvites and redeeming SetRoles, by the op that they name.
    naming: BTreeMap<OpId, Vec<usize>>,
    /// Of each lowering without a manifest, the lowerings with one that bounded its target in its author's eyes.
    inherited: BTreeMap<usize, Vec<usize>>,
    /// SetMetas by key.
    metas: BTreeMap<String, Vec<usize>>,
    /// Certificates that ops carry.
    carried: BTreeMap<[u8; 32], DeviceCert>,
    certificates: SideSet<DeviceCert>,
    /// Those that have no place there.
    spares: Spares,
    revocations: SideSet<UserDeviceRevocation>,
    /// The newest of each device; what the roster does not admit now is as good as absent.
    records: BTreeMap<DeviceId, Signed<DeviceRecord>>,
    roster: OnceLock<Arc<Roster>>,
}

/// What became of a valid op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// It was taken in.
    New(OpId),
    /// It was here.
    Known,
}

/// Why a certificate, a device revocation or a device record is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SideRefusal {
    /// It is not what it claims to be.
    #[error(transparent)]
    Envelope(#[from] SignedError),
    /// No op speaks of its user: offer it again after the op that does.
    #[error("user {user} is unknown to the group")]
    Stranger {
        /// Who signed it.
        user: UserId,
    },
    /// It was said in another group.
    #[error("record is for group {got}")]
    OtherGroup {
        /// For which it is.
        got: GroupId,
    },
    /// No member vouches for its device now: offer it again after whatever lets one in.
    #[error("device {device} is no member's")]
    Outsider {
        /// Who signed it.
        device: DeviceId,
    },
}

impl Ledger {
    /// A ledger that knows nothing but its group's id; everything else arrives as ops.
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            graph: Graph::default(),
            ops: Vec::new(),
            heads: BTreeSet::new(),
            targets: BTreeMap::new(),
            naming: BTreeMap::new(),
            inherited: BTreeMap::new(),
            metas: BTreeMap::new(),
            carried: BTreeMap::new(),
            certificates: SideSet::new(DEVICES_MAX),
            spares: Spares::default(),
            revocations: SideSet::new(DEVICE_REVOCATIONS_MAX),
            records: BTreeMap::new(),
            roster: OnceLock::new(),
        }
    }

    /// Founds a group; `founders` are one to four, the most senior first, and `author` is one of them. `nonce` is 32
    /// random bytes.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when the founders, the name or the key do not fit.
    pub fn create(
        nonce: [u8; 32],
        founders: Vec<UserId>,
        name: &str,
        author: UserId,
        by: By,
        key: &SigningKey,
    ) -> Result<(Self, Signed<Op>), Refusal> {
        let body = Create { nonce, founders, name: name.into() };
        let op = Op { version: 1, group: GroupId([0; 32]), parents: Vec::new(), author, by, body };
        let signed = Signed::sign(op, key);
        let mut ledger = Self::new(GroupId(signed.id()));
        ledger.admit(signed.envelope().clone())?;
        Ok((ledger, signed))
    }

    /// Founds a user's personal group. Its id follows from the user key, so that all devices of a user meet in it.
    pub fn personal(user: &SigningKey) -> (Self, Signed<Op>) {
        let id = UserId(user.public());
        Self::create([0; 32], vec![id], "", id, By::User, user).expect("one founder and an empty name fit")
    }

    /// Verifies an op, judges it against its own past, and takes it in: one from our own store, whose attachments are
    /// there.
    ///
    /// # Errors
    /// [`Refusal::MissingParents`] when it came too early, [`Refusal::Invalid`] when it never can be taken.
    pub fn admit(&mut self, envelope: Envelope) -> Result<OpOutcome, Refusal> {
        self.admit_with(envelope, |_| true)
    }

    /// As [`admit`](Self::admit); an op that is valid and names a manifest is taken only if `has` says that all pages
    /// are here (AUTHORITY 3.0: a required attachment).
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
            self.graph = Graph::new(id, founders.clone());
            for founder in founders {
                self.targets.entry(*founder).or_default();
            }
            self.roster = OnceLock::new();
        } else {
            if op.group != self.group {
                return Err(invalid(Invalid::Group { got: op.group }));
            }
            let judged = self.graph.judge(id, &proposal(op))?;
            let state = self.graph.state_at(judged.place);
            self.check_body(op, &judged.node, state).map_err(invalid)?;
            let inherited = self.inherits(op, state);
            if let Some(manifest) = op.manifest().copied().filter(|manifest| !has(manifest)) {
                return Err(Refusal::MissingManifest { op: id, manifest });
            }
            if judged.place != Place::Current {
                self.roster = OnceLock::new();
            }
            self.graph.insert(judged);
            if !inherited.is_empty() {
                self.inherited.insert(self.ops.len(), inherited);
            }
        }
        self.index(signed, id);
        Ok(OpOutcome::New(id))
    }

    /// Notes an op that the graph has just taken.
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
                    self.naming.entry(proof.invite).or_default().push(number);
                }
            }
            Amnesty { revocation: named, .. } | CloseInvite { invite: named } => {
                self.naming.entry(*named).or_default().push(number);
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
        self.refresh(number);
    }

    /// Takes in that a user took a device back; `false` when it changes nothing.
    ///
    /// # Errors
    /// [`SideRefusal`]
    pub fn admit_revocation(&mut self, envelope: Envelope) -> Result<bool, SideRefusal> {
        // Whoever compares ledgers sends all: those that change nothing cost no signature.
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
        let Ok(evicted) = self.revocations.insert(user, signed) else { return Ok(false) };
        match (evicted, self.roster_mut()) {
            (None, Some(roster)) => drop(roster.withdrawn.insert((user, device))),
            _ => self.roster = OnceLock::new(),
        }
        Ok(true)
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The ops that no other op builds on, void ones too: equal heads, equal ops.
    pub fn heads(&self) -> Vec<OpId> {
        self.heads.iter().copied().collect()
    }

    /// Whether an op is here.
    pub fn contains(&self, op: OpId) -> bool {
        self.graph.number(op).is_some()
    }

    /// Ops, the Create included.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether not even the Create is here.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// An op.
    pub fn op(&self, op: OpId) -> Option<&Signed<Op>> {
        self.graph.number(op).map(|number| &self.ops[number])
    }

    /// All ids, parents before children.
    pub fn ids(&self) -> impl Iterator<Item = OpId> {
        self.graph.ops().map(|facts| facts.id)
    }

    /// All ops, parents before children.
    pub fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.ops.iter().map(Signed::envelope)
    }

    /// Device revocations by users.
    pub fn revocations(&self) -> impl Iterator<Item = &Envelope> {
        self.revocations.envelopes()
    }

    /// Device revocations by users, with what they say.
    pub fn signed_revocations(&self) -> impl Iterator<Item = &Signed<UserDeviceRevocation>> {
        self.revocations.signed()
    }

    /// How the ops stand, apart from what they say and who signed them.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// `H("ledger", heads ‖ certificates ‖ revocations ‖ records)`: equal on equal ledgers.
    pub fn hash(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        bytes.extend((self.heads.len() as u64).to_be_bytes());
        self.heads.iter().for_each(|head| bytes.extend(head.0));
        [0, 1, 2].into_iter().for_each(|kind| self.digest_side(kind, &mut bytes));
        hash("ledger", &[&bytes])
    }
}

/// The key of the group's name.
pub const NAME: &str = "name";

/// What the rules of state look at.
fn proposal(op: &Op) -> Proposal {
    let device: Option<DeviceId> = op.certificate().map(|certificate| certificate.device);
    let act = match op.body {
        SetRole { user, role, .. } => OpAction::SetRole { user, role },
        RevokeDevice { user, device, .. } => OpAction::RevokeDevice { user, device },
        _ => OpAction::Other,
    };
    Proposal { parents: op.parents.clone(), author: op.author, device, act }
}
