//! Tickets: invitations opened and redeemed, and tickets stored until their group admits this user (authority
//! 3.11).
//!
//! The joiner redeems the ticket at every peer: it sends its proof, under tokens for group and invitation
//! that only peers compute which know those. An Admin's device that can signs the grant and announces the
//! group; from there on the joiner is a member like any other. Until a ledger holds the op that a ticket
//! pins, none counts as the group's.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bincode::{Decode, Encode};

use super::record::StoredRecord;
use super::{ChangeRefusal, Gate, LinkId, Step};
use crate::gate::effect::{Answer, Effect, Notice, Warning};
use crate::gate::group::{Group, Groups};
use crate::gate::links::Links;
use crate::gate::outbox::Scope;
use crate::ledger::{Body, InviteProof, InviteStatus, Ledger, Role};
use crate::limits::{REDEEMED_IN, REDEEMED_MAX, TICKETS_MAX};
use crate::wire::hello;
use crate::wire::link::{DeclineReason, Join, LinkFrame};
use crate::wire::ticket::Ticket;
use crate::{DeviceId, GroupId, OpId, Timestamp, UserId};

/// The pause after which tickets are redeemed at the same peers again: they may know the invitation by now.
pub const REDEEM_TICKETS_EVERY: Duration = Duration::from_secs(60);

/// One stored ticket, without the group that it is for.
#[derive(Clone, Encode, Decode)]
struct StoredTicket {
    invite: OpId,
    /// The seed of the invitation's key, until the invitation has admitted this user.
    seed: Option<[u8; 16]>,
    /// The device to dial, and its addresses.
    inviter: DeviceId,
    addresses: Vec<String>,
    /// An op that every ledger holds which is not older than the ticket.
    log_head: OpId,
    /// The user was no member when the ticket was stored: no older ledger admits them.
    is_pinned: bool,
}

/// Inviters, each with one of its addresses.
pub(super) type Inviters = BTreeSet<(String, DeviceId)>;

/// The inviter's answer to a ticket that admitted nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Declined {
    /// The time of the answer, by this device's clock.
    #[cfg_attr(feature = "control", serde(rename = "at_ms"))]
    pub at: Timestamp,
    /// The reason.
    pub reason: DeclineReason,
}

/// The tickets that are stored for one group. `Debug` does not print their secrets.
#[derive(Clone, Default, Encode, Decode)]
pub struct Tickets {
    stored: Vec<StoredTicket>,
    /// The last answer to a ticket that admitted nobody, for people.
    pub(super) declined: Option<Declined>,
}

/// The terms of an invitation.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The role that it gives.
    pub role: Role,
    /// The number of users that it admits.
    pub uses: u16,
    /// The end of its life by the clock of each Admin's device, milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

impl Tickets {
    pub(super) fn record(&self) -> StoredRecord {
        match self.stored.is_empty() && self.declined.is_none() {
            true => StoredRecord::NoTickets,
            false => StoredRecord::Tickets(self.clone()),
        }
    }

    fn add(&mut self, ticket: &Ticket, is_pinned: bool) {
        self.declined = None;
        self.stored.retain(|other| other.invite != ticket.invite());
        if self.stored.len() == TICKETS_MAX {
            self.stored.remove(0);
        }
        self.stored.push(StoredTicket {
            invite: ticket.invite(),
            seed: Some(ticket.seed()),
            inviter: ticket.inviter(),
            addresses: ticket.addresses().to_vec(),
            log_head: ticket.log_head(),
            is_pinned,
        });
    }

    /// The tickets that have not admitted the user, each with its seed.
    fn open(&self) -> impl Iterator<Item = (&StoredTicket, [u8; 16])> {
        self.stored.iter().filter_map(|ticket| Some((ticket, ticket.seed?)))
    }

    /// Returns true if a ledger is older than every pinned ticket.
    pub(super) fn are_ahead_of(&self, ledger: &Ledger) -> bool {
        let mut pinned = self.stored.iter().filter(|ticket| ticket.is_pinned).peekable();
        pinned.peek().is_some() && pinned.all(|ticket| !ledger.contains(ticket.log_head))
    }

