//! Documents without an actor: the store gets their batches when a test says so, and peers are a call away.

mod hostile;
mod materialise;
mod supply;

use std::collections::VecDeque;

use schema::document::ChangeSet;
use schema::key::{AgreementKey, SigningKey};
use schema::ledger::{Body, By, Ledger, ManifestRef, Role};
use schema::limits::REJUDGED_EXAMINED_MAX;
use schema::session::{Documents as _, Wanted};
use schema::signed::Signed;
use schema::tip::{Author, Tip};
use schema::wire::session::{Unit, UnitTip, Units};
use schema::wire::sync_message::SyncMessage;
use schema::{ChangeHash, OpId, ReplicaId};
use testkit::raw;

use super::*;
use crate::edit::RowEdit;
use crate::node::group::cut::{self, CutRequest, Target};
use crate::node::store::StoreHandle;

/// Ada founded the group; ben, cid and mia write in it.
struct Home {
    ledger: Ledger,
}

const ADA: u8 = 1;
const BEN: u8 = 2;
const CID: u8 = 3;
const MIA: u8 = 4;

fn key(person: u8) -> SigningKey {
    SigningKey::from_seed([person; 32])
}

fn device(person: u8) -> SigningKey {
    SigningKey::from_seed([100 + person; 32])
}

fn user(person: u8) -> UserId {
    UserId(key(person).public())
}

impl Home {
    fn new() -> Self {
        let founded = Ledger::create([7; 32], vec![user(ADA)], "home", user(ADA), By::User, &key(ADA));
        let mut home = Self { ledger: founded.unwrap().0 };
        for person in [BEN, CID, MIA] {
            home.says(person, Role::Writer, None);
        }
        for person in [ADA, BEN, CID, MIA] {
            let agreement = AgreementKey::from_seed([person; 32]);
            let of = schema::device::DeviceIdentity::certify(&key(person), device(person), agreement, "");
            home.ledger.admit_certificate(of.certificate.envelope().clone()).unwrap();
        }
        home
    }

    /// By ada.
    fn says(&mut self, about: u8, role: Role, cut: Option<ManifestRef>) {
        let body = Body::SetRole { user: user(about), role, cut, via: None };
        let op = self.ledger.draft(user(ADA), By::User, body).unwrap();
        self.ledger.admit(Signed::sign(op, &key(ADA)).envelope().clone()).unwrap();
    }

    /// Ada removes somebody: what she has of theirs stays.
    async fn removes(&mut self, person: u8, ada: &Desk) {
        self.removes_as_read(person, ada, &BTreeSet::new()).await;
    }

    /// Ada removes somebody; of some documents only what their rows show stays.
    async fn removes_as_read(&mut self, person: u8, ada: &Desk, as_read: &BTreeSet<DocumentId>) {
        let (roster, target) = (self.ledger.roster(), Target::User(user(person)));
        let request = CutRequest { roster, target, without_damaged: false, as_read };
        let (cut, _) = cut::write(&ada.store, &ada.space, request, |_| ()).await.unwrap();
        self.says(person, Role::None, Some(cut));
    }

    fn setup(&self, person: u8, space: &SpaceHandle) -> Setup {
        Setup {
            group: self.ledger.group(),
            user: user(person),
            device: device(person),
            clock: Clock::simulated(u64::from(person)),
            losses: 0,
            incarnation: u64::from(person),
            space: space.clone(),
            roster: self.ledger.roster().clone(),
            budget: CacheBudget::new(1 << 30, Arc::default()),
            document_bytes: 512 << 20,
            rules: Rules::default(),
        }
    }

    fn desk(&self, person: u8) -> Desk {
        let store = StoreHandle::in_memory();
        let space = store.space(b"home").unwrap();
        let documents = Documents::open(self.setup(person, &space));
        Desk { documents: documents.unwrap(), store, space, batches: 0 }
    }
}

/// One device's documents and its store.
struct Desk {
    documents: Documents,
    store: StoreHandle,
    space: SpaceHandle,
    batches: u64,
}

/// A piece of work as a worker does it.
fn done(mut work: Work) -> Worked {
    loop {
        match work.slice() {
            work::Slice::Done(worked) => return worked,
            work::Slice::More(rest) => work = rest,
        }
    }
}

