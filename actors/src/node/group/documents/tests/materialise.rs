//! Accepted is not materialised: long work is a worker's, and some rows are too dear for a device.

use schema::DeviceId;
use schema::value::Value;

use super::*;

/// A text whose change a worker has to apply.
/// A row that other devices leave for a worker.
fn long(title: &str) -> RowWrite {
    row_of(title, 4_000)
}

/// A row that its own device leaves for a worker too.
fn longer(title: &str) -> RowWrite {
    row_of(title, 40_000)
}

fn row_of(title: &str, bytes: usize) -> RowWrite {
    let mut edit = RowEdit::default();
    edit.put("title", title);
    edit.put("text", Value::Text(title.repeat(bytes / title.len())));
    RowWrite { table: "tasks".into(), key: "rope".into(), edit, expect: None }
}

impl Desk {
    async fn writes_long(&mut self, title: &str) {
        let outcome = self.commits(long(title)).unwrap();
        let unstored = self.submits(outcome);
        self.stores(unstored).await;
    }

    /// Takes in what another has of the row, and stores it; the work that is left.
    async fn leaves_work_on(&mut self, from: &mut Desk) -> Work {
        let heard = self.hears(from.tells(&["rope"]));
        assert_eq!(heard.1.refused, []);
        self.stores_alone(heard).await;
        let mut work = self.documents.take_work().unwrap();
        assert_eq!(work.len(), 1);
        work.remove(0)
    }

    async fn integrates(&mut self, work: Work) -> Vec<RowEvent> {
        let mut outcome = Outcome::default();
        self.documents.integrate(done(work), &mut outcome).unwrap();
        let shown = std::mem::take(&mut outcome.rows);
        let unstored = self.submits(outcome);
        self.stores(unstored).await;
        shown
    }

    /// Sends what another lacks of a row; their other rows may differ.
    async fn sends(&mut self, other: &mut Desk, key: &str) {
        while let Some(units) = self.next_for(other, key) {
            let heard = other.hears(units);
            assert_eq!(heard.1.refused, []);
            other.stores(heard).await;
        }
    }

    /// Ends the wait of commits, which were tried again.
    async fn goes_on(&mut self) {
        let (awaited, mut outcome) = (self.documents.take_awaited(), Outcome::default());
        assert_eq!(awaited.len(), 1);
        for id in awaited {
            self.documents.take_later(id, &mut outcome).unwrap();
        }
        let unstored = self.submits(outcome);
        self.stores_alone(unstored).await;
    }

    fn writes_now(&mut self, write: RowWrite) -> Result<Committing, CommitError> {
        self.documents.commit(vec![write], 0, &mut Outcome::default())
    }
}

#[tokio::test]
async fn a_long_change_is_accepted_at_once_and_read_when_a_worker_is_done() {
    let home = Home::new();
    let [mut ben, mut mia] = [BEN, MIA].map(|person| home.desk(person));
    mia.writes_long("coil it").await;

    let work = ben.leaves_work_on(&mut mia).await;
    assert_eq!(ben.documents.root(), mia.documents.root(), "it is accepted");
    assert_eq!(ben.title("rope"), None);

    let shown = ben.integrates(work).await;
    assert_eq!(shown.len(), 1);
    assert_eq!(ben.title("rope"), mia.title("rope"));
}

#[tokio::test]
async fn a_removal_that_is_admitted_during_an_apply_voids_it() {
    let mut home = Home::new();
    let [ada, mut ben, mut mia] = [ADA, BEN, MIA].map(|person| home.desk(person));
    mia.writes_long("coil it").await;
    let work = ben.leaves_work_on(&mut mia).await;

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.documents.set_roster(home.ledger.roster().clone());
    let shown = ben.integrates(work).await;

    assert!(shown.iter().all(|event| event.row.removed), "nobody saw what Mia wrote: {shown:?}");
    assert_eq!((ben.title("rope"), ben.documents.len()), (None, 0));
    ben.rejudges(&home).await;
    assert_eq!((ben.title("rope"), ben.documents.len()), (None, 0));
}

