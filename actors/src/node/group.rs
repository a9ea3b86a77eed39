//! One group: its documents, its tables, one session per link.
//!
//! Parent: [`node`](super). Children: none. Restart: reads authors and digest back from the store, after the batches
//! of its predecessor are written or refused; membership opens its sessions again.
//!
//! A commit never waits for the disk here: its batch is submitted with the caller's reply, memory runs ahead, and
//! `Stored` releases the news to watchers and sessions.

pub mod cache;
pub mod documents;
pub(crate) mod record;
pub mod replica;
pub mod rows;
pub mod turns;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use schema::admission::Refusal;
use schema::frame::ByeReason;
use schema::handshake::LinkRole;
use schema::key::SigningKey;
use schema::ledger::{Ledger, Roster};
use schema::session::frame::SessionFrame;
use schema::session::{Effect, Input, Session, StepError, Wanted};
use schema::time::Timestamp;
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, UserId};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use self::cache::CacheBudget;
use self::documents::{CommitError, Documents, Outcome, Revision, RowEvent, RowWrite};
use self::turns::{Turn, Turns};
use crate::call::{CallError, Slot, answer};
use crate::clock::Clock;
use crate::node::connection_manager::LinkId;
use crate::node::gate::{Assembly, Channel, Part};
use crate::node::keys;
use crate::node::membership::MembershipHandle;
use crate::node::store::{Batch, Durability, SpaceHandle, StoreError, StoreHandle};

/// Batches of rows that a slow watcher may fall behind before it gets a reset.
const WATCH_BATCHES: usize = 256;
/// The table of the personal group that says which groups its user takes part in.
pub const INTENTS_TABLE: &str = "$groups";

/// The groups of a node by id, as far as they were started. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Groups {
    handles: Arc<RwLock<BTreeMap<GroupId, GroupHandle>>>,
}

impl Groups {
    pub(crate) fn get(&self, group: GroupId) -> Option<GroupHandle> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    pub(crate) fn put(&self, handle: GroupHandle) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(handle.id, handle);
    }

    pub(crate) fn remove(&self, group: GroupId) {
        let removed = self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
        removed.iter().for_each(GroupHandle::end);
    }

    /// The node has ended: nobody follows its groups any longer.
    pub(crate) fn end(&self) {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).values().for_each(GroupHandle::end);
    }
}

/// Reads and writes one group. Cheap to clone, valid across restarts.
#[derive(Clone)]
pub struct GroupHandle {
    id: GroupId,
    slot: Slot<Message>,
    space: SpaceHandle,
    published: Arc<Published>,
}

/// What a group tells everyone without being asked.
struct Published {
    root: Mutex<[u8; 32]>,
    /// None once the group has ended for good: then there is nothing left to follow.
    rows: Mutex<Option<broadcast::Sender<Arc<Vec<RowEvent>>>>>,
    /// Local writers of one row come one after another.
    turns: Turns,
    peers: watch::Sender<Vec<PeerStatus>>,
}

impl Published {
    fn rows(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<Vec<RowEvent>>>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The device at the other end.
    pub device: DeviceId,
    /// Both sides had equal documents when they last compared.
    pub synced: bool,
}

/// What a group has and why something of it is not in order.
#[derive(Clone, Debug, Default)]
pub struct GroupStatus {
    /// Rows, removed ones included.
    pub documents: usize,
    /// Documents in memory.
    pub loaded: usize,
    /// Hash over all documents.
    pub root: [u8; 32],
    /// Documents that are damaged on disk, and how.
    pub quarantined: Vec<(DocumentId, String)>,
    /// The last refusals, ours and our peers', oldest first.
    pub refusals: Vec<(DocumentId, Refusal)>,
}

impl GroupHandle {
    pub(crate) fn new(id: GroupId, space: SpaceHandle) -> Self {
        let published = Published {
            root: Mutex::default(),
            rows: Mutex::new(Some(broadcast::Sender::new(WATCH_BATCHES))),
            turns: Turns::default(),
            peers: watch::Sender::new(Vec::new()),
        };
        Self { id, slot: Slot::default(), space, published: Arc::new(published) }
    }