/// The outcome of a step, before it is stored.
#[must_use]
struct Unstored(u64, Outcome);

impl Desk {
    fn submits(&mut self, outcome: Outcome) -> Unstored {
        self.batches += 1;
        self.documents.pin(&outcome.moved, self.batches);
        Unstored(self.batches, outcome)
    }

    /// Stores a step, and does the long work that it left, as workers would.
    async fn stores(&mut self, unstored: Unstored) {
        self.stores_alone(unstored).await;
        loop {
            let pieces = self.documents.take_work().unwrap();
            if pieces.is_empty() {
                return;
            }
            for work in pieces {
                let mut outcome = Outcome::default();
                self.documents.integrate(done(work), &mut outcome).unwrap();
                let unstored = self.submits(outcome);
                self.stores_alone(unstored).await;
            }
        }
    }

    async fn stores_alone(&mut self, Unstored(number, outcome): Unstored) {
        self.store.write(&self.space, outcome.batch).await.unwrap();
        self.documents.unpin(&outcome.moved, number);
    }

    /// Writes a row; a worker may make the change.
    fn commits(&mut self, write: RowWrite) -> Result<Outcome, CommitError> {
        let mut outcome = Outcome::default();
        self.documents.begin_turn();
        let mut result = self.documents.commit(vec![write], 0, &mut outcome);
        if let Ok(Committing::Working(_)) = result {
            let work = self.documents.take_work().unwrap().pop().unwrap();
            result = self.documents.integrate(done(work), &mut outcome).unwrap().unwrap().result;
        }
        match result? {
            Committing::Done => Ok(outcome),
            _ => panic!("nobody else has the row"),
        }
    }

    async fn writes(&mut self, key: &str, title: &str) {
        let mut edit = RowEdit::default();
        edit.put("title", title);
        let write = RowWrite { table: "tasks".into(), key: key.into(), edit, expect: None };
        let outcome = self.commits(write).unwrap();
        let unstored = self.submits(outcome);
        self.stores(unstored).await;
    }

    /// Everything that this device has of some rows.
    fn tells(&mut self, keys: &[&str]) -> Units {
        let group = self.documents.authority.group;
        let wanted = |key: &&str| Wanted { document: DocumentId::of(group, "tasks", key), have: Vec::new() };
        let supply = self.documents.supply(keys.iter().map(wanted).collect(), 1 << 20).unwrap();
        Units { number: 1, state: [0; 32], authors: supply.authors, units: supply.units }
    }

    fn hears(&mut self, units: Units) -> Unstored {
        let (reader, authors) = (self.documents.unit_reader(), units.authors);
        let units = units.units.into_iter().map(|unit| reader.read(unit, &authors)).collect();
        let outcome = self.applies(units);
        self.submits(outcome)
    }

    /// Judges units, in as many turns as it takes.
    fn applies(&mut self, mut units: VecDeque<ReadUnit>) -> Outcome {
        let mut outcome = Outcome::default();
        while !units.is_empty() {
            self.documents.begin_turn();
            self.documents.apply(&mut units, &mut outcome).unwrap();
        }
        self.documents.end_turn(&mut outcome).unwrap();
        outcome
    }

    /// Takes the pages of all manifests from another.
    async fn fetches(&self, from: &Desk) {
        let mut batch = Batch::default();
        for tag in [keys::MANIFEST, keys::PAGE] {
            keys::entries(&from.space, tag)
                .unwrap()
                .into_iter()
                .for_each(|(key, value)| batch.put(key, value));
        }
        self.store.write(&self.space, batch).await.unwrap();
    }

    fn author(&self) -> Author {
        self.documents.authority.author(self.documents.incarnation).unwrap()
    }

    /// The only refusal of what this device hears.
    async fn refuses(&mut self, units: Units) -> Refusal {
        let mut heard = self.hears(units);
        let (_, refusal) = heard.1.refused.pop().unwrap();
        assert!(heard.1.refused.is_empty());
        self.stores(heard).await;
        refusal
    }

