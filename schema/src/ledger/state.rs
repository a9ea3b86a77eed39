//! The state of one ledger: its ops, the records beside them, and what is derived from both. Holds no rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::id::{DeviceId, GroupId, OpId, UserId};
use crate::ledger::facts::Facts;
use crate::ledger::op::{Body, Op};
use crate::ledger::resolver::{OpStatus, Resolver};
use crate::ledger::roster::Roster;
use crate::ledger::side_set::SideSet;
use crate::ledger::surplus::SurplusCertificates;
use crate::limits::{DEVICE_REVOCATIONS_MAX, DEVICES_MAX};
use crate::signed::{Envelope, Signed};
use crate::wire::device::{DeviceCert, DeviceRecord, UserDeviceRevocation};

/// The key of the group's name among its SetMetas.
pub const NAME: &str = "name";

/// The ledger of one group.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) group: GroupId,
    pub(super) resolver: Resolver,
    /// By number in the graph of `resolver`.
    pub(super) ops: Vec<Signed<Op>>,
    pub(super) heads: BTreeSet<OpId>,
    /// The SetRoles on each user, void ones too; founders have an entry.
    pub(super) targets: BTreeMap<UserId, Vec<usize>>,
    /// Amnesties, CloseInvites and redeeming SetRoles, by the op that they refer to.
    pub(super) referring: BTreeMap<OpId, Vec<usize>>,
    /// For each lowering without a manifest, the lowerings with one that bounded its target in its past.
    pub(super) inherited: BTreeMap<usize, Vec<usize>>,
    /// SetMetas by key.
    pub(super) metas: BTreeMap<String, Vec<usize>>,
    /// Certificates that ops carry, by id.
    pub(super) carried: BTreeMap<[u8; 32], DeviceCert>,
    pub(super) certificates: SideSet<DeviceCert>,
    /// Certificates that do not fit in there.
    pub(super) surplus: SurplusCertificates,
    pub(super) revocations: SideSet<UserDeviceRevocation>,
    /// The newest record of each device. Those of devices that belong to no member now are ignored.
    pub(super) records: BTreeMap<DeviceId, Signed<DeviceRecord>>,
    /// Computed on first use, and again after each op that changes more than its own target.
    pub(super) roster: OnceLock<Arc<Roster>>,
}

impl Ledger {
    /// An empty ledger: it knows its group's id, and everything else arrives as ops.
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            resolver: Resolver::default(),
            ops: Vec::new(),
            heads: BTreeSet::new(),
            targets: BTreeMap::new(),
            referring: BTreeMap::new(),
            inherited: BTreeMap::new(),
            metas: BTreeMap::new(),
            carried: BTreeMap::new(),
            certificates: SideSet::new(DEVICES_MAX),
            surplus: SurplusCertificates::default(),
            revocations: SideSet::new(DEVICE_REVOCATIONS_MAX),
            records: BTreeMap::new(),
            roster: OnceLock::new(),
        }
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The ops that no other op builds on, void ones too. Equal heads mean equal ops.
    pub fn heads(&self) -> Vec<OpId> {
        self.heads.iter().copied().collect()
    }

    /// Returns true if the op is known.
    pub fn contains(&self, op: OpId) -> bool {
        self.resolver.graph().number(op).is_some()
    }

    /// Number of ops, the Create included.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Returns true if not even the Create is known.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// A known op.
    pub fn op(&self, op: OpId) -> Option<&Signed<Op>> {
        self.resolver.graph().number(op).map(|number| &self.ops[number])
    }

    /// All ids, parents before children.
    pub fn ids(&self) -> impl Iterator<Item = OpId> {
        self.resolver.facts().map(|facts| facts.id)
    }

    /// All ops, parents before children.
    pub fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.ops.iter().map(Signed::envelope)
    }

    /// The facts of all ops, parents before children.
    pub fn facts(&self) -> impl Iterator<Item = &Facts> {
        self.resolver.facts()
    }

    /// The author of an op; `None` if it is unknown.
    pub fn author_of(&self, op: OpId) -> Option<UserId> {
        let graph = self.resolver.graph();
        Some(graph.node(graph.number(op)?).facts.author)
    }

    /// The status of an op; `None` if it is unknown.
    pub fn status(&self, op: OpId) -> Option<OpStatus> {
        self.resolver.status(op)
    }

    /// Returns true if op `older` is an ancestor of op `newer`.
    pub fn is_ancestor(&self, older: OpId, newer: OpId) -> bool {
        self.resolver.is_ancestor(older, newer)
    }

    /// The body of op number `number`.
    pub(super) fn body(&self, number: usize) -> &Body {
        &self.ops[number].record().body
    }
}
