//! Tickets: invitations opened, redeemed, and kept until they have let their holder in (AUTHORITY 3.11).
//!
//! The joiner shows its proof to every device that it meets, under tokens for group and invitation which only those can
//! read who know them. Any Admin's device that does signs the grant and announces the group; from there on the joiner
//! is a member like any other. Until a ledger holds the op that a ticket pins, none counts as the group's.

use std::fmt::Display;
use std::time::Duration;

use bincode::{Decode, Encode};
use ractor::ActorProcessingErr;
use schema::ledger::{Body, InviteProof, InviteStatus, Ledger, Role};
use schema::wire::hello;
use schema::wire::link::{DeclineReason, Join, LinkFrame};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, Timestamp, UserId, codec};
use tokio::task::JoinSet;

use super::links::{Links, Redeemer};
use super::{ChangeError, Entries, Entry, State};
use crate::node::connection_manager::LinkId;
use crate::node::event::Event;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// Tickets that are kept for one group; the oldest gives way.
const TICKETS_MAX: usize = 8;
/// How often a ticket is shown again to those who are connected: they may have heard of the invitation by now.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// What is kept of a ticket, beside the group that it is for.
#[derive(Clone, Encode, Decode)]
struct Kept {
    invite: OpId,
    /// What the invitation's key is made from, until it has let this user in.
    seed: Option<[u8; 16]>,
    /// Whom to dial, and where.
    inviter: DeviceId,
    addresses: Vec<String>,
    /// A ledger without it is older than the ticket.
    log_head: OpId,
    /// The user was outside when it was kept: no older ledger lets them in.
    pins: bool,
}

/// What was said of a ticket that let nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Declined {
    /// When it was heard, by this device's clock.
    #[cfg_attr(feature = "control", serde(rename = "at_ms"))]
    pub at: Timestamp,
    /// Why.
    pub reason: DeclineReason,
}

/// The tickets that are kept for one group.
#[derive(Clone, Default, Encode, Decode)]
pub(super) struct Tickets {
    kept: Vec<Kept>,
    /// What came last of a ticket that let nobody in, for people.
    pub(super) declined: Option<Declined>,
}

impl Tickets {
    /// A ticket that cannot be read lets nobody in: the user asks for another, and does not lose the group.
    pub(super) fn read(space: &SpaceHandle) -> Result<Self, StoreError> {
        let damaged =
            |error: &dyn Display| tracing::warn!(%error, "kept tickets are damaged, and done without");
        let record = match space.get(keys::TICKET) {
            Err(error @ StoreError::Damaged { .. }) => {
                damaged(&error);
                None
            }
            record => record?,
        };
        let decode = |record: Vec<u8>| codec::decode_stored(&record).inspect_err(|error| damaged(error)).ok();
        Ok(record.and_then(decode).unwrap_or_default())
    }

    fn put(&self, batch: &mut Batch) {
        if self.kept.is_empty() && self.declined.is_none() {
            batch.remove(keys::TICKET.to_vec());
        } else {
            batch.put(keys::TICKET.to_vec(), codec::encode(self));
        }
    }

    fn keep(&mut self, kept: Kept) {
        self.declined = None;
        self.kept.retain(|other| other.invite != kept.invite);
        if self.kept.len() == TICKETS_MAX {
            self.kept.remove(0);
        }
        self.kept.push(kept);
    }

    /// Those whose invitation has not let the user in, with what it takes to show them.
    fn open(&self) -> impl Iterator<Item = (&Kept, [u8; 16])> {
        self.kept.iter().filter_map(|kept| Some((kept, kept.seed?)))
    }

    /// Whether a ledger is older than every ticket that the user came with.
    fn are_ahead_of(&self, ledger: &Ledger) -> bool {
        let mut pins = self.kept.iter().filter(|kept| kept.pins).peekable();
        pins.peek().is_some() && pins.all(|kept| !ledger.contains(kept.log_head))
    }
}

/// An invitation as its author gets it; it does not print its secret.
#[derive(Clone, Copy)]
pub struct Opened {
    /// The OpenInvite.
    pub invite: OpId,
    /// What the ticket's key is made from.
    pub seed: [u8; 16],
}

