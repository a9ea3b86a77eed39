//! The gate: every group's ledger and this user's intents in, rosters out.
//!
//! Parent: [`node`](super). Children: none. Restart: replays the ledgers from the store; links are closed, since the
//! gates of the predecessor are forgotten, and come back by themselves.
//!
//! A group is spoken of on a link only while both say yes: the intent (a row of the personal group) and the ledger.
//! An op is durable before anybody is told; gates close in the handler that admits it.

mod devices;
mod handle;
mod links;
mod people;
mod tickets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::device::DeviceIdentity;
use schema::frame::{DeclineReason, Hello, Join};
use schema::id::hash;
use schema::key::SigningKey;
pub use schema::ledger::InviteStanding;
use schema::ledger::{Admitted, Body, By, Invalid, Ledger, Refusal, Role};
use schema::session::ledger::LedgerFrame;
use schema::signed::{Envelope, Signed};
use schema::ticket::Ticket;
use schema::{DeviceId, GroupId, OpId, UserId, codec};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

pub use self::devices::Device;
pub(crate) use self::handle::Known;
pub use self::handle::{ChangeError, GroupInfo, GroupState, MembershipHandle};
use self::links::Links;
pub use self::people::{Invitation, MemberOp, People, Saying};
use self::tickets::Tickets;
pub use self::tickets::{Opened, Terms};
use crate::admission::Permit;
use crate::call::answer;
use crate::clock::Clock;
use crate::node::connection_manager::{ConnectionManagerHandle, Link, LinkId};
use crate::node::event::Event;
use crate::node::gate::Routes;
use crate::node::group::rows::RowRecord;
use crate::node::group::{Groups, INTENTS_TABLE, rows};
use crate::node::store::{Batch, SpaceHandle, StoreError, StoreHandle};
use crate::node::{NodeNews, keys};

enum Message {
    /// Found a group.
    Create { name: String, recovery: Option<UserId>, reply: RpcReplyPort<Result<GroupId, ChangeError>> },
    /// Say something about members or invitations.
    Say { group: GroupId, saying: Saying, reply: RpcReplyPort<Result<OpId, ChangeError>> },
    /// Every op about a member.
    Log { group: GroupId, reply: RpcReplyPort<Vec<MemberOp>> },
    /// The ops about members that came to nothing and are not so all the same.
    Voided { group: GroupId, reply: RpcReplyPort<Vec<MemberOp>> },
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
    /// The row that says whether the user wants in has moved.
    Intent { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// Read the intents again.
    IntentsAnew,
    /// A group's actor is ready for sessions, perhaps again.
    GroupStarted(GroupId),
    /// A link passed its handshake.
    LinkUp(Link),
    /// A link is gone.
    LinkDown { link: LinkId, reason: String },
    /// A peer announces groups.
    Hello { link: LinkId, hello: Hello, _permit: Permit },
    /// A peer shows why it is a member.
    Present { link: LinkId, group: GroupId, ops: Vec<Envelope>, _permit: Permit },
    /// A peer shows a ticket.
    Redeem { link: LinkId, join: Join, _permit: Permit },
    /// A peer to whom we showed a ticket will not let us in.
    Declined { link: LinkId, tokens: ([u8; 32], [u8; 32]), reason: DeclineReason, _permit: Permit },
    /// A frame of a ledger session.
    Ledger { link: LinkId, group: GroupId, frame: LedgerFrame, _permit: Permit },
    /// List the devices of this user.
    Devices(RpcReplyPort<Vec<Device>>),
    /// Take a device of this user back.
    RevokeDevice { device: DeviceId, reply: RpcReplyPort<Result<(), ChangeError>> },
    /// Fail, for tests.
    Fail,
}

/// What membership needs to start, again and again.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) clock: Clock,
    pub(crate) user: SigningKey,
    pub(crate) device: DeviceIdentity,
    pub(crate) personal: GroupId,
    pub(crate) store: StoreHandle,
    pub(crate) groups: Groups,
    pub(crate) connections: ConnectionManagerHandle,
    pub(crate) routes: Routes,
    pub(crate) node: NodeNews,
    pub(crate) events: broadcast::Sender<Event>,
}

