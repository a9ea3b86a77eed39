//! The address book, step by step.

use super::*;

const ADA: DeviceId = DeviceId([1; 32]);
const BEN: DeviceId = DeviceId([2; 32]);
const LONG: u64 = 1_000; // random % (half + 1) is then the same small number in each test

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn requested(address: &str) -> Dial {
    Dial { address: address.into(), expected: None, is_recorded: false }
}

fn addresses(dials: &[Dial]) -> Vec<&str> {
    dials.iter().map(|dial| dial.address.as_str()).collect()
}

#[test]
fn a_requested_address_is_dialled_at_once_and_once() {
    let mut book = AddressBook::default();
    book.request("ada", Some(ADA), at(5));
    assert_eq!(book.next_due(), Some(at(5)));
    assert_eq!(book.take_due(at(5), 9), [Dial { expected: Some(ADA), ..requested("ada") }]);
    assert_eq!(book.take_due(at(6), 9), []);
    assert_eq!((book.dialling(), book.next_due()), (1, None));
}

#[test]
fn pauses_double_up_to_a_minute_and_are_jittered() {
    for (failures, longest) in
        [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (9, 60), (u32::MAX, 60)]
    {
        let drawn: Vec<Duration> = (0..=30_000).map(|r| pause(failures, r)).collect();
        assert_eq!(drawn.iter().min().copied(), Some(at(longest) / 2), "{failures} failures");
        assert_eq!(drawn.iter().max().copied(), Some(at(longest)), "{failures} failures");
    }
}

#[test]
fn a_failed_dial_is_retried_after_its_pause_again_and_again() {
    let mut book = AddressBook::default();
    book.request("ada", None, at(0));
    let mut now = at(0);
    for failures in 1..100 {
        assert_eq!(addresses(&book.take_due(now, 9)), ["ada"]);
        book.on_failed(&requested("ada"), now, LONG);
        assert_eq!(book.take_due(now, 9), []);
        let due = book.next_due().unwrap();
        assert_eq!(due, now + pause(failures, LONG));
        now = due;
    }
}

#[test]
fn a_changed_network_or_a_new_request_ends_the_pause() {
    let mut book = AddressBook::default();
    book.request("ada", None, at(0));
    for _ in 0..5 {
        book.take_due(at(0), 9);
        book.on_failed(&requested("ada"), at(0), LONG);
    }
    book.retry_all(at(1));
    assert_eq!(addresses(&book.take_due(at(1), 9)), ["ada"]);
    book.on_failed(&requested("ada"), at(1), 0);
    assert_eq!(book.next_due(), Some(at(1) + PAUSE_MIN / 2));
    book.request("ada", None, at(1));
    assert_eq!(addresses(&book.take_due(at(1), 9)), ["ada"]);
}

#[test]
fn a_linked_device_is_not_dialled_at_any_address() {
    let mut book = AddressBook::default();
    for address in ["home", "office"] {
        book.request(address, None, at(0));
        book.take_due(at(0), 9);
        book.on_reached(&requested(address), ADA);
        book.on_linked(ADA, true);
    }
    assert_eq!((book.next_due(), book.linked_device_at("office")), (None, Some(ADA)));
    assert_eq!(book.take_due(at(99), 9), []);

    book.on_lost(ADA, at(99), at(99), 0);

    assert_eq!((book.next_due(), book.linked_device_at("office")), (Some(at(99) + PAUSE_MIN / 2), None));
    assert_eq!(addresses(&book.take_due(at(100), 9)), ["home"], "one address of a device at a time");
    book.on_failed(&requested("home"), at(100), 0);
    assert_eq!(addresses(&book.take_due(at(100), 9)), ["office"]);
}

