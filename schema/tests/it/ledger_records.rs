//! Device records: a device publishes its addresses, the newest record of a certified device counts, and all
//! ledgers converge.

use std::convert::Infallible;

use peerbase_schema::ledger::{Body, Ledger, Role, SideRefusal};
use peerbase_schema::session::ledger::{LedgerEffect, LedgerSession, ManifestStore};
use peerbase_schema::signed::{Envelope, Signed, SignedError};
use peerbase_schema::wire::device::{DeviceRecord, UserDeviceRevocation};
use peerbase_schema::wire::ledger::LedgerFrame;
use peerbase_schema::{GroupId, Moment, codec};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::world::{World, certificate, device, key, set_role, user};

fn record(group: GroupId, phone: &str, counter: u64, place: &str) -> DeviceRecord {
    let addresses = vec![format!("ws://{place}:7654")];
    DeviceRecord { version: 1, group, device: device(phone), counter, addresses }
}

fn published(world: &World, phone: &str, counter: u64, place: &str) -> Envelope {
    let record = record(world.ledger.group(), phone, counter, place);
    Signed::sign(record, &key(phone)).envelope().clone()
}

fn revocation(user_name: &str, phone: &str) -> Envelope {
    let record = UserDeviceRevocation { version: 1, user: user(user_name), device: device(phone) };
    Signed::sign(record, &key(user_name)).envelope().clone()
}

