//! The root of the supervision tree: starts, restarts and stops every branch.
//!
//! Parent: none. Children: [`store`], [`membership`], one [`group`] per group, [`connection_manager`].
//! Restart: the root is not restarted. A failing store stops the node, to protect the data. The other
//! branches are started again, at most 5 times in 60 s; after that a group is listed as failed, and
//! membership or the connection manager stop the node.

pub mod connection_manager;
pub mod end;
pub mod event;
pub mod gate;
pub mod group;
mod handle;
pub(crate) mod keys;
pub mod membership;
mod router;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent,
};
use schema::GroupId;
use schema::limits::{ASSEMBLY_BYTES_MAX, STOP_TIMEOUT};
use tokio::task::JoinSet;

use self::event::Event;
use self::gate::GateCells;
use self::group::GroupHandle;
use self::group::assembly::AssemblyBudget;
use self::group::cache::CacheBudget;
pub use self::handle::{Branch, Contents, NodeArguments, NodeHandle, StartError};
use self::membership::{GroupState, GroupSupervisor};
use self::router::Router;
use crate::call::{Slot, answer};
use crate::restart::{Restarts, Verdict};
use crate::watchdog::{Name, Progress};

/// Starts and stops groups for membership.
struct NodeSupervisor {
    slot: Slot<Message>,
}

impl GroupSupervisor for NodeSupervisor {
    fn start_group(&self, group: GroupId) {
        // Fails if the node is closing; then no group is needed.
        let _ = self.slot.tell(Message::StartGroup { group, reply: None });
    }

    fn stop_group(&self, group: GroupId) {
        // Fails if the node is closing, which stops every group.
        let _ = self.slot.tell(Message::StopGroup { group, reply: None });
    }
}

enum Message {
    /// Start a group unless it runs.
    StartGroup { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// Stop a group.
    StopGroup { group: GroupId, reply: Option<RpcReplyPort<()>> },
    /// The pause before a restart is over.
    Restart(BranchKind),
    /// Describe the tree.
    Tree(RpcReplyPort<Branch>),
    /// Stop everything.
    Close(RpcReplyPort<()>),
}

impl Message {
    /// The activity of the turn that handles it, for the watchdog.
    fn doing(&self) -> &'static str {
        match self {
            Self::StartGroup { .. } => "start a group",
            Self::StopGroup { .. } => "stop a group",
            Self::Restart(_) => "start a branch again",
            Self::Tree(_) => "list the actors",
            Self::Close(_) => "stop everything",
        }
    }
}

/// The branch of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BranchKind {
    Store,
    Membership,
    Group(GroupId),
    Connections,
}

impl BranchKind {
    /// The file of the branch under `actors/src/node`, without its ending.
    fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Membership => "membership",
            Self::Group(_) => "group",
            Self::Connections => "connection_manager",
        }
    }
}

struct State {
    handle: NodeHandle,
    arguments: NodeArguments,
    router: Router,
    budget: CacheBudget,
    assembly: AssemblyBudget,
    children: BTreeMap<ActorId, BranchKind>,
    restarts: Restarts<BranchKind>,
    progress: Progress,
    /// The task of the watchdog, which ends with this state.
    watch: JoinSet<()>,
}

impl State {
    fn start_watchdog(&mut self) {
        self.arguments.store.watch(self.handle.watchdog.register(Name::of("store")));
        let watching = self.handle.watchdog.clone().run(self.handle.meters.actors.clone());
        self.arguments.clock.spawn_in(&mut self.watch, watching);
    }

    async fn start_branch(&mut self, kind: BranchKind, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let parent = myself.get_cell();
        let id = match kind {
            BranchKind::Store => self.handle.store.start(parent).await?.get_id(),
            BranchKind::Membership => {
                let id = self.handle.membership.start(self.membership_arguments(), parent).await?;
                // Membership learns of links that open while it runs, so every link is opened again.
                self.router.cells.close_all();
                id
            }
            BranchKind::Group(group) => {
                let handle = self.handle.groups.get(group).ok_or_else(|| {
                    SpawnErr::StartupFailed(format!("group {} has no space", group.short()).into())
                })?;
                handle.start(self.group_arguments(group), parent).await?
            }
            BranchKind::Connections => {
                let arguments = connection_manager::Arguments {
                    clock: self.arguments.clock.clone(),
                    meters: self.handle.meters.links.clone(),
                    watchdog: self.handle.watchdog.clone(),
                    identity: self.arguments.device.clone(),
                    owner: Arc::new(self.router.clone()),
                };
                self.handle.connections.start(arguments, parent).await?
            }
        };
        self.children.insert(id, kind);
        Ok(())
    }

