//! The gate: which group is open with which peer on which link, from ledgers, intents, tickets, presents,
//! offers and contacts.
//!
//! A group opens on a link only while both sides announce it, which each does by two tests: this user's
//! intent, and the ledger. The gate decides a whole step at once and asks its shell for effects, in order.
//! Two rules hold for every step:
//!
//! - Cells close first: [`Effect::CloseCell`] precedes everything else, and waits for no disk.
//! - Nothing of a ledger leaves before it is durable: the effects of a group behind an [`Effect::Store`] are
//!   withheld until [`Input::Stored`]. Inputs are handled at once meanwhile, and the records of one group are
//!   joined; the effects of other groups do not wait.
//!
//! Time, random bytes and keys are arguments. A failed store is an input, after which the gate does nothing
//! any more: its shell makes a new one from what is stored.

mod access;
mod addresses;
mod admit;
mod change;
mod cut;
mod delta;
mod devices;
mod effect;
mod flood;
mod group;
mod input;
mod intents;
mod links;
mod log;
mod notices;
mod offers;
mod outbox;
mod present;
mod rate;
mod record;
mod sessions;
mod silence;
mod tickets;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use self::change::{ChangeRefusal, MembershipChange, is_needed_in_charge};
pub use self::cut::{CutTarget, FreshCut, target_digest};
pub use self::delta::LedgerDelta;
pub use self::devices::Device;
pub use self::effect::{Answer, Channel, Effect, KnownAddress, KnownAddresses, Notice, Warning};
pub use self::flood::Flood;
pub use self::input::{Input, LinkId, Peer, Presented};
pub use self::log::{Invitation, MemberOp};
pub use self::record::{ReceivedAt, StoredGroup, StoredRecord};
pub use self::silence::Silent;
pub use self::tickets::{Declined, REDEEM_TICKETS_EVERY, Terms, Tickets};
pub use self::view::{GroupInfo, GroupState, GroupView, MemberDetails, MemberDevice};

use self::access::Access;
use self::flood::Floods;
use self::group::{Group, Groups};
use self::links::Links;
use self::offers::Offers;
use self::outbox::{Outbox, Scope};
use self::tickets::{DeclinedTicket, Inviters};
use crate::device::DeviceIdentity;
use crate::key::SigningKey;
use crate::ledger::Ledger;
use crate::time::Moment;
use crate::wire::hello;
use crate::{GroupId, Timestamp, UserId};

/// The time of one step, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: shown to people, and compared with the end of invitations.
    pub wall: Timestamp,
    /// A clock that is never set back, from any start: rate limits and timeouts are measured by it.
    pub instant: Duration,
}

impl Now {
    /// The time by which deadlines are measured.
    fn moment(self) -> Moment {
        Moment(self.instant)
    }
}

/// The keys of this user and device.
pub struct Keys {
    /// The user key.
    pub user: SigningKey,
    /// The device's keys and certificate.
    pub device: DeviceIdentity,
}

impl Keys {
    fn user(&self) -> UserId {
        self.device.user()
    }
}

/// Reads that a step makes. Every call is short; a shell whose store fails notes that, returns nothing, and
/// drops the effects of the step.
pub trait Lookup {
    /// The root of a group's documents; zeros if they are not started.
    fn root(&self, group: GroupId) -> [u8; 32];
    /// The hashes of a manifest's pages; none if they are not stored, or damaged.
    fn list(&self, group: GroupId, root: &[u8; 32]) -> Option<Vec<[u8; 32]>>;
    /// A page; none if it is not stored, or damaged.
    fn page(&self, group: GroupId, hash: &[u8; 32]) -> Option<Vec<u8>>;
}

/// The gate of one node.
pub struct Gate {
    keys: Arc<Keys>,
    personal: GroupId,
    groups: Groups,
    /// Groups whose stored ledger cannot be read: out of service.
    damaged: BTreeSet<GroupId>,
    links: Links,
    floods: Floods,
    blocked: BTreeSet<UserId>,
    offers: Offers,
    /// The inviters that are dialled.
    inviters: Inviters,
    addresses: Vec<String>,
    are_tickets_armed: bool,
    outbox: Outbox,
    has_failed: bool,
}

/// One step under way.
struct Step<'s> {
    now: Now,
    keys: Arc<Keys>,
    lookup: &'s dyn Lookup,
    outbox: Outbox,
}

