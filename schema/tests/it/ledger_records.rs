//! Where devices say that they are: whose word counts, which of several, and that everybody comes to the same.

use std::convert::Infallible;

use peerbase_schema::ledger::{Body, Ledger, Role, SideRefusal};
use peerbase_schema::session::ledger::{Attachments, LedgerEffect, LedgerSession};
use peerbase_schema::signed::{Envelope, Signed, SignedError};
use peerbase_schema::wire::device::{DeviceRecord, UserDeviceRevocation};
use peerbase_schema::wire::ledger::LedgerFrame;
use peerbase_schema::{GroupId, Timestamp, codec};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::world::{World, certificate, device, key, set_role, user};

fn record(group: GroupId, phone: &str, counter: u64, place: &str) -> DeviceRecord {
    let addresses = vec![format!("ws://{place}:7654")];
    DeviceRecord { version: 1, group, device: device(phone), counter, addresses }
}

fn said(world: &World, phone: &str, counter: u64, place: &str) -> Envelope {
    let record = record(world.ledger.group(), phone, counter, place);
    Signed::sign(record, &key(phone)).envelope().clone()
}

fn withdrawal(user_name: &str, phone: &str) -> Envelope {
    let record = UserDeviceRevocation { version: 1, user: user(user_name), device: device(phone) };
    Signed::sign(record, &key(user_name)).envelope().clone()
}

fn places(ledger: &Ledger) -> Vec<String> {
    ledger.records().flat_map(|record| record.record().addresses.clone()).collect()
}

/// Ada founds, ben reads, cid writes; each has a phone.
fn garden() -> World {
    let mut world = World::with(&["ada"], &[("ben", Role::Reader), ("cid", Role::Writer)]);
    for name in ["ada", "ben", "cid"] {
        world.ledger.admit_certificate(certificate(name, &format!("{name}'s phone"))).unwrap();
    }
    world
}

#[test]
fn a_reader_says_where_its_device_is() {
    let mut garden = garden();
    let before = garden.ledger.hash();

    assert_eq!(garden.ledger.admit_record(said(&garden, "ben's phone", 1, "barn")), Ok(true));
    assert_eq!(garden.ledger.admit_record(said(&garden, "ben's phone", 1, "barn")), Ok(false));

    assert_eq!(places(&garden.ledger), ["ws://barn:7654"]);
    assert_ne!(garden.ledger.hash(), before, "or nobody would notice");
}

#[test]
fn nobody_says_where_anothers_device_is() {
    let mut garden = garden();
    let forged = Signed::sign(record(garden.ledger.group(), "ben's phone", 9, "trap"), &key("cid's phone"));

    let refused = garden.ledger.admit_record(forged.envelope().clone());

    assert!(matches!(refused, Err(SideRefusal::Envelope(SignedError::Signature(_)))), "{refused:?}");
    assert_eq!(places(&garden.ledger), [""; 0]);
}

#[test]
fn what_was_said_in_one_group_counts_in_no_other() {
    let mut garden = garden();
    let elsewhere = GroupId([7; 32]);
    let said = Signed::sign(record(elsewhere, "ben's phone", 1, "barn"), &key("ben's phone"));

    let refused = garden.ledger.admit_record(said.envelope().clone());

    assert_eq!(refused, Err(SideRefusal::OtherGroup { got: elsewhere }));
}

#[test]
fn whom_nobody_vouches_for_is_not_heard() {
    let mut garden = garden();
    let outsider = |phone| Err(SideRefusal::Outsider { device: device(phone) });
    assert_eq!(garden.ledger.admit_record(said(&garden, "eve's phone", 1, "road")), outsider("eve's phone"));

    garden.ledger.admit_revocation(withdrawal("ben", "ben's phone")).unwrap();
    assert_eq!(garden.ledger.admit_record(said(&garden, "ben's phone", 1, "barn")), outsider("ben's phone"));
}