    /// The same without the seeds of tickets whose invitation admitted the user; `None` if there are none of
    /// those.
    pub(super) fn spent(&self, is_admitted: impl Fn(OpId) -> bool) -> Option<Self> {
        let mut tickets = self.clone();
        let open = tickets.stored.iter_mut().filter(|ticket| ticket.seed.is_some());
        let spent: Vec<_> = open.filter(|ticket| is_admitted(ticket.log_head)).collect();
        if spent.is_empty() {
            return None;
        }
        spent.into_iter().for_each(|ticket| ticket.seed = None);
        Some(tickets)
    }

    /// The inviters, each with one of its addresses.
    pub(super) fn inviters(&self) -> impl Iterator<Item = (String, DeviceId)> {
        self.stored.iter().flat_map(StoredTicket::inviters)
    }
}

impl StoredTicket {
    fn inviters(&self) -> impl Iterator<Item = (String, DeviceId)> {
        self.addresses.iter().map(|address| (address.clone(), self.inviter))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({}, {:?})", self.stored.len(), self.declined)
    }
}

impl Group {
    /// The tickets that may still admit the user.
    fn useful_tickets(&self, user: UserId) -> impl Iterator<Item = (&StoredTicket, [u8; 16])> {
        self.tickets.open().filter(move |(ticket, _)| !self.has_admitted(user, ticket.log_head))
    }
}

impl Gate {
    /// The number of tickets that may still admit the user to a group.
    pub fn open_tickets(&self, group: GroupId) -> usize {
        self.groups.get(&group).map_or(0, |group| group.tickets.open().count())
    }

    /// Returns true if a ledger with this op admits the user.
    pub fn has_admitted(&self, group: GroupId, log_head: OpId) -> bool {
        self.groups.get(&group).is_some_and(|group| group.has_admitted(self.keys.user(), log_head))
    }

    pub(super) fn on_invite(&mut self, step: &mut Step, group: GroupId, terms: Terms, seed: [u8; 16]) {
        let Terms { role, uses, expires_ms } = terms;
        let key = Ticket::key_of(&seed, group).public();
        let body = Body::OpenInvite { key, max_role: role, uses, hint_expiry: expires_ms };
        let invite = self.author(step, group, body);
        step.outbox.answer(Scope::group(group), Answer::Invited(invite));
    }

    pub(super) fn on_store_ticket(&mut self, step: &mut Step, ticket: &Ticket) {
        let stored = self.store_ticket(step, ticket);
        step.outbox.answer(Scope::group(ticket.group()), Answer::TicketStored(stored));
    }

    /// Stores a ticket and redeems it at every peer; true if the group admitted the user already, and nothing
    /// is stored.
    fn store_ticket(&mut self, step: &mut Step, ticket: &Ticket) -> Result<bool, ChangeRefusal> {
        let (id, user) = (ticket.group(), step.keys.user());
        if self.damaged.contains(&id) {
            return Err(ChangeRefusal::UnknownGroup(id));
        }
        let group = self.groups.entry(id).or_insert_with(|| Group::unknown(id));
        if group.has_admitted(user, ticket.log_head()) {
            return Ok(true);
        }
        let was_pending = group.is_pending(user);
        group.tickets.add(ticket, was_pending || group.ledger.roster().role(user) == Role::None);
        group.store_tickets(&mut step.outbox);
        self.on_tickets_changed(step, id, was_pending);
        // Dialled now, also if another ticket names them.
        for address in ticket.addresses() {
            self.inviters.remove(&(address.clone(), ticket.inviter()));
        }
        self.update_inviters(step);
        self.links.redeem_tickets_again(step, id, &self.groups);
        self.arm_tickets(step);
        Ok(false)
    }

    /// Deletes the tickets of a group that the user wants no longer.
    pub(super) fn drop_tickets(&mut self, step: &mut Step, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.tickets = Tickets::default();
        group.store_tickets(&mut step.outbox);
        self.update_inviters(step);
    }

    /// Publishes a group whose state a ticket changed, and announces it where that is new.
    fn on_tickets_changed(&mut self, step: &mut Step, id: GroupId, was_pending: bool) {
        if self.groups[&id].is_pending(step.keys.user()) != was_pending {
            self.links.close_unadmitted(step, id, &self.groups[&id]);
            self.publish(step, id);
            self.links.update(step, id, &self.groups);
        }
    }