impl Step<'_> {
    /// The state of a group as a Hello tells it: equal on both sides if ledgers and documents are.
    fn summary(&self, group: &Group, access: Access, h: &[u8; 32]) -> [u8; 32] {
        let ledger = group.visible_ledger(access);
        let root = match access {
            Access::Documents => self.lookup.root(ledger.group()),
            _ => [0; 32],
        };
        hello::summary(&ledger.hash(), &ledger.roster().state_digest(), &root, h)
    }
}

impl Gate {
    /// A gate over stored groups. `damaged` are those whose ledger cannot be read.
    pub fn new(keys: Keys, groups: Vec<StoredGroup>, damaged: BTreeSet<GroupId>) -> Self {
        let personal = Ledger::personal_id(keys.user());
        let groups = groups.into_iter().map(|stored| (stored.ledger.group(), Group::new(stored))).collect();
        Self {
            keys: Arc::new(keys),
            personal,
            groups,
            damaged,
            links: Links::default(),
            floods: Floods::default(),
            blocked: BTreeSet::new(),
            offers: Offers::default(),
            inviters: Inviters::new(),
            addresses: Vec::new(),
            are_tickets_armed: false,
            outbox: Outbox::default(),
            has_failed: false,
        }
    }

    /// Decides about one input; the effects that may be performed now, in order.
    pub fn step(&mut self, now: Now, input: Input, lookup: &dyn Lookup) -> Vec<Effect> {
        let outbox = std::mem::take(&mut self.outbox);
        let mut step = Step { now, keys: self.keys.clone(), lookup, outbox };
        match input {
            Input::Stored { number, is_durable } => {
                if step.outbox.stored(number) && !is_durable {
                    self.fail(&mut step);
                }
            }
            _ if self.has_failed => {}
            input => {
                if input.is_request() {
                    step.outbox.begin_request();
                }
                self.handle(&mut step, input);
                self.links.update_shared(&mut step, &self.groups, self.personal);
            }
        }
        let effects = step.outbox.release();
        self.outbox = step.outbox;
        effects
    }

    /// Returns true if a batch is not durable yet.
    pub fn is_storing(&self) -> bool {
        self.outbox.is_storing()
    }

    /// The number of effects that the steps so far decided on.
    pub fn mark(&self) -> u64 {
        self.outbox.mark()
    }

    /// Returns true if every effect up to this mark is handed out, and every batch among them durable: of
    /// those that are about one group alone, or of all.
    pub fn is_settled(&self, group: Option<GroupId>, mark: u64) -> bool {
        self.outbox.is_settled(group, mark)
    }

    /// A group's ledger.
    pub fn ledger(&self, group: GroupId) -> Option<&Ledger> {
        self.groups.get(&group).map(|group| &group.ledger)
    }

    fn handle(&mut self, step: &mut Step, input: Input) {
        match input {
            Input::Start { wanted, blocked, published, offers, addresses } => {
                self.blocked = blocked;
                self.offers.restore(offers);
                self.addresses = addresses;
                self.on_start(step, &wanted, &published);
            }
            Input::Stored { .. } => {} // handled before
            Input::CreateGroup { nonce, name, recovery } => self.on_create(step, nonce, &name, recovery),
            Input::Submit { group, change, cut } => self.on_submit(step, group, &change, cut),
            Input::Invite { group, terms, seed } => self.on_invite(step, group, terms, seed),
            Input::StoreTicket(ticket) => self.on_store_ticket(step, &ticket),
            Input::RevokeDevice(device) => self.on_revoke_device(step, device),
            Input::Intent { group, is_wanted } => self.on_intent(step, group, is_wanted),
            Input::Contact { user, is_blocked } => self.on_contact(step, user, is_blocked),
            Input::Addresses(addresses) => self.on_addresses(step, addresses),
            Input::GroupStarted(group) => self.on_group_started(step, group),
            Input::Accepted { group, devices } => self.on_accepted(step, group, devices),
            Input::LinkUp { link, peer } => self.on_link_up(step, link, peer),
            Input::LinkDown { link, reason } => self.links.on_down(step, link, &reason),
            Input::Hello { link, hello } => self.links.on_hello(step, link, hello, &self.groups),
            Input::Present { link, group, presented } => self.on_present(step, link, group, presented),
            Input::Join { link, join } => self.on_join(step, link, join),
            Input::Declined { link, token, invite, reason } => {
                self.on_declined(step, link, DeclinedTicket { token, invite, reason });
            }
            Input::PeerFault(device) => self.links.on_peer_fault(step, device),
            Input::Ledger { link, group, frame } => self.on_ledger(step, link, group, frame),
            Input::Resume { link, group } => self.on_resume(step, link, group),
            Input::RedeemTickets(group) => self.on_redeem_tickets(step, group),
            Input::Wake => self.links.on_wake(step),
        }
    }

