//! The gate: every group's ledger and this user's intents in, rosters out.
//!
//! Parent: [`node`](super). Children: none. Restart: replays the ledgers from the store; links are closed, since the
//! gates of the predecessor are forgotten, and come back by themselves.
//!
//! A group is spoken of on a link only while both say yes: the intent (a row of the personal group) and the ledger.
//! An op is durable before anybody is told; gates close in the handler that admits it.

mod admit;
mod advice;
mod contacts;
mod cut;
mod devices;
mod events;
mod handle;
mod intents;
mod links;
mod loose;
mod offers;
mod people;
mod present;
mod reach;
mod sessions;
mod silence;
mod tickets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::device::DeviceIdentity;
use schema::key::SigningKey;
pub use schema::ledger::InviteStatus;
use schema::ledger::{Ledger, ManifestRef, Role};
use schema::wire::hello::Hello;
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::{DeclineReason, Join};
use schema::wire::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, UserId};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use self::admit::{LedgerDelta, ReceivedAt, put_op, put_side, replay_ledger};
use self::cut::MadeCut;
pub use self::devices::Device;
pub(crate) use self::events::GroupSupervisor;
pub use self::handle::{ChangeError, GroupInfo, GroupState, MembershipHandle};
use self::intents::intents;
use self::links::Links;
use self::offers::StrangerRateLimit;
pub use self::people::{Invitation, MemberOp, MembershipChange, People, Receipt, SubmitOptions};
pub(crate) use self::present::Presented;
pub use self::reach::MemberDevice;
pub use self::silence::Silent;
use self::tickets::Tickets;
pub use self::tickets::{Declined, Opened, Terms};
use crate::call::answer;
use crate::clock::Clock;
use crate::meter::Meters;
use crate::node::connection_manager::{ConnectionManagerHandle, Link, LinkId};
use crate::node::event::Event;
use crate::node::gate::Routes;
use crate::node::group::Groups;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError, StoreHandle};
use crate::permits::Permit;

enum Message {
    /// Found a group.
    Create { name: String, recovery: Option<UserId>, reply: RpcReplyPort<Result<GroupId, ChangeError>> },
    /// Sign and store a membership change.
    Submit {
        group: GroupId,
        change: MembershipChange,
        /// Where it needs one.
        cut: Option<MadeCut>,
        reply: RpcReplyPort<Result<OpId, ChangeError>>,
    },
    /// Which members' devices do not speak of the group.
    Silent { group: GroupId, reply: RpcReplyPort<Vec<Silent>> },
    /// Every op about a member.
    Log { group: GroupId, reply: RpcReplyPort<Vec<MemberOp>> },
    /// The ops about members that came to nothing and are not so all the same.
    Reissuable { group: GroupId, reply: RpcReplyPort<Vec<MemberOp>> },
    /// Every invitation.
    Invites { group: GroupId, reply: RpcReplyPort<Vec<Invitation>> },
    /// Open an invitation.
    Invite { group: GroupId, terms: Terms, reply: RpcReplyPort<Result<Opened, ChangeError>> },
    /// Keep a ticket and show it to whoever is met.
    Keep { ticket: Ticket, reply: RpcReplyPort<Result<bool, ChangeError>> },
    /// Is the user in, by a ledger with this op?
    IsIn { group: GroupId, log_head: OpId, reply: RpcReplyPort<bool> },
    /// How many tickets may still let the user in?
    OpenTickets { group: GroupId, reply: RpcReplyPort<usize> },
    /// Show the kept tickets of a group once more.
    AskAgain(GroupId),
    /// Show all kept tickets once more.
    AskAll,
    /// This device is reached at other addresses than before.
    AddressesMoved,
    /// The row that says whether the user wants in has moved.
    Intent { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// The row that says whether the user wants to hear of somebody has moved.
    Contact { user: UserId, reply: Option<RpcReplyPort<()>> },
    /// Read the intents and contacts again.
    ReloadIntents,
    /// A group's actor is ready for sessions, perhaps again.
    GroupStarted(GroupId),
    /// Something was accepted from these devices.
    Wrote { group: GroupId, devices: Vec<DeviceId> },
    /// A link passed its handshake.
    LinkUp(Link),
    /// A link is gone.
    LinkDown { link: LinkId, reason: String },
    /// A peer announces groups.
    Hello { link: LinkId, hello: Hello, _permit: Permit },
    /// A peer shows why it is a member.
    Present { link: LinkId, group: GroupId, shown: Presented, _permit: Permit },
    /// A peer shows a ticket.
    Redeem { link: LinkId, join: Join, _permit: Permit },
    /// A peer to whom we showed a ticket will not let us in.
    Declined { link: LinkId, tokens: ([u8; 32], [u8; 32]), reason: DeclineReason, _permit: Permit },
    /// A frame of a ledger session.
    Ledger { link: LinkId, group: GroupId, frame: LedgerFrame, _permit: Permit },
    /// A ledger session was to be stepped again.
    Resume { link: LinkId, group: GroupId },
    /// A peer may have owed a page for too long.
    Wake,
    /// List the devices of this user.
    Devices(RpcReplyPort<Vec<Device>>),
    /// Take a device of this user back; answered with where its changes are to be cut.
    RevokeDevice { device: DeviceId, reply: RpcReplyPort<Result<(UserId, Vec<GroupId>), ChangeError>> },
    /// Fail, for tests.
    Fail,
}

/// What membership needs to start, again and again.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) clock: Clock,
    pub(crate) meters: Meters,
    pub(crate) user: SigningKey,
    pub(crate) device: DeviceIdentity,
    pub(crate) personal: GroupId,
    pub(crate) store: StoreHandle,
    pub(crate) groups: Groups,
    pub(crate) connections: ConnectionManagerHandle,
    pub(crate) routes: Routes,
    pub(crate) supervisor: Arc<dyn GroupSupervisor>,
    pub(crate) events: broadcast::Sender<Event>,
}

