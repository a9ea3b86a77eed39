//! Letting people in: tickets made, and tickets redeemed.

use std::num::NonZeroU16;
use std::time::Duration;

use actors::call::CallError;
use actors::node::membership::Terms;
use schema::ledger::Role;
use schema::wire::link::DeclineReason;
use schema::wire::ticket::Ticket;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::error::{GroupError, JoinError, Waiting};
use crate::group::Group;
use crate::node::Node;
use crate::{Event, GroupState};

/// How long [`Node::join`] waits.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a ticket is shown again to those who are connected: they may have heard of the invitation by now.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long a ticket may be used unless it says otherwise.
const VALID_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a ticket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteOptions {
    role: Role,
    uses: u16,
    valid_for: Duration,
}

impl InviteOptions {
    /// A ticket that lets one user in with a role, at most [`Role::Writer`], within seven days.
    pub fn new(role: Role) -> Self {
        Self { role, uses: 1, valid_for: VALID_FOR }
    }

    /// How many users it lets in.
    #[must_use]
    pub fn uses(mut self, uses: u16) -> Self {
        self.uses = uses;
        self
    }

    /// How long Admins' devices accept it, each by its own clock.
    #[must_use]
    pub fn valid_for(mut self, duration: Duration) -> Self {
        self.valid_for = duration;
        self
    }
}

impl Group {
    /// Makes a ticket for one user: text to be passed on in private, since whoever holds it gets in.
    ///
    /// It carries the [addresses](Node::addresses) under which this node is reached now; one that does not listen makes
    /// a ticket without any, which is good for those who meet an Admin's device in another way.
    ///
    /// # Errors
    /// [`GroupError::Change`] when this user is no Admin or the role is above Writer.
    pub async fn invite(&self, role: Role) -> Result<Ticket, GroupError> {
        self.invite_with(InviteOptions::new(role)).await
    }

    /// Makes a ticket.
    ///
    /// # Errors
    /// As [`Group::invite`]; [`GroupError::Invitation`] when it would let nobody in.
    pub async fn invite_with(&self, options: InviteOptions) -> Result<Ticket, GroupError> {
        let InviteOptions { role, uses, valid_for } = options;
        let uses = NonZeroU16::new(uses)
            .filter(|_| role >= Role::Reader && !valid_for.is_zero())
            .ok_or(GroupError::Invitation)?
            .get();
        let node = self.node();
        let valid_ms = u64::try_from(valid_for.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = node.clock().now().as_millis().saturating_add(valid_ms);
        let terms = Terms { role, uses, expires_ms };
        let opened = node.handle().membership().invite(self.id(), terms).await?;
        let (inviter, addresses) = (node.device_id(), node.addresses());
        let ticket = Ticket::new(self.id(), opened.invite, opened.seed, inviter, opened.invite, addresses);
        Ok(ticket.expect("the node's addresses fit a ticket"))
    }
}

impl Node {
    /// The addresses under which others may reach this node, those that were
    /// [advertised](crate::NodeBuilder::advertise) first: what tickets carry, and what
    /// this node tells its groups while it listens.
    pub fn addresses(&self) -> Vec<String> {
        self.handle().connections().addresses()
    }

    /// Joins a group with a ticket: dials the inviter and waits at most 30 s to be let in.
    ///
    /// The wish is kept: a pending group is asked for whenever an Admin's device is met, also after the next open. Rows
    /// follow once this returns; [`Group::synced`] waits for them. A ticket that came too late leaves nothing behind.
    ///
    /// # Errors
    /// [`JoinError::Pending`] when nobody has let this user in yet, [`JoinError::Declined`] when the inviter says that the
    /// ticket came too late, [`JoinError::AlreadyIn`] when this user is in with a lower role than the ticket's.
    pub async fn join(&self, ticket: &Ticket) -> Result<Group, JoinError> {
        self.join_within(ticket, JOIN_TIMEOUT).await
    }

    /// As [`Node::join`], waiting at most so long.
    ///
    /// # Errors
    /// As [`Node::join`].
    pub async fn join_within(&self, ticket: &Ticket, timeout: Duration) -> Result<Group, JoinError> {
        let (id, membership) = (ticket.group(), self.handle().membership());
        let mut events = self.events();
        let is_new = match membership.info(id) {
            Some(info) if info.state == GroupState::Failed => return Err(GroupError::Failed(id).into()),
            known => known.is_none(),
        };
        if is_new {
            self.check_room()?;
        }
        if membership.keep(ticket.clone()).await.map_err(GroupError::from)? {
            return self.come_in(ticket).await;
        }
        if is_new {
            self.intend(id, "").await?;
        }
        match self.clock().timeout(timeout, self.let_in(ticket, &mut events)).await {
            Ok(Err(declined @ JoinError::Declined { reason, .. })) => {
                // Somebody who was removed may still be admitted by a person.
                let is_last = membership.open_tickets(id).await.map_err(GroupError::from)? == 0;
                if is_new && is_last && reason != DeclineReason::Removed {
                    self.intend_no_more(id).await?;
                }
                Err(declined)
            }
            Ok(let_in) => let_in,
            Err(_) => Err(JoinError::Pending { group: id, why: self.waits_for(ticket).await }),
        }
    }

    async fn let_in(&self, ticket: &Ticket, events: &mut Receiver<Event>) -> Result<Group, JoinError> {
        let (id, membership) = (ticket.group(), self.handle().membership());
        loop {
            match membership.is_in(id, ticket.log_head()).await {
                Ok(true) => return self.come_in(ticket).await,
                Err(CallError::Stopped) => return Err(JoinError::Closed),
                Ok(false) | Err(_) => {}
            }
            if membership.info(id).is_none() {
                return Err(JoinError::Withdrawn { group: id });
            }
            match self.clock().timeout(ASK_EVERY, events.recv()).await {
                Ok(Ok(Event::JoinDeclined { group, invite, reason })) if invite == ticket.invite() => {
                    return Err(JoinError::Declined { group, reason });
                }
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) => return Err(JoinError::Closed),
                // What comes of it is seen above.
                Err(_) => drop(membership.ask_again(id)),
            }
        }
    }

    /// The group in which this user is, unless the ticket was to give more than they have.
    async fn come_in(&self, ticket: &Ticket) -> Result<Group, JoinError> {
        let group = self.group(ticket.group())?;
        let invites = group.invites().await?;
        let invite = invites.into_iter().find(|invite| invite.id == ticket.invite());
        let (group_id, role) = (group.id(), group.info().role);
        match invite.map(|invite| invite.role).filter(|ticket| role < *ticket) {
            Some(ticket) => Err(JoinError::AlreadyIn { group: group_id, role, ticket }),
            None => Ok(group),
        }
    }

    async fn waits_for(&self, ticket: &Ticket) -> Waiting {
        let membership = self.handle().membership();
        let granted = membership.info(ticket.group()).is_some_and(|info| info.role != Role::None);
        let links = self.handle().connections().links().await.unwrap_or_default();
        if granted {
            Waiting::OldLedger
        } else if links.iter().any(|link| link.peer().device == ticket.inviter()) {
            Waiting::Unanswered
        } else {
            Waiting::NotReached
        }
    }
}