    /// Starts the actor under `parent` and points every clone of this handle at it.
    pub(crate) async fn start(&self, arguments: Arguments, parent: ActorCell) -> Result<ActorId, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Group, (self.clone(), arguments), parent).await?;
        Ok(self.slot.put(actor))
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Where rows are read: straight from the store, without asking the actor.
    pub fn space(&self) -> &SpaceHandle {
        &self.space
    }

    /// Writes rows, all or none; answers when they are durable, with the heads of each.
    ///
    /// # Errors
    /// [`CommitError`]; the outer error means that nobody answered in time, and the commit may or may not happen.
    pub async fn commit(
        &self,
        writes: Vec<RowWrite>,
    ) -> Result<Result<Vec<Vec<ChangeHash>>, CommitError>, CallError> {
        self.slot.ask(|reply| Message::Commit { writes, reply }).await
    }

    /// The revisions of a row, oldest first.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers; the inner error when the store fails.
    pub async fn history(
        &self,
        table: String,
        key: String,
    ) -> Result<Result<Vec<Revision>, StoreError>, CallError> {
        self.slot.ask(|reply| Message::History { table, key, reply }).await
    }

    /// What the group has and what is wrong with it.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn status(&self) -> Result<GroupStatus, CallError> {
        self.slot.ask(Message::Status).await
    }

    /// Waits until nobody else on this device is reading a row in order to write it; hold the turn meanwhile.
    pub async fn turn(&self, table: &str, key: &str) -> Turn {
        self.published.turns.take(table, key).await
    }

    /// Every batch of rows that becomes durable from now on; ends with the group.
    pub fn rows(&self) -> broadcast::Receiver<Arc<Vec<RowEvent>>> {
        match &*self.published.rows() {
            Some(rows) => rows.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    /// The group will not be started again: whoever follows it hears so.
    fn end(&self) {
        self.published.rows().take();
    }

    /// The sessions, whenever they change.
    pub fn peers(&self) -> watch::Receiver<Vec<PeerStatus>> {
        self.published.peers.subscribe()
    }

    /// Hash over all documents, as of the last change.
    pub fn root(&self) -> [u8; 32] {
        *self.published.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the actor fail, so that tests can see it restarted.
    #[doc(hidden)]
    pub fn fail_for_test(&self) {
        self.tell(Message::Fail);
    }

    pub(crate) fn set_roster(&self, roster: Arc<Roster>) {
        self.tell(Message::Roster(roster));
    }

    pub(crate) fn open(&self, channel: Channel, in_sync: bool) {
        self.tell(Message::Open { channel, in_sync });
    }

    pub(crate) fn close(&self, link: LinkId) {
        self.tell(Message::Close(link));
    }

    pub(crate) fn frame(&self, link: LinkId, part: Part) {
        self.tell(Message::Frame { link, part });
    }
}

impl GroupHandle {
    /// A group that is being restarted reads what it missed from the store, or is asked again by its peers.
    fn tell(&self, message: Message) {
        let _ = self.slot.tell(message);
    }
}

enum Message {
    /// Write rows as this device.
    Commit { writes: Vec<RowWrite>, reply: RpcReplyPort<Result<Vec<Vec<ChangeHash>>, CommitError>> },
    /// List the revisions of a row.
    History { table: String, key: String, reply: RpcReplyPort<Result<Vec<Revision>, StoreError>> },
    /// Describe the group.
    Status(RpcReplyPort<GroupStatus>),
    /// The batch of this number is durable, or failed.
    Stored { number: u64, result: Result<(), StoreError> },
    /// The membership changed.
    Roster(Arc<Roster>),
    /// Both sides agree on the ledger: speak of documents.
    Open { channel: Channel, in_sync: bool },
    /// The gate or the link closed.
    Close(LinkId),
    /// A stretch of a session frame.
    Frame { link: LinkId, part: Part },
    /// A session wants to be woken.
    Wake,
    /// Fail, for tests.
    Fail,
}

/// What a group needs to start, again and again.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) clock: Clock,
    pub(crate) user: UserId,
    pub(crate) device: SigningKey,
    pub(crate) store: StoreHandle,
    pub(crate) membership: MembershipHandle,
    pub(crate) budget: CacheBudget,
    pub(crate) durability: Durability,
    /// The last stop was unclean: what was sent may be lost here, so write under a new incarnation.
    pub(crate) new_incarnation: bool,
    /// This is the personal group, whose rows are intents.
    pub(crate) personal: bool,
}

struct State {
    handle: GroupHandle,
    arguments: Arguments,
    documents: Documents,
    sessions: BTreeMap<LinkId, Peer>,
    /// Frames that overtook the `Open` of their session.
    early: BTreeMap<LinkId, Vec<Part>>,
    next_batch: u64,
    unstored: BTreeMap<u64, Unstored>,
    refusals: Vec<(DocumentId, Refusal)>,
    wake: Option<(Timestamp, JoinHandle<()>)>,
}

struct Peer {
    channel: Channel,
    session: Session,
    assembly: Assembly,
}

/// What is told once a batch is durable.
struct Unstored {
    rows: Vec<RowEvent>,
    moved: Vec<Wanted>,
    source: Option<Source>,
}

/// Which units of which session a batch came from.
struct Source {
    link: LinkId,
    number: u64,
    refused: Vec<(DocumentId, Refusal)>,
}

/// Parts of frames that may wait for their session: a peer sends its root before it hears from us, no more.
const EARLY_PARTS_MAX: usize = 4;
/// Refusals that `status` remembers.
const REFUSALS_MAX: usize = 64;

impl State {
    fn commit(
        &mut self,
        myself: &ActorRef<Message>,
        writes: &[RowWrite],
        reply: RpcReplyPort<Result<Vec<Vec<ChangeHash>>, CommitError>>,
    ) -> Result<(), ActorProcessingErr> {
        let time_ms = i64::try_from(self.arguments.clock.now().as_millis()).unwrap_or(i64::MAX);
        let outcome = match self.documents.commit(writes, time_ms) {
            Ok(outcome) => outcome,
            Err(error @ CommitError::Moved { .. }) => {
                // What moved the row may not be readable yet: answer behind it, or the caller reads the same again.
                let (store, durability) = (&self.arguments.store, self.arguments.durability);
                store.submit(&self.handle.space, Batch::default(), durability, |_| answer(reply, Err(error)));
                return Ok(());
            }
            Err(error) => {
                answer(reply, Err(error));
                return Ok(());
            }
        };
        let heads = outcome.heads.clone();
        self.submit(myself, outcome, None, move |result| {
            answer(reply, result.map(|()| heads).map_err(CommitError::from));
        });
        Ok(())
    }

    fn apply(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        units: schema::session::frame::Units,
    ) -> Result<(), ActorProcessingErr> {
        let number = units.number;
        let mut outcome = self.documents.apply(units)?;
        let refused = std::mem::take(&mut outcome.refused);
        self.remember(&refused);
        self.submit(myself, outcome, Some(Source { link, number, refused }), |_| ());
        Ok(())
    }

    /// Hands a batch to the writer; `Stored` follows in order.
    fn submit(
        &mut self,
        myself: &ActorRef<Message>,
        outcome: Outcome,
        source: Option<Source>,
        answer: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.next_batch += 1;
        let number = self.next_batch;
        self.documents.pin(&outcome.moved, number);
        self.unstored.insert(number, Unstored { rows: outcome.rows, moved: outcome.moved, source });
        let (myself, arguments) = (myself.clone(), &self.arguments);
        arguments.store.submit(&self.handle.space, outcome.batch, arguments.durability, move |result| {
            answer(result.clone());
            // A dead group has a successor, which reads the store itself.
            let _ = myself.cast(Message::Stored { number, result });
        });
    }

    fn stored(
        &mut self,
        myself: &ActorRef<Message>,
        number: u64,
        result: Result<(), StoreError>,
    ) -> Result<(), ActorProcessingErr> {
        // A failed batch fails the group: memory ran ahead of the store.
        result?;
        let Some(unstored) = self.unstored.remove(&number) else { return Ok(()) };
        self.documents.unpin(&unstored.moved, number);
        self.publish_root();
        if !unstored.rows.is_empty() {
            if self.arguments.personal {
                self.tell_intents(&unstored.rows);
            }
            if let Some(watchers) = &*self.handle.published.rows() {
                // Nobody may be watching.
                let _ = watchers.send(Arc::new(unstored.rows));
            }
        }
        let source = unstored.source.as_ref().map(|source| source.link);
        let others: Vec<_> = self.sessions.keys().copied().filter(|link| Some(*link) != source).collect();
        if !unstored.moved.is_empty() {
            for link in others {
                self.step(myself, link, Input::Changed(unstored.moved.clone()))?;
            }
        }
        if let Some(Source { link, number, refused }) = unstored.source {
            self.step(myself, link, Input::Applied { number, refused })?;
        }
        Ok(())
    }

    fn tell_intents(&self, rows: &[RowEvent]) {
        for event in rows.iter().filter(|event| event.table == INTENTS_TABLE) {
            if let Ok(group) = event.key.parse() {
                self.arguments.membership.intend(group, !event.row.removed);
            }
        }
    }

    fn open(
        &mut self,
        myself: &ActorRef<Message>,
        channel: Channel,
        in_sync: bool,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.arguments.clock.now();
        let link = channel.link.id();
        let side = (channel.link.role() == LinkRole::Initiator, self.arguments.clock.random_u64());
        let (session, effects) = Session::open(now, side, in_sync, &mut self.documents)?;
        self.sessions.insert(link, Peer { channel, session, assembly: Assembly::default() });
        self.perform(myself, link, effects)?;
        for part in self.early.remove(&link).unwrap_or_default() {
            self.frame(myself, link, part)?;
        }
        self.publish_peers();
        Ok(())
    }

    fn frame(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        part: Part,
    ) -> Result<(), ActorProcessingErr> {
        let Some(peer) = self.sessions.get_mut(&link) else {
            let early = self.early.entry(link).or_default();
            if early.len() < EARLY_PARTS_MAX {
                early.push(part);
            }
            return Ok(());
        };
        if !peer.channel.gate.is_open() {
            return Ok(());
        }
        match peer.assembly.take(part) {
            Ok(None) => Ok(()),
            Ok(Some(frame)) => self.step(myself, link, Input::Frame(frame)),
            Err(error) => {
                tracing::warn!(%error, "peer sent a session frame that is none");
                peer.channel.link.close(ByeReason::Protocol);
                Ok(())
            }
        }
    }

    fn step(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.arguments.clock.now();
        let Some(peer) = self.sessions.get_mut(&link) else { return Ok(()) };
        let was_synced = peer.session.is_synced();
        match peer.session.step(now, input, &mut self.documents) {
            Ok(effects) => {
                let moved = was_synced != peer.session.is_synced();
                self.perform(myself, link, effects)?;
                if moved {
                    self.publish_peers();
                }
                self.arm(myself);
                Ok(())
            }
            Err(StepError::Fault(fault)) => {
                tracing::warn!(%fault, "session ends");
                peer.channel.link.close(ByeReason::Protocol);
                self.sessions.remove(&link);
                self.publish_peers();
                Ok(())
            }
            Err(StepError::Local(error)) => Err(error.into()),
        }
    }

    fn perform(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
        effects: Vec<Effect>,
    ) -> Result<(), ActorProcessingErr> {
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(link, &frame),
                Effect::Apply(units) => self.apply(myself, link, units)?,
                Effect::Synced => {}
                Effect::Refused(refused) => self.remember(&refused),
            }
        }
        Ok(())
    }

    fn send(&self, link: LinkId, frame: &SessionFrame) {
        if let Some(peer) = self.sessions.get(&link) {
            peer.channel.send_session(frame);
        }
    }

    fn wake(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        self.wake = None;
        let now = self.arguments.clock.now();
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, peer)| peer.session.wake_at().is_some_and(|at| at <= now))
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            self.step(myself, link, Input::Wake)?;
        }
        self.arm(myself);
        Ok(())
    }

    /// One pending wake-up at most, at the earliest time that a session wants.
    fn arm(&mut self, myself: &ActorRef<Message>) {
        let Some(at) = self.sessions.values().filter_map(|peer| peer.session.wake_at()).min() else { return };
        if let Some((armed, timer)) = &self.wake {
            if *armed <= at {
                return;
            }
            timer.abort();
        }
        let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
        let pause = at.since(clock.now());
        let timer = self.arguments.clock.spawn(async move {
            clock.sleep(pause).await;
            let _ = myself.cast(Message::Wake);
        });
        self.wake = Some((at, timer));
    }

    /// What was refused may be accepted now: every session compares again.
    fn rejudge(&mut self, myself: &ActorRef<Message>, roster: Arc<Roster>) -> Result<(), ActorProcessingErr> {
        self.documents.set_roster(roster);
        for link in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.step(myself, link, Input::Rejudged)?;
        }
        Ok(())
    }

    fn close(&mut self, link: LinkId) {
        self.early.remove(&link);
        if self.sessions.remove(&link).is_some() {
            self.publish_peers();
        }
    }

    fn remember(&mut self, refused: &[(DocumentId, Refusal)]) {
        self.refusals.extend_from_slice(refused);
        let surplus = self.refusals.len().saturating_sub(REFUSALS_MAX);
        self.refusals.drain(..surplus);
    }

    fn status(&mut self) -> GroupStatus {
        GroupStatus {
            documents: self.documents.len(),
            loaded: self.documents.loaded(),
            root: self.documents.root(),
            quarantined: self.documents.quarantined().iter().map(|(id, what)| (*id, what.clone())).collect(),
            refusals: self.refusals.clone(),
        }
    }

    fn publish_root(&mut self) {
        let root = self.documents.root();
        *self.handle.published.root.lock().unwrap_or_else(PoisonError::into_inner) = root;
    }

    fn publish_peers(&self) {
        let status = |peer: &Peer| PeerStatus {
            device: peer.channel.link.peer().device,
            synced: peer.session.is_synced(),
        };
        self.handle.published.peers.send_replace(self.sessions.values().map(status).collect());
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some((_, timer)) = &self.wake {
            timer.abort();
        }
    }
}

