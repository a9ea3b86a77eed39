//! The machine world: gates, sessions and documents over change headers, without a runtime, Automerge or a
//! disk.
//!
//! Histories for property tests and fuzzing, some hundred a second (`benches/machines.rs`). Ledgers, rosters
//! and manifests are real ones; a tip's signature is a keyed hash, a message is a list of headers;
//! everything else is what the actors step. Time is a number, an event queue is ordered by (time, count),
//! and one seed always gives one history.
//!
//! Every user but the joiner begins as a member. Peer 0 founded the group, so nobody can remove it: the
//! honest members must end with its ledger and its documents.

mod broken_promise;
mod events;
mod examine;
mod links;
mod malice;
mod people;
mod say;
mod store;
mod supply;
mod wire;
mod world_defect;

use std::collections::{BTreeMap, BTreeSet};

use actors::clock::Random;
use schema::change::ChangeHeader;
use schema::gate::Channel;
use schema::session::Session;
use schema::time::Moment;
use schema::tip::Author;
use schema::wire::session::SessionFrame;
use schema::{ChangeHash, DocumentId, OpId};

#[doc(inline)]
pub use schema::document::Defect;

pub use self::broken_promise::BrokenPromise;
pub use self::say::Say;
pub use self::world_defect::WorldDefect;

use self::events::Event;
use self::people::{JOINER, Member, PEOPLE_MAX};
use self::store::Store;

/// Peers that hold documents, and links that can be cut.
pub struct World {
    random: Random,
    now: Moment,
    count: u64,
    peers: Vec<Peer>,
    events: BTreeMap<(Moment, u64), Event>,
    /// The arrival of the last parcel of each direction, so that parcels of one link keep their order.
    arrivals: BTreeMap<(usize, usize), Moment>,
    /// Pairs that are wired: a link between them that ends is dialled again.
    wired: BTreeSet<(usize, usize)>,
    /// Links by number, so that parcels of one that ended arrive nowhere.
    cables: BTreeMap<(usize, usize), u64>,
    trace: [u8; 32],
    /// Every change that any peer made.
    made: BTreeMap<ChangeHash, Made>,
    /// The count at which each op was signed.
    signed: BTreeMap<OpId, u64>,
}

/// A change with facts that no peer can see.
struct Made {
    at: u64,
    peer: usize,
    document: DocumentId,
    author: Author,
    header: ChangeHeader,
}

struct Peer {
    store: Store,
    member: Member,
    sessions: BTreeMap<usize, Open>,
    /// Frames that overtook the opening of their session.
    early: BTreeMap<usize, Vec<SessionFrame>>,
    /// The peer writes under its first grant: a [`WorldDefect`].
    keeps_grant: bool,
}

/// A session of the documents.
struct Open {
    /// Another number for each session, so that its timer wakes no other.
    epoch: u64,
    channel: Channel,
    session: Session,
}

impl World {
    /// A world of up to six honest peers, all linked, with nothing in it.
    pub fn seeded(seed: u64, peers: usize) -> Self {
        assert!(peers <= PEOPLE_MAX, "the world has {PEOPLE_MAX} people");
        Self::of(seed, (0..peers).map(|person| (person, false)))
    }

    /// A world of up to six honest members, and of one more peer whose user begins outside the group.
    pub fn with_joiner(seed: u64, members: usize) -> Self {
        assert!(members <= PEOPLE_MAX, "the world has {PEOPLE_MAX} members");
        Self::of(seed, (0..members).chain([JOINER]).map(|person| (person, false)))
    }

    /// A world of all people. The last one is malicious: the last two peers are copies of one device of
    /// theirs.
    pub fn with_malice(seed: u64) -> Self {
        let honest = (0..PEOPLE_MAX - 1).map(|person| (person, false));
        Self::of(seed, honest.chain([(PEOPLE_MAX - 1, true); 2]))
    }

