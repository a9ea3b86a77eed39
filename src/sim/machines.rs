//! The machine world: sessions and admission over change headers, without a runtime, Automerge or real signatures.
//!
//! Thousands of histories a second, for property tests and fuzzing. A signature is a keyed hash, a message is a list
//! of headers; everything else is what the actors step. Time is a number, an event queue ordered by (time, count)
//! decides what happens next, and one seed tells one story.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use actors::clock::Random;
use schema::admission::{Index, Refusal, vet};
use schema::change::ChangeHeader;
use schema::digest::{Digest, Mark, Page};
use schema::id::hash;
use schema::key::Signature;
use schema::session::frame::{SessionFrame, Unit, UnitTip, Units};
use schema::session::{Documents, Effect, Input, Session, StepError, Supply, Wanted};
use schema::time::Timestamp;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, codec};

const GROUP: GroupId = GroupId([1; 32]);
const GRANT: OpId = OpId([2; 32]);
/// Steps after which a world that is still busy is taken for one that never ends.
const STEPS_MAX: u64 = 1_000_000;

/// A header as it crosses the wire: seq, start op, dependencies and what was written.
type WireChange = ([u8; 32], u64, u64, Vec<[u8; 32]>, u64);

/// Peers that hold documents, and links that can be cut.
pub struct World {
    random: Random,
    now: Timestamp,
    count: u64,
    peers: Vec<Peer>,
    events: BTreeMap<(Timestamp, u64), Event>,
    /// When the last frame of a direction arrives, so that frames of one link keep their order.
    arrivals: BTreeMap<(usize, usize), Timestamp>,
    linked: BTreeSet<(usize, usize)>,
    /// Counts the links between two peers, so that frames of a link that was cut arrive nowhere.
    epochs: BTreeMap<(usize, usize), u64>,
    trace: [u8; 32],
}

enum Event {
    Arrive { from: usize, to: usize, epoch: u64, bytes: Vec<u8> },
    Wake { peer: usize, other: usize, epoch: u64 },
}

struct Peer {
    store: Store,
    sessions: BTreeMap<usize, (u64, Session)>,
}

/// What a peer holds: the headers of every document, and what vouches for them.
struct Store {
    device: DeviceId,
    digest: Digest,
    documents: BTreeMap<DocumentId, Held>,
}

#[derive(Default)]
struct Held {
    key: String,
    index: Index,
    headers: Vec<ChangeHeader>,
    tips: BTreeMap<ReplicaId, Tip>,
}

impl World {
    /// A world of `peers` peers, all linked, with nothing in it.
    pub fn seeded(seed: u64, peers: usize) -> Self {
        let peer = |number: usize| Peer {
            store: Store {
                device: DeviceId(hash("device", &[&number.to_be_bytes()])),
                digest: Digest::default(),
                documents: BTreeMap::new(),
            },
            sessions: BTreeMap::new(),
        };
        let mut world = Self {
            random: Random::seeded(seed),
            now: Timestamp::default(),
            count: 0,
            peers: (0..peers).map(peer).collect(),
            events: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            linked: BTreeSet::new(),
            epochs: BTreeMap::new(),
            trace: [0; 32],
        };
        world.heal();
        world
    }