    async fn rejudges(&mut self, home: &Home) {
        self.documents.set_roster(home.ledger.roster().clone());
        while self.documents.is_rejudging() {
            self.rejudges_some().await;
        }
    }

    async fn rejudges_some(&mut self) {
        let mut outcome = Outcome::default();
        self.documents.rejudge_some(&mut outcome).unwrap();
        let unstored = self.submits(outcome);
        self.stores(unstored).await;
    }

    fn title(&self, key: &str) -> Option<String> {
        let row = self.space.get(&rows::row_key("tasks", key)).unwrap()?;
        match RowRecord::decode(&row).unwrap().value {
            schema::value::Value::Map(fields) => Some(format!("{:?}", fields["title"])),
            other => panic!("{other:?}"),
        }
    }
}

/// The index author → documents is in the store; what had just come was once not found there, and stayed for
/// ever.
#[tokio::test]
async fn a_change_that_is_not_stored_yet_when_its_author_is_removed_is_rejudged_too() {
    let mut home = Home::new();
    let [ada, mut ben, mut mia] = [ADA, BEN, MIA].map(|person| home.desk(person));
    mia.writes("rope", "buy it").await;
    let unstored = ben.hears(mia.tells(&["rope"]));

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.documents.set_roster(home.ledger.roster().clone());
    let mut outcome = Outcome::default();
    ben.documents.rejudge_some(&mut outcome).unwrap();
    let rejudged = ben.submits(outcome);
    ben.stores(unstored).await;
    ben.stores(rejudged).await;
    ben.rejudges(&home).await;

    assert_eq!(ben.title("rope"), None);
    assert_eq!(ben.documents.len(), 0);
}

/// Until the removal of a row was stored, the row was once read from the store again, with changes that were
/// set aside.
#[tokio::test]
async fn what_vanished_is_not_built_upon_while_the_store_still_has_it() {
    let mut home = Home::new();
    let [ada, mut ben, mut cid, mut mia] = [ADA, BEN, CID, MIA].map(|person| home.desk(person));
    mia.writes("rope", "buy it").await;
    let unstored = ben.hears(mia.tells(&["rope"]));
    ben.stores(unstored).await;
    cid.writes("rope", "make it").await;

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.documents.set_roster(home.ledger.roster().clone());
    let mut outcome = Outcome::default();
    ben.documents.rejudge_some(&mut outcome).unwrap();
    let vanished = ben.submits(outcome);
    let early = ben.hears(cid.tells(&["rope"]));
    assert_eq!(early.1.refused, []);
    ben.stores(vanished).await;
    ben.stores(early).await;

    assert_eq!(ben.title("rope").unwrap(), cid.title("rope").unwrap());
    assert_eq!(ben.documents.root(), cid.documents.root());
}

/// A change that arrived while its document waited to be re-judged once found it in the store after it was
/// removed.
#[tokio::test]
async fn a_document_that_a_change_has_rejudged_first_does_not_return_with_it() {
    let mut home = Home::new();
    let [ada, mut ben, mut cid, mut mia] = [ADA, BEN, CID, MIA].map(|person| home.desk(person));
    mia.writes("rope", "buy it").await;
    for desk in [&mut ben, &mut cid] {
        let heard = desk.hears(mia.tells(&["rope"]));
        desk.stores(heard).await;
    }
    cid.writes("rope", "coil it").await;

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.documents.set_roster(home.ledger.roster().clone());
    for _ in 0..2 {
        assert!(matches!(
            ben.refuses(cid.tells(&["rope"])).await,
            Refusal::RefusedDependency { .. } | Refusal::BeyondCut { .. }
        ));
        ben.rejudges(&home).await;
        assert_eq!((ben.title("rope"), ben.documents.len()), (None, 0));
    }
    assert_eq!((ben.title("rope"), ben.documents.len()), (None, 0));
}