#[tokio::test]
async fn a_commit_that_a_worker_makes_is_void_once_its_author_is_removed() {
    let mut home = Home::new();
    let [ada, mut mia] = [ADA, MIA].map(|person| home.desk(person));
    assert!(matches!(mia.writes_now(longer("coil it")), Ok(Committing::Working(_))));
    let work = mia.documents.take_work().unwrap().pop().unwrap();

    home.removes(MIA, &ada).await;
    mia.fetches(&ada).await;
    mia.documents.set_roster(home.ledger.roster().clone());
    let mut outcome = Outcome::default();
    let end = mia.documents.integrate(done(work), &mut outcome).unwrap().unwrap();

    let Ok(Committing::Waits(writes)) = end.result else { panic!("it is tried again") };
    assert!(outcome.moved.is_empty() && outcome.rows.is_empty());
    let again = mia.documents.commit(writes, 0, &mut outcome);
    assert!(matches!(again, Err(CommitError::NotAllowed)));
}

#[tokio::test]
async fn changes_that_arrive_while_a_worker_has_the_row_are_read_with_it() {
    let home = Home::new();
    let [mut ben, mut mia, mut cid] = [BEN, MIA, CID].map(|person| home.desk(person));
    mia.writes_long("coil it").await;
    mia.brings(&mut cid, "rope").await;
    let work = ben.leaves_work_on(&mut mia).await;

    cid.writes("rope", "coil it well").await;
    let heard = ben.hears(cid.tells(&["rope"]));
    assert_eq!(heard.1.refused, []);
    ben.stores(heard).await;
    assert!(matches!(ben.writes_now(long("no")), Ok(Committing::Waits(_))), "the row is away");
    ben.integrates(work).await;
    ben.goes_on().await;

    assert_eq!(ben.title("rope"), cid.title("rope"));
    ben.writes("rope", "coil it at last").await;
    ben.brings(&mut cid, "rope").await;
    assert_eq!(ben.title("rope"), cid.title("rope"));
}

/// The row once went on with what had come meanwhile, for as long as peers wrote.
#[tokio::test]
async fn a_row_that_peers_write_without_pause_is_written_here_too() {
    let home = Home::new();
    let [mut ben, mut mia] = [BEN, MIA].map(|person| home.desk(person));
    mia.writes_long("coil it").await;
    let work = ben.leaves_work_on(&mut mia).await;
    assert!(matches!(ben.writes_now(long("ben's")), Ok(Committing::Waits(_))));

    mia.writes_long("coil it well").await;
    let heard = ben.hears(mia.tells(&["rope"]));
    ben.stores_alone(heard).await;
    ben.integrates(work).await;
    assert_ne!(ben.title("rope"), mia.title("rope"), "what came meanwhile waits for the commit");

    assert!(matches!(ben.writes_now(long("ben's")), Ok(Committing::Working(_))));
    ben.goes_on().await;
    let mut work = ben.documents.take_work().unwrap();
    assert_eq!(work.len(), 1, "the commit has the row");
    ben.integrates(work.remove(0)).await;
    ben.brings(&mut mia, "rope").await;
    assert_eq!(ben.title("rope"), mia.title("rope"), "what came meanwhile follows");
}