struct Group;

impl Actor for Group {
    type Msg = Message;
    type State = State;
    type Arguments = (GroupHandle, Arguments);

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        (handle, arguments): (GroupHandle, Arguments),
    ) -> Result<State, ActorProcessingErr> {
        let space = handle.space.clone();
        // Whatever a predecessor submitted is now written or refused, so the store says what there is.
        space.reset();
        arguments.store.barrier().await?;
        let incarnation = incarnation(&arguments, &space).await?;
        let roster = arguments.membership.roster(handle.id);
        let roster = roster.unwrap_or_else(|| Ledger::new(handle.id).roster().clone());
        let documents = Documents::open(
            handle.id,
            (arguments.user, arguments.device.clone()),
            incarnation,
            space,
            roster,
            arguments.budget.clone(),
        )?;
        let mut state = State {
            handle,
            arguments,
            documents,
            sessions: BTreeMap::new(),
            early: BTreeMap::new(),
            next_batch: 0,
            unstored: BTreeMap::new(),
            refusals: Vec::new(),
            wake: None,
        };
        state.publish_root();
        state.publish_peers();
        Ok(state)
    }

    async fn post_start(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.arguments.membership.group_started(state.handle.id);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Commit { writes, reply } => state.commit(&myself, &writes, reply)?,
            Message::History { table, key, reply } => answer(reply, state.documents.history(&table, &key)),
            Message::Status(reply) => answer(reply, state.status()),
            Message::Stored { number, result } => state.stored(&myself, number, result)?,
            Message::Roster(roster) => state.rejudge(&myself, roster)?,
            Message::Open { channel, in_sync } => state.open(&myself, channel, in_sync)?,
            Message::Close(link) => state.close(link),
            Message::Frame { link, part } => state.frame(&myself, link, part)?,
            Message::Wake => state.wake(&myself)?,
            Message::Fail => return Err("failed on request".into()),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.sessions.clear();
        state.publish_peers();
        Ok(())
    }
}

/// The stored incarnation, or a new one, durable before its first use.
async fn incarnation(arguments: &Arguments, space: &SpaceHandle) -> Result<u64, StoreError> {
    if !arguments.new_incarnation
        && let Some(bytes) = space.get(keys::INCARNATION)?
        && let Ok(bytes) = <[u8; 8]>::try_from(bytes.as_slice())
    {
        return Ok(u64::from_be_bytes(bytes));
    }
    let incarnation = arguments.clock.random_u64();
    let mut batch = Batch::default();
    batch.put(keys::INCARNATION.to_vec(), incarnation.to_be_bytes().to_vec());
    arguments.store.write(space, batch).await?;
    Ok(incarnation)
}
