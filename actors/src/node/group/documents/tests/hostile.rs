//! Changes that cost more than their bytes: they are refused, or they hold nobody up.

mod chains;
mod dear;

use schema::change::ChangeHeader;
use schema::limits::CHANGE_DEPS_MAX;

use super::*;

/// A chain of `person` that begins, and ends, with this change.
struct Chain {
    incarnation: u64,
    raw: raw::Raw,
}

impl Home {
    /// Chains of one change each in one unit of the row "rope", by a device of `person`; `make` gets the
    /// replica id.
    fn unit(
        &self,
        person: u8,
        incarnations: std::ops::Range<u64>,
        make: impl Fn(ReplicaId) -> raw::Raw,
    ) -> Units {
        let group = self.ledger.group();
        let document = DocumentId::of(group, "tasks", "rope");
        let (device_id, key) = (schema::DeviceId(device(person).public()), device(person));
        let grant = self.ledger.roster().grant(user(person)).unwrap();
        let chain = |incarnation| {
            let replica = ReplicaId::of(group, document, device_id, grant, incarnation);
            Chain { incarnation, raw: make(replica) }
        };
        let chains: Vec<Chain> = incarnations.map(chain).collect();
        let tip = |Chain { incarnation, raw }: &Chain| {
            let author = Author { device: device_id, grant, incarnation: *incarnation };
            let signature = Tip::sign(group, document, author, 1, raw.hash(), &key).signature;
            UnitTip { author: 0, incarnation: *incarnation, seq: 1, signature }
        };
        let tips = chains.iter().map(tip).collect();
        let changes = chains.iter().map(|chain| chain.raw.chunk()).collect();
        let message = SyncMessage { changes, ..SyncMessage::default() }.encode();
        let (table, key) = ("tasks".into(), "rope".into());
        let units = vec![Unit { document, table, key, tips, message }];
        Units { number: 1, state: [0; 32], authors: vec![(device_id, grant)], units }
    }
}

/// So many puts of one key, in about a hundred bytes.
fn puts(replica: ReplicaId, count: i64) -> raw::Raw {
    raw::Raw::puts(replica, 1, 1, Vec::new(), count)
}

#[tokio::test]
async fn one_unit_of_a_kilobyte_cannot_cost_minutes() {
    let home = Home::new();
    let mut ada = home.desk(ADA);

    let million = home.unit(BEN, 0..12, |replica| puts(replica, 1_000_000));
    assert!(million.units[0].message.len() < 3_000);
    let refusal = ada.refuses(million).await;
    assert!(matches!(refusal, Refusal::Unreadable { .. }), "{refusal:?}");

    let many = home.unit(BEN, 0..12, |replica| puts(replica, 70_000));
    let refusal = ada.refuses(many).await;
    assert!(matches!(refusal, Refusal::TooMuch { .. }), "{refusal:?}");
    assert_eq!(ada.documents.root(), home.desk(ADA).documents.root(), "nothing of it is kept");
}

#[tokio::test]
async fn a_row_with_more_heads_than_a_change_may_name_can_still_be_written() {
    let home = Home::new();
    let [mut ada, mut cid] = [ADA, CID].map(|person| home.desk(person));
    let heads = CHANGE_DEPS_MAX as u64 + 10;
    for part in [0..heads / 2, heads / 2..heads] {
        let empty = home.unit(BEN, part, |replica| raw::Raw::empty(replica, 1, 1, Vec::new()));
        let heard = ada.hears(empty);
        assert_eq!(heard.1.refused, []);
        ada.stores(heard).await;
    }

    ada.writes("rope", "coil it").await;
    ada.writes("rope", "coil it well").await;

    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    assert_eq!(ada.documents.record(document).unwrap().unwrap().heads().count(), 1);
    let mut units = 0;
    while let Some(next) = ada.next_for(&mut cid, "rope") {
        for change in SyncMessage::decode(&next.units[0].message).unwrap().changes {
            assert!(ChangeHeader::read(&change).unwrap().deps.len() <= CHANGE_DEPS_MAX);
        }
        let heard = cid.hears(next);
        assert_eq!(heard.1.refused, []);
        cid.stores(heard).await;
        units += 1;
    }
    println!("{heads} heads: {units} units");
    assert_eq!(ada.documents.root(), cid.documents.root());
}

/// Each chain once moved every column of Automerge: 44 000 of one put took minutes, on the runtime.
#[tokio::test]
async fn any_number_of_chains_costs_a_turn_little_and_are_given_up_beyond_the_budget() {
    let home = Home::new();
    let [mut ada, mut cid] = [ADA, CID].map(|person| home.desk(person));
    ada.documents.document_bytes = 64 << 20;
    let clock = Clock::real();
    let (mut accepting, mut working, mut given_up) = (Vec::new(), Vec::new(), None);
    for unit in 0..6 {
        let chains = unit * 2_000..(unit + 1) * 2_000;
        let units = home.unit(BEN, chains, |replica| raw::Raw::empty(replica, 1, 1, Vec::new()));
        let (reader, authors) = (ada.documents.unit_reader(), units.authors);
        let read = units.units.into_iter().map(|unit| reader.read(unit, &authors)).collect();
        let at = clock.instant();
        let outcome = ada.applies(read);
        accepting.push(clock.instant() - at);
        assert_eq!(outcome.refused, []);
        let heard = ada.submits(outcome);
        ada.stores_alone(heard).await;
        for work in ada.documents.take_work().unwrap() {
            let at = clock.instant();
            let worked = done(work);
            working.push(clock.instant() - at);
            let mut outcome = Outcome::default();
            ada.documents.integrate(worked, &mut outcome).unwrap();
            let unstored = ada.submits(outcome);
            ada.stores_alone(unstored).await;
        }
        given_up = given_up.or(ada.documents.take_given_up().pop().map(|_| (unit + 1) * 2_000));
    }
    println!(
        "units of 2 000 chains: accepting {accepting:?}, a worker {working:?}, given up at {given_up:?}"
    );

    assert!(given_up.is_some(), "the clocks of 12 000 chains are beyond the budget");
    let mut edit = RowEdit::default();
    edit.put("title", "no");
    let write = RowWrite { table: "tasks".into(), key: "rope".into(), edit, expect: None };
    let refused = ada.documents.commit(vec![write], 0, &mut Outcome::default());
    assert!(matches!(refused, Err(CommitError::Unmaterialised { .. })));
    ada.writes("net", "mend it").await;
    while let Some(next) = ada.next_for(&mut cid, "rope") {
        let heard = cid.hears(next);
        assert_eq!(heard.1.refused, [], "it is passed on");
        cid.stores(heard).await;
    }
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    assert_eq!(ada.documents.marks_of(document).unwrap(), cid.documents.marks_of(document).unwrap());
}
