//! One group as the gate holds it: its ledger, this user's intent and tickets, and what follows from them.

use std::collections::BTreeSet;

use super::Step;
use super::outbox::Outbox;
use super::record::{ReceivedAt, StoredGroup, StoredRecord};
use super::tickets::Tickets;
use super::view::GroupState;
use crate::id::hash;
use crate::ledger::{Ledger, ManifestRef, Op, OpOutcome, Refusal, Role};
use crate::signed::{Envelope, Record};
use crate::{GroupId, OpId, UserId};

/// The groups of a node, by id.
pub(super) type Groups = std::collections::BTreeMap<GroupId, Group>;

/// One group.
pub(super) struct Group {
    pub(super) ledger: Ledger,
    /// The user's intent.
    pub(super) is_wanted: bool,
    pub(super) received_at: ReceivedAt,
    pub(super) tickets: Tickets,
    /// Manifests that were checked since the node started, some of which may be deleted again: see
    /// [`holds`](Self::holds). Ops that were admitted before may name others.
    attached: BTreeSet<ManifestRef>,
}

impl Group {
    pub(super) fn new(StoredGroup { ledger, received_at, tickets }: StoredGroup) -> Self {
        Self { ledger, is_wanted: false, received_at, tickets, attached: BTreeSet::new() }
    }

    /// A group of which only the id is known.
    pub(super) fn unknown(group: GroupId) -> Self {
        let (received_at, tickets) = (ReceivedAt::new(), Tickets::default());
        Self::new(StoredGroup { ledger: Ledger::new(group), received_at, tickets })
    }

    /// Returns true if the user wants in and no ledger here admits them, or only one older than their ticket.
    pub(super) fn is_pending(&self, user: UserId) -> bool {
        let is_granted = self.ledger.roster().grant(user).is_some();
        self.is_wanted && (!is_granted || self.tickets.are_ahead_of(&self.ledger))
    }

    /// Returns true if a ledger with this op admits the user.
    pub(super) fn has_admitted(&self, user: UserId, log_head: OpId) -> bool {
        let is_member = self.ledger.roster().role(user) != Role::None;
        self.is_wanted && is_member && !self.is_pending(user) && self.ledger.contains(log_head)
    }

    pub(super) fn state(&self, user: UserId) -> GroupState {
        match self.ledger.roster().role(user) {
            _ if self.is_pending(user) => GroupState::Pending,
            Role::None => GroupState::Removed,
            _ => GroupState::Active,
        }
    }

    /// Admits an op and notes when.
    pub(super) fn admit_op(
        &mut self,
        step: &Step,
        envelope: &Envelope,
        records: &mut Vec<StoredRecord>,
    ) -> Result<OpOutcome, Refusal> {
        let (position, now) = (self.ledger.len(), step.now.wall);
        let (id, attached) = (self.ledger.group(), &self.attached);
        let holds = |manifest: &ManifestRef| attached.contains(manifest) && step.has_list(id, manifest);
        let admitted = self.ledger.admit_with(envelope.clone(), holds)?;
        if let OpOutcome::New(op) = admitted {
            self.received_at.insert(op, now);
            records.push(StoredRecord::Op { position, envelope: envelope.clone(), received_at: now });
        }
        Ok(admitted)
    }

    /// Returns true if ops that name a manifest may be admitted: every page is checked and still stored.
    pub(super) fn holds(&self, step: &Step, manifest: &ManifestRef) -> bool {
        self.attached.contains(manifest) && step.has_list(self.ledger.group(), manifest)
    }

    /// Notes that every page of a manifest is here and checked: ops that name it may be admitted.
    pub(super) fn attach(&mut self, manifest: ManifestRef) {
        self.attached.insert(manifest);
    }

    /// Marks tickets as spent whose invitation admitted the user: they are secret no longer.
    pub(super) fn spend_tickets(&mut self, user: UserId, records: &mut Vec<StoredRecord>) {
        let admitted = |log_head| self.has_admitted(user, log_head);
        if let Some(tickets) = self.tickets.spent(admitted) {
            self.tickets = tickets;
            records.push(self.tickets.record());
        }
    }

    /// Stores the tickets as they are now.
    pub(super) fn store_tickets(&self, outbox: &mut Outbox) {
        outbox.store(self.ledger.group(), vec![self.tickets.record()]);
    }
}

/// The id of an op whose signature was not verified.
pub(super) fn op_id(envelope: &Envelope) -> OpId {
    OpId(hash(Op::KIND, &[&envelope.payload]))
}
