//! The people of the machine world, the ledger with which they begin, and the gate of each peer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use schema::device::DeviceIdentity;
use schema::document::Manifests;
use schema::gate::{
    Effect, Gate, Input, Keys, LinkId, Lookup, Now, Peer, Presented, StoredGroup, StoredRecord,
};
use schema::handshake::LinkRole;
use schema::id::hash;
use schema::key::{AgreementKey, SigningKey};
use schema::ledger::manifest::{Entry, Page};
use schema::ledger::{Body, By, Ledger, ManifestRef, Op, Role};
use schema::signed::{Envelope, Signed};
use schema::time::{Moment, Timestamp};
use schema::tip::Author;
use schema::wire::device::{DeviceRecord, UserDeviceRevocation};
use schema::{DeviceId, DocumentId, GroupId, OpId, UserId};

/// The first of them founded the group, each other was admitted by the one named; the last is outside.
const PEOPLE: [(Role, usize); 7] = [
    (Role::Founder, 0),
    (Role::Admin, 0),
    (Role::Admin, 1),
    (Role::Writer, 1),
    (Role::Writer, 2),
    (Role::Writer, 2),
    (Role::None, 0),
];

/// The largest number of people who begin as members.
pub(super) const PEOPLE_MAX: usize = PEOPLE.len() - 1;

/// The person who begins outside.
pub(super) const JOINER: usize = PEOPLE_MAX;

static IDENTITIES: LazyLock<Vec<(SigningKey, DeviceIdentity)>> = LazyLock::new(|| {
    let seed = |kind, person: usize| hash(kind, &[&person.to_be_bytes()]);
    let identity = |person: usize| {
        let user = SigningKey::from_seed(seed("world-user", person));
        let signing = SigningKey::from_seed(seed("world-device", person));
        let device = DeviceIdentity::certify(&user, signing, AgreementKey::from_seed([7; 32]), "");
        (user, device)
    };
    (0..PEOPLE.len()).map(identity).collect()
});

/// The ledger of all members and their devices.
static GROUP: LazyLock<Ledger> = LazyLock::new(|| {
    let (mut ledger, _) =
        Ledger::create([7; 32], vec![user(0)], "world", user(0), By::User, key(0)).expect("a founder may");
    for (person, (role, by)) in PEOPLE.into_iter().enumerate().filter(|(_, (role, _))| *role > Role::None) {
        if person > 0 {
            let body = Body::SetRole { user: user(person), role, cut: None, via: None };
            let op = ledger.draft(user(by), By::User, body).expect("an Admin may");
            ledger.admit(Signed::sign(op, key(by)).envelope().clone()).expect("it was drafted");
        }
        let certificate = IDENTITIES[person].1.certificate.envelope().clone();
        ledger.admit_certificate(certificate).expect("its user is known");
    }
    ledger.roster();
    ledger
});

/// The personal group of each person, founded before.
static PERSONAL: LazyLock<Vec<Ledger>> = LazyLock::new(|| {
    let personal = |(user, device): &(SigningKey, DeviceIdentity)| {
        let (mut ledger, _) = Ledger::personal(user);
        ledger.admit_certificate(device.certificate.envelope().clone()).expect("it is the founder's");
        ledger.roster();
        ledger
    };
    IDENTITIES.iter().map(personal).collect()
});

pub(super) fn key(person: usize) -> &'static SigningKey {
    &IDENTITIES[person].0
}

pub(super) fn user(person: usize) -> UserId {
    IDENTITIES[person].1.user()
}

pub(super) fn device(person: usize) -> DeviceId {
    IDENTITIES[person].1.device()
}

/// A person's revocation of a device of theirs that never existed.
pub(super) fn revocation(person: usize, number: u64) -> Signed<UserDeviceRevocation> {
    let device = DeviceId(hash("world-lost-device", &[&number.to_be_bytes()]));
    Signed::sign(UserDeviceRevocation { version: 1, user: user(person), device }, key(person))
}

/// A device record of a person's device.
pub(super) fn record(person: usize, counter: u64) -> Signed<DeviceRecord> {
    let (group, device, addresses) = (group(), device(person), Vec::new());
    let record = DeviceRecord { version: 1, group, device, counter, addresses };
    Signed::sign(record, &IDENTITIES[person].1.signing)
}

/// The group of the world.
pub(super) fn group() -> GroupId {
    GROUP.group()
}

/// The link over which a peer receives ops from another device of its own user.
const OWN: LinkId = LinkId(u64::MAX);

/// One peer's gate, and what it has stored.
pub(super) struct Member {
    pub(super) person: usize,
    gate: Gate,
    /// Open gate cells, by link and our number for the group.
    pub(super) cells: BTreeSet<(LinkId, u32)>,
    pub(super) pages: Pages,
    stored: Stored,
    /// Evicted device revocations stay stored: a [`WorldDefect`](super::WorldDefect).
    pub(super) keeps_evicted: bool,
}

/// Manifests and device revocations as they are stored, and the root of the documents.
#[derive(Default)]
struct Stored {
    /// The payloads of the revocations.
    revocations: BTreeSet<Vec<u8>>,
    lists: BTreeMap<[u8; 32], Vec<[u8; 32]>>,
    pages: BTreeMap<[u8; 32], Vec<u8>>,
    root: [u8; 32],
}

impl Lookup for Stored {
    fn root(&self, of: GroupId) -> [u8; 32] {
        if of == group() { self.root } else { [0; 32] }
    }

    fn list(&self, _: GroupId, root: &[u8; 32]) -> Option<Vec<[u8; 32]>> {
        self.lists.get(root).cloned()
    }

    fn page(&self, _: GroupId, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.pages.get(hash).cloned()
    }
}