    fn on_start(&mut self, step: &mut Step, wanted: &[GroupId], published: &BTreeSet<GroupId>) {
        self.found_personal(step);
        for id in wanted.iter().copied().chain([self.personal]) {
            match self.damaged.contains(&id) {
                true => self.publish_damaged(step, id, true),
                false => self.groups.entry(id).or_insert_with(|| Group::unknown(id)).is_wanted = true,
            }
        }
        // The node may have ended while it revoked a device: groups that lack the revocation get it now.
        self.revoke_everywhere(step);
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.publish(step, id);
            if self.groups[&id].is_wanted {
                self.add_addresses(step, id);
            }
        }
        // Starts and stops are idempotent: the gate before this one may have missed an intent.
        let running = self.wanted_groups().filter(|id| *id != self.personal).collect::<BTreeSet<_>>();
        running.iter().for_each(|id| step.outbox.push(Effect::StartGroup(*id)));
        let personal = self.personal;
        for id in published.iter().filter(|id| **id != personal && !running.contains(id)) {
            if !wanted.contains(id) {
                step.outbox.push(Effect::Unpublish(*id));
                let left = self.groups.get(id).into_iter().flat_map(|group| group.tickets.inviters());
                self.inviters.extend(left);
                self.drop_tickets(step, *id);
            }
            step.outbox.push(Effect::StopGroup(*id));
        }
        self.update_inviters(step);
        self.arm_tickets(step);
    }

    /// Founds the personal group at the first start.
    fn found_personal(&mut self, step: &mut Step) {
        let id = self.personal;
        let group = self.groups.entry(id).or_insert_with(|| Group::unknown(id));
        if group.ledger.is_empty() {
            let (_, create) = Ledger::personal(&step.keys.user);
            let mut records = Vec::new();
            let _ = group.admit_op(step, create.envelope(), &mut records);
            let certificate = step.keys.device.certificate.envelope().clone();
            let _ = group.ledger.admit_certificate(certificate.clone());
            records.push(StoredRecord::Certificate(certificate));
            step.outbox.store(id, records);
        }
    }

    /// Founds a group. Its recovery user stands above everybody (authority 3.4).
    fn on_create(&mut self, step: &mut Step, nonce: [u8; 32], name: &str, recovery: Option<UserId>) {
        let (user, device) = (step.keys.user(), &step.keys.device);
        let founders = recovery.into_iter().chain([user]).collect();
        let by = crate::ledger::By::Device(device.certificate.envelope().clone());
        let created = match Ledger::create(nonce, founders, name, user, by, &device.signing) {
            Ok((ledger, create)) => {
                let id = ledger.group();
                let mut group = Group::unknown(id);
                let mut records = Vec::new();
                let _ = group.admit_op(step, create.envelope(), &mut records);
                step.outbox.store(id, records);
                self.groups.insert(id, group);
                self.admit(step, id, LedgerDelta::default(), None);
                self.publish(step, id);
                Ok(id)
            }
            Err(refusal) => Err(refusal.into()),
        };
        let scope = created.as_ref().map_or(Scope::All, |id| Scope::group(*id));
        step.outbox.answer(scope, Answer::Created(created));
    }

    /// Publishes and opens a group again whose documents were started: they missed what happened meanwhile.
    fn on_group_started(&mut self, step: &mut Step, id: GroupId) {
        self.publish(step, id);
        self.links.reopen_sessions(step, id, &self.groups);
        // Not before: documents that start refuse what was written to their space meanwhile.
        self.add_addresses(step, id);
    }

    fn publish_damaged(&self, step: &mut Step, id: GroupId, is_wanted: bool) {
        step.outbox.push(match is_wanted {
            true => Effect::Publish(Box::new(GroupView::failed(id))),
            false => Effect::Unpublish(id),
        });
    }

    /// Stops for good: the ledgers in memory ran ahead of the store.
    fn fail(&mut self, step: &mut Step) {
        self.has_failed = true;
        step.outbox.clear();
        self.links.close_cells(step);
    }
}
