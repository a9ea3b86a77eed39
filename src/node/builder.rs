//! Opens a database: the settings, the folder, the identity and the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use actors::clock::Clock;
use actors::identity::Identity;
use actors::node::store::{Durability, OpenEngine, StoreHandle, default_engine};
use actors::node::{NodeArguments, NodeHandle};
use actors::transport::memory::MemoryNetwork;
use actors::transport::websocket::WebSockets;
use actors::transport::{Transport, Transports};
use schema::device::DeviceIdentity;
#[cfg(feature = "defects")]
use schema::document::Defect;
use schema::document::Rules;
use schema::key::SigningKey;

use super::{DATABASE_FOLDER, IDENTITY_FILE, Node};
use crate::error::OpenError;

/// Default bound on the memory of loaded documents, bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Memory that one document may take unless set otherwise, bytes.
const DOCUMENT_BYTES: u64 = 512 << 20;

/// The settings of a node that is to be opened, made by [`Node::builder`] or [`Node::in_memory_builder`].
#[must_use = "a builder does nothing until `open` is called"]
pub struct NodeBuilder {
    path: Option<PathBuf>,
    name: String,
    engine: Arc<dyn OpenEngine>,
    durability: Durability,
    rules: Rules,
    cache_bytes: usize,
    document_bytes: u64,
    clock: Clock,
    transport: Option<Arc<dyn Transport>>,
    advertised: Vec<String>,
    is_listed: bool,
    parts: Option<(StoreHandle, Identity)>,
    pub(super) restored: Option<SigningKey>,
}

impl NodeBuilder {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            name: String::new(),
            engine: default_engine(),
            durability: Durability::Immediate,
            rules: Rules::default(),
            cache_bytes: CACHE_BYTES,
            document_bytes: DOCUMENT_BYTES,
            clock: Clock::real(),
            transport: None,
            advertised: Vec::new(),
            is_listed: true,
            parts: None,
            restored: None,
        }
    }

    /// Sets the device's name, which members see: at most 64 bytes of UTF-8.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the storage engine and its options; [`SledOptions::default()`](crate::engine::SledOptions) unless
    /// set.
    ///
    /// A database stays with the engine that made it, and its backups use the same engine. A database in
    /// memory uses it for its backups alone.
    pub fn engine(mut self, engine: impl OpenEngine) -> Self {
        self.engine = Arc::new(engine);
        self
    }

    /// Sets the moment at which a write returns: once it is on the disk (the default), or once it is applied.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Bounds the memory of loaded documents, bytes; 64 MiB unless set.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Bounds the memory that one row may take to be materialised, bytes; 512 MiB unless set. A row beyond it
    /// is accepted and sent on as any other, reads as it last did, and cannot be written here:
    /// [`GroupStatus::unmaterialised`](crate::group::GroupStatus::unmaterialised).
    pub fn document_bytes(mut self, bytes: u64) -> Self {
        self.document_bytes = bytes;
        self
    }

    /// Adds an address to tickets and device records, before those at which the node listens: for example one
    /// that a router forwards to it. Its form is `ws://HOST:PORT`.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertised.push(address.into());
        self
    }

    /// Publishes no addresses of this device to its groups, and dials no address that a group publishes.
    /// Links come from [`Node::connect`], [`Node::join`] and other devices that dial this one.
    pub fn unlisted(mut self) -> Self {
        self.is_listed = false;
        self
    }

    /// Also joins an in-memory network as `memory://HOST`, for tests and demonstrations within one process.
    /// The node's time is that of the network.
    pub fn network(mut self, network: &MemoryNetwork, host: &str) -> Self {
        self.clock = network.clock().clone();
        let sockets = WebSockets::new(self.clock.clone());
        self.transport = Some(Arc::new(Transports::new("ws", sockets).and("memory", network.host(host))));
        self
    }

    /// Disables admission: every well-formed change is accepted, by any author. The demo and the tests show
    /// with it that they would notice.
    #[cfg(feature = "defects")]
    #[doc(hidden)]
    pub fn break_admission(mut self) -> Self {
        self.rules = Rules::with_defect(Defect::AcceptsEveryAuthor);
        self
    }

    /// Sets clock, store and identity, for the simulator.
    #[cfg(feature = "sim")]
    pub(crate) fn parts(mut self, clock: Clock, store: StoreHandle, identity: Identity) -> Self {
        self.clock = clock;
        self.parts = Some((store, identity));
        self
    }

    /// Opens the database. The first open makes the folder, the identity (`identity.key`, readable by its
    /// owner alone) and the personal group.
    ///
    /// It reads every ledger, so it takes longer the more members and ops the groups have.
    ///
    /// # Errors
    /// [`OpenError`]; the database is unchanged.
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
            document_bytes: self.document_bytes,
            rules: self.rules,
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
                // The error of the start matters more than one of the stop.
                let _ = store.close(schema::limits::STOP_TIMEOUT).await;
                Err(OpenError::Start(error))
            }
        }
    }
}

/// Opens the store and the identity of a folder, or makes both in memory; a new identity belongs to
/// `restored`.
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
    // The identity first: a crash between the two must not leave a database without an identity.
    let known = engine.exists_in(&database);
    let file = path.join(IDENTITY_FILE);
    let identity = match restored {
        Some(user) => Identity::restore(&file, known, user, &mut random)?,
        None => Identity::open(&file, known, &mut random)?,
    };
    let store = StoreHandle::open(&database, engine)?;
    Ok((store, identity))
}