#[tokio::test]
async fn a_row_that_is_too_dear_is_accepted_and_passed_on_and_read_once_there_is_room() {
    let home = Home::new();
    let [mut ben, mut mia, mut cid] = [BEN, MIA, CID].map(|person| home.desk(person));
    mia.writes("rope", "make it").await;
    mia.brings(&mut ben, "rope").await;
    ben.documents.document_bytes = 25_000;
    mia.writes_long("coil it").await;

    let before = ben.title("rope");
    assert_eq!(mia.brings(&mut ben, "rope").await, 1, "it is accepted");
    assert_eq!(ben.title("rope"), before, "the row is as it was last read");
    let refused = ben.writes_now(long("no"));
    assert!(matches!(refused, Err(CommitError::Unmaterialised { .. })));
    let Unmaterialised { table, key, why, user, device } = ben.documents.take_given_up().remove(0);
    assert_eq!((table.as_str(), key.as_str()), ("tasks", "rope"));
    assert!(matches!(why, UnmaterialisedReason::TooDear { bytes, max: 25_000 } if bytes > 25_000));
    assert_eq!((user, device), (Some(super::user(MIA)), Some(DeviceId(super::device(MIA).public()))));
    assert_eq!(ben.brings(&mut cid, "rope").await, 1, "it is passed on");
    assert_eq!(cid.title("rope"), mia.title("rope"));

    // More memory, and the store alone.
    let mut setup = home.setup(BEN, &ben.space);
    setup.document_bytes = 1 << 30;
    ben.documents = Documents::open(setup).unwrap();
    let unstored = ben.submits(Outcome::default());
    ben.stores(unstored).await;
    assert_eq!(ben.title("rope"), mia.title("rope"));
}

#[tokio::test]
async fn a_row_that_vanished_can_be_written_by_a_worker_before_the_store_knows() {
    let mut home = Home::new();
    let [ada, mut ben, mut mia] = [ADA, BEN, MIA].map(|person| home.desk(person));
    mia.writes("rope", "buy it").await;
    mia.brings(&mut ben, "rope").await;
    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.documents.set_roster(home.ledger.roster().clone());
    let mut outcome = Outcome::default();
    ben.documents.rejudge_some(&mut outcome).unwrap();
    let vanished = ben.submits(outcome);

    assert!(matches!(ben.writes_now(longer("coil it")), Ok(Committing::Working(_))));
    let work = ben.documents.take_work().unwrap().pop().unwrap();
    ben.stores_alone(vanished).await;
    ben.integrates(work).await;

    assert_eq!(ben.title("rope").as_deref(), Some("String(\"coil it\")"));
}

/// A text that no single change may hold.
fn huge() -> RowWrite {
    let mut edit = RowEdit::default();
    edit.put("title", "huge");
    edit.put("text", Value::Text("x".repeat(200_000)));
    RowWrite { table: "tasks".into(), key: "rope".into(), edit, expect: None }
}

#[tokio::test]
async fn a_write_of_several_changes_is_read_as_one_even_if_a_cut_falls_between_them() {
    let mut home = Home::new();
    let [mut ada, mut ben, mut cid, mut mia] = [ADA, BEN, CID, MIA].map(|person| home.desk(person));
    mia.writes("rope", "coil it").await;
    mia.brings(&mut ada, "rope").await;
    mia.brings(&mut ben, "rope").await;
    let outcome = mia.commits(huge()).unwrap();
    let unstored = mia.submits(outcome);
    mia.stores(unstored).await;
    assert_eq!(mia.title("rope").as_deref(), Some("String(\"huge\")"));

    let parts = mia.brings(&mut cid, "rope").await;
    assert!(parts > 1, "{parts}");
    assert_eq!(cid.title("rope"), mia.title("rope"));

    // Ada has the first unit alone when she removes Mia.
    let first = mia.next_for(&mut ada, "rope").unwrap();
    let heard = ada.hears(first);
    assert_eq!(heard.1.refused, []);
    ada.stores(heard).await;
    assert_eq!(ada.title("rope"), ben.title("rope"), "the row is as before");
    home.removes(MIA, &ada).await;
    for desk in [&mut ben, &mut cid] {
        desk.fetches(&ada).await;
    }
    for desk in [&mut ada, &mut ben, &mut cid] {
        desk.rejudges(&home).await;
    }
    ada.brings(&mut ben, "rope").await;
    assert_eq!(ada.documents.root(), cid.documents.root());
    for desk in [&mut ada, &mut ben, &mut cid] {
        assert_eq!(desk.title("rope").as_deref(), Some("String(\"coil it\")"));
        desk.writes("rope", "coil it well").await;
    }
}

