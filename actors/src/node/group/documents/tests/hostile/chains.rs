//! Rows of many chains: what one frame that names them can cost.

use schema::session::Documents as _;

use super::*;

/// Every accepted change once hashed all replica ids twice, sorted them, and looked at every head: 2 048 of
/// them in one frame took minutes.
#[tokio::test]
async fn a_change_of_a_row_of_many_chains_costs_what_its_own_chain_does() {
    const CHAINS: u64 = 44_000;
    let home = Home::new();
    let mut ada = home.desk(ADA);
    let clock = Clock::real();
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    let empty = |replica| raw::Raw::empty(replica, 1, 1, Vec::new());
    for unit in 0..CHAINS / 2_000 {
        let heard = ada.hears(home.unit(BEN, unit * 2_000..(unit + 1) * 2_000, empty));
        assert_eq!(heard.1.refused, []);
        ada.stores_alone(heard).await;
    }
    let (reader, mut frames) = (ada.documents.unit_reader(), VecDeque::new());
    for chain in CHAINS..CHAINS + 32 {
        let units = home.unit(BEN, chain..chain + 1, empty);
        frames.extend(units.units.into_iter().map(|unit| reader.read(unit, &units.authors)));
    }

    let at = clock.instant();
    let mut outcome = Outcome::default();
    ada.documents.begin_turn();
    ada.documents.turn_chains = usize::MAX;
    ada.documents.apply(&mut frames, &mut outcome).unwrap();
    let judged = clock.instant() - at;
    ada.documents.end_turn(&mut outcome).unwrap();
    let turn = clock.instant() - at;
    assert_eq!((outcome.refused.len(), outcome.moved.len()), (0, 1));
    let heard = ada.submits(outcome);
    ada.stores_alone(heard).await;

    let mut marks = |what| {
        let at = clock.instant();
        let marks = ada.documents.marks(document).unwrap();
        println!("marks, {what}: {:?}", clock.instant() - at);
        if what == "loaded" {
            let record = ada.documents.record(document).unwrap().unwrap();
            let document = ada.documents.cache.get(&document).unwrap();
            assert!(record.heads().collect::<BTreeSet<_>>() == *document.index.heads());
            ada.documents.cache.remove(&schema::DocumentId::of(home.ledger.group(), "tasks", "rope"));
        }
        marks
    };
    println!("{CHAINS} chains, 32 changes more: {judged:?} to judge, {turn:?} with the record");
    let (loaded, cold) = (marks("loaded"), marks("cold"));
    assert!(loaded == cold && loaded.len() as u64 == CHAINS + 32);
}

#[tokio::test]
async fn a_row_that_several_frames_of_a_turn_name_is_written_once() {
    let home = Home::new();
    let [mut ada, mut ben] = [ADA, BEN].map(|person| home.desk(person));
    let (reader, mut read) = (ada.documents.unit_reader(), VecDeque::new());
    for title in ["buy it", "coil it"] {
        ben.writes("rope", title).await;
        let units = ben.tells(&["rope"]);
        read.extend(units.units.into_iter().map(|unit| reader.read(unit, &units.authors)));
    }

    let outcome = ada.applies(read);

    assert_eq!(outcome.refused, []);
    let moved = [Wanted { document: outcome.moved[0].document, have: Vec::new() }];
    assert_eq!((outcome.rows.len(), &outcome.moved[..]), (1, &moved[..]));
    let heard = ada.submits(outcome);
    ada.stores(heard).await;
    assert_eq!((ada.title("rope"), ada.documents.root()), (ben.title("rope"), ben.documents.root()));
}

#[tokio::test]
async fn units_for_which_a_turn_has_no_room_are_left_for_the_next() {
    let home = Home::new();
    let [mut ada, mut ben] = [ADA, BEN].map(|person| home.desk(person));
    for key in ["rope", "net"] {
        ben.writes(key, "mend it").await;
    }
    let (reader, units) = (ada.documents.unit_reader(), ben.tells(&["rope", "net"]));
    let mut read: VecDeque<_> =
        units.units.into_iter().map(|unit| reader.read(unit, &units.authors)).collect();

    let mut outcome = Outcome::default();
    ada.documents.begin_turn();
    ada.documents.turn_chains = 1;
    ada.documents.apply(&mut read, &mut outcome).unwrap();
    ada.documents.end_turn(&mut outcome).unwrap();
    assert_eq!((read.len(), outcome.moved.len()), (1, 1));
    let heard = ada.submits(outcome);
    ada.stores(heard).await;
    let rest = ada.applies(read);
    let heard = ada.submits(rest);
    ada.stores(heard).await;

    assert_eq!(ada.documents.root(), ben.documents.root());
}

#[tokio::test]
async fn a_record_whose_chains_do_not_end_as_its_changes_do_is_damaged() {
    let home = Home::new();
    let mut ben = home.desk(BEN);
    ben.writes("rope", "buy it").await;
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    let mut record = ben.documents.record(document).unwrap().unwrap();
    record.replicas[0].seq = 2;
    let mut damage = Batch::default();
    damage.put(keys::document(document), codec::encode(&record));
    ben.store.write(&ben.space, damage).await.unwrap();
    ben.documents.cache.remove(&document);

    assert!(ben.documents.load(document).unwrap().is_none());

    assert!(ben.documents.quarantined().contains_key(&document));
}
