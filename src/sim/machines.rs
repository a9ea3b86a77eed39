//! The machine world: ledgers, sessions and admission over change headers, without a runtime, Automerge or a disk.
//!
//! Thousands of histories a second, for property tests and fuzzing. Ledgers, rosters and manifests are real ones;
//! a tip's signature is a keyed hash, a message is a list of headers; everything else is what the actors step. Time is
//! a number, an event queue ordered by (time, count) decides what happens next, and one seed tells one story.
//!
//! Everybody is a member at first. Peer 0 founded the group, so nobody can remove it: what it knows in the end is what
//! the honest members must agree on.

mod examine;
mod malice;
mod mutant;
mod people;
mod rejudge;
mod say;
mod store;
mod supply;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actors::clock::Random;
use schema::change::ChangeHeader;
use schema::id::hash;
use schema::session::frame::Units;
use schema::session::{Effect, Input, Session, StepError, Wanted};
use schema::time::Timestamp;
use schema::tip::Author;
use schema::{ChangeHash, DocumentId, OpId};

pub use self::examine::Broken;
pub use self::mutant::Mutant;
pub use self::say::Say;

use self::people::{Member, PEOPLE_MAX};
use self::store::{Outcome, Store};
use self::wire::Parcel;

/// Steps after which a world that is still busy is taken for one that never ends.
const STEPS_MAX: u64 = 1_000_000;

/// Peers that hold documents, and links that can be cut.
pub struct World {
    random: Random,
    now: Timestamp,
    count: u64,
    peers: Vec<Peer>,
    events: BTreeMap<(Timestamp, u64), Event>,
    /// When the last parcel of a direction arrives, so that parcels of one link keep their order.
    arrivals: BTreeMap<(usize, usize), Timestamp>,
    /// Links by number, so that parcels of one that was cut arrive nowhere.
    cables: BTreeMap<(usize, usize), u64>,
    trace: [u8; 32],
    /// Every change that anybody made.
    made: BTreeMap<ChangeHash, Made>,
    /// When each op was said.
    said: BTreeMap<OpId, u64>,
}

/// A change as nobody in the world sees it.
struct Made {
    at: u64,
    peer: usize,
    document: DocumentId,
    author: Author,
    header: ChangeHeader,
}

enum Event {
    Arrive { from: usize, to: usize, cable: u64, parcel: Parcel },
    Wake { peer: usize, other: usize, epoch: u64 },
}

struct Peer {
    store: Store,
    member: Member,
    sessions: BTreeMap<usize, (u64, Session)>,
    /// How many ops each linked peer was handed.
    handed: BTreeMap<usize, usize>,
}

impl World {
    /// A world of up to six honest peers, all linked, with nothing in it.
    pub fn seeded(seed: u64, peers: usize) -> Self {
        assert!(peers <= PEOPLE_MAX, "the world has {PEOPLE_MAX} people");
        Self::of(seed, (0..peers).map(|person| (person, false)))
    }

    /// A world of all people, the last of whom is malicious and has two devices with one key, the last two peers.
    pub fn with_malice(seed: u64) -> Self {
        let honest = (0..PEOPLE_MAX - 1).map(|person| (person, false));
        Self::of(seed, honest.chain([(PEOPLE_MAX - 1, true); 2]))
    }

    fn of(seed: u64, people: impl Iterator<Item = (usize, bool)>) -> Self {
        let peer = |(number, (person, lenient)): (usize, (usize, bool))| {
            let member = Member::new(person);
            let store = Store::new(number, &member, lenient);
            Peer { store, member, sessions: BTreeMap::new(), handed: BTreeMap::new() }
        };
        let mut world = Self {
            random: Random::seeded(seed),
            now: Timestamp::default(),
            count: 0,
            peers: people.enumerate().map(peer).collect(),
            events: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            cables: BTreeMap::new(),
            trace: [0; 32],
            made: BTreeMap::new(),
            said: BTreeMap::new(),
        };
        world.heal();
        world
    }

    /// The same world, in which every honest peer deviates from the rules like this.
    pub fn with_mutants(mut self, mutant: Mutant) -> Self {
        let honest = self.peers.iter_mut().filter(|peer| !peer.store.lenient);
        honest.for_each(|peer| peer.store.mutant = Some(mutant));
        self
    }