/// The changes of one chain of Mia in one unit of the row "rope".
fn chain(home: &Home, mia: &Desk, make: impl Fn(ReplicaId) -> Vec<raw::Raw>) -> Units {
    let group = home.ledger.group();
    let document = DocumentId::of(group, "tasks", "rope");
    let author = Author { incarnation: 77, ..mia.author() };
    let replica = ReplicaId::of(group, document, author.device, author.grant, author.incarnation);
    let changes = make(replica);
    let tip = |change: &raw::Raw| {
        let tip = Tip::sign(group, document, author, change.seq, change.hash(), &super::device(MIA));
        let (incarnation, signature) = (author.incarnation, tip.signature);
        UnitTip { author: 0, incarnation, seq: change.seq, signature }
    };
    let tips = changes.iter().map(tip).collect();
    let changes = changes.iter().map(raw::Raw::chunk).collect();
    let message = SyncMessage { changes, ..SyncMessage::default() }.encode();
    let units = vec![Unit { document, table: "tasks".into(), key: "rope".into(), tips, message }];
    Units { number: 1, state: [0; 32], authors: vec![(author.device, author.grant)], units }
}

/// A put of one key that claims to replace a value of another: Automerge takes it, and gives another change
/// back.
fn spoiling(replica: ReplicaId) -> Vec<raw::Raw> {
    let first = raw::Raw::puts(replica, 1, 1, Vec::new(), 2);
    let second = raw::Raw::puts(replica, 2, 3, vec![first.hash()], 2)
        .with(raw::KEY_TEXT, &[2, 1, b'j'])
        .with(raw::PREDECESSORS, &[2, 1])
        .with(raw::PREDECESSOR_REPLICA, &[2, 0])
        .with(raw::PREDECESSOR_COUNTER, &[2, 1]);
    vec![first, second]
}

#[tokio::test]
async fn a_change_that_spoils_a_document_is_found_by_devices_that_have_it_in_memory_and_by_others() {
    let home = Home::new();
    let [mut ben, mut cid, mia] = [BEN, CID, MIA].map(|person| home.desk(person));
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    for (desk, is_cold) in [(&mut ben, false), (&mut cid, true)] {
        let first = chain(&home, &mia, |replica| spoiling(replica)[..1].to_vec());
        let heard = desk.hears(first);
        desk.stores(heard).await;
        if is_cold {
            desk.documents.cache.remove(&document);
        }
        let heard = desk.hears(chain(&home, &mia, spoiling));
        assert_eq!(heard.1.refused, []);
        desk.stores(heard).await;
    }

    let unreadable = |desk: &mut Desk| desk.documents.record(document).unwrap().unwrap().unreadable;
    let found = unreadable(&mut ben);
    assert_eq!((found.len(), unreadable(&mut cid)), (1, found));
    ben.writes("rope", "coil it").await;
    ben.brings(&mut cid, "rope").await;
    assert_eq!(cid.title("rope"), ben.title("rope"));
}

#[tokio::test]
async fn any_number_of_changes_that_automerge_cannot_take_leaves_the_row_to_the_others() {
    let home = Home::new();
    let [mut ben, mut cid] = [BEN, CID].map(|person| home.desk(person));
    cid.writes("rope", "coil it").await;
    let author = home.desk(MIA).author();
    for incarnation in 0..20 {
        let mut units = cid.tells(&["rope"]);
        add_crooked(&mut units, &home, &Author { incarnation, ..author });
        let heard = ben.hears(units);
        assert_eq!(heard.1.refused, []);
        ben.stores(heard).await;
    }

    ben.writes("rope", "coil it well").await;
    ben.brings(&mut cid, "rope").await;
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    ben.documents.cache.remove(&document);
    ben.writes("rope", "coil it once more").await;
    ben.brings(&mut cid, "rope").await;
    assert_eq!(cid.title("rope").as_deref(), Some("String(\"coil it once more\")"));
}

/// Does a piece of work, and counts its slices.
fn count_slices(mut work: Work) -> (usize, Worked) {
    let mut slices = 1;
    loop {
        match work.slice() {
            Slice::Done(worked) => return (slices, worked),
            Slice::More(rest) => work = rest,
        }
        slices += 1;
    }
}

