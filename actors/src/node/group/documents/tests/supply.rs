//! Every accepted change can be sent on, in units that every peer accepts.

use schema::change::ChangeHeader;
use schema::limits::{CHANGE_BYTES_MAX, UNIT_CHARGE_MAX};
use schema::wire::sync_message::SyncMessage;

use super::super::supply::FrameAuthors;
use super::*;

impl Desk {
    /// The next unit of a row for another, and whether there is one.
    pub(super) fn next_for(&mut self, other: &mut Desk, key: &str) -> Option<Units> {
        let document = DocumentId::of(self.documents.authority.group, "tasks", key);
        let have = other.documents.marks(document).unwrap();
        let supply = self.documents.supply(vec![Wanted { document, have }], 1).unwrap();
        (!supply.units.is_empty()).then_some(Units {
            number: 1,
            state: [0; 32],
            authors: supply.authors,
            units: supply.units,
        })
    }

    /// Sends a row in units, each of which must be within bounds and be accepted; says how many.
    pub(super) async fn brings(&mut self, other: &mut Desk, key: &str) -> usize {
        let mut count = 0;
        while let Some(units) = self.next_for(other, key) {
            let changes = SyncMessage::decode(&units.units[0].message).unwrap().changes;
            let charged: u64 = changes.iter().map(|change| ChangeHeader::read(change).unwrap().charge).sum();
            assert!(charged <= UNIT_CHARGE_MAX, "{charged}");
            let heard = other.hears(units);
            assert_eq!(heard.1.refused, []);
            other.stores(heard).await;
            count += 1;
        }
        assert_eq!(self.documents.root(), other.documents.root());
        count
    }

    /// All changes of a row at once, with the newest tip alone, as nobody honest sends them.
    fn tells_at_once(&mut self, key: &str) -> Units {
        let document = DocumentId::of(self.documents.authority.group, "tasks", key);
        let mut wanted = Wanted { document, have: Vec::new() };
        let (mut changes, mut authors, mut all) = (Vec::new(), FrameAuthors::default(), None);
        while let Some((unit, rest)) = self.documents.unit(&wanted, &mut authors).unwrap() {
            changes.extend(SyncMessage::decode(&unit.message).unwrap().changes);
            all = Some(unit);
            let Some(rest) = rest else { break };
            wanted = rest;
        }
        let mut unit = all.unwrap();
        unit.tips.drain(..unit.tips.len() - 1);
        unit.message = SyncMessage { changes, ..SyncMessage::default() }.encode();
        Units { number: 1, state: [0; 32], authors: authors.list, units: vec![unit] }
    }
}

/// One message of 16 MiB was once accepted, and could not be sent on: honest members let each other go for
/// it.
#[tokio::test]
async fn what_could_not_be_sent_on_is_refused_by_its_own_name_and_what_is_accepted_always_can() {
    let home = Home::new();
    let [mut ben, mut cid, mut dan, mut mia] = [BEN, CID, ADA, MIA].map(|person| home.desk(person));
    let largest = "x".repeat(CHANGE_BYTES_MAX - 4_096);
    for number in 0..2 {
        mia.writes("photo", &format!("{largest}{number}")).await;
    }
    let as_much_as_there_may_be = mia.tells_at_once("photo");
    assert_eq!(as_much_as_there_may_be.units[0].tips.len(), 1);
    mia.writes("photo", &format!("{largest}2")).await;
    let too_much = mia.tells_at_once("photo");

    let refused = ben.hears(too_much);
    let [(_, Refusal::TooMuch { got, max })] = refused.1.refused[..] else {
        panic!("{:?}", refused.1.refused)
    };
    assert!(got > max && refused.1.refused[0].1.is_fault(false));
    ben.stores(refused).await;
    let heard = ben.hears(as_much_as_there_may_be);
    assert_eq!(heard.1.refused, []);
    ben.stores(heard).await;

    assert_eq!(ben.brings(&mut cid, "photo").await, 1);
    assert_eq!(cid.brings(&mut dan, "photo").await, 1);
    assert_eq!(mia.brings(&mut dan, "photo").await, 1);
}

/// Chains that were written in turns once had no tips at one time, and were sent in one unit that nobody
/// took.
#[tokio::test]
async fn a_row_that_twenty_devices_wrote_in_turns_reaches_a_newcomer_in_parts() {
    let home = Home::new();
    let [mut ben, mut cid, mut dan] = [BEN, CID, MIA].map(|person| home.desk(person));
    for turn in 0..600u64 {
        // As many chains as there were devices.
        ben.documents.incarnation = 1_000 + turn % 20;
        ben.writes("book", &format!("{turn} {}", "x".repeat(32 << 10))).await;
    }

    let parts = ben.brings(&mut cid, "book").await;
    assert!(parts >= 5, "{parts}");
    cid.brings(&mut dan, "book").await;
}

#[tokio::test]
async fn what_a_removal_left_of_a_long_row_can_be_sent_on_too() {
    let mut home = Home::new();
    let [mut ada, mut ben, mut mia] = [ADA, BEN, MIA].map(|person| home.desk(person));
    for turn in 0..700u64 {
        mia.documents.incarnation = 1_000 + turn % 20;
        mia.writes("book", &format!("{turn} {}", "x".repeat(32 << 10))).await;
        if turn == 500 {
            mia.brings(&mut ada, "book").await;
        }
    }
    mia.brings(&mut ben, "book").await;

    home.removes(MIA, &ada).await;
    ben.fetches(&ada).await;
    ben.rejudges(&home).await;
    assert_eq!(ben.documents.root(), ada.documents.root());
    let mut cid = home.desk(CID);
    cid.fetches(&ada).await;
    let parts = ben.brings(&mut cid, "book").await;
    assert!(parts >= 4, "{parts}");
}
