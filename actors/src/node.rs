//! Root: starts, orders and stops every branch.
//!
//! Parent: none. Children: [`store`], [`membership`], one [`group`] per group, [`connection_manager`].
//! Restart: the root is not restarted. A failing store stops the node: data first. The others are started again, at
//! most 5 times in 60 s; then a group is shown as failed, and membership or the connection manager stop the node.

pub mod connection_manager;
pub mod event;
pub mod gate;
pub mod group;
pub(crate) mod keys;
pub mod membership;
mod router;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent,
};
use schema::device::DeviceIdentity;
use schema::key::SigningKey;
use schema::ledger::Ledger;
use schema::limits::STOP_TIMEOUT;
use schema::{GroupId, UserId};
use tokio::sync::broadcast;

use self::connection_manager::ConnectionManagerHandle;
use self::event::Event;
use self::gate::GateCells;
use self::group::cache::CacheBudget;
use self::group::{GroupHandle, Groups, rows};
use self::membership::{GroupState, MembershipHandle};
use self::router::Router;
use self::store::{Copied, CopyError, Durability, OpenEngine, StoreHandle};
use crate::call::{CallError, Slot, answer};
use crate::clock::Clock;
use crate::restart::{Restarts, Verdict};
use crate::transport::Transport;

/// Events that a slow listener may fall behind.
const EVENTS_MAX: usize = 1_024;

/// What a node is made of.
#[derive(Clone)]
pub struct NodeArguments {
    /// Time, randomness, tasks.
    pub clock: Clock,
    /// The user whose device this is.
    pub user: SigningKey,
    /// The device's keys and certificate.
    pub device: DeviceIdentity,
    /// The opened store.
    pub store: StoreHandle,
    /// How links are made.
    pub transport: Arc<dyn Transport>,
    /// When a write is answered.
    pub durability: Durability,
    /// Bytes that loaded documents may take.
    pub cache_bytes: usize,
    /// Admission takes whatever is well formed, so that a test can show what it is for.
    #[doc(hidden)]
    pub lenient: bool,
    /// Where others reach this device, beside where it listens.
    pub advertised: Vec<String>,
    /// Whether it tells its groups where it is reached, and dials members who tell it.
    pub is_listed: bool,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    slot: Slot<Message>,
    store: StoreHandle,
    membership: MembershipHandle,
    connections: ConnectionManagerHandle,
    groups: Groups,
    events: broadcast::Sender<Event>,
    personal: GroupId,
    user: UserId,
}

/// Lets branches tell the root which groups there should be.
#[derive(Clone)]
pub(crate) struct NodeNews {
    slot: Slot<Message>,
}

impl NodeNews {
    pub(crate) fn want_group(&self, group: GroupId) {
        // A node that is closing wants no groups.
        let _ = self.slot.tell(Message::Want { group, reply: None });
    }

    pub(crate) fn drop_group(&self, group: GroupId) {
        let _ = self.slot.tell(Message::Unwant { group, reply: None });
    }
}

/// What a copy of a node's database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Bytes and damage.
    pub copied: Copied,
    /// Groups, without the personal one; those that were left too.
    pub groups: usize,
    /// Their rows, removed ones included.
    pub rows: u64,
}

/// A branch of the node that did not start.
#[derive(Debug, thiserror::Error)]
#[error("branch did not start")]
pub struct StartError(#[source] ActorProcessingErr);

impl StartError {
    fn of(error: SpawnErr) -> Self {
        Self(match error {
            SpawnErr::StartupFailed(cause) => match cause.downcast::<SpawnErr>() {
                // A branch of the root: its own words.
                Ok(branch) => return Self::of(*branch),
                Err(cause) => cause,
            },
            other => other.into(),
        })
    }
}

/// One branch of the running tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The actor's file under `actors/src/node`, without its ending.
    pub name: &'static str,
    /// Its children, by name.
    pub children: Vec<Branch>,
}

