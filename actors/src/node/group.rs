//! One group: its documents, its tables, one session per link.
//!
//! Parent: [`node`](super). Children: none. Restart: reads authors and digest back from the store, after the
//! batches of its predecessor are written or refused; membership opens its sessions again.
//!
//! A commit never waits for the disk here: its batch is submitted with the caller's reply, memory runs ahead,
//! and `Stored` releases the news to watchers and sessions.

pub(crate) mod assembly;
mod batches;
pub mod cache;
pub mod cut;
pub mod documents;
mod handle;
mod intake;
mod manifests;
mod owner;
mod reading;
pub mod record;
mod rejudging;
pub mod replica;
mod row_locks;
pub mod rows;
mod sessions;
#[cfg(test)]
mod tests;
mod working;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use schema::document::{Refusal, Rules};
use schema::key::SigningKey;
use schema::ledger::{Ledger, Roster};
use schema::session::{Input, Session};
use schema::time::Moment;
use schema::{DocumentId, UserId};
use tokio::task::{JoinHandle, JoinSet};

use self::assembly::{AssemblyBudget, AssemblyShare};
use self::batches::BatchNews;
use self::cache::CacheBudget;
use self::cut::JudgedMoment;
use self::documents::{Documents, Rejudged, Revision, RowWrite, SetAside, Setup, Worked};
use self::intake::{ReadFrame, ReadFrames, ReadQueues, ReadTask};
use self::rejudging::Rejudge;
use self::working::{CommitReply, Queues, WaitingCommit};

pub(crate) use self::handle::Groups;
pub use self::handle::{GroupHandle, GroupStatus, PeerStatus, RowNews};
pub(crate) use self::owner::GroupOwner;
pub use self::row_locks::RowLock;
use crate::call::answer;
use crate::clock::{Clock, WorkQueue};
use crate::meter::{Meters, OpenSession};
use crate::node::connection_manager::LinkId;
use crate::node::event::Events;
use crate::node::gate::{Channel, IncomingPart};
use crate::node::keys;
use crate::node::store::{Batch, Durability, SpaceHandle, StoreError, StoreHandle};
use crate::watchdog::{Name, Progress, Watchdog};
use schema::limits::REFUSALS_STORED_MAX;
use schema::wire::group::Assembly;
use schema::wire::session::Units;

/// The table of the personal group that says which groups its user takes part in.
pub const INTENTS_TABLE: &str = "$groups";
/// The table of the personal group with one row for each contact of its user.
pub const CONTACTS_TABLE: &str = "$contacts";
/// The field of a contact that blocks them.
pub const BLOCKED_FIELD: &str = "blocked";

enum Message {
    /// Write rows as this device.
    Commit { writes: Vec<RowWrite>, reply: CommitReply },
    /// List the revisions of a row.
    History { table: String, key: String, reply: RpcReplyPort<Result<Vec<Revision>, StoreError>> },
    /// Describe the changes of a document that are set aside.
    SetAside { document: DocumentId, reply: RpcReplyPort<Option<SetAside>> },
    /// Describe the group.
    Status(RpcReplyPort<GroupStatus>),
    /// Answer once all that is here is stored: with the roster and the judgement by which it stands, or with
    /// the progress of re-judging it.
    JudgedMoment(RpcReplyPort<Result<JudgedMoment, Rejudged>>),
    /// A worker has done a piece of long work.
    Worked(Box<Worked>),
    /// A worker failed in the middle.
    WorkFailed,
    /// The batch of this number is durable, or failed.
    Stored { number: u64, result: Result<(), StoreError> },
    /// The membership changed.
    Roster(Arc<Roster>),
    /// Both sides agree on the ledger: open a session.
    Open { channel: Channel, in_sync: bool },
    /// The gate or the link closed.
    Close(LinkId),
    /// A stretch of a session frame.
    Frame { link: LinkId, part: IncomingPart },
    /// A worker has read frames of units.
    Read(Box<ReadFrames>),
    /// Judge more of the units of a link.
    Judge(LinkId),
    /// Continue a session that had more to compare than one turn does.
    Continue(LinkId),
    /// A session wants to be woken.
    Wake,
    /// Judge more documents again: those of the last slice did not change, so there was nothing to store.
    Rejudge,
    /// Stand still, for tests.
    Stall(Duration),
    /// Fail, for tests.
    Fail,
}