    /// Dials the inviters of all tickets of wanted groups, and no others any longer.
    pub(super) fn update_inviters(&mut self, step: &mut Step) {
        let wanted = self.groups.values().filter(|group| group.is_wanted);
        let now: Inviters = wanted.flat_map(|group| group.tickets.inviters()).collect();
        let before = std::mem::replace(&mut self.inviters, now);
        let mut free = BTreeSet::new();
        for (address, device) in before.difference(&self.inviters).cloned() {
            free.insert(address.clone());
            step.outbox.push(Effect::Forget { address, device });
        }
        // One device is dialled at an address: once that is forgotten, another device may be.
        let is_new = |inviter: &&(String, DeviceId)| !before.contains(inviter) || free.contains(&inviter.0);
        for (address, device) in self.inviters.iter().filter(is_new).cloned() {
            step.outbox.push(Effect::Remember { address, device });
        }
    }

    /// Sets the timer by which tickets are redeemed again, unless it is set or there is no ticket.
    pub(super) fn arm_tickets(&mut self, step: &mut Step) {
        let user = step.keys.user();
        let is_waiting = |group: &Group| group.is_wanted && group.useful_tickets(user).next().is_some();
        if !self.are_tickets_armed && self.groups.values().any(is_waiting) {
            self.are_tickets_armed = true;
            step.outbox.push(Effect::ArmTickets);
        }
    }

    pub(super) fn on_redeem_tickets(&mut self, step: &mut Step, group: Option<GroupId>) {
        if let Some(group) = group {
            return self.links.redeem_tickets_again(step, group, &self.groups);
        }
        self.are_tickets_armed = false;
        for group in self.groups.keys() {
            self.links.redeem_tickets_again(step, *group, &self.groups);
        }
        self.arm_tickets(step);
    }

    /// Admits a user who redeems a ticket. A peer whose proof does not hold gets no answer, so that it cannot
    /// probe for groups.
    pub(super) fn on_join(&mut self, step: &mut Step, link: LinkId, join: Join) {
        let Some(Joiner { group: id, user, device, h }) =
            self.links.joiner(step, link, &join.token, &self.groups)
        else {
            return;
        };
        let group = &self.groups[&id];
        if group.ledger.roster().role(step.keys.user()) < Role::Admin {
            return; // an Admin's device answers
        }
        let invite = group.ledger.invites().find(|(op, ..)| hello::invite_token(*op, &h) == join.invite);
        let Some((op, _, invite)) = invite else { return };
        let proof = InviteProof { invite: op, device, signature: join.signature };
        if proof.verify(&invite.key, id, user).is_err() {
            step.outbox.push(Effect::Warn(Warning::WrongProof { group: id, user }));
            return;
        }
        let roster = group.ledger.roster();
        if roster.role(user) != Role::None {
            return; // the announcement of the group is the answer
        }
        let is_expired = step.now.wall.as_millis() > invite.hint_expiry;
        let reason = match invite.status {
            _ if roster.grant(user).is_some() => Some(DeclineReason::Removed),
            InviteStatus::Closed => Some(DeclineReason::Closed),
            InviteStatus::UsedUp => Some(DeclineReason::UsedUp),
            InviteStatus::Open { .. } if is_expired => Some(DeclineReason::Expired),
            InviteStatus::Open { .. } => None,
        };
        if let Some(reason) = reason {
            return self.links.decline(step, link, id, join.invite, reason);
        }
        let body = Body::SetRole { user, role: invite.max_role, cut: None, via: Some(proof) };
        if let Err(refusal) = self.author(step, id, body) {
            // No answer for the joiner: another Admin may still admit them.
            step.outbox.push(Effect::Warn(Warning::NotRedeemed { group: id, refusal }));
        }
    }

    /// Deletes a ticket that its inviter declines. Another peer may have an old ledger or a wrong clock, and
    /// others may still redeem it, so that their answers change nothing.
    pub(super) fn on_declined(&mut self, step: &mut Step, link: LinkId, declined: DeclinedTicket) {
        let Some((id, invite, device)) = self.links.decliner(link, &declined) else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        let reason = declined.reason;
        let was_pending = group.is_pending(step.keys.user());
        let is_it = |ticket: &StoredTicket| {
            ticket.invite == invite && ticket.inviter == device && ticket.seed.is_some()
        };
        let Some(at) = group.tickets.stored.iter().position(is_it) else { return };
        group.tickets.stored.remove(at);
        group.tickets.declined = Some(Declined { at: step.now.wall, reason });
        group.store_tickets(&mut step.outbox);
        self.update_inviters(step);
        self.on_tickets_changed(step, id, was_pending);
        self.publish(step, id);
        step.outbox.push(Effect::Notify(Notice::JoinDeclined { group: id, invite, reason }));
    }
}