/// One group's ledger, where it is kept, and whether the user wants it.
pub(crate) struct Entry {
    pub(crate) ledger: Ledger,
    pub(crate) wanted: bool,
    tickets: Tickets,
    space: SpaceHandle,
}

pub(crate) type Entries = BTreeMap<GroupId, Entry>;

struct State {
    handle: MembershipHandle,
    arguments: Arguments,
    entries: Entries,
    links: Links,
    /// Until kept tickets are shown again.
    alarm: JoinSet<()>,
}

impl State {
    /// Reads every ledger back; makes the personal group at the first start.
    async fn replay(handle: MembershipHandle, arguments: Arguments) -> Result<Self, ActorProcessingErr> {
        let links = Links::new(arguments.clone());
        let mut state = Self { handle, arguments, entries: BTreeMap::new(), links, alarm: JoinSet::new() };
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
            put_op(&mut batch, 0, create.envelope());
            put_side(&mut batch, keys::CERTIFICATE, &certificate);
            state.arguments.store.write(&state.entries[&personal].space, batch).await?;
        }
        for group in intents(&state.entries[&personal].space)? {
            match state.entry_or_failed(group)? {
                Some(entry) => entry.wanted = true,
                None => state.publish_failed(group),
            }
        }
        state.entry(personal)?.wanted = true;
        // A device may have been taken back just before the node ended.
        state.spread_revocations(personal, false).await?;
        for group in state.entries.keys().copied().collect::<Vec<_>>() {
            state.publish(group);
            if state.entries[&group].wanted {
                state.remember(group);
            }
        }
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
        let info = GroupInfo { id: group, name: String::new(), state: GroupState::Failed, role: Role::None };
        let known = (info, Ledger::new(group).roster().clone(), Arc::default());
        self.handle.publish().insert(group, known);
    }

    fn entry(&mut self, group: GroupId) -> Result<&mut Entry, ActorProcessingErr> {
        if !self.entries.contains_key(&group) {
            let space = self.arguments.store.space(&keys::space(group))?;
            let ledger = replay_ledger(group, &space)?;
            let tickets = Tickets::read(&space)?;
            self.entries.insert(group, Entry { ledger, wanted: false, tickets, space });
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
        put_op(&mut batch, 0, create.envelope());
        self.arguments.store.write(&space, batch).await?;
        self.entries.insert(group, Entry { ledger, wanted: false, tickets: Tickets::default(), space });
        self.take(group, Gained::default(), None, false).await?;
        self.publish(group);
        Ok(group)
    }

    /// Signs an op of this user and takes it in.
    async fn author(&mut self, group: GroupId, body: Body) -> Result<OpId, ChangeError> {
        self.author_without(group, &BTreeSet::new(), body).await
    }

    /// Signs an op of this user as of before `rejected`, and takes it in.
    async fn author_without(
        &mut self,
        group: GroupId,
        rejected: &BTreeSet<OpId>,
        body: Body,
    ) -> Result<OpId, ChangeError> {
        let (author, by) = (self.user(), self.by());
        let entry = self.entries.get_mut(&group).filter(|entry| entry.wanted);
        let ledger = &entry.ok_or(ChangeError::UnknownGroup(group))?.ledger;
        let target = match &body {
            Body::SetRole { user, .. } | Body::RevokeDevice { user, .. } => Some(*user),
            _ => None,
        };
        let op =
            ledger.draft_without(rejected, author, by, body).map_err(|refusal| match (refusal, target) {
                (Refusal::Invalid { why: Invalid::Cut { needed: true, .. }, .. }, Some(user)) => {
                    ChangeError::NeedsCut(user)
                }
                (refusal, _) => refusal.into(),
            })?;
        let op = Signed::sign(op, &self.arguments.device.signing);
        let id = OpId(op.id());
        let gained = Gained { ops: vec![op.envelope().clone()], ..Gained::default() };
        match self.admit(group, gained, None).await? {
            Verdict { refused: Some(refusal), .. } => Err(refusal.into()),
            _ => {
                self.meet();
                Ok(id)
            }
        }
    }

    /// Admits what came, makes it durable, closes gates, and tells everyone who must know; in all groups where it says
    /// that a device was taken back.
    async fn admit(
        &mut self,
        group: GroupId,
        came: Gained,
        source: Option<LinkId>,
    ) -> Result<Verdict, StoreError> {
        let verdict = self.take(group, came, source, false).await?;
        if verdict.withdrew {
            self.spread_revocations(group, false).await?;
        }
        Ok(verdict)
    }

    /// Admits what came into one group; `says` when it is to hold an op for every device that our user took back.
    async fn take(
        &mut self,
        group: GroupId,
        came: Gained,
        source: Option<LinkId>,
        says: bool,
    ) -> Result<Verdict, StoreError> {
        let user = self.user();
        let withdrawn = self.withdrawn();
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(Verdict::default()) };
        let was_pending = entry.is_pending(user);
        let grant = entry.ledger.roster().grant(user);
        let (mut batch, mut gained, mut verdict) = (Batch::default(), Gained::default(), Verdict::default());
        for envelope in came.ops {
            let position = entry.ledger.len();
            match entry.ledger.admit(envelope.clone()) {
                Ok(Admitted::New(_)) => {
                    put_op(&mut batch, position, &envelope);
                    gained.ops.push(envelope);
                }
                Ok(Admitted::Known) => {}
                Err(Refusal::MissingParents { .. }) => verdict.missing = true,
                Err(refusal) => {
                    tracing::warn!(group = %group.short(), %refusal, "membership op refused");
                    verdict.refused = Some(refusal);
                }
            }
        }
        // Behind the ops: only users whom one of them names may have certificates.
        for envelope in came.certificates {
            // A bad certificate is not worth the link: whoever needs it will miss it.
            if matches!(entry.ledger.admit_certificate(envelope.clone()), Ok(true)) {
                put_side(&mut batch, keys::CERTIFICATE, &envelope);
                gained.certificates.push(envelope);
            }
        }
        for envelope in came.revocations {
            if matches!(entry.ledger.admit_revocation(envelope.clone()), Ok(true)) {
                put_side(&mut batch, keys::REVOCATION, &envelope);
                gained.revocations.push(envelope);
            }
        }
        // Whoever judges our changes must know that our user vouches for this device.
        let own = &self.arguments.device;
        let roster = entry.ledger.roster();
        let mut introduction = Gained::default();
        if roster.role(own.user()) != Role::None && !roster.is_certified(own.user(), own.device()) {
            let certificate = own.certificate.envelope();
            if matches!(entry.ledger.admit_certificate(certificate.clone()), Ok(true)) {
                put_side(&mut batch, keys::CERTIFICATE, certificate);
                introduction.certificates.push(certificate.clone());
            }
        }
        verdict.withdrew = !gained.revocations.is_empty();
        introduction.revocations = entry.learn(&withdrawn, &mut batch);
        // Who was let in again says again which devices are out.
        if says || grant != entry.ledger.roster().grant(user) {
            introduction.ops = entry.shut_out(&self.arguments, &mut batch);
        }
        if source.is_none() {
            // One word: who hears that a device is out hears the op for it too.
            gained.append(std::mem::take(&mut introduction));
        }
        let has_come_in = was_pending && !entry.is_pending(user);
        entry.spend_tickets(user, &mut batch);
        if !gained.is_empty() || !introduction.is_empty() {
            self.links.close_gates(group, &self.entries[&group]);
            self.arguments.store.write(&self.entries[&group].space, batch).await?;
            self.publish(group);
            self.links.push(group, &gained, source);
            self.links.push(group, &introduction, None);
            self.links.consider(group, &self.entries);
            if has_come_in {
                self.links.restart(group, &self.entries);
            }
        }
        Ok(verdict)
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
        let people = match state {
            GroupState::Pending => People::default(),
            _ => People::of(&entry.ledger, self.user()),
        };
        let info = GroupInfo { id: group, name, state, role };
        if entry.wanted {
            let known = (info, roster.clone(), Arc::new(people));
            let before = self.handle.publish().insert(group, known.clone());
            for event in Event::of_roster(group, before.as_ref(), &known, self.user()) {
                // Nobody may be listening.
                let _ = self.arguments.events.send(event);
            }
        }
        if let Some(handle) = self.arguments.groups.get(group) {
            handle.set_roster(roster);
        }
    }

    async fn intents_anew(&mut self) -> Result<(), ActorProcessingErr> {
        let mut groups = intents(&self.entries[&self.arguments.personal].space)?;
        groups.extend(self.entries.iter().filter(|(_, entry)| entry.wanted).map(|(group, _)| *group));
        for group in groups {
            self.heed(group).await?;
        }
        Ok(())
    }

    /// What was told while the group was starting went nowhere.
    fn group_started(&mut self, group: GroupId) {
        self.publish(group);
        self.links.restart(group, &self.entries);
    }

    /// Does as the intent says that is stored now: what tells of it may come late, and one that was written and taken
    /// back is told of twice.
    async fn heed(&mut self, group: GroupId) -> Result<(), ActorProcessingErr> {
        let personal = self.arguments.personal;
        if group == personal {
            return Ok(());
        }
        let Some(wanted) = intent(&self.entries[&personal].space, group)? else { return Ok(()) };
        if !wanted && !self.entries.contains_key(&group) {
            self.handle.publish().remove(&group);
            return Ok(());
        }
        let Some(entry) = self.entry_or_failed(group)? else {
            self.publish_failed(group);
            return Ok(());
        };
        if std::mem::replace(&mut entry.wanted, wanted) == wanted {
            return Ok(());
        }
        if wanted {
            self.publish(group);
            self.arguments.node.want_group(group);
            self.meet();
            self.links.consider(group, &self.entries);
            self.arm();
        } else {
            self.links.close_all(group);
            self.handle.publish().remove(&group);
            self.arguments.node.drop_group(group);
            self.drop_tickets(group).await?;
        }
        Ok(())
    }

    async fn present(&mut self, link: LinkId, group: GroupId, ops: Vec<Envelope>) -> Result<(), StoreError> {
        // Only who knows the group's id can present, and only valid ops are admitted; who was removed is not read.
        let Some(entry) = self.entries.get(&group).filter(|entry| entry.wanted) else { return Ok(()) };
        if self.links.may_present(link, group, entry) {
            self.admit(group, Gained { ops, ..Gained::default() }, Some(link)).await?;
        }
        Ok(())
    }

    async fn ledger(&mut self, link: LinkId, group: GroupId, frame: LedgerFrame) -> Result<(), StoreError> {
        let Some(came) = self.links.ledger(link, group, frame, &self.entries) else { return Ok(()) };
        let last = came.last;
        let verdict = self.admit(group, came.gained, Some(link)).await?;
        self.links.admitted(link, group, last, verdict.missing, &self.entries);
        Ok(())
    }

    /// Who was a stranger may be none now: addresses are not left alone any longer.
    fn meet(&self) {
        // While the node starts or closes there is nobody to dial.
        let _ = self.arguments.connections.network_changed();
    }

    fn user(&self) -> UserId {
        self.arguments.device.user()
    }

    fn by(&self) -> By {
        By::Device(self.arguments.device.certificate.envelope().clone())
    }
}