/// Each faulty change once began its slice again, and a short row was loaded so on the runtime.
#[tokio::test]
async fn a_worker_goes_on_behind_each_change_that_automerge_cannot_take() {
    let home = Home::new();
    let [mut ben, mut cid] = [BEN, CID].map(|person| home.desk(person));
    cid.writes("rope", "coil it").await;
    let (mut units, author) = (cid.tells(&["rope"]), home.desk(MIA).author());
    for incarnation in 0..60 {
        add_crooked(&mut units, &home, &Author { incarnation, ..author });
    }
    let heard = ben.hears(units);
    ben.stores_alone(heard).await;
    assert_eq!(ben.title("rope"), None, "the runtime leaves it alone");

    let mut work = ben.documents.take_work().unwrap();
    assert_eq!(work.len(), 1);
    let (slices, worked) = count_slices(work.remove(0));
    assert!(slices < 120, "{slices}");
    let mut outcome = Outcome::default();
    ben.documents.integrate(worked, &mut outcome).unwrap();
    let unstored = ben.submits(outcome);
    ben.stores(unstored).await;
    assert_eq!(ben.title("rope"), cid.title("rope"));
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    let record = ben.documents.record(document).unwrap().unwrap();
    assert_eq!(record.unreadable.len(), 60);
}

/// All that a bundle readied was once applied in one slice.
#[tokio::test]
async fn a_bundle_that_is_complete_is_applied_by_the_charge_of_a_unit() {
    let home = Home::new();
    let [mut ben, mut mia] = [BEN, MIA].map(|person| home.desk(person));
    let outcome = mia.commits(huge()).unwrap();
    let unstored = mia.submits(outcome);
    mia.stores(unstored).await;

    let mut slices = 0;
    while let Some(units) = mia.next_for(&mut ben, "rope") {
        let heard = ben.hears(units);
        ben.stores_alone(heard).await;
        for work in ben.documents.take_work().unwrap() {
            let (count, worked) = count_slices(work);
            slices = count;
            let mut outcome = Outcome::default();
            ben.documents.integrate(worked, &mut outcome).unwrap();
            let unstored = ben.submits(outcome);
            ben.stores_alone(unstored).await;
        }
    }

    assert!(slices >= 3, "{slices}");
    assert_eq!(ben.title("rope"), mia.title("rope"));
}