    /// How many peers there are.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// A number below `bound`, from the world's seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.within(0..=bound.saturating_sub(1))
    }

    /// One peer changes one document.
    pub fn write(&mut self, peer: usize, key: &str) {
        let change = self.random.within(0..=u64::MAX);
        let wanted = self.peers[peer].store.write(key, change);
        let others: Vec<_> = self.peers[peer].sessions.keys().copied().collect();
        for other in others {
            self.step(peer, other, Input::Changed(vec![wanted.clone()]));
        }
    }

    /// Links two peers unless they are.
    pub fn link(&mut self, one: usize, other: usize) {
        let (low, high) = (one.min(other), one.max(other));
        if low == high || !self.linked.insert((low, high)) {
            return;
        }
        let epoch = self.epochs.entry((low, high)).and_modify(|epoch| *epoch += 1).or_insert(0);
        let epoch = *epoch;
        for (peer, other, initiator) in [(low, high, true), (high, low, false)] {
            let Peer { store, sessions } = &mut self.peers[peer];
            let side = (initiator, self.random.within(0..=u64::MAX));
            let Ok((session, effects)) = Session::open(self.now, side, false, store);
            sessions.insert(other, (epoch, session));
            self.perform(peer, other, effects);
        }
    }

    /// Cuts the link between two peers; what is under way is lost.
    pub fn cut(&mut self, one: usize, other: usize) {
        if self.linked.remove(&(one.min(other), one.max(other))) {
            self.peers[one].sessions.remove(&other);
            self.peers[other].sessions.remove(&one);
        }
    }

    /// One peer forgets its sessions, as a group that failed does, and opens them again on the same links; what was
    /// under way to it still arrives.
    pub fn restart(&mut self, peer: usize) {
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            let Peer { store, sessions } = &mut self.peers[peer];
            let Some((epoch, _)) = sessions.remove(&other) else { continue };
            let side = (peer < other, self.random.within(0..=u64::MAX));
            let Ok((session, effects)) = Session::open(self.now, side, false, store);
            sessions.insert(other, (epoch, session));
            self.perform(peer, other, effects);
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

    /// Whether all peers hold the same documents.
    pub fn is_converged(&mut self) -> bool {
        let roots: BTreeSet<_> = self.peers.iter_mut().map(|peer| peer.store.digest.root()).collect();
        roots.len() <= 1
    }

    /// Whether every session believes that both sides are equal.
    pub fn is_synced(&self) -> bool {
        self.peers.iter().all(|peer| peer.sessions.values().all(|(_, session)| session.is_synced()))
    }

    /// Changes that a peer holds.
    pub fn changes(&self, peer: usize) -> usize {
        self.peers[peer].store.documents.values().map(|held| held.headers.len()).sum()
    }

    /// A hash over everything that happened, in order.
    pub fn trace(&self) -> [u8; 32] {
        self.trace
    }

    fn next(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else { return false };
        self.now = at;
        match event {
            Event::Arrive { from, to, epoch, bytes } => {
                if self.session_epoch(to, from) == Some(epoch) {
                    let number = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
                    let at = at.as_millis().to_be_bytes();
                    self.trace = hash("trace", &[&self.trace, &at, &[number(from), number(to)], &bytes]);
                    let frame = codec::decode(&bytes, usize::MAX).expect("we encoded it");
                    self.step(to, from, Input::Frame(frame));
                }
            }
            Event::Wake { peer, other, epoch } => {
                if self.session_epoch(peer, other) == Some(epoch) {
                    self.step(peer, other, Input::Wake);
                }
            }
        }
        true
    }

    fn session_epoch(&self, peer: usize, other: usize) -> Option<u64> {
        self.peers[peer].sessions.get(&other).map(|(epoch, _)| *epoch)
    }

    fn step(&mut self, peer: usize, other: usize, input: Input) {
        let Peer { store, sessions } = &mut self.peers[peer];
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
        let Some(epoch) = self.session_epoch(peer, other) else { return };
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(peer, other, epoch, &frame),
                Effect::Apply(units) => self.apply(peer, other, units),
                Effect::Synced | Effect::Refused(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, epoch: u64, frame: &SessionFrame) {
        let latency = Duration::from_millis(self.random.within(1..=80));
        let last = self.arrivals.get(&(from, to)).copied().unwrap_or_default();
        let at = (self.now + latency).max(last);
        self.arrivals.insert((from, to), at);
        self.schedule(at, Event::Arrive { from, to, epoch, bytes: codec::encode(frame) });
    }

    fn apply(&mut self, peer: usize, other: usize, units: Units) {
        let number = units.number;
        let (moved, refused) = self.peers[peer].store.apply(units);
        let others: Vec<_> = self.peers[peer].sessions.keys().copied().filter(|o| *o != other).collect();
        if !moved.is_empty() {
            for third in others {
                self.step(peer, third, Input::Changed(moved.clone()));
            }
        }
        self.step(peer, other, Input::Applied { number, refused });
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }
}

impl Store {
    fn author(&self) -> Author {
        Author { device: self.device, grant: GRANT, incarnation: 0 }
    }

    fn write(&mut self, key: &str, content: u64) -> Wanted {
        let document = DocumentId::of(GROUP, "world", key);
        let author = self.author();
        let replica = ReplicaId::of(GROUP, document, author.device, GRANT, 0);
        let before = self.marks_of(document);
        let held = self.documents.entry(document).or_default();
        held.key = key.to_owned();
        // As Automerge does: all heads, and the replica's own newest change even where another has merged it.
        let mut deps: BTreeSet<_> = held.index.heads().iter().map(|head| head.0).collect();
        deps.extend(held.index.newest(&replica).map(|own| own.0));
        let (seq, start_op) = (held.index.length(&replica) + 1, held.index.next_start_op());
        let wire: WireChange = (replica.0, seq, start_op, deps.into_iter().collect(), content);
        let header = header(&wire);
        let tip =
            Tip { author, seq: header.seq, change: header.hash, signature: sign(author, document, &header) };
        held.index.accept(&header);
        held.headers.push(header);
        held.tips.insert(replica, tip);
        let marks = self.marks_of(document);
        self.digest.set(document, &marks);
        Wanted { document, have: before }
    }

    fn apply(&mut self, units: Units) -> (Vec<Wanted>, Vec<(DocumentId, Refusal)>) {
        let (mut moved, mut refused) = (Vec::new(), Vec::new());
        for unit in units.units {
            let document = unit.document;
            let before = self.marks_of(document);
            let wires: Vec<WireChange> = codec::decode(&unit.message, usize::MAX).expect("we encoded it");
            let headers: Vec<_> = wires.iter().map(header).collect();
            let held = self.documents.entry(document).or_default();
            held.key = unit.key;
            let tips = verified(document, &unit.tips, &units.authors, &headers);
            let verdict = vet(&held.index, &headers, &tips, |_| Ok(Vec::new()));
            for position in &verdict.accepted {
                held.index.accept(&headers[*position]);
                held.headers.push(headers[*position].clone());
            }
            held.tips.extend(verdict.tips.iter().map(|tip| (tip.replica(), *tip.tip())));
            refused.extend(verdict.refused.into_iter().next().map(|(_, refusal)| (document, refusal)));
            if !verdict.accepted.is_empty() {
                let marks = self.marks_of(document);
                self.digest.set(document, &marks);
                moved.push(Wanted { document, have: before });
            }
        }
        (moved, refused)
    }

    fn marks_of(&self, document: DocumentId) -> Vec<Mark> {
        let Some(held) = self.documents.get(&document) else { return Vec::new() };
        held.index.replicas().map(|(replica, seq, change)| Mark { replica, seq, change }).collect()
    }
}

impl Documents for Store {
    type Error = Infallible;

    fn root(&mut self) -> Result<[u8; 32], Infallible> {
        Ok(self.digest.root())
    }

    fn state(&mut self) -> [u8; 32] {
        [0; 32]
    }

    fn page(&mut self, after: Option<DocumentId>, count: usize) -> Result<Page, Infallible> {
        Ok(self.digest.page(after, count))
    }

    fn differing(&mut self, page: &Page) -> Result<Vec<DocumentId>, Infallible> {
        Ok(self.digest.differing(page))
    }

    fn marks(&mut self, document: DocumentId) -> Result<Vec<Mark>, Infallible> {
        Ok(self.marks_of(document))
    }

    fn supply(&mut self, wanted: Vec<Wanted>, bytes: usize) -> Result<Supply, Infallible> {
        let (mut supply, mut wanted) = (Supply::default(), VecDeque::from(wanted));
        let mut used = 0;
        while let Some(next) = wanted.pop_front() {
            if used >= bytes {
                supply.later.push(next);
                continue;
            }
            let Some(held) = self.documents.get(&next.document) else { continue };
            let have: BTreeMap<_, _> = next.have.iter().map(|mark| (mark.replica, mark.seq)).collect();
            let beyond =
                |header: &&ChangeHeader| header.seq > have.get(&header.replica).copied().unwrap_or(0);
            let headers: Vec<_> = held.headers.iter().filter(beyond).collect();
            if headers.is_empty() {
                continue;
            }
            let replicas: BTreeSet<_> = headers.iter().map(|header| header.replica).collect();
            let mut tips = Vec::new();
            for tip in replicas.iter().filter_map(|replica| held.tips.get(replica)) {
                let author = (tip.author.device, tip.author.grant);
                let place = supply.authors.iter().position(|known| *known == author).unwrap_or_else(|| {
                    supply.authors.push(author);
                    supply.authors.len() - 1
                });
                tips.push(UnitTip {
                    author: u32::try_from(place).expect("a world has few peers"),
                    incarnation: tip.author.incarnation,
                    seq: tip.seq,
                    signature: tip.signature,
                });
            }
            let message = codec::encode(&headers.iter().map(|header| wire(header)).collect::<Vec<_>>());
            used += message.len();
            let (document, key) = (next.document, held.key.clone());
            supply.units.push(Unit { document, table: "world".to_owned(), key, tips, message });
        }
        Ok(supply)
    }
}

/// The header that a wire change stands for; what was written stands in its time.
fn header(wire: &WireChange) -> ChangeHeader {
    let (replica, seq, start_op, deps, content) = wire;
    ChangeHeader {
        hash: ChangeHash(hash("world-change", &[&codec::encode(wire)])),
        replica: ReplicaId(*replica),
        seq: *seq,
        start_op: *start_op,
        ops: 1,
        deps: deps.iter().map(|dep| ChangeHash(*dep)).collect(),
        time: i64::from_ne_bytes(content.to_ne_bytes()),
    }
}

fn wire(header: &ChangeHeader) -> WireChange {
    let content = u64::from_ne_bytes(header.time.to_ne_bytes());
    let deps = header.deps.iter().map(|dep| dep.0).collect();
    (header.replica.0, header.seq, header.start_op, deps, content)
}

/// The world's signature: a hash keyed by the device, which no peer of the world makes for another.
fn sign(author: Author, document: DocumentId, header: &ChangeHeader) -> Signature {
    let half = hash("world-sig", &[&author.device.0, &document.0, &header.seq.to_be_bytes(), &header.hash.0]);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half);
    Signature(signature)
}

fn verified(
    document: DocumentId,
    tips: &[UnitTip],
    authors: &[(DeviceId, OpId)],
    headers: &[ChangeHeader],
) -> Vec<VerifiedTip> {
    let verify = |tip: &UnitTip| {
        let (device, grant) = *authors.get(usize::try_from(tip.author).ok()?)?;
        let author = Author { device, grant, incarnation: tip.incarnation };
        let replica = ReplicaId::of(GROUP, document, device, grant, tip.incarnation);
        let header = headers.iter().find(|header| header.replica == replica && header.seq == tip.seq)?;
        let honest = sign(author, document, header) == tip.signature;
        let tip = Tip { author, seq: tip.seq, change: header.hash, signature: tip.signature };
        honest.then(|| tip.trust_stored(GROUP, document))
    };
    tips.iter().filter_map(verify).collect()
}