/// One group's ledger, where it is kept, and whether the user wants it.
pub(crate) struct Entry {
    pub(crate) ledger: Ledger,
    pub(crate) wanted: bool,
    /// For people alone.
    taken: ReceivedAt,
    tickets: Tickets,
    /// Manifests that were checked since the node started. Ops that were taken before may name others.
    attached: BTreeSet<ManifestRef>,
    /// Bytes of pages that no op names; of those that were kept since they were last counted, some may be named by now.
    loose: u64,
    space: SpaceHandle,
}

impl Entry {
    fn new((ledger, taken): (Ledger, ReceivedAt), tickets: Tickets, space: SpaceHandle) -> Self {
        Self { ledger, wanted: false, taken, tickets, attached: BTreeSet::new(), loose: 0, space }
    }
}

pub(crate) type Entries = BTreeMap<GroupId, Entry>;

struct State {
    handle: MembershipHandle,
    arguments: Arguments,
    entries: Entries,
    links: Links,
    strangers: StrangerRateLimit,
    /// Where this device is reached; nothing while it does not listen.
    addresses: Vec<String>,
    /// Until kept tickets are shown again.
    alarm: JoinSet<()>,
    /// Until a peer has owed a page for too long.
    watch: JoinSet<()>,
}

impl State {
    /// Reads every ledger back; makes the personal group at the first start.
    async fn replay(handle: MembershipHandle, arguments: Arguments) -> Result<Self, ActorProcessingErr> {
        let links = Links::new(arguments.clone());
        let addresses = arguments.connections.published();
        let (entries, alarm, watch) = (BTreeMap::new(), JoinSet::new(), JoinSet::new());
        let strangers = StrangerRateLimit::default();
        let mut state = Self { handle, arguments, entries, links, strangers, addresses, alarm, watch };
        for name in state.arguments.store.spaces()? {
            let Some(group) = keys::group_of(&name) else { continue };
            if group != state.arguments.personal {
                state.entry_or_failed(group)?;
            }
        }
        let personal = state.arguments.personal;
        if state.entry(personal)?.ledger.is_empty() {
            let (ledger, create) = Ledger::personal(&state.arguments.user);
            let certificate = state.arguments.device.certificate.envelope().clone();
            let entry = state.entries.get_mut(&personal).expect("just made");
            entry.ledger = ledger;
            entry.ledger.admit_certificate(certificate.clone())?;
            let mut batch = Batch::default();
            let now = state.arguments.clock.now();
            put_op(&mut batch, 0, create.envelope(), now);
            entry.taken.insert(OpId(personal.0), now);
            put_side(&mut batch, keys::CERTIFICATE, &certificate);
            state.arguments.store.write(&state.entries[&personal].space, batch).await?;
        }
        for group in state.entries.keys().copied().collect::<Vec<_>>() {
            state.tidy(group).await?;
        }
        state.links.blocked = contacts::blocked(&state.entries[&personal].space)?;
        for group in intents(&state.entries[&personal].space)? {
            match state.entry_or_failed(group)? {
                Some(entry) => entry.wanted = true,
                None => state.publish_failed(group),
            }
        }
        state.entry(personal)?.wanted = true;
        // The node may have ended while a device was being taken back: what no group has heard yet is said now.
        state.take(personal, LedgerDelta::default(), None, true).await?;
        state.spread_revocations(personal, true).await?;
        for group in state.entries.keys().copied().collect::<Vec<_>>() {
            state.publish(group);
            if state.entries[&group].wanted {
                state.remember(group);
            }
        }
        state.say_where().await?;
        state.arm();
        Ok(state)
    }