impl NodeHandle {
    /// Starts the tree.
    ///
    /// # Errors
    /// [`StartError`] when a branch cannot start; what had started is stopped again.
    pub async fn start(arguments: NodeArguments) -> Result<Self, StartError> {
        let slot = Slot::default();
        let groups = Groups::default();
        let user = UserId(arguments.user.public());
        let (clock, store) = (arguments.clock.clone(), arguments.store.clone());
        let membership = MembershipHandle::new(user, clock, store, groups.clone());
        let handle = Self {
            slot: slot.clone(),
            store: arguments.store.clone(),
            membership: membership.clone(),
            connections: ConnectionManagerHandle::new(arguments.advertised.clone(), arguments.is_listed),
            groups: groups.clone(),
            events: broadcast::Sender::new(EVENTS_MAX),
            personal: Ledger::personal(&arguments.user).0.group(),
            user,
        };
        let (actor, _) =
            Actor::spawn(None, Node, (handle.clone(), arguments)).await.map_err(StartError::of)?;
        slot.put(actor);
        Ok(handle)
    }

    /// Who is in which group.
    pub fn membership(&self) -> &MembershipHandle {
        &self.membership
    }

    /// Whom this node talks to.
    pub fn connections(&self) -> &ConnectionManagerHandle {
        &self.connections
    }

    /// Listens, also after a restart, and tells the groups of it; returns the address to dial.
    ///
    /// # Errors
    /// [`ListenError`](connection_manager::ListenError)
    pub async fn listen(&self, address: &str) -> Result<String, connection_manager::ListenError> {
        let bound = self.connections.listen(address).await?;
        self.membership.addresses_moved();
        Ok(bound)
    }

    /// The store.
    pub fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// The user whose device this is.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// The id of the personal group.
    pub fn personal(&self) -> GroupId {
        self.personal
    }

    /// A group that was started.
    pub fn group(&self, group: GroupId) -> Option<GroupHandle> {
        self.groups.get(group)
    }

    /// Starts a group unless it runs, and answers once it does.
    ///
    /// # Errors
    /// [`CallError`] when the node is closed or the group cannot start.
    pub async fn start_group(&self, group: GroupId) -> Result<GroupHandle, CallError> {
        self.slot.ask(|reply| Message::Want { group, reply: Some(reply) }).await?;
        self.groups.get(group).ok_or(CallError::Stopped)
    }

    /// Ends a group unless it is wanted; nothing of it runs when this returns.
    ///
    /// # Errors
    /// [`CallError`] when the node is closed.
    pub async fn stop_group(&self, group: GroupId) -> Result<(), CallError> {
        // A second leave must not end what was asked for again in between.
        match self.membership.info(group) {
            Some(_) => Ok(()),
            None => self.slot.ask(|reply| Message::Unwant { group, reply: Some(reply) }).await,
        }
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Copies the whole database into a new one in `folder`. The copy draws an incarnation of its own when it is opened,
    /// since two databases that write under one would fork their replicas. Blocks: call it off the runtime.
    ///
    /// # Errors
    /// [`CopyError`]; the copy is then unusable.
    pub fn copy_to(&self, folder: &Path, engine: &dyn OpenEngine) -> Result<Contents, CopyError> {
        let personal = keys::space(self.personal);
        let (mut rows, mut groups) = (0, BTreeSet::new());
        let copied = self.store.copy_to(folder, engine, &personal, |space, key| {
            if space != personal {
                rows += u64::from(rows::is_row(key));
                groups.extend(keys::group_of(space));
            }
            key != keys::INCARNATION
        })?;
        Ok(Contents { copied, groups: groups.len(), rows })
    }

    /// The running actors.
    ///
    /// # Errors
    /// [`CallError`] when the node is closed.
    pub async fn tree(&self) -> Result<Branch, CallError> {
        self.slot.ask(Message::Tree).await
    }

    /// Ends every actor where it stands, as a crash would; for simulations.
    #[doc(hidden)]
    pub async fn kill(&self) {
        self.slot.kill_within(STOP_TIMEOUT).await;
    }

    /// Stops every branch in order and answers when nothing runs any more; a second call answers at once.
    pub async fn close(&self) {
        let _ = self.slot.ask_within(STOP_TIMEOUT * 6, Message::Close).await;
        // A root that failed has closed nothing; a second close is none.
        let _ = self.store.close(STOP_TIMEOUT).await;
    }
}

enum Message {
    /// There should be such a group.
    Want { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// There should be no such group.
    Unwant { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// A branch has rested.
    Restart(Kind),
    /// Draw the tree.
    Tree(RpcReplyPort<Branch>),
    /// Stop everything.
    Close(RpcReplyPort<()>),
}

/// Which branch a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Store,
    Membership,
    Group(GroupId),
    Connections,
}

struct State {
    handle: NodeHandle,
    arguments: NodeArguments,
    router: Router,
    budget: CacheBudget,
    children: BTreeMap<ActorId, Kind>,
    restarts: Restarts<Kind>,
}

impl State {
    async fn start(&mut self, kind: Kind, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let parent = myself.get_cell();
        let NodeArguments { clock, user, device, store, transport, .. } = self.arguments.clone();
        let id = match kind {
            Kind::Store => self.handle.store.start(parent).await?.get_id(),
            Kind::Membership => {
                let arguments = membership::Arguments {
                    clock,
                    user,
                    device,
                    personal: self.handle.personal,
                    store,
                    groups: self.handle.groups.clone(),
                    connections: self.handle.connections.clone(),
                    cells: self.router.cells.clone(),
                    node: NodeNews { slot: self.handle.slot.clone() },
                    events: self.handle.events.clone(),
                };
                let id = self.handle.membership.start(arguments, parent).await?;
                // A link that came up while nobody listened would stay silent for ever: it comes again.
                self.router.cells.close_all();
                id
            }
            Kind::Group(group) => {
                let arguments = group::Arguments {
                    clock,
                    user: device.user(),
                    device: device.signing,
                    store,
                    owner: Arc::new(self.handle.membership.clone()),
                    budget: self.budget.clone(),
                    durability: self.arguments.durability,
                    events: self.handle.events.clone(),
                    lenient: self.arguments.lenient,
                    personal: group == self.handle.personal,
                };
                let handle = self.handle.groups.get(group).ok_or_else(|| {
                    SpawnErr::StartupFailed(format!("group {} has no space", group.short()).into())
                })?;
                handle.start(arguments, parent).await?
            }
            Kind::Connections => {
                let arguments = connection_manager::Arguments {
                    clock,
                    identity: device,
                    transport,
                    switchboard: Arc::new(self.router.clone()),
                };
                self.handle.connections.start(arguments, parent).await?
            }
        };
        self.children.insert(id, kind);
        Ok(())
    }

