//! Opens, describes and closes this device's database.

mod backup;
mod contacts;
mod devices;
mod recovery;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use actors::clock::Clock;
use actors::identity::Identity;
use actors::node::group::INTENTS_TABLE;
use actors::node::membership::{ChangeError, ChangeRefusal};
use actors::node::store::{Durability, OpenEngine, StoreHandle, default_engine};
use actors::node::{Branch, NodeArguments, NodeHandle};
use actors::transport::memory::MemoryNetwork;
use actors::transport::websocket::WebSockets;
use actors::transport::{Transport, Transports};
use schema::device::DeviceIdentity;
use schema::key::SigningKey;
use schema::limits::{GROUP_NAME_BYTES_MAX, GROUPS_MAX};
use schema::{DeviceId, GroupId, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use self::backup::Backup;
pub use self::status::{EndedLink, GroupReport, NodeStatus};
use crate::error::{ConnectError, GroupError, OpenError};
use crate::group::Group;
use crate::table::{Table, TableName};
use crate::{Event, GroupInfo, GroupState};

/// Loaded documents may take this much memory unless the builder says otherwise, bytes.
const CACHE_BYTES: usize = 64 << 20;

/// Where the database lies in a node's folder.
const DATABASE_FOLDER: &str = "db";
/// Where the device's secrets lie in it.
const IDENTITY_FILE: &str = "identity.key";

/// One device's database: identity, groups, connections. Cheap to clone.
///
/// Dropping the last clone loses nothing that was acknowledged; [`Node::close`] also stops cleanly.
#[derive(Clone)]
pub struct Node {
    handle: NodeHandle,
    device: DeviceId,
    name: Arc<str>,
    identity: Arc<Identity>,
    clock: Clock,
    /// Opens the databases of backups.
    engine: Arc<dyn OpenEngine>,
}

/// A row of the personal group: this user takes part in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    name: String,
    /// Milliseconds since the Unix epoch, by this device's clock.
    joined_ms: u64,
}

const INTENTS: TableName<Intent> = TableName::reserved(INTENTS_TABLE);

/// What a node is opened with.
pub struct NodeBuilder {
    path: Option<PathBuf>,
    name: String,
    engine: Arc<dyn OpenEngine>,
    durability: Durability,
    lenient: bool,
    cache_bytes: usize,
    clock: Clock,
    transport: Option<Arc<dyn Transport>>,
    advertised: Vec<String>,
    is_listed: bool,
    parts: Option<(StoreHandle, Identity)>,
    restored: Option<SigningKey>,
}

impl NodeBuilder {
    fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            name: String::new(),
            engine: default_engine(),
            durability: Durability::Immediate,
            lenient: false,
            cache_bytes: CACHE_BYTES,
            clock: Clock::real(),
            transport: None,
            advertised: Vec::new(),
            is_listed: true,
            parts: None,
            restored: None,
        }
    }

    /// What people call this device, at most 64 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Chooses the storage engine and its options; [`SledOptions::default()`](crate::engine::SledOptions) unless set.
    ///
    /// A database stays with the engine that made it. Backups are written with this engine too. A database
    /// [in memory](Node::in_memory_builder) has none, so there it is the engine of its backups.
    #[must_use]
    pub fn engine(mut self, engine: impl OpenEngine) -> Self {
        self.engine = Arc::new(engine);
        self
    }

    /// When a write is answered: once it is durable (the default), or once it is applied.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How much memory loaded documents may take, bytes; 64 MiB unless set.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Puts an address into tickets and device records, before those at which the node listens: one that a router
    /// forwards, say.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertised.push(address.into());
        self
    }

    /// Tells no group where this device is reached, and dials nobody who tells it: it meets whom it is told to meet, and
    /// whoever dials it.
    #[must_use]
    pub fn unlisted(mut self) -> Self {
        self.is_listed = false;
        self
    }

    /// Also joins an in-memory network, for tests and demonstrations within one process: `memory://…`.
    #[must_use]
    pub fn network(mut self, network: &MemoryNetwork, host: &str) -> Self {
        let sockets = WebSockets::new(self.clock.clone());
        self.transport = Some(Arc::new(Transports::new("ws", sockets).and("memory", network.host(host))));
        self
    }

    /// Breaks admission: whatever is well formed is taken, whoever wrote it. For the demo and the tests, which show that
    /// they would notice.
    #[doc(hidden)]
    #[must_use]
    pub fn break_admission(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Opens over a given clock, store and identity: the simulator's way in.
    #[cfg(feature = "sim")]
    pub(crate) fn parts(mut self, clock: Clock, store: StoreHandle, identity: Identity) -> Self {
        self.clock = clock;
        self.parts = Some((store, identity));
        self
    }

    /// Opens the database; the first time makes the folder, the identity and the personal group.
    ///
    /// # Errors
    /// [`OpenError`]; the database is as it was.
    pub async fn open(self) -> Result<Node, OpenError> {
        let (store, identity) = match self.parts {
            Some(parts) => parts,
            None => open_parts(self.path.as_deref(), &*self.engine, &self.clock, self.restored)?,
        };
        let kept = Arc::new(identity.clone());
        let device = DeviceIdentity::certify(&identity.user, identity.device, identity.agreement, &self.name);
        let device_id = device.device();
        let transport = self.transport.unwrap_or_else(|| Arc::new(WebSockets::new(self.clock.clone())));
        let arguments = NodeArguments {
            clock: self.clock.clone(),
            user: identity.user,
            device,
            store: store.clone(),
            transport,
            durability: self.durability,
            cache_bytes: self.cache_bytes,
            lenient: self.lenient,
            advertised: self.advertised,
            is_listed: self.is_listed,
        };
        match Box::pin(NodeHandle::start(arguments)).await {
            Ok(handle) => {
                let name = self.name.into();
                let (clock, engine) = (self.clock, self.engine);
                Ok(Node { handle, device: device_id, name, identity: kept, clock, engine })
            }
            Err(error) => {
                // What failed to start is worth more than what failed to stop.
                let _ = store.close(schema::limits::STOP_TIMEOUT).await;
                Err(OpenError::Start(error))
            }
        }
    }
}

