//! Reading, writing and following one group, from anywhere; all groups of a node by id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, SpawnErr};
use schema::document::Refusal;
use schema::ledger::Roster;
use schema::{ChangeHash, DeviceId, DocumentId, GroupId};
use tokio::sync::{broadcast, watch};

use super::cut::JudgedMoment;
use super::documents::{
    CommitError, Rejudged, Revision, RowEvent, RowWrite, SetAside, SetAsideTotal, Unmaterialised,
};
use super::row_locks::{RowLock, RowLocks};
use super::working::CommitReply;
use super::{Arguments, Group, Message};
use crate::call::{CallError, Slot};
use crate::node::connection_manager::LinkId;
use crate::node::gate::{Channel, IncomingPart};
use crate::node::store::{SpaceHandle, StoreError};

/// Batches of rows that a slow watcher may fall behind before it gets a reset.
const WATCH_BATCHES: usize = 256;

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

    /// The node closes: a group that stops is not started again.
    pub(crate) fn expect_no_restart(&self) {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        handles.values().for_each(|handle| handle.slot.end());
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

/// News of a group's rows for those who follow them.
#[derive(Clone, Debug)]
pub enum RowNews {
    /// Rows of one batch that became durable.
    Rows(Vec<RowEvent>),
    /// The group was started again: read the rows, some news may have been lost.
    Reset,
}

/// State that a group publishes to its followers.
pub(super) struct Published {
    root: Mutex<[u8; 32]>,
    /// None once the group has ended for good: then there is nothing left to follow.
    rows: Mutex<Option<broadcast::Sender<Arc<RowNews>>>>,
    /// Local writers of one row come one after another.
    row_locks: RowLocks,
    peers: watch::Sender<Vec<PeerStatus>>,
}

impl Published {
    fn rows(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<RowNews>>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerStatus {
    /// The device at the other end.
    pub device: DeviceId,
    /// Both sides had equal documents when they last compared.
    pub synced: bool,
}

/// The state of a group, and its problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupStatus {
    /// Rows, removed ones included.
    pub documents: usize,
    /// Documents in memory.
    pub loaded: usize,
    /// Hash over all documents.
    #[cfg_attr(feature = "control", serde(with = "crate::json::hex"))]
    pub root: [u8; 32],
    /// Documents that are damaged on disk, and how.
    #[cfg_attr(feature = "control", serde(with = "crate::json::by_document"))]
    pub quarantined: Vec<(DocumentId, String)>,
    /// The last refusals of ours, oldest first; also of what had been accepted, until its author was removed
    /// or lowered.
    #[cfg_attr(feature = "control", serde(with = "crate::json::by_document"))]
    pub refusals: Vec<(DocumentId, Refusal)>,
    /// The last refusals of peers, of changes that this node sent, with their reasons; oldest first.
    #[cfg_attr(feature = "control", serde(with = "crate::json::by_document"))]
    pub refused_by_peers: Vec<(DocumentId, Refusal)>,
    /// The progress of judging documents again after the roster changed, while that lasts.
    pub rejudging: Option<Rejudged>,
    /// Changes that were accepted once and are set aside.
    pub set_aside: SetAsideTotal,
    /// Rows whose newest changes are accepted, and shown soon.
    pub materialising: usize,
    /// Rows whose newest changes are accepted and not materialised on this device.
    pub unmaterialised: Vec<Unmaterialised>,
}

impl GroupHandle {
    pub(crate) fn new(id: GroupId, space: SpaceHandle) -> Self {
        let published = Published {
            root: Mutex::default(),
            rows: Mutex::new(Some(broadcast::Sender::new(WATCH_BATCHES))),
            row_locks: RowLocks::default(),
            peers: watch::Sender::new(Vec::new()),
        };
        Self { id, slot: Slot::restarting(), space, published: Arc::new(published) }
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

    /// The space from which rows are read, without asking the actor.
    pub fn space(&self) -> &SpaceHandle {
        &self.space
    }

    /// Writes rows, all or none; answers when they are durable, with the heads of each.
    ///
    /// # Errors
    /// [`CommitError`]; the outer error means that nobody answered in time, and the commit may or may not
    /// happen. The time that workers take for a large row or edit does not count.
    pub async fn commit(
        &self,
        writes: Vec<RowWrite>,
    ) -> Result<Result<Vec<Vec<ChangeHash>>, CommitError>, CallError> {
        let reply = |sign, port| CommitReply { port, sign };
        self.slot.ask_for_work(|sign, port| Message::Commit { writes, reply: reply(sign, port) }).await
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

    /// The changes of a document that are set aside, in figures.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn set_aside(&self, document: DocumentId) -> Result<Option<SetAside>, CallError> {
        self.slot.ask(|reply| Message::SetAside { document, reply }).await
    }

    /// The state of the group, and its problems.
    ///
    /// # Errors
    /// [`CallError`] when nobody answers.
    pub async fn status(&self) -> Result<GroupStatus, CallError> {
        self.slot.ask(Message::Status).await
    }

    /// Returns the roster by which everything here is judged and stored, or the progress of re-judging it.
    pub(crate) async fn settled(&self) -> Result<Result<JudgedMoment, Rejudged>, CallError> {
        self.slot.ask(Message::JudgedMoment).await
    }

    /// Waits until no other writer of this device has the row lock, and takes it.
    pub async fn lock_row(&self, table: &str, key: &str) -> RowLock {
        self.published.row_locks.acquire(table, key).await
    }

    /// Every batch of rows that becomes durable from now on; ends with the group.
    pub fn rows(&self) -> broadcast::Receiver<Arc<RowNews>> {
        match &*self.published.rows() {
            Some(rows) => rows.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    /// Tells those who follow the rows; nobody may be.
    pub(super) fn publish_rows(&self, rows: Vec<RowEvent>) {
        if let Some(watchers) = &*self.published.rows() {
            let _ = watchers.send(Arc::new(RowNews::Rows(rows)));
        }
    }

    /// Tells those who follow the rows that they may have missed some.
    pub(super) fn publish_reset(&self) {
        if let Some(watchers) = &*self.published.rows() {
            let _ = watchers.send(Arc::new(RowNews::Reset));
        }
    }

    pub(super) fn publish_root(&self, root: [u8; 32]) {
        *self.published.root.lock().unwrap_or_else(PoisonError::into_inner) = root;
    }

    pub(super) fn publish_peers(&self, peers: Vec<PeerStatus>) {
        self.published.peers.send_replace(peers);
    }

    /// The group will not be started again: its followers' streams end.
    fn end(&self) {
        self.slot.end();
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

    /// Makes the actor stand still, so that tests can see it in the status.
    #[doc(hidden)]
    pub fn stall_for_test(&self, pause: Duration) {
        self.tell(Message::Stall(pause));
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

    pub(crate) fn frame(&self, link: LinkId, part: IncomingPart) {
        self.tell(Message::Frame { link, part });
    }
}

impl GroupHandle {
    /// A group that is being restarted reads what it missed from the store, or is asked again by its peers.
    fn tell(&self, message: Message) {
        let _ = self.slot.tell(message);
    }
}
