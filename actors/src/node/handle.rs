//! The handle of a running node: starts the tree, reads its branches, closes it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, SpawnErr};
use schema::device::DeviceIdentity;
use schema::document::Rules;
use schema::key::SigningKey;
use schema::ledger::Ledger;
use schema::limits::STOP_TIMEOUT;
use schema::{GroupId, UserId};
use tokio::sync::{broadcast, watch};

use super::connection_manager::ConnectionManagerHandle;
use super::end::{EndRecord, NodeEnd};
use super::event::{Event, Events};
use super::group::{GroupHandle, Groups, rows};
use super::membership::MembershipHandle;
use super::store::{Copied, CopyError, Durability, OpenEngine, StoreHandle};
use super::{Message, Node, connection_manager, keys};
use crate::call::{CallError, Slot};
use crate::clock::Clock;
use crate::meter::Meters;
use crate::transport::Transport;
use crate::watchdog::{StuckActor, Watchdog};

/// The parts and options of a node.
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
    /// Opens streams to other nodes.
    pub transport: Arc<dyn Transport>,
    /// The moment at which a write is answered.
    pub durability: Durability,
    /// Bound of the memory of loaded documents, bytes.
    pub cache_bytes: usize,
    /// Bound of the memory that one document may take, bytes.
    pub document_bytes: u64,
    /// The rules of admission: sound ones, except in a demo or a test that shows their purpose.
    #[doc(hidden)]
    pub rules: Rules,
    /// Addresses at which others reach this device, besides those at which it listens.
    pub advertised: Vec<String>,
    /// Publish this device's addresses in its groups, and dial the published addresses of members.
    pub is_listed: bool,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) slot: Slot<Message>,
    pub(super) store: StoreHandle,
    pub(super) membership: MembershipHandle,
    pub(super) connections: ConnectionManagerHandle,
    pub(super) groups: Groups,
    pub(super) meters: Meters,
    pub(super) watchdog: Watchdog,
    pub(super) events: Events,
    pub(super) record: EndRecord,
    /// The end, once nothing runs any more.
    end: watch::Receiver<Option<NodeEnd>>,
    clock: Clock,
    pub(super) personal: GroupId,
    pub(super) user: UserId,
}

/// The contents of a copy of a node's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Bytes and damage.
    pub copied: Copied,
    /// Groups, without the personal one; groups that were left count too.
    pub groups: usize,
    /// Rows of these groups, with tombstones.
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
                // The root did not start because this branch did not.
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
    /// [`StartError`] if a branch cannot start; the branches that have started are stopped again.
    pub async fn start(arguments: NodeArguments) -> Result<Self, StartError> {
        let slot = Slot::default();
        let groups = Groups::default();
        let (clock, store) = (arguments.clock.clone(), arguments.store.clone());
        let (ended, end) = watch::channel(None);
        let membership = MembershipHandle::new(
            UserId(arguments.user.public()),
            clock.clone(),
            store.clone(),
            groups.clone(),
        );
        let user = UserId(arguments.user.public());
        let handle = Self {
            slot: slot.clone(),
            store: arguments.store.clone(),
            membership: membership.clone(),
            connections: ConnectionManagerHandle::new(
                arguments.transport.clone(),
                arguments.advertised.clone(),
                arguments.is_listed,
            ),
            groups: groups.clone(),
            meters: Meters::of_node(arguments.store.meters()),
            watchdog: Watchdog::new(clock.clone()),
            events: Events::default(),
            record: EndRecord::default(),
            end,
            clock: clock.clone(),
            personal: Ledger::personal_id(user),
            user,
        };
        let (actor, root) =
            Actor::spawn(None, Node, (handle.clone(), arguments)).await.map_err(StartError::of)?;
        slot.put(actor);
        let (events, record) = (handle.events.clone(), handle.record.clone());
        clock.spawn(async move {
            // The root ends in every case: closed, failed, killed or panicked. A root that failed has closed
            // nothing, and a second close of the store does nothing.
            let _ = root.await;
            let end = record.conclude(store.close(STOP_TIMEOUT).await);
            ended.send_replace(Some(end));
            events.end();
        });
        Ok(handle)
    }

    /// Groups, their members, and the changes of both.
    pub fn membership(&self) -> &MembershipHandle {
        &self.membership
    }

    /// Links and addresses.
    pub fn connections(&self) -> &ConnectionManagerHandle {
        &self.connections
    }

    /// Listens, also after a restart, and publishes the address in its groups; returns the address to dial.
    ///
    /// # Errors
    /// [`ListenError`](connection_manager::ListenError)
    pub async fn listen(&self, address: &str) -> Result<String, connection_manager::ListenError> {
        let bound = self.connections.listen(address).await?;
        self.membership.addresses_moved();
        Ok(bound)
    }

    /// The meters.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The actors that have had one message in hand for `at_least` so long. Asks none of them.
    pub fn stuck(&self, at_least: Duration) -> Vec<StuckActor> {
        self.watchdog.stuck(at_least)
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

    /// Starts a group unless it runs, and returns once it does.
    ///
    /// # Errors
    /// [`CallError`] if the node is closed or the group cannot start.
    pub async fn start_group(&self, group: GroupId) -> Result<GroupHandle, CallError> {
        self.slot.ask(|reply| Message::StartGroup { group, reply: Some(reply) }).await?;
        self.groups.get(group).ok_or(CallError::Stopped)
    }

    /// Stops a group unless the user takes part in it; nothing of it runs when this returns.
    ///
    /// # Errors
    /// [`CallError`] if the node is closed.
    pub async fn stop_group(&self, group: GroupId) -> Result<(), CallError> {
        // The user may have joined again since.
        match self.membership.info(group) {
            Some(_) => Ok(()),
            None => self.slot.ask(|reply| Message::StopGroup { group, reply: Some(reply) }).await,
        }
    }

    /// Waits until nothing of the node runs any more and its database is free.
    pub async fn closed(&self) -> NodeEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            // The runtime of the node has ended, and every actor with it.
            _ => NodeEnd::failed("node", &std::io::Error::other("its runtime ended")),
        }
    }

    /// A receiver of every event from now on. It ends with the node.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Copies the whole database into a new one in `folder`. The copy draws an incarnation of its own when it
    /// is opened, since two databases that write under one would fork their replicas. Blocks: call it off the
    /// runtime.
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

    /// Kills every actor, as a crash would; for simulations.
    #[doc(hidden)]
    pub async fn kill(&self) {
        self.slot.kill_within(STOP_TIMEOUT).await;
    }

    /// Stops every branch in order and returns when nothing runs any more; a second call returns at once.
    pub async fn close(&self) {
        self.expect_no_restart();
        let _ = self.slot.ask_within(STOP_TIMEOUT * 6, Message::Close).await;
        // A root that failed has closed nothing. A second close of the store does nothing.
        let _ = self.store.close(STOP_TIMEOUT).await;
        let _ = self.clock.timeout(STOP_TIMEOUT, self.closed()).await;
    }

    /// Calls to branches that have stopped answer that from now on, not that they are started again.
    pub(super) fn expect_no_restart(&self) {
        self.groups.expect_no_restart();
        self.membership.expect_no_restart();
    }
}