/// The store and the identity of a folder, or of memory alone; a new identity is of the user that is restored.
fn open_parts(
    path: Option<&Path>,
    engine: &dyn OpenEngine,
    clock: &Clock,
    restored: Option<SigningKey>,
) -> Result<(StoreHandle, Identity), OpenError> {
    let mut random = |bytes: &mut [u8]| clock.fill(bytes);
    let Some(path) = path else {
        let generated = Identity::generate(&mut random);
        let user = restored.unwrap_or_else(|| generated.user.clone());
        return Ok((StoreHandle::in_memory(), Identity { user, ..generated }));
    };
    std::fs::create_dir_all(path).map_err(|cause| OpenError::Folder { path: path.into(), cause })?;
    let database = path.join(DATABASE_FOLDER);
    // The identity first: a crash between the two must not leave a database that misses its owner.
    let known = engine.exists_in(&database);
    let file = path.join(IDENTITY_FILE);
    let identity = match restored {
        Some(user) => Identity::restore(&file, known, user, &mut random)?,
        None => Identity::open(&file, known, &mut random)?,
    };
    let store = StoreHandle::open(&database, engine)?;
    Ok((store, identity))
}

impl Node {
    /// Starts describing a database in a folder.
    pub fn builder(path: impl AsRef<Path>) -> NodeBuilder {
        NodeBuilder::new(Some(path.as_ref().to_owned()))
    }

    /// Starts describing a database that lives in memory.
    pub fn in_memory_builder() -> NodeBuilder {
        NodeBuilder::new(None)
    }