impl Member {
    pub(super) fn new(person: usize) -> Self {
        let (user, device) = &IDENTITIES[person];
        let keys = Keys { user: user.clone(), device: device.clone() };
        let is_member = PEOPLE[person].0 > Role::None;
        let known = is_member.then(|| GROUP.clone()).into_iter().chain([PERSONAL[person].clone()]);
        let stored =
            |ledger| StoredGroup { ledger, received_at: BTreeMap::new(), tickets: Default::default() };
        let gate = Gate::new(keys, known.map(stored).collect(), BTreeSet::new());
        let (cells, pages, stored) = (BTreeSet::new(), Pages::default(), Stored::default());
        let mut member = Self { person, gate, cells, pages, stored, keeps_evicted: false };
        let (blocked, published, offers, addresses) = Default::default();
        let start = Input::Start { wanted: vec![group()], blocked, published, offers, addresses };
        member.step(Moment::default(), [0; 32], start);
        let peer =
            Peer { user: device.user(), device: device.device(), h: [0; 32], role: LinkRole::Responder };
        member.step(Moment::default(), [0; 32], Input::LinkUp { link: OWN, peer });
        member
    }

    /// The ledger of this member.
    pub(super) fn ledger(&self) -> &Ledger {
        self.gate.ledger(group()).expect("every member wants the group")
    }

    /// Returns true if a person is admitted.
    pub(super) fn admits(&self, person: usize) -> bool {
        self.ledger().roster().may_read(user(person), device(person))
    }

    /// Steps the gate and stores its batches at once. `root` is the root of the documents.
    pub(super) fn step(&mut self, now: Moment, root: [u8; 32], input: Input) -> Vec<Effect> {
        self.stored.root = root;
        let now = Now { wall: Timestamp::default() + now.0, instant: now.0 };
        let mut all = Vec::new();
        let mut effects = self.gate.step(now, input, &self.stored);
        let mut stored = VecDeque::new();
        loop {
            for effect in effects {
                match effect {
                    Effect::Store { number, records, .. } => {
                        records.into_iter().for_each(|record| self.put(record));
                        stored.push_back(number);
                    }
                    Effect::CloseCell { link, number } => drop(self.cells.remove(&(link, number))),
                    Effect::OpenCell { link, number, .. } => drop(self.cells.insert((link, number))),
                    effect => all.push(effect),
                }
            }
            let Some(number) = stored.pop_front() else { return all };
            effects = self.gate.step(now, Input::Stored { number, is_durable: true }, &self.stored);
        }
    }

    /// The input by which another device of this user presents an op, with its manifest.
    pub(super) fn presented(&self, op: Op, written: Option<&Written>) -> (OpId, Input) {
        let id = op.id();
        let envelope: Envelope = Signed::sign(op, key(self.person)).envelope().clone();
        let manifests = written.map(|written| written.pages.iter().map(|page| page.encode()).collect());
        let presented = Presented { ops: vec![envelope], manifests: manifests.into_iter().collect() };
        (id, Input::Present { link: OWN, group: group(), presented })
    }

    /// Stores a manifest before an op names it.
    pub(super) fn store(&mut self, written: &Written) {
        let pages: Vec<_> = written.pages.iter().map(Page::encode).collect();
        let list: Vec<_> = pages.iter().map(|page| schema::ledger::manifest::page_hash(page)).collect();
        for (hash, bytes) in list.iter().zip(pages) {
            self.put(StoredRecord::ManifestPage { hash: *hash, bytes });
        }
        self.put(StoredRecord::ManifestList { root: written.manifest.root, pages: list });
    }

    fn put(&mut self, record: StoredRecord) {
        let touched = match record {
            StoredRecord::ManifestList { root, pages } => {
                self.stored.lists.insert(root, pages);
                Some(root)
            }
            StoredRecord::ManifestPage { hash, bytes } => {
                self.stored.pages.insert(hash, bytes);
                let names =
                    |(root, pages): (&[u8; 32], &Vec<[u8; 32]>)| pages.contains(&hash).then_some(*root);
                self.stored.lists.iter().find_map(names)
            }
            StoredRecord::Revocation(envelope) => {
                self.stored.revocations.insert(envelope.payload);
                None
            }
            StoredRecord::NoRevocation(envelope) if !self.keeps_evicted => {
                self.stored.revocations.remove(&envelope.payload);
                None
            }
            _ => None,
        };
        let Some(root) = touched else { return };
        let pages = self.stored.lists[&root].iter().map(|hash| self.stored.pages.get(hash));
        if let Some(pages) = pages.collect::<Option<Vec<_>>>() {
            let decode = |bytes: &Vec<u8>| Page::decode(bytes).expect("the gate checked it");
            self.pages.0.insert(root, Arc::new(pages.into_iter().map(decode).collect()));
        }
    }

    /// The payloads of the stored device revocations.
    pub(super) fn stored_revocations(&self) -> &BTreeSet<Vec<u8>> {
        &self.stored.revocations
    }

    /// The gate, for reading.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// A manifest with its pages.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) manifest: ManifestRef,
    pub(super) pages: Vec<Page>,
}

/// The decoded pages of all whole manifests of a peer, by root.
#[derive(Clone, Default)]
pub(super) struct Pages(pub(super) BTreeMap<[u8; 32], Arc<Vec<Page>>>);

impl Manifests for &Pages {
    type Error = Infallible;

    fn entry(
        &mut self,
        manifest: &ManifestRef,
        author: &Author,
        document: DocumentId,
    ) -> Result<Option<Entry>, Infallible> {
        Ok(self.0[&manifest.root].iter().find_map(|page| page.entry(author, document)))
    }
}