#[tokio::test]
async fn a_roster_that_arrives_meanwhile_restarts_only_the_authors_that_it_judges_differently() {
    let mut home = Home::new();
    let [ada, mut ben, mut cid, mut mia] = [ADA, BEN, CID, MIA].map(|person| home.desk(person));
    for (desk, name) in [(&mut mia, "mia"), (&mut cid, "cid")] {
        for number in 0..2 * REJUDGED_EXAMINED_MAX {
            desk.writes(&format!("{name} {number}"), "water it").await;
        }
    }
    let all = |name: &str| {
        (0..2 * REJUDGED_EXAMINED_MAX).map(|number| format!("{name} {number}")).collect::<Vec<_>>()
    };
    for (desk, keys) in [(&mut mia, all("mia")), (&mut cid, all("cid"))] {
        let units = desk.tells(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let heard = ben.hears(units);
        ben.stores(heard).await;
    }
    assert_eq!(ben.documents.len(), 4 * REJUDGED_EXAMINED_MAX);
    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.documents.set_roster(home.ledger.roster().clone());
    for _ in 0..3 {
        ben.rejudges_some().await;
    }
    let done = ben.documents.rejudged().documents;
    assert!(done > 0 && ben.documents.is_rejudging());

    home.removes(CID, &ada).await;
    ben.fetches(&ada).await;
    ben.rejudges(&home).await;

    assert_eq!(ben.documents.rejudged().documents, 4 * REJUDGED_EXAMINED_MAX as u64, "each of them once");
    assert_eq!(ben.documents.len(), 0);
}

/// Every change of a document of which something was set aside once rebuilt it.
#[tokio::test]
async fn what_was_kept_is_asked_for_only_by_what_may_bring_it_back() {
    let mut home = Home::new();
    let [mut ada, mut ben, mut cid, mut mia] = [ADA, BEN, CID, MIA].map(|person| home.desk(person));
    cid.writes("rope", "make it").await;
    for desk in [&mut ada, &mut ben, &mut mia] {
        let heard = desk.hears(cid.tells(&["rope"]));
        desk.stores(heard).await;
    }
    mia.writes("rope", "buy it").await;
    let heard = ben.hears(mia.tells(&["rope"]));
    ben.stores(heard).await;
    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.rejudges(&home).await;

    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    let set_aside = ben.documents.set_aside_of(&document).unwrap().clone();
    let header = |units: Units| {
        let changes = ChangeSet::read(&units.units[0].message).unwrap();
        changes.changes().last().unwrap().header.clone()
    };
    let (of_mia, of_cid) = (header(mia.tells(&["rope"])), header(cid.tells(&["rope"])));
    let awaited = set_aside.awaited();
    assert!(awaited.contains(&of_mia) && !awaited.contains(&of_cid));
    assert_eq!(ben.documents.set_aside().documents, 1);
}

/// A change that Automerge cannot take once took the whole unit along, and was refused: a device that does
/// not materialise the row could not know that.
#[tokio::test]
async fn a_change_that_automerge_cannot_take_is_accepted_and_reads_as_nothing() {
    let home = Home::new();
    let [mut ben, mut cid, mut ada] = [BEN, CID, ADA].map(|person| home.desk(person));
    cid.writes("rope", "coil it").await;
    let mut units = cid.tells(&["rope"]);
    let crooked = add_crooked(&mut units, &home, &home.desk(MIA).author());

    let heard = ben.hears(units);
    assert_eq!(heard.1.refused, []);
    ben.stores(heard).await;

    assert_eq!(ben.title("rope"), cid.title("rope"));
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    assert!(ben.documents.load(document).unwrap().unwrap().index.contains(&crooked));
    ben.writes("rope", "coil it well").await;
    let heads = ben.documents.record(document).unwrap().unwrap().heads().collect::<Vec<_>>();
    assert!(heads.contains(&crooked) && heads.len() == 2, "nobody builds on what nobody reads");
    // It is passed on, and a device that opens the document again knows it.
    assert_eq!(ben.brings(&mut ada, "rope").await, 1);
    ben.documents.cache.remove(&document);
    ben.writes("rope", "coil it once more").await;
    assert_eq!(ben.brings(&mut ada, "rope").await, 1);
    assert_eq!(ada.title("rope"), ben.title("rope"));
}

/// Adds a change to the first unit that puts something into an object that nobody made.
fn add_crooked(units: &mut Units, home: &Home, author: &Author) -> ChangeHash {
    let Unit { document, tips, message, .. } = &mut units.units[0];
    let replica =
        ReplicaId::of(home.ledger.group(), *document, author.device, author.grant, author.incarnation);
    let raw = raw::Raw::replaces_another_field(replica);
    let tip = Tip::sign(home.ledger.group(), *document, *author, 1, raw.hash(), &device(MIA));
    let number = u32::try_from(units.authors.len()).unwrap();
    units.authors.push((author.device, author.grant));
    let (incarnation, signature) = (author.incarnation, tip.signature);
    tips.push(UnitTip { author: number, incarnation, seq: 1, signature });
    let mut read = SyncMessage::decode(message).unwrap();
    read.changes.insert(0, raw.chunk());
    *message = read.encode();
    raw.hash()
}

/// Only what was accepted once had us renew; of a fork of ours that others hold we heard as of anybody's.
#[tokio::test]
async fn a_change_of_ours_that_only_a_peer_has_is_answered_by_a_new_incarnation() {
    let home = Home::new();
    let [mut ben, mut twin, mut cid] = [BEN, BEN, CID].map(|person| home.desk(person));
    twin.writes("rope", "buy it").await;
    let heard = cid.hears(twin.tells(&["rope"]));
    cid.stores(heard).await;
    ben.writes("rope", "coil it").await;
    let before = ben.documents.incarnation;

    let refusal = ben.refuses(cid.tells(&["rope"])).await;

    assert!(matches!(refusal, Refusal::Fork { .. }), "{refusal:?}");
    assert_ne!(ben.documents.incarnation, before);
    let stored = ben.space.get(keys::INCARNATION).unwrap().unwrap();
    assert_eq!(stored, keys::incarnation(0, ben.documents.incarnation));
}

/// Healing once began from nothing, and what was whole and ours alone was gone.
#[tokio::test]
async fn a_write_that_every_peer_would_refuse_is_refused_and_leaves_no_trace() {
    let mut ben = Home::new().desk(BEN);
    let without_grant = Author { grant: OpId([9; 32]), ..ben.author() };
    let mut edit = RowEdit::default();
    edit.put("title", "under a grant that nobody gave");
    let write = RowWrite { table: "tasks".into(), key: "a".into(), edit, expect: None };

    let mut outcome = Outcome::default();
    let id = DocumentId::of(ben.documents.authority.group, "tasks", "a");
    assert!(ben.documents.prepare(id, &write, &mut outcome).unwrap());
    let editing = ben.documents.editing(vec![write], vec![id], without_grant, 0, 1);
    let refused = ben.documents.accept_own(editing.run(), &mut outcome);

    let Err(CommitError::Refused { cause, .. }) = refused else { panic!("it is refused") };
    assert!(matches!(*cause, Refusal::UnknownAuthor { .. }));
    assert!(outcome.batch.is_empty() && outcome.moved.is_empty());
    ben.writes("a", "under the present grant").await;
    let mut history = ben.documents.history("tasks", "a").unwrap().unwrap();
    while !history.is_done() {
        history.slice().unwrap();
    }
    let revisions = history.into_revisions();
    assert_eq!(revisions.len(), 1, "the refused change is gone");
}

#[tokio::test]
async fn of_a_damaged_document_what_is_whole_is_not_lost_when_a_peer_heals_it() {
    let home = Home::new();
    let [mut ben, mut cid] = [BEN, CID].map(|person| home.desk(person));
    let title = |number: usize| format!("{number:0>900}");
    for number in 0..3 {
        ben.writes("rope", &title(number)).await;
    }
    let heard = cid.hears(ben.tells(&["rope"]));
    cid.stores(heard).await;
    ben.writes("rope", "for ben alone").await;
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    let mut damage = Batch::default();
    damage.remove(keys::chunk(document, 0));
    ben.store.write(&ben.space, damage).await.unwrap();
    ben.documents.cache.remove(&document);

    let heard = ben.hears(cid.tells(&["rope"]));
    ben.stores(heard).await;

    assert!(ben.title("rope").unwrap().contains("for ben alone"), "{:?}", ben.title("rope"));
    assert!(ben.documents.quarantined().is_empty());
    assert_eq!(ben.documents.set_aside(), SetAsideTotal::default());
}
