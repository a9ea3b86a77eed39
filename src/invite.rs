//! Makes invitations, and joins groups by redeeming their tickets.

use std::num::NonZeroU16;
use std::time::Duration;

use actors::call::CallError;
use actors::node::membership::Terms;
use schema::ledger::Role;
use schema::wire::link::DeclineReason;
use schema::wire::ticket::Ticket;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::error::{GroupError, JoinError, Waiting};
use crate::group::{Group, GroupState};
use crate::node::Event;
use crate::node::Node;

/// The timeout of [`Node::join`].
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval at which linked devices are asked again: the invitation may have reached them meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The terms of an invitation: role, number of uses, validity.
///
/// ```
/// # use std::time::Duration;
/// # use peerbase::{InviteOptions, Node, Role};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let garden = Node::in_memory().await?.create_group("Garden club").await?;
/// let options = InviteOptions::new(Role::Reader).uses(20).valid_for(Duration::from_secs(24 * 60 * 60));
/// let ticket = garden.invite_with(options).await?;
/// println!("{ticket}");
/// # Ok(())
/// # }
/// ```
#[must_use = "an invitation is made by `Group::invite_with`"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteOptions {
    role: Role,
    uses: u16,
    valid_for: Duration,
}

impl InviteOptions {
    /// The validity of a ticket unless [`valid_for`](Self::valid_for) sets another: seven days.
    pub const VALID_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// Returns terms that admit one user with a role, at most [`Role::Writer`], within seven days.
    pub fn new(role: Role) -> Self {
        Self { role, uses: 1, valid_for: Self::VALID_FOR }
    }

    /// Sets the number of users that it admits.
    pub fn uses(mut self, uses: u16) -> Self {
        self.uses = uses;
        self
    }

    /// Sets the validity, which each Admin's device measures by its own clock.
    pub fn valid_for(mut self, duration: Duration) -> Self {
        self.valid_for = duration;
        self
    }
}

impl Group {
    /// Opens an invitation for one user and returns its ticket: text to pass on in private, since it admits
    /// its holder.
    ///
    /// The ticket carries this node's [addresses](Node::addresses). Without any, because the node does not
    /// listen, it helps those who reach an Admin's device in another way.
    ///
    /// # Errors
    /// [`GroupError::Change`] if this user is no Admin or the role is above Writer.
    pub async fn invite(&self, role: Role) -> Result<Ticket, GroupError> {
        self.invite_with(InviteOptions::new(role)).await
    }

    /// Opens an invitation with these terms and returns its ticket.
    ///
    /// # Errors
    /// As [`Group::invite`]; [`GroupError::Invitation`] if it would admit nobody.
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
    /// Lists the addresses of this node, [advertised](crate::NodeBuilder::advertise) ones first. Tickets
    /// carry them, and the node publishes them to its groups while it listens.
    pub fn addresses(&self) -> Vec<String> {
        self.handle().connections().addresses()
    }

    /// Joins a group with a ticket: dials the inviter and waits at most 30 s for admission.
    ///
    /// The intent and the ticket are stored: while the group is [pending](GroupState::Pending), the ticket is
    /// redeemed at every linked device of an Admin, also after the next open. Rows arrive after this
    /// returns; [`Group::synced`] waits for them. A ticket that is declined leaves nothing behind.
    ///
    /// # Errors
    /// [`JoinError::Pending`] if no Admin's device has admitted this user in time, [`JoinError::Declined`] if
    /// the inviter refuses the ticket, [`JoinError::AlreadyIn`] if this user is a member with a lower role
    /// than the ticket's.
    pub async fn join(&self, ticket: &Ticket) -> Result<Group, JoinError> {
        self.join_within(ticket, JOIN_TIMEOUT).await
    }

    /// Joins a group as [`Node::join`] does, with another timeout.
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
        if membership.store_ticket(ticket.clone()).await.map_err(GroupError::from)? {
            return self.joined(ticket).await;
        }
        if is_new {
            self.intend(id, "").await?;
        }
        match self.clock().timeout(timeout, self.await_admission(ticket, &mut events)).await {
            Ok(Err(declined @ JoinError::Declined { reason, .. })) => {
                // An Admin may still admit by hand a user who was removed: their intent stays.
                let is_last = membership.open_tickets(id).await.map_err(GroupError::from)? == 0;
                if is_new && is_last && reason != DeclineReason::Removed {
                    self.intend_no_more(id).await?;
                }
                Err(declined)
            }
            Ok(joined) => joined,
            Err(_) => Err(JoinError::Pending { group: id, why: self.waits_for(ticket).await }),
        }
    }

    async fn await_admission(
        &self,
        ticket: &Ticket,
        events: &mut Receiver<Event>,
    ) -> Result<Group, JoinError> {
        let (id, membership) = (ticket.group(), self.handle().membership());
        loop {
            match membership.has_admitted(id, ticket.log_head()).await {
                Ok(true) => return self.joined(ticket).await,
                Err(CallError::Stopped) => return Err(JoinError::Closed),
                Ok(false) | Err(_) => {}
            }
            if membership.info(id).is_none() {
                return Err(JoinError::Left { group: id });
            }
            match self.clock().timeout(ASK_EVERY, events.recv()).await {
                Ok(Ok(Event::JoinDeclined { group, invite, reason })) if invite == ticket.invite() => {
                    return Err(JoinError::Declined { group, reason });
                }
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) => return Err(JoinError::Closed),
                // The loop sees the result.
                Err(_) => drop(membership.redeem_tickets(id)),
            }
        }
    }

    /// Returns the group if this user's role is at least the ticket's.
    async fn joined(&self, ticket: &Ticket) -> Result<Group, JoinError> {
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