    /// Starts a group unless there is one; one that cannot start has failed, and the node goes on.
    async fn want(&mut self, group: GroupId, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        if self.handle.groups.get(group).is_none() {
            let space = self.arguments.store.space(&keys::space(group))?;
            self.handle.groups.put(GroupHandle::new(group, space));
            self.restart(Kind::Group(group), myself).await?;
        }
        Ok(())
    }

    async fn restart(&mut self, kind: Kind, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        match self.start(kind, myself).await {
            Ok(()) => Ok(()),
            Err(error) => self.failed(kind, error.into(), myself),
        }
    }

    async fn unwant(&mut self, group: GroupId, myself: &ActorRef<Message>) {
        self.handle.groups.remove(group);
        self.stop(|kind| kind == Kind::Group(group), myself).await;
        self.restarts.forget(&Kind::Group(group));
    }

    /// Stops the children of a kind, kills what does not stop in time.
    async fn stop(&mut self, which: impl Fn(Kind) -> bool, myself: &ActorRef<Message>) {
        let chosen: Vec<_> =
            self.children.iter().filter(|(_, kind)| which(**kind)).map(|(id, _)| *id).collect();
        self.children.retain(|id, _| !chosen.contains(id));
        for cell in self.cells(myself).into_iter().filter(|cell| chosen.contains(&cell.get_id())) {
            if cell.stop_and_wait(None, Some(STOP_TIMEOUT)).await.is_err() {
                tracing::warn!(actor = %cell.get_id(), "did not stop in time, killed");
                let _ = cell.kill_and_wait(Some(STOP_TIMEOUT)).await;
            }
        }
    }

    /// Listeners and connections, groups, membership, store.
    async fn close(&mut self, myself: &ActorRef<Message>) {
        self.stop(|kind| kind == Kind::Connections, myself).await;
        self.stop(|kind| matches!(kind, Kind::Group(_)), myself).await;
        self.stop(|kind| kind == Kind::Membership, myself).await;
        self.stop(|kind| kind == Kind::Store, myself).await;
    }