    fn membership_arguments(&self) -> membership::Arguments {
        let NodeArguments { clock, user, device, store, .. } = self.arguments.clone();
        membership::Arguments {
            clock,
            meters: self.handle.meters.clone(),
            watchdog: self.handle.watchdog.clone(),
            user,
            device,
            personal: self.handle.personal,
            store,
            groups: self.handle.groups.clone(),
            connections: self.handle.connections.clone(),
            cells: self.router.cells.clone(),
            supervisor: Arc::new(NodeSupervisor { slot: self.handle.slot.clone() }),
            events: self.handle.events.clone(),
        }
    }

    fn group_arguments(&self, group: GroupId) -> group::Arguments {
        let NodeArguments { clock, device, store, durability, rules, .. } = self.arguments.clone();
        group::Arguments {
            clock,
            meters: self.handle.meters.clone(),
            watchdog: self.handle.watchdog.clone(),
            user: device.user(),
            device: device.signing,
            store,
            owner: Arc::new(self.handle.membership.clone()),
            budget: self.budget.clone(),
            document_bytes: self.arguments.document_bytes,
            assembly: self.assembly.clone(),
            durability,
            events: self.handle.events.clone(),
            rules,
            personal: group == self.handle.personal,
        }
    }

    /// Starts a group unless it runs. A group that cannot start has failed; the node continues.
    async fn start_group(
        &mut self,
        group: GroupId,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        if self.handle.groups.get(group).is_none() {
            let space = self.arguments.store.space(&keys::space(group))?;
            self.handle.groups.put(GroupHandle::new(group, space));
            self.start_or_schedule(BranchKind::Group(group), myself).await?;
        }
        Ok(())
    }

    /// Starts a branch; a failure counts like one of the running branch.
    async fn start_or_schedule(
        &mut self,
        kind: BranchKind,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        match self.start_branch(kind, myself).await {
            Ok(()) => Ok(()),
            Err(error) => self.on_failure(kind, error.into(), myself),
        }
    }

    async fn stop_group(&mut self, group: GroupId, myself: &ActorRef<Message>) {
        self.handle.groups.remove(group);
        self.stop(|kind| kind == BranchKind::Group(group), myself).await;
        self.restarts.forget(&BranchKind::Group(group));
    }

    /// Stops the children that `which` selects; kills those that do not stop in time.
    async fn stop(&mut self, which: impl Fn(BranchKind) -> bool, myself: &ActorRef<Message>) {
        let chosen: Vec<_> =
            self.children.iter().filter(|(_, kind)| which(**kind)).map(|(id, _)| *id).collect();
        self.children.retain(|id, _| !chosen.contains(id));
        for cell in self.cells(myself).into_iter().filter(|cell| chosen.contains(&cell.get_id())) {
            if cell.stop_and_wait(None, Some(STOP_TIMEOUT)).await.is_err() {
                tracing::warn!(actor = %cell.get_id(), "branch did not stop in time and is killed");
                let _ = cell.kill_and_wait(Some(STOP_TIMEOUT)).await;
            }
        }
    }

    /// Stops connections, groups, membership and store, in this order.
    async fn close(&mut self, myself: &ActorRef<Message>) {
        self.stop(|kind| kind == BranchKind::Connections, myself).await;
        self.stop(|kind| matches!(kind, BranchKind::Group(_)), myself).await;
        self.stop(|kind| kind == BranchKind::Membership, myself).await;
        self.stop(|kind| kind == BranchKind::Store, myself).await;
    }