/// What an invitation is for.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What it grants.
    pub role: Role,
    /// How many users it lets in.
    pub uses: u16,
    /// When Admins' devices stop accepting it, ms since the Unix epoch.
    pub expires_ms: u64,
}

impl Entry {
    /// The user wants in, and no ledger here says that they are; or only one that is older than their ticket.
    pub(super) fn is_pending(&self, user: UserId) -> bool {
        let granted = self.ledger.roster().grant(user).is_some();
        self.wanted && (!granted || self.tickets.are_ahead_of(&self.ledger))
    }

    /// The user wants in and was removed, by a ledger that counts: only whoever speaks of the group first is answered.
    /// They have not heard yet, or have let the user in again.
    pub(super) fn is_out(&self, user: UserId) -> bool {
        !self.is_pending(user) && self.ledger.roster().role(user) == Role::None
    }

    /// The user is in, by a ledger that has this op.
    fn is_in(&self, user: UserId, log_head: OpId) -> bool {
        let member = self.ledger.roster().role(user) != Role::None;
        self.wanted && member && !self.is_pending(user) && self.ledger.contains(log_head)
    }

    /// The tickets that may still be of use.
    fn to_show(&self, user: UserId) -> impl Iterator<Item = (&Kept, [u8; 16])> {
        self.tickets.open().filter(move |(kept, _)| !self.is_in(user, kept.log_head))
    }

    /// What has let the user in is secret no longer.
    pub(super) fn spend_tickets(&mut self, user: UserId, batch: &mut Batch) {
        let mut tickets = self.tickets.clone();
        let open = tickets.kept.iter_mut().filter(|kept| kept.seed.is_some());
        let spent: Vec<_> = open.filter(|kept| self.is_in(user, kept.log_head)).collect();
        if !spent.is_empty() {
            spent.into_iter().for_each(|kept| kept.seed = None);
            tickets.put(batch);
            self.tickets = tickets;
        }
    }
}

impl State {
    /// Opens an invitation.
    pub(super) async fn invite(&mut self, group: GroupId, terms: Terms) -> Result<Opened, ChangeError> {
        let mut seed = [0; 16];
        self.arguments.clock.fill(&mut seed);
        let Terms { role, uses, expires_ms } = terms;
        let key = Ticket::key_of(&seed, group).public();
        let body = Body::OpenInvite { key, max_role: role, uses, hint_expiry: expires_ms };
        let invite = self.author(group, body).await?;
        Ok(Opened { invite, seed })
    }

    /// Keeps a ticket: from now on everybody who is met is asked, until the user is in. `true` when they are already,
    /// and nothing is kept.
    pub(super) async fn keep(
        &mut self,
        ticket: &Ticket,
    ) -> Result<Result<bool, ChangeError>, ActorProcessingErr> {
        let (user, group) = (self.user(), ticket.group());
        let Some(entry) = self.entry_or_failed(group)? else {
            return Ok(Err(ChangeError::UnknownGroup(group)));
        };
        if entry.is_in(user, ticket.log_head()) {
            return Ok(Ok(true));
        }
        let was_pending = entry.is_pending(user);
        entry.tickets.keep(Kept {
            invite: ticket.invite(),
            seed: Some(ticket.seed()),
            inviter: ticket.inviter(),
            addresses: ticket.addresses().to_vec(),
            log_head: ticket.log_head(),
            pins: was_pending || entry.ledger.roster().role(user) == Role::None,
        });
        self.write_tickets(group).await?;
        self.tickets_moved(group, was_pending);
        self.remember(group);
        self.links.ask_again(group, &self.entries);
        self.arm();
        Ok(Ok(false))
    }

    /// Whether the user is in, by a ledger that has this op.
    pub(super) fn is_in(&self, group: GroupId, log_head: OpId) -> bool {
        self.entries.get(&group).is_some_and(|entry| entry.is_in(self.user(), log_head))
    }

    /// How many tickets may still let the user in.
    pub(super) fn open_tickets(&self, group: GroupId) -> usize {
        self.entries.get(&group).map_or(0, |entry| entry.tickets.open().count())
    }