/// A peer's answer to a ticket that admits nobody.
pub(super) struct DeclinedTicket {
    /// The token of the group.
    pub(super) token: [u8; 32],
    /// The token of the invitation.
    pub(super) invite: [u8; 32],
    pub(super) reason: DeclineReason,
}

/// The peer that redeems a ticket, and the group that it is for.
struct Joiner {
    group: GroupId,
    user: UserId,
    device: DeviceId,
    h: [u8; 32],
}

impl Links {
    /// Redeems the tickets of a group at a peer, each once a link.
    pub(super) fn redeem_tickets(&mut self, step: &mut Step, link: LinkId, id: GroupId, groups: &Groups) {
        let user = step.keys.user();
        let Some(group) = groups.get(&id).filter(|group| group.is_wanted) else { return };
        let Some(state) = self.links.get_mut(&link) else { return };
        let (h, role) = (state.peer.h, state.peer.role);
        for (ticket, seed) in group.useful_tickets(user) {
            if !state.redeemed.insert((id, ticket.invite)) {
                continue;
            }
            let key = Ticket::key_of(&seed, id);
            let proof = InviteProof::sign(&key, id, ticket.invite, user, step.keys.device.device());
            let (token, invite) = (hello::token(id, &h, role), hello::invite_token(ticket.invite, &h));
            step.outbox.send(link, LinkFrame::Join(Join { token, invite, signature: proof.signature }));
        }
    }

    /// Redeems the tickets of a group at every peer, also at those where they were redeemed before: these may
    /// know more by now.
    pub(super) fn redeem_tickets_again(&mut self, step: &mut Step, id: GroupId, groups: &Groups) {
        for link in self.ids() {
            if let Some(state) = self.links.get_mut(&link) {
                state.redeemed.retain(|(group, _)| *group != id);
            }
            self.redeem_tickets(step, link, id, groups);
        }
    }

    /// The user and device that redeem a ticket on a link, and the group of its token. `None`: no group here
    /// has the token, the link exceeds [`REDEEMED_MAX`], or the device is revoked.
    fn joiner(&mut self, step: &Step, link: LinkId, token: &[u8; 32], groups: &Groups) -> Option<Joiner> {
        let state = self.links.get_mut(&link)?;
        if !state.joins.try_count(step.now.instant, REDEEMED_MAX, REDEEMED_IN) {
            return None;
        }
        let peer = state.peer;
        let is_it = |group: &GroupId| hello::token(*group, &peer.h, peer.role.peer()) == *token;
        let (group, _) = groups.iter().find(|(id, group)| group.is_wanted && is_it(id))?;
        let is_revoked = |group: &Group| group.ledger.roster().is_revoked_by_user(peer.user, peer.device);
        if groups.values().any(is_revoked) {
            return None;
        }
        Some(Joiner { group: *group, user: peer.user, device: peer.device, h: peer.h })
    }

    fn decline(
        &self,
        step: &mut Step,
        link: LinkId,
        group: GroupId,
        invite: [u8; 32],
        reason: DeclineReason,
    ) {
        let Some(state) = self.links.get(&link) else { return };
        let token = hello::token(group, &state.peer.h, state.peer.role);
        step.outbox.send(link, LinkFrame::Declined { token, invite, reason });
    }

    /// The group and invitation that a peer declines, with its device, if such a ticket was redeemed at it.
    fn decliner(&self, link: LinkId, declined: &DeclinedTicket) -> Option<(GroupId, OpId, DeviceId)> {
        let state = self.links.get(&link)?;
        let (h, role) = (&state.peer.h, state.peer.role.peer());
        let is_it = |(group, redeemed): &&(GroupId, OpId)| {
            hello::token(*group, h, role) == declined.token
                && hello::invite_token(*redeemed, h) == declined.invite
        };
        let (group, invite) = *state.redeemed.iter().find(is_it)?;
        Some((group, invite, state.peer.device))
    }
}