/// Each row that waited once had a task and a document in memory, and the next row waited for all of them.
#[tokio::test]
async fn dear_rows_of_one_member_wait_without_a_worker_and_let_another_member_pass() {
    let home = Home::new();
    let [mut ben, mut mia, mut cid] = [BEN, MIA, CID].map(|person| home.desk(person));
    let keys: Vec<String> = (0..20).map(|number| format!("rope {number}")).collect();
    for key in &keys {
        let outcome = mia.commits(RowWrite { key: key.clone(), ..long("dear") }).unwrap();
        let unstored = mia.submits(outcome);
        mia.stores(unstored).await;
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let heard = ben.hears(mia.tells(&keys));
    assert_eq!(heard.1.refused, []);
    ben.stores_alone(heard).await;
    let running = ben.documents.take_work().unwrap();
    assert_eq!((running.len(), ben.documents.materialising()), (2, 20));

    cid.writes_long("cid's").await;
    let work = ben.leaves_work_on(&mut cid).await;
    ben.integrates(work).await;
    assert_eq!(ben.title("rope"), cid.title("rope"));

    for work in running {
        ben.integrates(work).await;
    }
    assert_eq!(ben.documents.materialising(), 0);
    assert!(keys.iter().all(|key| ben.title(key) == mia.title(key)));
}

/// A budget, bytes, for which a long text is too dear and a few small changes are not.
const SMALL: u64 = 25_000;

#[tokio::test]
async fn a_cut_of_what_is_read_makes_a_dear_row_readable_and_writable_on_every_device() {
    let mut home = Home::new();
    let [mut ada, mut ben, mut mia] = [ADA, BEN, MIA].map(|person| home.desk(person));
    mia.writes("rope", "make it").await;
    mia.sends(&mut ada, "rope").await;
    ada.writes("rope", "coil it").await;
    ada.sends(&mut ben, "rope").await;
    for desk in [&mut ada, &mut ben] {
        desk.documents.document_bytes = SMALL;
    }
    ada.sends(&mut mia, "rope").await;
    mia.writes_long("dear").await;
    mia.writes("shed", "paint it").await;
    for desk in [&mut ada, &mut ben] {
        mia.sends(desk, "rope").await;
        mia.sends(desk, "shed").await;
        assert_eq!(desk.documents.take_given_up().len(), 1);
    }
    let as_read = ada.documents.unmaterialised_documents();

    home.removes_as_read(MIA, &ada, &as_read).await;
    ben.fetches(&ada).await;
    for desk in [&mut ada, &mut ben] {
        desk.rejudges(&home).await;
        assert_eq!(desk.documents.unmaterialised().count(), 0);
        assert_eq!(desk.title("rope").as_deref(), Some("String(\"coil it\")"));
        assert_eq!(desk.title("shed").as_deref(), Some("String(\"paint it\")"), "other rows stay");
    }

    assert_eq!(ada.documents.root(), ben.documents.root());
    ben.writes("rope", "hang it").await;
    ben.sends(&mut ada, "rope").await;
    assert_eq!(ada.title("rope").as_deref(), Some("String(\"hang it\")"));
}

#[tokio::test]
async fn a_row_that_is_still_too_dear_stays_as_it_was_read_when_a_cut_purges_nothing_of_it() {
    let mut home = Home::new();
    let [mut ada, mut ben, mut mia, mut cid] = [ADA, BEN, MIA, CID].map(|person| home.desk(person));
    ada.writes("rope", "make it").await;
    for desk in [&mut ben, &mut mia, &mut cid] {
        ada.sends(desk, "rope").await;
    }
    ben.documents.document_bytes = SMALL;
    cid.writes_long("cid").await;
    cid.sends(&mut ben, "rope").await;
    mia.writes_long("mia").await;
    mia.sends(&mut ben, "rope").await;

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.rejudges(&home).await;

    assert_eq!(ben.documents.unmaterialised().count(), 1);
    assert_eq!(ben.title("rope").as_deref(), Some("String(\"make it\")"));
}

#[tokio::test]
async fn a_row_that_is_still_too_dear_is_hidden_when_a_cut_purges_what_it_shows() {
    let mut home = Home::new();
    let [ada, mut ben, mut mia, mut cid] = [ADA, BEN, MIA, CID].map(|person| home.desk(person));
    cid.writes("rope", "make it").await;
    cid.sends(&mut mia, "rope").await;
    mia.writes("rope", "steal it").await;
    mia.sends(&mut ben, "rope").await;
    ben.documents.document_bytes = SMALL;
    cid.writes_long("cid").await;
    cid.sends(&mut ben, "rope").await;
    assert_eq!(ben.title("rope").as_deref(), Some("String(\"steal it\")"));

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.rejudges(&home).await;

    assert_eq!(ben.documents.unmaterialised().count(), 1);
    assert_eq!(ben.title("rope"), None);
}

/// The device of most chains was named once: three honest restarts outweighed the one dear chain.
#[tokio::test]
async fn the_user_is_named_whose_changes_take_most_memory() {
    let home = Home::new();
    let [mut ben, mut mia] = [BEN, MIA].map(|person| home.desk(person));
    for incarnation in 1..4 {
        let mut ada = home.desk(ADA);
        ada.documents.incarnation = 100 + incarnation;
        ben.sends(&mut ada, "rope").await;
        ada.writes("rope", &format!("step {incarnation}")).await;
        ada.sends(&mut ben, "rope").await;
    }
    ben.sends(&mut mia, "rope").await;
    ben.documents.document_bytes = SMALL;
    mia.writes_long("mia").await;
    mia.sends(&mut ben, "rope").await;

    let given_up = ben.documents.take_given_up().remove(0);
    assert_eq!(given_up.user, Some(super::user(MIA)));
}