/// Ops, certificates and revocations on their way into a ledger, or just in.
#[derive(Clone, Default)]
pub(crate) struct Gained {
    pub(crate) ops: Vec<Envelope>,
    pub(crate) certificates: Vec<Envelope>,
    pub(crate) revocations: Vec<Envelope>,
}

impl Gained {
    fn append(&mut self, mut other: Self) {
        self.ops.append(&mut other.ops);
        self.certificates.append(&mut other.certificates);
        self.revocations.append(&mut other.revocations);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.certificates.is_empty() && self.revocations.is_empty()
    }
}

/// What became of a batch of ops.
#[derive(Default)]
struct Verdict {
    missing: bool,
    refused: Option<Refusal>,
    /// It was news that a device is out.
    withdrew: bool,
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
            Message::Say { group, saying, reply } => report(reply, state.say(group, saying).await)?,
            Message::Log { group, reply } => {
                answer(reply, state.entries.get(&group).map(Entry::log).unwrap_or_default());
            }
            Message::Voided { group, reply } => {
                answer(reply, state.entries.get(&group).map(Entry::voided).unwrap_or_default());
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
            Message::Intent { group, reply } => {
                state.heed(group).await?;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::IntentsAnew => state.intents_anew().await?,
            Message::GroupStarted(group) => state.group_started(group),
            Message::LinkUp(link) => state.links.up(link, &state.entries),
            Message::LinkDown { link, reason } => state.links.down(link, &reason),
            Message::Hello { link, hello, _permit } => state.links.hello(link, hello, &state.entries),
            Message::Present { link, group, ops, _permit } => state.present(link, group, ops).await?,
            Message::Redeem { link, join, _permit } => state.redeem(link, join).await?,
            Message::Declined { link, tokens, reason, _permit } => {
                state.declined(link, tokens, reason).await?
            }
            Message::Ledger { link, group, frame, _permit } => state.ledger(link, group, frame).await?,
            Message::Devices(reply) => answer(reply, state.devices()),
            Message::RevokeDevice { device, reply } => report(reply, state.revoke_device(device).await)?,
            Message::Fail => return Err("failed on request".into()),
        }
        state.links.acquaint(&state.entries);
        Ok(())
    }
}