    /// The user wants in no longer: nothing is left of how they would have come.
    pub(super) async fn drop_tickets(&mut self, group: GroupId) -> Result<(), StoreError> {
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(()) };
        for kept in std::mem::take(&mut entry.tickets).kept {
            self.forget(&kept);
        }
        self.write_tickets(group).await
    }

    async fn write_tickets(&self, group: GroupId) -> Result<(), StoreError> {
        let (mut batch, entry) = (Batch::default(), &self.entries[&group]);
        entry.tickets.put(&mut batch);
        self.arguments.store.write(&entry.space, batch).await
    }

    /// A ticket more or less may be what the group's state hangs on.
    fn tickets_moved(&mut self, group: GroupId, was_pending: bool) {
        if self.entries[&group].is_pending(self.user()) != was_pending {
            self.publish(group);
            self.links.consider(group, &self.entries);
            if was_pending {
                self.links.restart(group, &self.entries);
            }
        }
    }

    /// Has the inviters dialled, now and after every start.
    pub(super) fn remember(&self, group: GroupId) {
        for kept in self.entries.get(&group).iter().flat_map(|entry| &entry.tickets.kept) {
            for address in &kept.addresses {
                self.arguments.connections.remember(address, kept.inviter);
            }
        }
    }

    fn forget(&self, kept: &Kept) {
        for address in &kept.addresses {
            self.arguments.connections.forget(address, kept.inviter);
        }
    }

    /// Shows every ticket again in a while, as long as there is one to show.
    pub(super) fn arm(&mut self) {
        let user = self.user();
        let waits = |entry: &Entry| entry.wanted && entry.to_show(user).next().is_some();
        while self.alarm.try_join_next().is_some() {}
        if self.alarm.is_empty() && self.entries.values().any(waits) {
            let (clock, handle) = (self.arguments.clock.clone(), self.handle.clone());
            self.arguments.clock.spawn_in(&mut self.alarm, async move {
                clock.sleep(clock.jitter(ASK_EVERY)).await;
                handle.ask_all();
            });
        }
    }

    pub(super) fn ask_all(&mut self) {
        self.alarm = JoinSet::new(); // its task has said its word
        for group in self.entries.keys().copied().collect::<Vec<_>>() {
            self.links.ask_again(group, &self.entries);
        }
        self.arm();
    }

    /// Somebody shows a ticket. Whoever does not hold it is told nothing, not even that there is such a group.
    pub(super) async fn redeem(&mut self, link: LinkId, join: Join) -> Result<(), StoreError> {
        let Some(Redeemer { group, user, device }) = self.links.redeemer(link, &join.token, &self.entries)
        else {
            return Ok(());
        };
        let entry = &self.entries[&group];
        if entry.ledger.roster().role(self.user()) < Role::Admin {
            return Ok(()); // for others to say
        }
        let h = *self.links.links[&link].link.h();
        let named = entry.ledger.invites().find(|(op, ..)| hello::invite_token(*op, &h) == join.invite);
        let Some((id, _, invite)) = named else { return Ok(()) };
        let proof = InviteProof { invite: id, device, signature: join.signature };
        if proof.verify(&invite.key, group, user).is_err() {
            tracing::warn!(group = %group.short(), user = %user.short(), "ticket shown by somebody else");
            return Ok(());
        }
        let roster = entry.ledger.roster();
        if roster.role(user) != Role::None {
            return Ok(()); // and the group is announced
        }
        let expired = self.arguments.clock.now().as_millis() > invite.hint_expiry;
        let declined = match invite.standing {
            _ if roster.grant(user).is_some() => Some(DeclineReason::Removed),
            InviteStatus::Closed => Some(DeclineReason::Closed),
            InviteStatus::UsedUp => Some(DeclineReason::UsedUp),
            InviteStatus::Open { .. } if expired => Some(DeclineReason::Expired),
            InviteStatus::Open { .. } => None,
        };
        if let Some(reason) = declined {
            self.links.decline(link, group, join.invite, reason);
            return Ok(());
        }
        let body = Body::SetRole { user, role: invite.max_role, cut: None, via: Some(proof) };
        match self.author(group, body).await {
            Ok(_) => Ok(()),
            Err(ChangeError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(group = %group.short(), %error, "a ticket was not redeemed");
                Ok(())
            }
        }
    }

    /// Somebody who was asked will not let us in. The inviter's word ends the ticket: anybody else may have an old ledger
    /// or a wrong clock, and others may still say yes.
    pub(super) async fn declined(
        &mut self,
        link: LinkId,
        (token, invite): ([u8; 32], [u8; 32]),
        reason: DeclineReason,
    ) -> Result<(), StoreError> {
        let Some((group, invite, device)) = self.links.decliner(link, &token, &invite) else { return Ok(()) };
        let user = self.user();
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(()) };
        let was_pending = entry.is_pending(user);
        let is_it = |kept: &Kept| kept.invite == invite && kept.inviter == device && kept.seed.is_some();
        let Some(at) = entry.tickets.kept.iter().position(is_it) else { return Ok(()) };
        let kept = entry.tickets.kept.remove(at);
        entry.tickets.declined = Some(Declined { at: self.arguments.clock.now(), reason });
        self.forget(&kept);
        self.write_tickets(group).await?;
        self.tickets_moved(group, was_pending);
        self.publish(group);
        // Nobody may be listening.
        let _ = self.arguments.events.send(Event::JoinDeclined { group, invite, reason });
        Ok(())
    }
}

