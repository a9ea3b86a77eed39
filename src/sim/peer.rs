//! One simulated device: its name, its disk, and its node while that is up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actors::node::store::memory::MemoryDisk;
use schema::key::SigningKey;

use crate::Node;

/// A simulated device. Cheap to clone; keeps its identity and disk across crash and restart.
#[derive(Clone)]
pub struct Peer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) name: String,
    /// The user, if it is not the device's own.
    pub(super) user: Option<SigningKey>,
    pub(super) disk: MemoryDisk,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) node: Option<Node>,
    pub(super) starts: u64,
}

impl Peer {
    /// Returns the peer's name on the network.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the peer's node.
    ///
    /// # Panics
    /// If the peer crashed or was closed.
    pub fn node(&self) -> Node {
        self.state().node.clone().unwrap_or_else(|| panic!("{} is down", self.name()))
    }

    /// Returns the peer's disk, which a test may damage.
    pub fn disk(&self) -> &MemoryDisk {
        &self.inner.disk
    }

    pub(super) fn up(&self) -> Option<Node> {
        self.state().node.clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