fn replay_ledger(group: GroupId, space: &SpaceHandle) -> Result<Ledger, ActorProcessingErr> {
    let mut ledger = Ledger::new(group);
    for (_, envelope) in keys::entries(space, keys::OP)? {
        ledger.admit(codec::decode_stored(&envelope)?)?;
    }
    // Behind the ops: only users whom one of them names have certificates here.
    for (_, envelope) in keys::entries(space, keys::CERTIFICATE)? {
        ledger.admit_certificate(codec::decode_stored(&envelope)?)?;
    }
    for (_, envelope) in keys::entries(space, keys::REVOCATION)? {
        ledger.admit_revocation(codec::decode_stored(&envelope)?)?;
    }
    Ok(ledger)
}

fn put_op(batch: &mut Batch, position: usize, envelope: &Envelope) {
    batch.put(keys::tagged(keys::OP, &(position as u64).to_be_bytes()), codec::encode(envelope));
}

fn put_side(batch: &mut Batch, tag: u8, envelope: &Envelope) {
    let id = hash("side", &[&envelope.payload]);
    batch.put(keys::tagged(tag, &id), codec::encode(envelope));
}

/// Whether the user takes part in a group, from the rows of the personal group; unknown where the row is damaged.
fn intent(personal: &SpaceHandle, group: GroupId) -> Result<Option<bool>, StoreError> {
    let row = match personal.get(&rows::row_key(INTENTS_TABLE, &group.to_string())) {
        Ok(row) => row.map(|row| RowRecord::decode(&row)).transpose(),
        Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(row.ok().map(|row| row.is_some_and(|row| !row.removed)))
}

/// The groups that the user takes part in, from the rows of the personal group.
fn intents(personal: &SpaceHandle) -> Result<Vec<GroupId>, ActorProcessingErr> {
    let mut wanted = Vec::new();
    let rows: Vec<Result<_, StoreError>> =
        personal.read(|view| view.prefix(&rows::table_prefix(INTENTS_TABLE)).collect())?;
    for row in rows {
        // An intent that cannot be read is one group that is not asked for, not a node that does not open.
        let intent = row.ok().and_then(|(key, value)| {
            let group = rows::decode_key(INTENTS_TABLE, &key).ok()?.parse().ok()?;
            Some((group, RowRecord::decode(&value).ok()?))
        });
        match intent {
            Some((group, row)) if !row.removed => wanted.push(group),
            Some(_) => {}
            None => tracing::error!("an intent is damaged"),
        }
    }
    Ok(wanted)
}
