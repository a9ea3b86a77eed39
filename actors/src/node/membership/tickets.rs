//! Tickets: invitations opened, redeemed, and kept until they have let their holder in (AUTHORITY 3.11).
//!
//! The joiner sends its proof to every device that it meets, under a token which only members of the group can read.
//! Any Admin's device that knows the invitation signs the grant and announces the group; from there on the joiner is
//! a member like any other. Until a ledger holds the op that the ticket pins, no ledger counts as the group's.

use bincode::{Decode, Encode};
use ractor::ActorProcessingErr;
use schema::frame::{DeclineReason, Join, LinkFrame};
use schema::ledger::{Body, InviteProof, InviteStanding, Role};
use schema::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, UserId, codec, hello};

use super::links::{Links, Redeemer};
use super::{Arguments, ChangeError, Entries, Entry, State};
use crate::node::connection_manager::LinkId;
use crate::node::event::Event;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

/// What is kept of a ticket, beside the group that it is for.
#[derive(Clone, Encode, Decode)]
pub(super) struct Kept {
    /// Where to dial, and whom.
    addresses: Vec<String>,
    inviter: DeviceId,
    /// A ledger without it is older than the ticket.
    log_head: OpId,
    /// The invitation and its seed, until it has let this user in.
    secret: Option<(OpId, [u8; 16])>,
}

impl Kept {
    pub(super) fn read(space: &SpaceHandle) -> Result<Option<Self>, ActorProcessingErr> {
        let record = space.get(keys::TICKET)?;
        Ok(record.map(|record| codec::decode_stored(&record)).transpose()?)
    }

    fn put(&self, batch: &mut Batch) {
        batch.put(keys::TICKET.to_vec(), codec::encode(self));
    }
}

/// An invitation as its author gets it.
#[derive(Clone, Copy, Debug)]
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
        let is_old = self.ticket.as_ref().is_some_and(|ticket| !self.ledger.contains(ticket.log_head));
        self.wanted && (!granted || is_old)
    }

    /// The user wants in and is outside, by any ledger that counts: then a ticket is of use.
    fn is_outside(&self, user: UserId) -> bool {
        self.is_pending(user) || self.wanted && self.ledger.roster().role(user) == Role::None
    }

    /// Has let the user in: what is secret of the ticket is over.
    pub(super) fn ticket_is_spent(&mut self, batch: &mut Batch) {
        if let Some(ticket) = &mut self.ticket
            && ticket.secret.take().is_some()
        {
            ticket.put(batch);
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

    /// Keeps a ticket: from now on everybody who is met is asked, until the user is in.
    pub(super) async fn keep(
        &mut self,
        ticket: &Ticket,
    ) -> Result<Result<(), ChangeError>, ActorProcessingErr> {
        let group = ticket.group();
        let Some(entry) = self.entry_or_failed(group)? else {
            return Ok(Err(ChangeError::UnknownGroup(group)));
        };
        let kept = Kept {
            addresses: ticket.addresses().to_vec(),
            inviter: ticket.inviter(),
            log_head: ticket.log_head(),
            secret: Some((ticket.invite(), ticket.seed())),
        };
        let (space, mut batch) = (entry.space.clone(), Batch::default());
        kept.put(&mut batch);
        entry.ticket = Some(kept);
        self.arguments.store.write(&space, batch).await?;
        self.remember(group);
        self.links.ask_again(group, &self.entries);
        Ok(Ok(()))
    }

    /// Has the inviter dialled, now and after every start.
    pub(super) fn remember(&self, group: GroupId) {
        let ticket = self.entries.get(&group).and_then(|entry| entry.ticket.as_ref());
        for (address, ticket) in
            ticket.iter().flat_map(|ticket| ticket.addresses.iter().map(move |a| (a, ticket)))
        {
            self.arguments.connections.remember(address, ticket.inviter);
        }
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
        let Some(invite) = entry.ledger.invite(join.proof.invite) else { return Ok(()) };
        let proof = join.proof;
        if proof.device != device || proof.verify(&invite.key, group, user).is_err() {
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
            InviteStanding::Closed => Some(DeclineReason::Closed),
            InviteStanding::UsedUp => Some(DeclineReason::UsedUp),
            InviteStanding::Open { .. } if expired => Some(DeclineReason::Expired),
            InviteStanding::Open { .. } => None,
        };
        if let Some(reason) = declined {
            self.links.decline(link, group, reason);
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

    /// Whoever was asked will not let us in.
    pub(super) fn declined(&self, link: LinkId, token: &[u8; 32], reason: DeclineReason) {
        if let Some((group, device)) = self.links.decliner(link, token, &self.entries) {
            // Nobody may be listening.
            let _ = self.arguments.events.send(Event::JoinDeclined { group, device, reason });
        }
    }
}

impl Links {
    /// Shows the ticket to a peer, once a link.
    pub(super) fn ask(&mut self, link: LinkId, group: GroupId, entries: &Entries) {
        let Some(entry) = entries.get(&group).filter(|entry| entry.is_outside(self.user())) else { return };
        let Some((invite, seed)) = entry.ticket.as_ref().and_then(|ticket| ticket.secret) else { return };
        let Some(state) = self.links.get_mut(&link).filter(|state| !state.asked.contains(&group)) else {
            return;
        };
        state.asked.insert(group);
        let Arguments { device, .. } = &self.arguments;
        let key = Ticket::key_of(&seed, group);
        let proof = InviteProof::sign(&key, group, invite, device.user(), device.device());
        let token = hello::token(group, state.link.h(), state.link.role());
        // A closed link is told of by its connection.
        let _ = state.link.send(LinkFrame::Join(Join { token, proof }));
    }

    /// Shows the ticket to everybody, also to those who have seen it: they may know more by now.
    pub(super) fn ask_again(&mut self, group: GroupId, entries: &Entries) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(state) = self.links.get_mut(&link) {
                state.asked.remove(&group);
            }
            self.ask(link, group, entries);
        }
    }

    fn decline(&self, link: LinkId, group: GroupId, reason: DeclineReason) {
        let Some(state) = self.links.get(&link) else { return };
        let token = hello::token(group, state.link.h(), state.link.role());
        let _ = state.link.send(LinkFrame::Declined { token, reason });
    }

    /// Which device declines for which group, if it was asked.
    fn decliner(&self, link: LinkId, token: &[u8; 32], entries: &Entries) -> Option<(GroupId, DeviceId)> {
        let state = self.links.get(&link)?;
        let is_it =
            |group: &&GroupId| hello::token(**group, state.link.h(), state.link.role().peer()) == *token;
        let group = *state.asked.iter().find(is_it)?;
        let is_outside = entries.get(&group)?.is_outside(self.user());
        is_outside.then(|| (group, state.link.peer().device))
    }
}