    async fn tree(&self, myself: &ActorRef<Message>) -> Branch {
        let mut children = Vec::new();
        for cell in self.cells(myself) {
            let Some(kind) = self.children.get(&cell.get_id()) else { continue };
            let mut below = Vec::new();
            if *kind == BranchKind::Connections {
                let names = self.handle.connections.tree().await.unwrap_or_default();
                below.extend(names.into_iter().map(|name| Branch { name, children: vec![] }));
            }
            children.push(Branch { name: kind.name(), children: below });
        }
        children.sort_by_key(|branch| branch.name);
        Branch { name: "node", children }
    }

    fn cells(&self, myself: &ActorRef<Message>) -> Vec<ActorCell> {
        let mut cells = myself.get_cell().get_children();
        cells.sort_by_key(|cell| cell.get_id());
        cells
    }

    /// Schedules the restart of a branch that failed or did not start, or gives it up.
    fn on_failure(
        &mut self,
        kind: BranchKind,
        cause: ActorProcessingErr,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        tracing::error!(branch = ?kind, %cause, "branch failed");
        let now = self.arguments.clock.moment();
        match (kind, self.restarts.record(kind, now)) {
            (BranchKind::Store, _) => return self.give_up(kind, cause),
            (_, Verdict::Restart { after }) => {
                if kind == BranchKind::Membership {
                    self.router.cells.close_all();
                }
                let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
                self.arguments.clock.spawn(async move {
                    clock.sleep(after).await;
                    // Fails if the node has closed meanwhile.
                    let _ = myself.cast(Message::Restart(kind));
                });
            }
            (BranchKind::Group(group), Verdict::GiveUp) => {
                self.handle.groups.remove(group);
                let reason = cause.to_string();
                self.handle.events.send(Event::GroupFailed { group, reason });
            }
            (_, Verdict::GiveUp) => return self.give_up(kind, cause),
        }
        Ok(())
    }

    /// Ends the node, because `kind` failed for good.
    fn give_up(&self, kind: BranchKind, cause: ActorProcessingErr) -> Result<(), ActorProcessingErr> {
        self.handle.record.failed(kind.name(), &cause);
        Err(cause)
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
            budget: CacheBudget::new(arguments.cache_bytes, handle.meters.documents.clone()),
            assembly: AssemblyBudget::new(ASSEMBLY_BYTES_MAX, handle.meters.sessions.clone()),
            children: BTreeMap::new(),
            restarts: Restarts::default(),
            progress: handle.watchdog.register(Name::of("node")),
            watch: JoinSet::new(),
            handle,
            arguments,
        };
        state.start_watchdog();
        state.start_branch(BranchKind::Store, &myself).await?;
        state.start_branch(BranchKind::Membership, &myself).await?;
        state.start_group(state.handle.personal, &myself).await?;
        let groups = state.handle.membership.groups();
        for info in groups.into_iter().filter(|info| info.state != GroupState::Failed) {
            state.start_group(info.id, &myself).await?;
        }
        state.start_branch(BranchKind::Connections, &myself).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let _turn = state.progress.turn(message.doing());
        match message {
            Message::StartGroup { group, reply } => {
                if let Err(cause) = state.start_group(group, &myself).await {
                    state.give_up(BranchKind::Group(group), cause)?;
                }
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::StopGroup { group, reply } => {
                state.stop_group(group, &myself).await;
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Message::Restart(kind) => {
                // The group may have been given up meanwhile.
                let gone =
                    matches!(kind, BranchKind::Group(group) if state.handle.groups.get(group).is_none());
                let runs = state.children.values().any(|running| *running == kind);
                if !gone && !runs {
                    state.start_or_schedule(kind, &myself).await?;
                }
            }
            Message::Tree(reply) => answer(reply, state.tree(&myself).await),
            Message::Close(reply) => {
                state.handle.record.closing();
                // Before the branches stop: a call that one of them does not answer any more gets `Closed`.
                state.handle.expect_no_restart();
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
        // A child that this actor stopped itself is no longer in the map.
        match state.children.remove(&child.get_id()) {
            Some(kind) => state.on_failure(kind, cause, &myself),
            None => Ok(()),
        }
    }

    async fn post_stop(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // Left to itself, ractor kills the children, and their `post_stop` never runs (ractor#398).
        state.close(&myself).await;
        Ok(())
    }
}