    /// A group whose ledger is damaged is out of service; the others are not.
    fn entry_or_failed(&mut self, group: GroupId) -> Result<Option<&mut Entry>, ActorProcessingErr> {
        if let Err(error) = self.entry(group) {
            if matches!(error.downcast_ref(), Some(StoreError::Closed | StoreError::Failed { .. })) {
                return Err(error);
            }
            tracing::error!(group = %group.short(), %error, "ledger is damaged");
            // Nobody may be listening.
            let reason = error.to_string();
            let _ = self.arguments.events.send(Event::GroupFailed { group, reason });
        }
        Ok(self.entries.get_mut(&group))
    }

    /// Lists a group that is out of service.
    fn publish_failed(&self, group: GroupId) {
        let (name, state, role) = (String::new(), GroupState::Failed, Role::None);
        let info = GroupInfo { id: group, name, state, role, offered_by: None };
        let known = (info, Ledger::new(group).roster().clone(), Arc::default());
        self.handle.publish().insert(group, known);
    }

    fn entry(&mut self, group: GroupId) -> Result<&mut Entry, ActorProcessingErr> {
        if !self.entries.contains_key(&group) {
            let space = self.arguments.store.space(&keys::space(group))?;
            let key = (group == self.arguments.personal).then_some(&self.arguments.user);
            let (ledger, taken) = replay_ledger(group, &space, key)?;
            let tickets = Tickets::read(&space)?;
            self.entries.insert(group, Entry::new((ledger, taken), tickets, space));
        }
        Ok(self.entries.get_mut(&group).expect("just inserted"))
    }

    async fn create(&mut self, name: String, recovery: Option<UserId>) -> Result<GroupId, ChangeError> {
        let mut nonce = [0; 32];
        self.arguments.clock.fill(&mut nonce);
        let (user, device) = (self.user(), &self.arguments.device);
        // The recovery user stands above everybody (authority 3.4).
        let founders = recovery.into_iter().chain([user]).collect();
        let (ledger, create) = Ledger::create(nonce, founders, &name, user, self.by(), &device.signing)?;
        let group = ledger.group();
        let space = self.arguments.store.space(&keys::space(group))?;
        let mut batch = Batch::default();
        let now = self.arguments.clock.now();
        put_op(&mut batch, 0, create.envelope(), now);
        self.arguments.store.write(&space, batch).await?;
        let taken = ReceivedAt::from([(OpId(group.0), now)]);
        self.entries.insert(group, Entry::new((ledger, taken), Tickets::default(), space));
        self.take(group, LedgerDelta::default(), None, false).await?;
        self.publish(group);
        Ok(group)
    }

    /// Makes the newest roster visible and tells the group.
    fn publish(&mut self, group: GroupId) {
        let Some(entry) = self.entries.get(&group) else { return };
        let name = entry.ledger.roster().name().to_owned();
        let role = entry.ledger.roster().role(self.user());
        let state = match role {
            _ if entry.is_pending(self.user()) => GroupState::Pending,
            Role::None => GroupState::Removed,
            _ => GroupState::Active,
        };
        // Nobody is a member by a ledger that does not count.
        let roster = match state {
            GroupState::Pending => Ledger::new(group).roster().clone(),
            _ => entry.ledger.roster().clone(),
        };
        let mut people = match state {
            GroupState::Pending => People::default(),
            _ => People::of(&entry.ledger, &entry.taken, self.user()),
        };
        self.arguments.connections.set_recorded(group, self.reachable(group, state));
        if state != GroupState::Active {
            people.declined = entry.tickets.declined;
        }
        let info = GroupInfo { id: group, name, state, role, offered_by: None };
        if entry.wanted {
            let known = (info, roster.clone(), Arc::new(people));
            let before = self.handle.publish().insert(group, known.clone());
            self.handle.roster_moved(group);
            for event in events::roster_events(group, before.as_ref(), &known, self.user()) {
                // Nobody may be listening.
                let _ = self.arguments.events.send(event);
            }
        }
        if let Some(handle) = self.arguments.groups.get(group) {
            handle.set_roster(roster);
        }
    }