#[test]
fn a_link_that_breaks_at_once_is_a_failure_and_one_that_lasted_is_not() {
    let mut book = AddressBook::default();
    book.request("ada", None, at(0));
    book.take_due(at(0), 9);
    book.on_reached(&requested("ada"), ADA);
    for (lasted, pause) in [(0, 500), (1, 1_000), (2, 2_000), (3_600, 500), (5, 1_000)] {
        book.on_linked(ADA, true);
        book.on_lost(ADA, at(lasted), at(10), 0);
        assert_eq!(book.next_due(), Some(at(10) + Duration::from_millis(pause)), "lasted {lasted}");
    }
}

#[test]
fn room_bounds_the_dials() {
    let mut book = AddressBook::default();
    for address in ["ada", "ben", "cid"] {
        book.request(address, None, at(0));
    }
    assert_eq!(addresses(&book.take_due(at(0), 2)), ["ada", "ben"]);
    assert_eq!(addresses(&book.take_due(at(0), 0)), [""; 0]);
    assert_eq!(addresses(&book.take_due(at(0), 2)), ["cid"]);
}

#[test]
fn a_forgotten_address_is_not_dialled_and_later_events_of_it_do_nothing() {
    let mut book = AddressBook::default();
    book.request("ben", None, at(0));
    book.take_due(at(0), 9);
    book.forget("ben");
    book.on_reached(&requested("ben"), BEN);
    book.on_failed(&requested("ben"), at(0), 0);
    book.on_lost(BEN, at(0), at(0), 0);
    assert_eq!((book.next_due(), book.dialling()), (None, 0));
}

const CID: DeviceId = DeviceId([3; 32]);

fn recorded(device: DeviceId, address: &str) -> Dial {
    Dial { address: address.into(), expected: Some(device), is_recorded: true }
}

/// Addresses from records: device, address, counter of the record.
fn recorded_by(records: &[(DeviceId, &str, u64)]) -> BTreeMap<DeviceAddress, Vec<u64>> {
    let entries = records.iter().map(|&(device, address, counter)| {
        (DeviceAddress { device, address: address.into() }, vec![counter])
    });
    entries.collect()
}

fn book_of(records: &[(DeviceId, &str, u64)]) -> AddressBook {
    let mut book = AddressBook::default();
    book.set_recorded(recorded_by(records), at(0), || 0);
    book
}

#[test]
fn a_recorded_address_is_dialled_after_a_short_pause() {
    let mut book = book_of(&[(ADA, "home", 1)]);
    assert_eq!(book.take_due(at(0), 9), []);
    assert_eq!(book.next_due(), Some(PAUSE_MIN / 2));
    assert_eq!(book.take_due(at(1), 9), [recorded(ADA, "home")]);
    assert_eq!((book.dialling(), book.next_due()), (1, None));

    book.on_failed(&recorded(ADA, "home"), at(1), 0);
    assert_eq!(book.next_due(), Some(at(1) + PAUSE_MIN / 2));
    book.set_recorded(recorded_by(&[(ADA, "home", 1)]), at(1), || 0);
    assert_eq!(book.next_due(), Some(at(1) + PAUSE_MIN / 2), "the same record again changes nothing");
}

#[test]
fn a_device_with_several_addresses_is_dialled_at_one_after_the_other() {
    let mut book = book_of(&[(ADA, "home", 1), (ADA, "office", 1), (BEN, "barn", 1)]);
    assert_eq!(addresses(&book.take_due(at(1), 9)), ["home", "barn"]);
    assert_eq!(book.next_due(), None, "nothing is due until a dial ends");
    book.on_failed(&recorded(ADA, "home"), at(1), LONG);
    assert_eq!(addresses(&book.take_due(at(1), 9)), ["office"]);
}

#[test]
fn a_linked_device_is_not_dialled_at_its_recorded_address_until_the_link_is_lost() {
    let mut book = book_of(&[(ADA, "home", 1)]);
    book.on_linked(ADA, true);
    assert_eq!((book.take_due(at(9), 9), book.next_due()), (vec![], None));
    book.on_lost(ADA, at(99), at(100), 0);
    assert_eq!(addresses(&book.take_due(at(101), 9)), ["home"]);
}

