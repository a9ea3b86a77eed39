//! Simulates a network of real nodes, for tests (feature `sim`).
//!
//! Time is virtual. On a paused current-thread runtime (`#[tokio::test(start_paused = true)]`) one seed gives
//! one run: latencies, losses, keys and nonces all follow from it.
//!
//! ```
//! # use peerbase::{Role, TableName, sim::Net};
//! # const TASKS: TableName<String> = TableName::new("tasks");
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let mut net = Net::seeded(7).latency_ms(5..80).loss(0.02);
//! let [ada, ben] = net.nodes(["ada", "ben"]).await;
//! let group = net.group("Garden club", &[&ada, &ben]).await;
//!
//! net.partition(&[&[&ada], &[&ben]]);
//! ada.node().group(group).unwrap().table(TASKS).put("a", &"water the basil".to_string()).await.unwrap();
//! net.heal();
//! net.settle().await;
//! net.assert_converged();
//! # }
//! ```

pub mod faults;
pub mod machines;
mod observe;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use actors::identity::Identity;
use actors::node::membership::GroupState;
use actors::node::store::memory::MemoryDisk;
use actors::node::store::{Mode, StoreHandle};
use actors::transport::memory::MemoryNetwork;
use schema::GroupId;
use schema::key::SigningKey;
use schema::ledger::Role;
use schema::mnemonic::Mnemonic;

use self::peer::Inner;
pub use self::peer::Peer;
use crate::Node;

/// The virtual time after which a network that has not settled is a failure.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(900);
/// The interval of virtual time at which a settling network is checked.
const SETTLE_STEP: Duration = Duration::from_millis(250);

/// A simulated network with its nodes.
pub struct Net {
    seed: u64,
    clock: Clock,
    network: MemoryNetwork,
    peers: BTreeMap<String, Peer>,
    /// Pairs of dialler and dialled: every pair, unless the nodes were started apart.
    pairs: BTreeSet<(String, String)>,
}

impl Net {
    /// Returns a network without latency or loss. It is repeatable only on a paused current-thread runtime.
    pub fn seeded(seed: u64) -> Self {
        let clock = Clock::simulated(seed);
        let network = MemoryNetwork::seeded(clock.clone(), seed);
        Self { seed, clock, network, peers: BTreeMap::new(), pairs: BTreeSet::new() }
    }

    /// Sets the latency of a chunk of bytes one way, milliseconds.
    #[must_use]
    pub fn latency_ms(mut self, range: Range<u64>) -> Self {
        self.network = self.network.latency_ms(range);
        self
    }