#[test]
fn an_older_counter_does_not_replace_a_newer_one() {
    let mut garden = garden();
    garden.ledger.admit_record(said(&garden, "ben's phone", 2, "barn")).unwrap();

    assert_eq!(garden.ledger.admit_record(said(&garden, "ben's phone", 1, "mill")), Ok(false));
    assert_eq!(places(&garden.ledger), ["ws://barn:7654"]);
    assert_eq!(garden.ledger.admit_record(said(&garden, "ben's phone", 3, "mill")), Ok(true));
    assert_eq!(places(&garden.ledger), ["ws://mill:7654"]);
}

#[test]
fn of_two_records_with_one_counter_everybody_keeps_the_same() {
    let mut garden = garden();
    let mut other = garden.clone();
    let [barn, mill] = ["barn", "mill"].map(|place| said(&garden, "ben's phone", 1, place));

    for envelope in [&barn, &mill] {
        garden.ledger.admit_record(envelope.clone()).unwrap();
    }
    for envelope in [&mill, &barn] {
        other.ledger.admit_record(envelope.clone()).unwrap();
    }

    assert_eq!(places(&garden.ledger), places(&other.ledger));
    assert_eq!(garden.ledger.hash(), other.ledger.hash());
}

#[test]
fn who_is_out_is_nowhere_and_a_ledger_that_never_heard_where_is_equal() {
    let mut garden = garden();
    let mut other = garden.clone();
    garden.ledger.admit_record(said(&garden, "ben's phone", 1, "barn")).unwrap();
    assert_ne!(garden.ledger.hash(), other.ledger.hash());

    garden.now("removal", "ada", set_role("ben", Role::None)).unwrap();
    other.now("removal", "ada", set_role("ben", Role::None)).unwrap();

    assert_eq!(garden.ledger.hash(), other.ledger.hash(), "dropped or not");
    assert_eq!((places(&garden.ledger), garden.ledger.record(device("ben's phone"))), (vec![], None));
    assert_eq!(garden.ledger.drop_records(), [device("ben's phone")]);
    assert_eq!(garden.ledger.drop_records(), []);
}

#[test]
fn a_device_for_which_another_member_vouches_stays_where_it_is() {
    let mut garden = garden();
    garden.ledger.admit_certificate(certificate("cid", "ben's phone")).unwrap();
    garden.ledger.admit_record(said(&garden, "ben's phone", 1, "barn")).unwrap();

    garden.now("removal", "ada", set_role("ben", Role::None)).unwrap();

    assert_eq!(garden.ledger.drop_records(), []);
    assert_eq!(places(&garden.ledger), ["ws://barn:7654"]);
}

/// No op here names a manifest.
struct NoPages;

impl Attachments for NoPages {
    type Error = Infallible;