    /// What was told while the group was starting went nowhere.
    async fn group_started(&mut self, group: GroupId) -> Result<(), StoreError> {
        self.publish(group);
        self.links.restart(group, &self.entries);
        // Not before: a group that starts refuses what was written to its space meanwhile.
        self.say_where_in(group).await
    }

    /// Who was a stranger may be none now: addresses are not left alone any longer.
    fn redial_known(&self) {
        // While the node starts or closes there is nobody to dial.
        let _ = self.arguments.connections.network_changed();
    }

    fn user(&self) -> UserId {
        self.arguments.device.user()
    }
}

/// Answers; a failed store fails the actor, whose ledgers in memory ran ahead of it.
fn report<T: Send>(
    reply: RpcReplyPort<Result<T, ChangeError>>,
    result: Result<T, ChangeError>,
) -> Result<(), ActorProcessingErr> {
    let failure = match &result {
        Err(ChangeError::Store(error)) => Some(error.clone()),
        _ => None,
    };
    answer(reply, result);
    failure.map_or(Ok(()), |error| Err(error.into()))
}

struct Membership;

impl Actor for Membership {
    type Msg = Message;
    type State = State;
    type Arguments = (MembershipHandle, Arguments);

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        (handle, arguments): (MembershipHandle, Arguments),
    ) -> Result<State, ActorProcessingErr> {
        State::replay(handle, arguments).await
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Create { name, recovery, reply } => report(reply, state.create(name, recovery).await)?,
            Message::Submit { group, change, cut, reply } => {
                report(reply, state.submit(group, change, cut).await)?;
            }
            Message::Silent { group, reply } => answer(reply, state.silent(group)),
            Message::Log { group, reply } => {
                answer(reply, state.entries.get(&group).map(Entry::log).unwrap_or_default());
            }
            Message::Reissuable { group, reply } => {
                answer(reply, state.entries.get(&group).map(Entry::reissuable).unwrap_or_default());
            }
            Message::Invites { group, reply } => {
                answer(reply, state.entries.get(&group).map(Entry::invites).unwrap_or_default());
            }
            Message::Invite { group, terms, reply } => report(reply, state.invite(group, terms).await)?,
            Message::Keep { ticket, reply } => report(reply, state.keep(&ticket).await?)?,
            Message::IsIn { group, log_head, reply } => answer(reply, state.is_in(group, log_head)),
            Message::OpenTickets { group, reply } => answer(reply, state.open_tickets(group)),
            Message::AskAll => state.ask_all(),
            Message::AskAgain(group) => state.links.ask_again(group, &state.entries),
            Message::AddressesMoved => state.addresses_moved().await?,
            Message::Intent { group, reply } => {
                state.intent_changed(group).await?;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::Contact { user, reply } => {
                state.contact_changed(user)?;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::ReloadIntents => {
                state.reload_contacts()?;
                state.reload_intents().await?;
            }
            Message::GroupStarted(group) => state.group_started(group).await?,
            Message::Wrote { group, devices } => state.wrote(group, devices).await?,
            Message::LinkUp(link) => state.links.up(link, &state.entries),
            Message::LinkDown { link, reason } => {
                state.links.down(link, &reason);
                state.tidy_all().await?;
            }
            Message::Hello { link, hello, _permit } => state.links.hello(link, hello, &state.entries),
            Message::Present { link, group, shown, _permit } => state.present(link, group, shown).await?,
            Message::Redeem { link, join, _permit } => state.redeem(link, join).await?,
            Message::Declined { link, tokens, reason, _permit } => {
                state.declined(link, tokens, reason).await?
            }
            Message::Ledger { link, group, frame, _permit } => state.ledger(link, group, frame).await?,
            Message::Resume { link, group } => state.resume(link, group).await?,
            Message::Wake => state.wake(),
            Message::Devices(reply) => answer(reply, state.devices()),
            Message::RevokeDevice { device, reply } => report(reply, state.revoke_device(device).await)?,
            Message::Fail => return Err("failed on request".into()),
        }
        state.links.acquaint(&state.entries);
        Ok(())
    }
}