    async fn tree(&self, myself: &ActorRef<Message>) -> Branch {
        let mut children = Vec::new();
        for cell in self.cells(myself) {
            let Some(kind) = self.children.get(&cell.get_id()) else { continue };
            let (name, below) = match kind {
                Kind::Store => ("store", Vec::new()),
                Kind::Membership => ("membership", Vec::new()),
                Kind::Group(_) => ("group", Vec::new()),
                Kind::Connections => {
                    let below = self.handle.connections.tree().await.unwrap_or_default();
                    (
                        "connection_manager",
                        below.into_iter().map(|name| Branch { name, children: vec![] }).collect(),
                    )
                }
            };
            children.push(Branch { name, children: below });
        }
        children.sort_by_key(|branch| branch.name);
        Branch { name: "node", children }
    }

    fn cells(&self, myself: &ActorRef<Message>) -> Vec<ActorCell> {
        let mut cells = myself.get_cell().get_children();
        cells.sort_by_key(|cell| cell.get_id());
        cells
    }

    /// Decides about a branch that failed, or did not start.
    fn failed(
        &mut self,
        kind: Kind,
        cause: ActorProcessingErr,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        tracing::error!(branch = ?kind, %cause, "branch failed");
        let now = self.arguments.clock.now();
        match (kind, self.restarts.record(kind, now)) {
            (Kind::Store, _) => return Err(cause),
            (_, Verdict::Restart { after }) => {
                if kind == Kind::Membership {
                    self.router.cells.close_all();
                }
                let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
                self.arguments.clock.spawn(async move {
                    clock.sleep(after).await;
                    // The node may have closed meanwhile.
                    let _ = myself.cast(Message::Restart(kind));
                });
            }
            (Kind::Group(group), Verdict::GiveUp) => {
                self.handle.groups.remove(group);
                let reason = cause.to_string();
                // Nobody may be listening.
                let _ = self.handle.events.send(Event::GroupFailed { group, reason });
            }
            (_, Verdict::GiveUp) => return Err(cause),
        }
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.handle.groups.end();
        self.handle.membership.end();
    }
}

struct Node;

impl Actor for Node {
    type Msg = Message;
    type State = State;
    type Arguments = (NodeHandle, NodeArguments);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (handle, arguments): (NodeHandle, NodeArguments),
    ) -> Result<State, ActorProcessingErr> {
        handle.slot.put(myself.clone());
        let mut state = State {
            router: Router {
                cells: GateCells::default(),
                membership: handle.membership.clone(),
                groups: handle.groups.clone(),
            },
            budget: CacheBudget::new(arguments.cache_bytes),
            children: BTreeMap::new(),
            restarts: Restarts::default(),
            handle,
            arguments,
        };
        state.start(Kind::Store, &myself).await?;
        state.start(Kind::Membership, &myself).await?;
        state.want(state.handle.personal, &myself).await?;
        let groups = state.handle.membership.groups();
        for info in groups.into_iter().filter(|info| info.state != GroupState::Failed) {
            state.want(info.id, &myself).await?;
        }
        state.start(Kind::Connections, &myself).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Want { group, reply } => {
                state.want(group, &myself).await?;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::Unwant { group, reply } => {
                state.unwant(group, &myself).await;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::Restart(kind) => {
                // A group may have been given up meanwhile.
                let gone = matches!(kind, Kind::Group(group) if state.handle.groups.get(group).is_none());
                let runs = state.children.values().any(|running| *running == kind);
                if !gone && !runs {
                    state.restart(kind, &myself).await?;
                }
            }
            Message::Tree(reply) => answer(reply, state.tree(&myself).await),
            Message::Close(reply) => {
                state.close(&myself).await;
                state.handle.groups.end();
                state.handle.membership.end();
                answer(reply, ());
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (child, cause) = match event {
            SupervisionEvent::ActorFailed(child, cause) => (child, cause),
            SupervisionEvent::ActorTerminated(child, _, reason) => {
                (child, reason.unwrap_or_else(|| "stopped".to_owned()).into())
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        // A child that we stopped ourselves is no longer in the map.
        match state.children.remove(&child.get_id()) {
            Some(kind) => state.failed(kind, cause, &myself),
            None => Ok(()),
        }
    }

    async fn post_stop(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Left alone, ractor kills children and their post_stop never runs (ractor#398).
        state.close(&myself).await;
        Ok(())
    }
}