impl Links {
    /// Shows the tickets for a group to a peer, each once a link.
    pub(super) fn ask(&mut self, link: LinkId, group: GroupId, entries: &Entries) {
        let user = self.user();
        let Some(entry) = entries.get(&group).filter(|entry| entry.wanted) else { return };
        let Some(state) = self.links.get_mut(&link) else { return };
        for (kept, seed) in entry.to_show(user) {
            if !state.asked.insert((group, kept.invite)) {
                continue;
            }
            let (h, role) = (state.link.h(), state.link.role());
            let device = self.arguments.device.device();
            let proof = InviteProof::sign(&Ticket::key_of(&seed, group), group, kept.invite, user, device);
            let (token, invite) = (hello::token(group, h, role), hello::invite_token(kept.invite, h));
            // A closed link is told of by its connection.
            let _ = state.link.send(LinkFrame::Join(Join { token, invite, signature: proof.signature }));
        }
    }

    /// Shows the tickets to everybody, also to those who have seen them: they may know more by now.
    pub(super) fn ask_again(&mut self, group: GroupId, entries: &Entries) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(state) = self.links.get_mut(&link) {
                state.asked.retain(|(asked, _)| *asked != group);
            }
            self.ask(link, group, entries);
        }
    }

    fn decline(&self, link: LinkId, group: GroupId, invite: [u8; 32], reason: DeclineReason) {
        let Some(state) = self.links.get(&link) else { return };
        let token = hello::token(group, state.link.h(), state.link.role());
        let _ = state.link.send(LinkFrame::Declined { token, invite, reason });
    }

    /// Which device declines which invitation, if it was asked.
    fn decliner(
        &self,
        link: LinkId,
        token: &[u8; 32],
        invite: &[u8; 32],
    ) -> Option<(GroupId, OpId, DeviceId)> {
        let state = self.links.get(&link)?;
        let (h, role) = (state.link.h(), state.link.role().peer());
        let is_it = |(group, asked): &&(GroupId, OpId)| {
            hello::token(*group, h, role) == *token && hello::invite_token(*asked, h) == *invite
        };
        let (group, invite) = *state.asked.iter().find(is_it)?;
        Some((group, invite, state.link.peer().device))
    }
}

#[cfg(test)]
mod tests {
    use testkit::golden::check_bytes;

    use super::*;

    #[test]
    fn the_record_of_tickets_keeps_its_bytes() {
        let kept = Kept {
            invite: OpId([1; 32]),
            seed: Some([2; 16]),
            inviter: DeviceId([3; 32]),
            addresses: vec!["ws://a".into()],
            log_head: OpId([4; 32]),
            pins: true,
        };
        let declined = Some(Declined { at: Timestamp(300), reason: DeclineReason::Expired });
        let golden = "01 | 01*32 | 01 02*16 | 03*32 | 01 06 77733a2f2f61 | 04*32 | 01 | 01 fb 2c01 02";
        check_bytes("tickets", &codec::encode(&Tickets { kept: vec![kept], declined }), golden);
    }
}