    /// Opens a database that needs no disk and is gone when it is dropped.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn in_memory() -> Result<Self, OpenError> {
        Self::in_memory_builder().open().await
    }

    /// The user whose device this is.
    pub fn user_id(&self) -> UserId {
        self.handle.user()
    }

    /// This device.
    pub fn device_id(&self) -> DeviceId {
        self.device
    }

    /// Founds a group with this user as its founder, under the user's [recovery key](Self::make_recovery) if there is one.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn create_group(&self, name: &str) -> Result<Group, GroupError> {
        if name.len() > GROUP_NAME_BYTES_MAX {
            return Err(GroupError::Name { bytes: name.len(), max: GROUP_NAME_BYTES_MAX });
        }
        self.check_room()?;
        let recovery = self.recovery()?;
        let id = self.handle.membership().create(name.to_owned(), recovery).await?;
        self.intend(id, name).await
    }

    /// Asks to take part in a group of which only the id is known: it is pending until a device that is in it meets
    /// this one and its ledger admits this user.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn request_group(&self, id: GroupId) -> Result<Group, GroupError> {
        if let Ok(group) = self.group(id) {
            return Ok(group);
        }
        self.check_room()?;
        self.intend(id, "").await
    }

    pub(crate) fn check_room(&self) -> Result<(), GroupError> {
        if self.handle.membership().groups().len() > GROUPS_MAX {
            return Err(GroupError::Full { max: GROUPS_MAX });
        }
        Ok(())
    }

    /// Writes the intent, which starts the group on every device of this user.
    pub(crate) async fn intend(&self, id: GroupId, name: &str) -> Result<Group, GroupError> {
        let intent = Intent { name: name.to_owned(), joined_ms: self.clock.now().as_millis() };
        let intents = self.personal_table()?;
        intents.put(&id.to_string(), &intent).await?;
        self.handle.membership().intent_changed(id).await?;
        let handle = self.handle.start_group(id).await?;
        Ok(Group::new(self.clone(), handle))
    }

    /// Takes the intent back, on every device of this user.
    pub(crate) async fn intend_no_more(&self, id: GroupId) -> Result<(), GroupError> {
        self.personal_table()?.remove(&id.to_string()).await?;
        self.handle.membership().intent_changed(id).await?;
        Ok(self.handle.stop_group(id).await?)
    }

    pub(crate) async fn leave(&self, id: GroupId) -> Result<(), GroupError> {
        if id == self.handle.personal() {
            return Err(GroupError::Personal);
        }
        let membership = self.handle.membership();
        membership.info(id).ok_or(GroupError::Unknown(id))?;
        if membership.is_alone_in_charge(id, self.user_id()) {
            return Err(ChangeError::from(ChangeRefusal::NobodyInCharge).into());
        }
        self.intend_no_more(id).await
    }

    fn personal_table(&self) -> Result<Table<Intent>, GroupError> {
        Ok(self.personal()?.table_reserved(INTENTS))
    }

    /// A group that this user takes part in or asked to.
    ///
    /// # Errors
    /// [`GroupError::Unknown`] when there is none, [`GroupError::Failed`] when it is out of service.
    pub fn group(&self, id: GroupId) -> Result<Group, GroupError> {
        let info = self.handle.membership().info(id).ok_or(GroupError::Unknown(id))?;
        if info.state == GroupState::Failed {
            return Err(GroupError::Failed(id));
        }
        let handle = self.handle.group(id).ok_or(GroupError::Failed(id))?;
        Ok(Group::new(self.clone(), handle))
    }

    /// Every group that this user takes part in or asked to, with its state, by id; the personal group is not among them.
    /// Behind them those that are [offered](GroupState::Offered): somebody let this user in unasked, and
    /// [`Node::request_group`] accepts. Offers are forgotten when the node is closed, and made again when it is met.
    pub fn groups(&self) -> Vec<GroupInfo> {
        let (personal, membership) = (self.handle.personal(), self.handle.membership());
        let groups = membership.groups().into_iter().filter(|info| info.id != personal);
        groups.chain(membership.offered()).collect()
    }

    /// The group whose members are this user's own devices.
    ///
    /// # Errors
    /// [`GroupError::Failed`] when it is out of service.
    pub fn personal(&self) -> Result<Group, GroupError> {
        self.group(self.handle.personal())
    }

    /// Everything that happens at this node from now on; a listener that falls 1 024 events behind is told so.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.handle.events()
    }

    /// Accepts links at `HOST:PORT`, where port 0 takes any that is free; returns the address to dial, `ws://HOST:PORT`.
    ///
    /// # Errors
    /// [`ConnectError::Listen`].
    pub async fn listen(&self, address: &str) -> Result<String, ConnectError> {
        Ok(self.handle.listen(address).await?)
    }

    /// Dials an address (`ws://HOST:PORT`), keeps the link, and dials again whenever it is lost.
    ///
    /// # Errors
    /// [`ConnectError::Connect`] when the first attempt fails; the address is still kept and tried again.
    pub async fn connect(&self, address: &str) -> Result<DeviceId, ConnectError> {
        Ok(self.handle.connections().connect(address).await?)
    }

    /// Forgets an address, and ends the link that was dialled there; one that is not known is no error.
    ///
    /// # Errors
    /// [`ConnectError::Connect`] when the node is closed.
    pub async fn disconnect(&self, address: &str) -> Result<(), ConnectError> {
        let forgotten = self.handle.connections().disconnect(address).await;
        Ok(forgotten.map_err(actors::node::connection_manager::ConnectError::from)?)
    }

    /// The running actors, for tests and people.
    ///
    /// # Errors
    /// [`GroupError::Call`] when the node is closed.
    pub async fn tree(&self) -> Result<Branch, GroupError> {
        Ok(self.handle.tree().await?)
    }

    /// Stops the node: flushed and silent when it returns; calls after it say so. A second call answers at once.
    pub async fn close(&self) {
        self.handle.close().await;
    }

    pub(crate) fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.device.short())
    }
}

const _: () = {
    const fn is_shared<T: Clone + Send + Sync + 'static>() {}
    is_shared::<Node>();
    is_shared::<Group>();
    is_shared::<Table<Intent>>();
};