    fn list(&mut self, _: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Infallible> {
        Ok(None)
    }

    fn page(&mut self, _: &[u8; 32]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}

#[test]
fn who_compares_ledgers_gets_the_records_in_frames_that_fit() {
    let mut garden = garden();
    for number in 0..64 {
        let phone = format!("cid's {number}");
        garden.ledger.admit_certificate(certificate("cid", &phone)).unwrap();
        let long = format!("{}{number}", "x".repeat(290));
        let record =
            DeviceRecord { addresses: vec![long; 8], ..record(garden.ledger.group(), &phone, 1, "long") };
        garden.ledger.admit_record(Signed::sign(record, &key(&phone)).envelope().clone()).unwrap();
    }
    let count = garden.ledger.records().count();
    assert_eq!(count, 63, "of 65 certificates one has no place, and the phone says nothing");
    let (mut session, _) = LedgerSession::open(false, &garden.ledger);

    let pull = LedgerFrame::Pull(Default::default());
    let effects = session.frame(Timestamp(0), pull, &garden.ledger, &mut NoPages).unwrap();

    let mut seen = 0;
    for effect in effects {
        let LedgerEffect::Send(frame) = effect else { panic!("{effect:?}") };
        assert!(codec::encode(&frame).len() < 600 << 10);
        if let LedgerFrame::Push { records, .. } = frame {
            seen += records.len();
        }
    }
    assert_eq!(seen, count);
}

/// Whatever may reach a ledger.
#[derive(Clone, Debug)]
enum Item {
    Op(Envelope),
    Certificate(Envelope),
    Revocation(Envelope),
    Record(Envelope),
}

fn offer(ledger: &mut Ledger, item: &Item) -> bool {
    let before = (ledger.len(), ledger.hash());
    // What comes too early is refused, and offered again.
    match item.clone() {
        Item::Op(envelope) => drop(ledger.admit(envelope)),
        Item::Certificate(envelope) => drop(ledger.admit_certificate(envelope)),
        Item::Revocation(envelope) => drop(ledger.admit_revocation(envelope)),
        Item::Record(envelope) => drop(ledger.admit_record(envelope)),
    }
    before != (ledger.len(), ledger.hash())
}

/// People come, go and come back, a removal is void, a phone is lost; everybody says several times where they are.
fn eventful() -> (GroupId, Vec<Item>) {
    let mut world = garden();
    world.now("dan", "ada", set_role("dan", Role::Admin)).unwrap();
    world.now("out", "ada", set_role("ben", Role::None)).unwrap();
    world.say("aside", "dan", set_role("eve", Role::Reader), &["dan"]).unwrap();
    world.now("back", "ada", set_role("ben", Role::Reader)).unwrap();
    world.now("gone", "ada", set_role("eve", Role::None)).unwrap();
    world.now("fay", "dan", set_role("fay", Role::Reader)).unwrap();
    world
        .say(
            "demoted",
            "ada",
            Body::SetRole { user: user("dan"), role: Role::Writer, cut: None, via: None },
            &["gone"],
        )
        .unwrap();
    let mut items: Vec<Item> = world.ledger.envelopes().cloned().map(Item::Op).collect();
    for name in ["ada", "ben", "cid", "dan", "eve", "fay"] {
        let phone = format!("{name}'s phone");
        items.push(Item::Certificate(certificate(name, &phone)));
        for (counter, place) in [(1, "barn"), (2, "mill"), (2, "road")] {
            items.push(Item::Record(said(&world, &phone, counter, &format!("{name}.{place}"))));
        }
    }
    items.push(Item::Revocation(withdrawal("cid", "cid's phone")));
    (world.ledger.group(), items)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Ops, certificates, revocations and records in any order, with repeats, dropped in between or not: once nothing is
    /// news any more everybody has the same, and nobody who is out is anywhere.
    #[test]
    fn ledgers_agree_on_who_is_where_in_any_order(order in vec((any::<Index>(), any::<bool>()), 0..120)) {
        let (group, items) = eventful();
        let mut one = Ledger::new(group);
        while items.iter().filter(|item| offer(&mut one, item)).count() > 0 {}

        let mut other = Ledger::new(group);
        for (pick, drops) in order {
            offer(&mut other, &items[pick.index(items.len())]);
            if drops {
                let before = other.hash();
                other.drop_records();
                prop_assert_eq!(other.hash(), before, "what counts no longer is not compared");
            }
        }
        let mut rounds = 0;
        while items.iter().rev().filter(|item| offer(&mut other, item)).count() > 0 {
            rounds += 1;
            prop_assert!(rounds < 100, "they never come to rest");
        }

        prop_assert_eq!(one.hash(), other.hash());
        prop_assert_eq!(places(&one), places(&other));
        for phone in ["cid's phone", "eve's phone", "fay's phone"] {
            prop_assert!(other.record(device(phone)).is_none(), "{} is out", phone);
        }
        prop_assert_eq!(other.records().count(), 3);
    }
}