#[test]
fn a_recorded_address_where_another_device_answers_is_not_dialled_until_a_newer_record_names_it() {
    let mut book = book_of(&[(ADA, "home", 1), (BEN, "home", 1)]);
    assert_eq!(book.take_due(at(1), 9).len(), 2, "each device has its own record of it");
    book.suspend_dial(&recorded(ADA, "home"));
    book.on_failed(&recorded(ADA, "home"), at(1), 0);
    book.retry_all(at(99));
    book.set_recorded(recorded_by(&[(ADA, "home", 1), (BEN, "home", 1)]), at(99), || 0);
    assert_eq!(book.take_due(at(999), 9), []);

    book.set_recorded(recorded_by(&[(ADA, "home", 2), (BEN, "home", 1)]), at(999), || 0);
    assert_eq!(book.take_due(at(1_000), 9), [recorded(ADA, "home")]);
}

#[test]
fn an_address_that_no_record_names_any_more_is_forgotten() {
    let mut book = book_of(&[(ADA, "home", 1), (BEN, "barn", 1)]);
    book.take_due(at(1), 9);
    book.set_recorded(recorded_by(&[(BEN, "barn", 1)]), at(1), || 0);
    book.on_failed(&recorded(ADA, "home"), at(1), 0);
    book.on_failed(&recorded(BEN, "barn"), at(1), 0);
    assert_eq!(addresses(&book.take_due(at(99), 9)), ["barn"]);
}

#[test]
fn a_requested_address_is_not_dialled_as_a_recorded_one_too() {
    let mut book = book_of(&[(ADA, "home", 1), (BEN, "barn", 1), (CID, "mill", 1)]);
    book.request("home", None, at(0));
    book.request("barn", Some(ADA), at(0));
    let dials = book.take_due(at(1), 9);
    assert_eq!(
        addresses(&dials),
        ["barn", "home", "barn", "mill"],
        "ben records the barn, ada was requested there"
    );
    book.forget("home");
    book.on_failed(&requested("barn"), at(1), 0);
    assert_eq!(addresses(&book.take_due(at(1), 9)), ["home"]);
    book.suspend(|recorded| recorded.address == "home");
    book.on_failed(&recorded(ADA, "home"), at(1), 0);
    assert_eq!(addresses(&book.take_due(at(99), 9)), ["barn"], "the requested one");
}

#[test]
fn with_enough_links_no_address_is_dialled_that_only_a_record_names() {
    let device = |number: usize| DeviceId([u8::try_from(number).unwrap(); 32]);
    let names: Vec<String> = (1..=40).map(|number| format!("{number:02}")).collect();
    let records: Vec<_> = (1..=40).map(|number| (device(number), names[number - 1].as_str(), 1)).collect();
    let mut book = book_of(&records);
    assert_eq!(addresses(&book.take_due(at(1), 30)), ["01", "02", "03", "04"]);
    assert_eq!((book.take_due(at(1), 30), book.next_due()), (vec![], None));
    for number in 1..=4 {
        book.on_failed(&recorded(device(number), &names[number - 1]), at(1), 0);
    }
    assert_eq!(
        addresses(&book.take_due(at(9), 30)),
        ["05", "06", "07", "08"],
        "the longest wait comes first"
    );

    (5..=8).for_each(|number| book.on_reached(&recorded(device(number), &names[number - 1]), device(number)));
    (5..19).for_each(|number| book.on_linked(device(number), true));
    assert_eq!(book.take_due(at(9), 30).len(), 1, "with fourteen links one more is dialled");
    book.on_linked(device(30), true);
    assert_eq!((book.take_due(at(99), 30), book.next_due()), (vec![], None));
}

#[test]
fn accepted_links_alone_leave_room_for_dials() {
    let device = |number: usize| DeviceId([u8::try_from(number).unwrap(); 32]);
    let mut book = book_of(&[(device(101), "101", 1), (device(102), "102", 1)]);
    (1..=30).for_each(|number| book.on_linked(device(number), false));
    assert_eq!(addresses(&book.take_due(at(1), 30)), ["101", "102"]);
}