    /// How many peers there are.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// A number below `bound`, from the world's seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.within(0..=bound.saturating_sub(1))
    }

    /// A place in a list of `length`.
    pub fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// Whether a peer does as it pleases.
    pub fn is_malicious(&self, peer: usize) -> bool {
        self.peers[peer].store.lenient
    }

    /// One peer changes one document; `false` when it may not, and honestly does not.
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
        let Some((wanted, header)) = written else { return false };
        self.register(wanted.document, author, &header, peer);
        self.moved(peer, None, &[wanted]);
        true
    }

    /// Under which grant an honest peer writes; `None`: it may not.
    fn grant(&self, peer: usize) -> Option<OpId> {
        let Peer { store, member, .. } = &self.peers[peer];
        let grant = store.grant()?;
        let is_own = |id: &OpId| store.roster.granted(*id).is_some_and(|given| given.user == store.user);
        let first = || member.ledger.ids().find(is_own);
        if store.is(Mutant::KeepsGrant) { first() } else { Some(grant) }
    }

    /// Links two peers unless they are.
    pub fn link(&mut self, one: usize, other: usize) {
        let (low, high) = (one.min(other), one.max(other));
        let are_one = self.peers[low].store.device == self.peers[high].store.device;
        if are_one || self.cables.contains_key(&(low, high)) {
            return;
        }
        let number = self.tick();
        self.cables.insert((low, high), number);
        for (peer, other) in [(low, high), (high, low)] {
            self.peers[peer].handed.insert(other, Member::first());
            self.hand(peer, other);
        }
        self.gate(low, high);
    }

    /// Cuts the link between two peers; what is under way is lost.
    pub fn cut(&mut self, one: usize, other: usize) {
        if self.cables.remove(&(one.min(other), one.max(other))).is_some() {
            self.peers[one].sessions.remove(&other);
            self.peers[other].sessions.remove(&one);
        }
    }

    /// One peer forgets its sessions, as a group that failed does, and opens them again on the same links; what was
    /// under way to it still arrives.
    pub fn restart(&mut self, peer: usize) {
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            let Some((epoch, _)) = self.peers[peer].sessions.remove(&other) else { continue };
            self.open(peer, other, epoch);
        }
    }

    /// Links everybody with everybody.
    pub fn heal(&mut self) {
        for one in 0..self.peers.len() {
            for other in one + 1..self.peers.len() {
                self.link(one, other);
            }
        }
    }

    /// Lets `events` events happen, or all that there are.
    pub fn run(&mut self, events: u64) {
        for _ in 0..events {
            if !self.next() {
                return;
            }
        }
    }

    /// Lets everything happen that will.
    ///
    /// # Panics
    /// When it never ends.
    pub fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.next() {
                return;
            }
        }
        panic!("the world is still busy after {STEPS_MAX} steps");
    }

    /// Changes that a peer holds.
    pub fn changes(&self, peer: usize) -> usize {
        self.peers[peer].store.documents.values().map(|held| held.accepted.headers.len()).sum()
    }

    /// A hash over everything that happened, in order.
    pub fn trace(&self) -> [u8; 32] {
        self.trace
    }

    fn next(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else { return false };
        self.now = at;
        match event {
            Event::Arrive { from, to, cable, parcel } => {
                if self.cables.get(&(from.min(to), from.max(to))) == Some(&cable) {
                    let number = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
                    let (at, ends) = (at.as_millis().to_be_bytes(), [number(from), number(to)]);
                    self.trace = hash("trace", &[&self.trace, &at, &ends, &parcel.bytes()]);
                    self.arrive(from, to, parcel);
                }
            }
            Event::Wake { peer, other, epoch } => {
                if self.epoch(peer, other) == Some(epoch) {
                    self.step(peer, other, Input::Wake);
                }
            }
        }
        true
    }

    fn arrive(&mut self, from: usize, to: usize, parcel: Parcel) {
        match parcel {
            Parcel::Ops(ops) => {
                let member = &mut self.peers[to].member;
                let new = ops.iter().filter(|said| member.take(said)).count();
                if new > 0 {
                    self.membership_moved(to);
                }
            }
            Parcel::Frame(epoch, frame) => {
                if self.epoch(to, from) == Some(epoch) {
                    self.step(to, from, Input::Frame(frame));
                }
            }
            Parcel::Slipped(units) => {
                if self.peers[to].member.admits(self.peers[from].member.person) {
                    let outcome = self.peers[to].store.apply(units);
                    self.moved(to, None, &outcome.moved);
                }
            }
        }
    }

    /// A peer's ledger has grown: documents are judged anew, gates open and close, and everybody hears of it.
    fn membership_moved(&mut self, peer: usize) {
        let Peer { store, member, .. } = &mut self.peers[peer];
        let outcome = store.set_roster(member.ledger.roster().clone(), member.pages.clone());
        for other in 0..self.peers.len() {
            if self.is_cabled(peer, other) {
                self.hand(peer, other);
                self.gate(peer, other);
            }
        }
        self.moved(peer, None, &outcome.moved);
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            self.step(peer, other, Input::Rejudged);
        }
    }

    /// Hands on the ops that the other was not handed on this link, if it is a member.
    fn hand(&mut self, peer: usize, other: usize) {
        let person = self.peers[other].member.person;
        let Peer { member, handed, .. } = &mut self.peers[peer];
        let before = handed.get(&other).copied().unwrap_or(Member::first());
        if before < member.ledger.len() && member.admits(person) {
            handed.insert(other, member.ledger.len());
            let ops = member.beyond(before);
            self.post(peer, other, Parcel::Ops(ops));
        }
    }

    /// Opens sessions where both admit each other, and closes the others.
    fn gate(&mut self, one: usize, other: usize) {
        let admits = |peer: usize, of: usize| {
            self.peers[peer].member.admits(self.peers[of].member.person) || self.is_malicious(peer)
        };
        let is_open = admits(one, other) && admits(other, one);
        match (is_open, self.epoch(one, other)) {
            (true, None) => {
                let epoch = self.tick();
                self.open(one.min(other), one.max(other), epoch);
                self.open(one.max(other), one.min(other), epoch);
            }
            (false, Some(_)) => {
                self.peers[one].sessions.remove(&other);
                self.peers[other].sessions.remove(&one);
            }
            _ => {}
        }
    }

    fn open(&mut self, peer: usize, other: usize, epoch: u64) {
        let is_initiator = (peer < other) == epoch.is_multiple_of(2);
        let side = (is_initiator, self.random.within(0..=u64::MAX));
        let Peer { store, sessions, .. } = &mut self.peers[peer];
        let Ok((session, effects)) = Session::open(self.now, side, false, store);
        sessions.insert(other, (epoch, session));
        self.perform(peer, other, effects);
    }

    fn is_cabled(&self, one: usize, other: usize) -> bool {
        self.cables.contains_key(&(one.min(other), one.max(other)))
    }

    fn epoch(&self, peer: usize, other: usize) -> Option<u64> {
        self.peers[peer].sessions.get(&other).map(|(epoch, _)| *epoch)
    }

    fn step(&mut self, peer: usize, other: usize, input: Input) {
        let Peer { store, sessions, .. } = &mut self.peers[peer];
        let Some((epoch, session)) = sessions.get_mut(&other) else { return };
        let epoch = *epoch;
        let effects = match session.step(self.now, input, store) {
            Ok(effects) => effects,
            Err(StepError::Fault(fault)) => panic!("honest peers never fault: {fault}"),
        };
        if let Some(at) = session.wake_at() {
            self.schedule(at.max(self.now), Event::Wake { peer, other, epoch });
        }
        self.perform(peer, other, effects);
    }

    fn perform(&mut self, peer: usize, other: usize, effects: Vec<Effect>) {
        let Some(epoch) = self.epoch(peer, other) else { return };
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.post(peer, other, Parcel::Frame(epoch, frame)),
                Effect::Apply(units) => self.apply(peer, other, units),
                Effect::Synced | Effect::Refused(_) => {}
            }
        }
    }

    fn post(&mut self, from: usize, to: usize, parcel: Parcel) {
        let Some(&cable) = self.cables.get(&(from.min(to), from.max(to))) else { return };
        let latency = Duration::from_millis(self.random.within(1..=80));
        let last = self.arrivals.get(&(from, to)).copied().unwrap_or_default();
        let at = (self.now + latency).max(last);
        self.arrivals.insert((from, to), at);
        self.schedule(at, Event::Arrive { from, to, cable, parcel });
    }

    fn apply(&mut self, peer: usize, other: usize, units: Units) {
        let number = units.number;
        let Outcome { moved, refused } = self.peers[peer].store.apply(units);
        self.moved(peer, Some(other), &moved);
        self.step(peer, other, Input::Applied { number, refused });
    }

    /// Tells every session, but that of the peer which it came from.
    fn moved(&mut self, peer: usize, source: Option<usize>, moved: &[Wanted]) {
        if moved.is_empty() {
            return;
        }
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            if Some(other) != source {
                self.step(peer, other, Input::Changed(moved.to_vec()));
            }
        }
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        let count = self.tick();
        self.events.insert((at, count), event);
    }

    fn tick(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Notes a change that somebody made, once.
    fn register(&mut self, document: DocumentId, author: Author, header: &ChangeHeader, peer: usize) {
        let at = self.tick();
        let made = || Made { at, peer, document, author, header: header.clone() };
        self.made.entry(header.hash).or_insert_with(made);
    }

    /// The honest peers that the founder lets in.
    fn members(&self) -> Vec<usize> {
        let founder = &self.peers[0].member;
        let is_in =
            |peer: &usize| founder.admits(self.peers[*peer].member.person) && !self.is_malicious(*peer);
        (0..self.peers.len()).filter(is_in).collect()
    }

    /// Whether all honest members hold the same documents.
    pub fn is_converged(&mut self) -> bool {
        let members = self.members();
        let roots: BTreeSet<_> = members.iter().map(|peer| self.peers[*peer].store.digest.root()).collect();
        roots.len() <= 1
    }

    /// Whether two peers hold the same documents.
    pub fn are_equal(&mut self, one: usize, other: usize) -> bool {
        self.peers[one].store.digest.root() == self.peers[other].store.digest.root()
    }

    /// Whether every session between honest members believes that both sides are equal.
    pub fn is_synced(&self) -> bool {
        let members = self.members();
        let between = members
            .iter()
            .flat_map(|peer| self.peers[*peer].sessions.iter().filter(|(other, _)| members.contains(other)));
        between.into_iter().all(|(_, (_, session))| session.is_synced())
    }
}