    /// Sets the probability that a chunk is lost and sent again, 0 to 1.
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.network = self.network.loss(probability);
        self
    }

    /// Starts nodes; each dials all that were started before it.
    pub async fn nodes<const N: usize>(&mut self, names: [&str; N]) -> [Peer; N] {
        for name in names {
            self.node(name, true, None).await;
        }
        names.map(|name| self.peers[name].clone())
    }

    /// Starts nodes that dial no other: they join by ticket, and [`settle`](Self::settle) does not wait for
    /// them.
    pub async fn nodes_apart<const N: usize>(&mut self, names: [&str; N]) -> [Peer; N] {
        for name in names {
            self.node(name, false, None).await;
        }
        names.map(|name| self.peers[name].clone())
    }

    /// Starts another device of a peer's user, which holds the user's key; it dials all that were started
    /// before it.
    pub async fn device_of(&mut self, peer: &Peer, name: &str) -> Peer {
        let user = self.identity(peer).user;
        self.node(name, true, Some(user)).await
    }

    /// Starts a node of the recovery user with these words; it dials all that were started before it.
    pub async fn restored(&mut self, words: &Mnemonic, name: &str) -> Peer {
        self.node(name, true, Some(words.key())).await
    }

    async fn node(&mut self, name: &str, dials: bool, user: Option<SigningKey>) -> Peer {
        let (name, disk, state) = (name.to_owned(), MemoryDisk::default(), Mutex::default());
        let inner = Inner { name, user, disk, state };
        let peer = Peer { inner: Arc::new(inner) };
        for other in self.peers.keys().filter(|_| dials) {
            self.pairs.insert((peer.name().to_owned(), other.clone()));
        }
        self.peers.insert(peer.name().to_owned(), peer.clone());
        self.start(&peer).await;
        peer
    }

    /// Derives a seed for one peer from the seed of the network.
    fn seed_of(&self, peer: &Peer, part: u64) -> u64 {
        let parts = [&self.seed.to_be_bytes()[..], peer.name().as_bytes(), &part.to_be_bytes()];
        let bytes = schema::id::hash("sim", &parts);
        u64::from_be_bytes(bytes[..8].try_into().expect("eight of 32 bytes"))
    }

    /// Derives a peer's secret keys, which are the same at every start.
    fn identity(&self, peer: &Peer) -> Identity {
        let birth = Clock::simulated(self.seed_of(peer, 0));
        let own = Identity::generate(&mut |bytes: &mut [u8]| birth.fill(bytes));
        let user = peer.inner.user.clone().unwrap_or_else(|| own.user.clone());
        Identity { user, ..own }
    }

    async fn start(&self, peer: &Peer) {
        let name = peer.name();
        let starts = {
            let mut state = peer.state();
            state.starts += 1;
            state.starts
        };
        let identity = self.identity(peer);
        let engine = peer.inner.disk.open().expect("the disk of a node that is down is free");
        let store = StoreHandle::over(engine, Mode::Inline).expect("memory does not fail");
        let node = Node::in_memory_builder()
            .name(name)
            .network(&self.network, name)
            .parts(self.clock.reseeded(self.seed_of(peer, starts)), store, identity)
            .open()
            .await
            .expect("a simulated node opens");
        node.listen(&address(name)).await.expect("the host's own address is free");
        for (from, to) in &self.pairs {
            if from == name {
                // An unreachable address is dialled again.
                let _ = node.connect(&address(to)).await;
            }
        }
        peer.state().node = Some(node);
    }

    /// Creates a group at the first peer, admits the others as Writers, and waits until all are in sync;
    /// returns its id.
    ///
    /// # Panics
    /// If `peers` is empty, or as [`settle`](Self::settle).
    pub async fn group(&mut self, name: &str, peers: &[&Peer]) -> GroupId {
        let founder = peers.first().expect("a group has a founder").node();
        let group = founder.create_group(name).await.expect("founding needs nobody");
        for peer in &peers[1..] {
            group.add_member(peer.node().user_id(), Role::Writer).await.expect("founders admit");
            peer.node().request_group(group.id()).await.expect("asking needs nobody");
        }
        self.settle().await;
        group.id()
    }

    /// Partitions the network: only peers of the same side reach each other. It replaces an earlier
    /// partition.
    pub fn partition(&mut self, sides: &[&[&Peer]]) {
        let names: Vec<Vec<&str>> =
            sides.iter().map(|side| side.iter().map(|peer| peer.name()).collect()).collect();
        let sides: Vec<&[&str]> = names.iter().map(Vec::as_slice).collect();
        self.network.partition(&sides);
    }

    /// Cuts the connection between two peers.
    pub fn cut(&mut self, one: &Peer, other: &Peer) {
        self.network.cut(one.name(), other.name());
    }

    /// Ends every partition and cut, and notifies the nodes, which dial again at once.
    pub fn heal(&mut self) {
        self.network.heal();
        for peer in self.peers.values() {
            if let Some(node) = peer.state().node.as_ref() {
                // An error means that the node is stopping.
                let _ = node.handle().connections().network_changed();
            }
        }
    }

    /// Ends a node as a power cut would: writes that were not yet on the disk are lost.
    pub async fn crash(&mut self, peer: &Peer) {
        self.network.crash(peer.name());
        peer.inner.disk.crash();
        let node = peer.state().node.take();
        if let Some(node) = node {
            node.handle().kill().await;
        }
    }

    /// Starts a node that crashed or was closed, from its disk.
    pub async fn restart(&mut self, peer: &Peer) {
        self.start(peer).await;
    }

    /// Waits for a span of virtual time.
    pub async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Waits until all nodes that reach each other are linked and in sync.
    ///
    /// # Panics
    /// After 15 minutes of virtual time, with the seed and a list of what is not in sync.
    pub async fn settle(&self) {
        let mut unsettled = String::new();
        for _ in 0..SETTLE_TIMEOUT.as_millis() / SETTLE_STEP.as_millis() {
            self.clock.sleep(SETTLE_STEP).await;
            unsettled = self.unsettled();
            if unsettled.is_empty() {
                return;
            }
        }
        panic!("seed {}: the network did not settle: {unsettled}", self.seed);
    }

    /// Lists the pairs that reach each other and are not in sync.
    fn unsettled(&self) -> String {
        let mut unsettled = String::new();
        for (one, other) in &self.pairs {
            if !self.network.reaches(one, other) {
                continue;
            }
            let (Some(one), Some(other)) = (self.peers[one].up(), self.peers[other].up()) else { continue };
            for (here, there) in [(&one, &other), (&other, &one)] {
                for (group, state) in here.states() {
                    let shared = there.states().get(&group) == Some(&GroupState::Active);
                    let expected = match state {
                        // A removed member is not notified, so its state stays active.
                        GroupState::Active => {
                            shared && !here.has_removed(group, there) && !there.has_removed(group, here)
                        }
                        // The other node has admitted this one: its ledger is on the way.
                        GroupState::Pending => shared && there.admits(group, here),
                        GroupState::Removed | GroupState::Failed | GroupState::Offered => false,
                    };
                    // Documents may be in sync while an op, or a page that it names, is still on the way.
                    let [ours, theirs] = [here, there].map(|node| node.digests(group)[0]);
                    if expected && !(ours == theirs && here.is_synced_with(group, there)) {
                        let names = (here.name_of(self), there.name_of(self));
                        let _ = write!(
                            unsettled,
                            "{} is not in sync with {} in {}; ",
                            names.0,
                            names.1,
                            group.short()
                        );
                    }
                }
            }
        }
        unsettled
    }

    /// Asserts that in every group all members that no node knows to be removed have the same ledger, roster,
    /// documents and rows.
    ///
    /// # Panics
    /// If two members differ: with the seed and the difference.
    pub fn assert_converged(&self) {
        let mut groups: BTreeMap<GroupId, Vec<_>> = BTreeMap::new();
        for (name, peer) in &self.peers {
            let Some(node) = peer.up() else { continue };
            for (group, state) in node.states() {
                let peers = || self.peers.values().filter_map(Peer::up);
                let is_removed = || peers().any(|other| other.has_removed(group, &node));
                if state == GroupState::Active && !is_removed() {
                    groups.entry(group).or_default().push((
                        name.as_str(),
                        node.digests(group),
                        node.rows(group),
                    ));
                }
            }
        }
        for (group, members) in groups {
            let (first, rest) = members.split_first().expect("a group is listed by a member");
            for other in rest {
                assert_eq!(
                    (&first.1, &first.2),
                    (&other.1, &other.2),
                    "seed {}: group {} differs between {} and {}",
                    self.seed,
                    group.short(),
                    first.0,
                    other.0,
                );
            }
        }
    }

    /// Returns the network itself, for peers made by hand.
    #[doc(hidden)]
    pub fn network(&self) -> &MemoryNetwork {
        &self.network
    }

    /// Returns the simulated clock, for peers made by hand.
    #[doc(hidden)]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Hashes every delivery, dial and broken link so far: equal seeds give equal hashes.
    pub fn trace_hash(&self) -> [u8; 32] {
        self.network.trace_hash()
    }

    /// Closes every node.
    pub async fn close(self) {
        for peer in self.peers.values() {
            let node = peer.state().node.take();
            if let Some(node) = node {
                node.close().await;
            }
        }
    }
}

fn address(name: &str) -> String {
    format!("memory://{name}")
}