    fn of(seed: u64, people: impl Iterator<Item = (usize, bool)>) -> Self {
        let peer = |(number, (person, is_malicious)): (usize, (usize, bool))| {
            let member = Member::new(person);
            let store = Store::new(number, &member, is_malicious);
            let (sessions, early) = Default::default();
            Peer { store, member, sessions, early, keeps_grant: false }
        };
        let mut world = Self {
            random: Random::seeded(seed),
            now: Moment::default(),
            count: 0,
            peers: people.enumerate().map(peer).collect(),
            events: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            wired: BTreeSet::new(),
            cables: BTreeMap::new(),
            trace: [0; 32],
            made: BTreeMap::new(),
            signed: BTreeMap::new(),
        };
        world.heal();
        world
    }

    /// The number of peers.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// A number below `bound`, from the world's seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.within(0..=bound.saturating_sub(1))
    }

    /// A random index into a list of `length`.
    pub fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// Returns true if a peer breaks the rules.
    pub fn is_malicious(&self, peer: usize) -> bool {
        self.peers[peer].store.is_malicious
    }

    /// One peer changes one document. Returns false if it may not write and obeys.
    pub fn write(&mut self, peer: usize, key: &str) -> bool {
        let content = self.random.within(0..=u64::MAX);
        let author = if self.is_malicious(peer) {
            self.malicious_author(peer)
        } else {
            let Some(grant) = self.grant(peer) else { return false };
            let store = &self.peers[peer].store;
            Author { device: store.device, grant, incarnation: store.incarnation }
        };
        let written = self.peers[peer].store.write(key, author, content);
        let Some((moved, header)) = written else { return false };
        let document = self.peers[peer].store.document(key);
        self.register(document, author, &header, peer);
        self.moved(peer, None, &moved);
        true
    }

    /// The grant under which an honest peer writes; `None` if it may not.
    fn grant(&self, peer: usize) -> Option<OpId> {
        let Peer { store, member, .. } = &self.peers[peer];
        let grant = store.grant()?;
        let is_own = |id: &OpId| store.roster.grant_by_id(*id).is_some_and(|given| given.user == store.user);
        let first = || member.ledger().ids().find(is_own);
        if self.peers[peer].keeps_grant { first() } else { Some(grant) }
    }

    /// The number of changes that a peer holds.
    pub fn changes(&self, peer: usize) -> usize {
        self.peers[peer].store.documents.values().map(|held| held.accepted.len()).sum()
    }

    /// A hash over all arrivals, in order.
    pub fn trace(&self) -> [u8; 32] {
        self.trace
    }

    fn tick(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Notes a change that a peer made, once.
    fn register(&mut self, document: DocumentId, author: Author, header: &ChangeHeader, peer: usize) {
        let at = self.tick();
        let made = || Made { at, peer, document, author, header: header.clone() };
        self.made.entry(header.hash).or_insert_with(made);
    }

    /// The honest peers that the founder admits.
    fn members(&self) -> Vec<usize> {
        let founder = &self.peers[0].member;
        let is_in =
            |peer: &usize| founder.admits(self.peers[*peer].member.person) && !self.is_malicious(*peer);
        (0..self.peers.len()).filter(is_in).collect()
    }

    /// Returns true if all honest members hold the same documents.
    pub fn is_converged(&mut self) -> bool {
        let members = self.members();
        let roots: BTreeSet<_> = members.iter().map(|peer| self.peers[*peer].store.digest.root()).collect();
        roots.len() <= 1
    }

    /// Returns true if two peers hold the same documents.
    pub fn are_equal(&mut self, one: usize, other: usize) -> bool {
        self.peers[one].store.digest.root() == self.peers[other].store.digest.root()
    }

    /// Returns true if every session between honest members is in sync.
    pub fn is_synced(&self) -> bool {
        let members = self.members();
        let between = members
            .iter()
            .flat_map(|peer| self.peers[*peer].sessions.iter().filter(|(other, _)| members.contains(other)));
        between.into_iter().all(|(_, open)| open.session.is_synced())
    }
}