impl Message {
    /// The activity of the turn that handles it, for the watchdog.
    fn doing(&self) -> &'static str {
        match self {
            Self::Commit { .. } => "write rows",
            Self::History { .. } => "list the revisions of a row",
            Self::SetAside { .. } => "describe what is set aside",
            Self::Status(_) => "describe the group",
            Self::JudgedMoment(_) => "tell by which roster it stands",
            Self::Worked(_) => "take over the result of a worker",
            Self::WorkFailed => "fail after a worker",
            Self::Stored { .. } => "publish what is stored",
            Self::Roster(_) => "re-judge under a new roster",
            Self::Open { .. } => "open a session",
            Self::Close(_) => "close a session",
            Self::Frame { .. } => "handle a frame of a session",
            Self::Read(_) | Self::Judge(_) => "judge units of a peer",
            Self::Continue(_) => "compare rows with a peer",
            Self::Wake => "continue sessions",
            Self::Rejudge => "re-judge documents",
            Self::Stall(_) => "stand still on request",
            Self::Fail => "fail on request",
        }
    }
}

/// Everything that a group needs to start, also after a failure.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) clock: Clock,
    pub(crate) meters: Meters,
    pub(crate) watchdog: Watchdog,
    pub(crate) user: UserId,
    pub(crate) device: SigningKey,
    pub(crate) store: StoreHandle,
    pub(crate) owner: Arc<dyn GroupOwner>,
    pub(crate) budget: CacheBudget,
    /// Memory that one document may take, bytes.
    pub(crate) document_bytes: u64,
    /// Bounds unfinished frames, over all groups.
    pub(crate) assembly: AssemblyBudget,
    pub(crate) durability: Durability,
    pub(crate) events: Events,
    /// The rules of admission.
    pub(crate) rules: Rules,
    /// This is the personal group, whose rows are intents.
    pub(crate) personal: bool,
}

struct State {
    handle: GroupHandle,
    arguments: Arguments,
    progress: Progress,
    documents: Documents,
    sessions: BTreeMap<LinkId, Peer>,
    /// The number of sessions that were opened.
    opened: u64,
    read_queues: ReadQueues,
    /// Frames that overtook the `Open` of their session.
    early: BTreeMap<LinkId, Vec<IncomingPart>>,
    next_batch: u64,
    unstored: BTreeMap<u64, BatchNews>,
    /// The number of authors that the owner was told of.
    told: usize,
    /// Documents are being re-judged.
    rejudging: Option<Rejudge>,
    /// Replaced whenever a re-judging ends.
    judged: Arc<()>,
    refusals: Vec<(DocumentId, Refusal)>,
    /// Changes of this device that peers refused. Kept apart, so that a peer cannot displace the refusals of
    /// this device.
    refused_by_peers: Vec<(DocumentId, Refusal)>,
    wake: Option<(Moment, JoinHandle<()>)>,
    /// Commits whose changes a worker makes, by the number of the work.
    committing: BTreeMap<u64, CommitReply>,
    /// Commits that wait for a document which a worker has, the oldest first.
    waiting: Vec<WaitingCommit>,
    /// The tasks of long work.
    tasks: JoinSet<()>,
    queues: Queues,
}

struct Peer {
    channel: Channel,
    /// Number of the session among all of this group.
    number: u64,
    session: Session,
    assembly: Assembly,
    share: AssemblyShare,
    /// Parts of frames that wait until frames before them are judged, with their permits.
    held: VecDeque<IncomingPart>,
    /// Frames of units that wait to be read.
    unread: VecDeque<Units>,
    /// Has the frames before them read.
    reading: Option<ReadTask>,
    /// Frames that were read, and are not judged yet.
    unjudged: VecDeque<ReadFrame>,
    /// The frames of other users take turns with them.
    queue: WorkQueue,
    _open: OpenSession,
}

/// Remembers refusals in the place of the oldest.
fn push_recent(refusals: &mut Vec<(DocumentId, Refusal)>, new: &[(DocumentId, Refusal)]) {
    refusals.extend_from_slice(&new[new.len().saturating_sub(REFUSALS_STORED_MAX)..]);
    let surplus = refusals.len().saturating_sub(REFUSALS_STORED_MAX);
    refusals.drain(..surplus);
}

impl State {
    fn remember(&mut self, refused: &[(DocumentId, Refusal)]) {
        push_recent(&mut self.refusals, refused);
    }

    fn status(&mut self) -> GroupStatus {
        GroupStatus {
            documents: self.documents.len(),
            loaded: self.documents.loaded(),
            root: self.documents.root(),
            quarantined: self.documents.quarantined().iter().map(|(id, what)| (*id, what.clone())).collect(),
            refusals: self.refusals.clone(),
            refused_by_peers: self.refused_by_peers.clone(),
            rejudging: self.documents.is_rejudging().then(|| self.documents.rejudged()),
            set_aside: self.documents.set_aside(),
            materialising: self.materialising(),
            unmaterialised: self.documents.unmaterialised().cloned().collect(),
        }
    }