fn addresses(ledger: &Ledger) -> Vec<String> {
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
fn a_reader_publishes_the_addresses_of_its_device() {
    let mut garden = garden();
    let before = garden.ledger.hash();

    assert_eq!(garden.ledger.admit_record(published(&garden, "ben's phone", 1, "barn")), Ok(true));
    assert_eq!(garden.ledger.admit_record(published(&garden, "ben's phone", 1, "barn")), Ok(false));

    assert_eq!(addresses(&garden.ledger), ["ws://barn:7654"]);
    assert_ne!(garden.ledger.hash(), before, "the hash covers device records");
}

#[test]
fn a_record_signed_by_another_device_is_refused() {
    let mut garden = garden();
    let forged = Signed::sign(record(garden.ledger.group(), "ben's phone", 9, "trap"), &key("cid's phone"));

    let refused = garden.ledger.admit_record(forged.envelope().clone());

    assert!(matches!(refused, Err(SideRefusal::Envelope(SignedError::Signature(_)))), "{refused:?}");
    assert_eq!(addresses(&garden.ledger), [""; 0]);
}

#[test]
fn a_record_of_another_group_is_refused() {
    let mut garden = garden();
    let elsewhere = GroupId([7; 32]);
    let said = Signed::sign(record(elsewhere, "ben's phone", 1, "barn"), &key("ben's phone"));

    let refused = garden.ledger.admit_record(said.envelope().clone());

    assert_eq!(refused, Err(SideRefusal::OtherGroup { got: elsewhere }));
}

#[test]
fn a_record_of_a_device_without_a_certificate_or_with_a_revocation_is_refused() {
    let mut garden = garden();
    let outsider = |phone| Err(SideRefusal::Outsider { device: device(phone) });
    assert_eq!(
        garden.ledger.admit_record(published(&garden, "eve's phone", 1, "road")),
        outsider("eve's phone")
    );

    garden.ledger.admit_revocation(revocation("ben", "ben's phone")).unwrap();
    assert_eq!(
        garden.ledger.admit_record(published(&garden, "ben's phone", 1, "barn")),
        outsider("ben's phone")
    );
}

#[test]
fn an_older_counter_does_not_replace_a_newer_one() {
    let mut garden = garden();
    garden.ledger.admit_record(published(&garden, "ben's phone", 2, "barn")).unwrap();

    assert_eq!(garden.ledger.admit_record(published(&garden, "ben's phone", 1, "mill")), Ok(false));
    assert_eq!(addresses(&garden.ledger), ["ws://barn:7654"]);
    assert_eq!(garden.ledger.admit_record(published(&garden, "ben's phone", 3, "mill")), Ok(true));
    assert_eq!(addresses(&garden.ledger), ["ws://mill:7654"]);
}

#[test]
fn two_records_with_one_counter_are_resolved_alike_in_any_order() {
    let mut garden = garden();
    let mut other = garden.clone();
    let [barn, mill] = ["barn", "mill"].map(|place| published(&garden, "ben's phone", 1, place));

    for envelope in [&barn, &mill] {
        garden.ledger.admit_record(envelope.clone()).unwrap();
    }
    for envelope in [&mill, &barn] {
        other.ledger.admit_record(envelope.clone()).unwrap();
    }

    assert_eq!(addresses(&garden.ledger), addresses(&other.ledger));
    assert_eq!(garden.ledger.hash(), other.ledger.hash());
}

#[test]
fn records_of_a_removed_member_do_not_count_in_the_hash_and_are_dropped() {
    let mut garden = garden();
    let mut other = garden.clone();
    garden.ledger.admit_record(published(&garden, "ben's phone", 1, "barn")).unwrap();
    assert_ne!(garden.ledger.hash(), other.ledger.hash());

    garden.admit_now("removal", "ada", set_role("ben", Role::None)).unwrap();
    other.admit_now("removal", "ada", set_role("ben", Role::None)).unwrap();

    assert_eq!(garden.ledger.hash(), other.ledger.hash(), "dropped or not");
    assert_eq!((addresses(&garden.ledger), garden.ledger.record(device("ben's phone"))), (vec![], None));
    assert_eq!(garden.ledger.drop_records(), [device("ben's phone")]);
    assert_eq!(garden.ledger.drop_records(), []);
}

#[test]
fn the_record_of_a_device_that_another_member_certified_stays() {
    let mut garden = garden();
    garden.ledger.admit_certificate(certificate("cid", "ben's phone")).unwrap();
    garden.ledger.admit_record(published(&garden, "ben's phone", 1, "barn")).unwrap();

    garden.admit_now("removal", "ada", set_role("ben", Role::None)).unwrap();

    assert_eq!(garden.ledger.drop_records(), []);
    assert_eq!(addresses(&garden.ledger), ["ws://barn:7654"]);
}

/// A store without manifests.
struct NoPages;

impl ManifestStore for NoPages {
    type Error = Infallible;

    fn list(&mut self, _: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, Infallible> {
        Ok(None)
    }

    fn page(&mut self, _: &[u8; 32]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}

#[test]
fn the_reply_to_a_pull_carries_records_in_bounded_frames() {
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
    assert_eq!(count, 63, "one of 65 certificates exceeds the bound, and the phone publishes no record");
    let (mut session, _) = LedgerSession::open(false, &garden.ledger);

    let pull = LedgerFrame::Pull(Default::default());
    let effects = session.handle_frame(Moment::default(), pull, &garden.ledger, &mut NoPages).unwrap();

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

/// A record of any kind that a ledger may receive.
#[derive(Clone, Debug)]
enum Item {
    Op(Envelope),
    Certificate(Envelope),
    Revocation(Envelope),
    Record(Envelope),
}

fn offer(ledger: &mut Ledger, item: &Item) -> bool {
    let before = (ledger.len(), ledger.hash());
    // A record that precedes its cause is refused, and offered again.
    match item.clone() {
        Item::Op(envelope) => drop(ledger.admit(envelope)),
        Item::Certificate(envelope) => drop(ledger.admit_certificate(envelope)),
        Item::Revocation(envelope) => drop(ledger.admit_revocation(envelope)),
        Item::Record(envelope) => drop(ledger.admit_record(envelope)),
    }
    before != (ledger.len(), ledger.hash())
}

/// Members join, leave and return, a removal becomes void, a phone is revoked; each device publishes three
/// records.
fn eventful() -> (GroupId, Vec<Item>) {
    let mut world = garden();
    world.admit_now("dan", "ada", set_role("dan", Role::Admin)).unwrap();
    world.admit_now("out", "ada", set_role("ben", Role::None)).unwrap();
    world.admit_on("aside", "dan", set_role("eve", Role::Reader), &["dan"]).unwrap();
    world.admit_now("back", "ada", set_role("ben", Role::Reader)).unwrap();
    world.admit_now("gone", "ada", set_role("eve", Role::None)).unwrap();
    world.admit_now("fay", "dan", set_role("fay", Role::Reader)).unwrap();
    world
        .admit_on(
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
            items.push(Item::Record(published(&world, &phone, counter, &format!("{name}.{place}"))));
        }
    }
    items.push(Item::Revocation(revocation("cid", "cid's phone")));
    (world.ledger.group(), items)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Ops, certificates, revocations and records in any order, repeated, and dropped in between: in the end
    /// all ledgers are equal, and no removed device has a record.
    #[test]
    fn ledgers_agree_on_device_records_in_any_order(order in vec((any::<Index>(), any::<bool>()), 0..120)) {
        let (group, items) = eventful();
        let mut one = Ledger::new(group);
        while items.iter().filter(|item| offer(&mut one, item)).count() > 0 {}

        let mut other = Ledger::new(group);
        for (pick, drops) in order {
            offer(&mut other, &items[pick.index(items.len())]);
            if drops {
                let before = other.hash();
                other.drop_records();
                prop_assert_eq!(other.hash(), before, "dropped records do not count in the hash");
            }
        }
        let mut rounds = 0;
        while items.iter().rev().filter(|item| offer(&mut other, item)).count() > 0 {
            rounds += 1;
            prop_assert!(rounds < 100, "the ledger never becomes stable");
        }

        prop_assert_eq!(one.hash(), other.hash());
        prop_assert_eq!(addresses(&one), addresses(&other));
        for phone in ["cid's phone", "eve's phone", "fay's phone"] {
            prop_assert!(other.record(device(phone)).is_none(), "{} was removed or revoked", phone);
        }
        prop_assert_eq!(other.records().count(), 3);
    }
}