    /// Publishes the root: now, or with the newest batch that waits for the store.
    fn publish_root(&mut self) {
        let root = self.documents.root();
        match self.unstored.last_entry() {
            Some(mut newest) => newest.get_mut().root = root,
            None => self.handle.publish_root(root),
        }
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
        let space = handle.space().clone();
        // The barrier: every batch of a predecessor is then written or refused.
        space.reset();
        arguments.store.barrier().await?;
        let incarnation = incarnation(&arguments, &space).await?;
        let roster = arguments.owner.roster(handle.id());
        let roster = roster.unwrap_or_else(|| Ledger::new(handle.id()).roster().clone());
        let documents = Documents::open(Setup {
            group: handle.id(),
            user: arguments.user,
            device: arguments.device.clone(),
            clock: arguments.clock.clone(),
            losses: arguments.store.losses(),
            incarnation,
            space,
            roster,
            budget: arguments.budget.clone(),
            document_bytes: arguments.document_bytes,
            rules: arguments.rules,
        })?;
        let progress = arguments.watchdog.register(Name::of_group("group", handle.id()));
        let mut state = State {
            handle,
            arguments,
            progress,
            documents,
            sessions: BTreeMap::new(),
            opened: 0,
            read_queues: ReadQueues::default(),
            early: BTreeMap::new(),
            next_batch: 0,
            unstored: BTreeMap::new(),
            told: 0,
            rejudging: None,
            judged: Arc::default(),
            refusals: Vec::new(),
            refused_by_peers: Vec::new(),
            wake: None,
            committing: BTreeMap::new(),
            waiting: Vec::new(),
            tasks: JoinSet::new(),
            queues: Queues::default(),
        };
        state.rejudge_all().await?;
        state.publish_root();
        state.publish_peers();
        Ok(state)
    }

    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.start_work(&myself)?;
        // Watchers missed the batches that became durable while a predecessor failed.
        state.handle.publish_reset();
        if state.arguments.personal {
            state.arguments.owner.on_personal_started();
        }
        state.tell_authors();
        state.arguments.owner.on_started(state.handle.id());
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let _turn = state.progress.turn(message.doing());
        state.documents.begin_turn();
        match message {
            Message::Commit { writes, reply } => state.commit(&myself, writes, reply)?,
            Message::Worked(worked) => state.worked(&myself, *worked)?,
            Message::WorkFailed => return Err("a worker failed".into()),
            Message::History { table, key, reply } => state.history(&table, &key, reply)?,
            Message::SetAside { document, reply } => {
                answer(reply, state.documents.set_aside_of(&document).cloned());
            }
            Message::Status(reply) => answer(reply, state.status()),
            Message::JudgedMoment(reply) => state.settled(reply),
            Message::Stored { number, result } => state.stored(&myself, number, result)?,
            Message::Roster(roster) => state.rejudge(&myself, roster)?,
            Message::Open { channel, in_sync } => state.open(&myself, channel, in_sync)?,
            Message::Close(link) => state.close(link),
            Message::Frame { link, part } => state.frame(&myself, link, part)?,
            Message::Read(frames) => state.on_read(&myself, *frames)?,
            Message::Judge(link) => state.judge(&myself, link)?,
            Message::Continue(link) => state.step(&myself, link, Input::Continue)?,
            Message::Wake => state.wake(&myself)?,
            Message::Rejudge => state.rejudge_some(&myself)?,
            Message::Stall(pause) => state.arguments.clock.sleep(pause).await,
            Message::Fail => return Err("failed on request".into()),
        }
        state.start_work(&myself)?;
        state.look_after_damage(&myself)
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.sessions.clear();
        state.publish_peers();
        Ok(())
    }
}

/// The stored incarnation; a new one, durable before its first use, if writes may have been lost since it was
/// drawn.
async fn incarnation(arguments: &Arguments, space: &SpaceHandle) -> Result<u64, StoreError> {
    let losses = arguments.store.losses();
    if let Some(bytes) = space.get(keys::INCARNATION)?
        && let Some((drawn, incarnation)) = bytes.split_first_chunk::<8>()
        && u64::from_be_bytes(*drawn) == losses
        && let Ok(incarnation) = <[u8; 8]>::try_from(incarnation)
    {
        return Ok(u64::from_be_bytes(incarnation));
    }
    let incarnation = arguments.clock.random_u64();
    let mut batch = Batch::default();
    batch.put(keys::INCARNATION, keys::incarnation(losses, incarnation));
    arguments.store.write(space, batch).await?;
    Ok(incarnation)
}
