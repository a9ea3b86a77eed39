//! Whom to dial, step by step.

use super::*;

const ADA: DeviceId = DeviceId([1; 32]);
const BEN: DeviceId = DeviceId([2; 32]);
const LONG: u64 = 1_000; // random % (half + 1) is then the same small thing in each test

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn asked(address: &str) -> Dial {
    Dial { address: address.into(), expected: None, is_recorded: false }
}

fn addresses(dials: &[Dial]) -> Vec<&str> {
    dials.iter().map(|dial| dial.address.as_str()).collect()
}

#[test]
fn what_is_wanted_is_dialled_once_and_at_once() {
    let mut candidates = Candidates::default();
    candidates.want("ada", Some(ADA), at(5));
    assert_eq!(candidates.next_due(), Some(at(5)));
    assert_eq!(candidates.due(at(5), 9), [Dial { expected: Some(ADA), ..asked("ada") }]);
    assert_eq!(candidates.due(at(6), 9), []);
    assert_eq!((candidates.dialling(), candidates.next_due()), (1, None));
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
fn a_failure_is_retried_after_its_pause_for_ever() {
    let mut candidates = Candidates::default();
    candidates.want("ada", None, at(0));
    let mut now = at(0);
    for failures in 1..100 {
        assert_eq!(addresses(&candidates.due(now, 9)), ["ada"]);
        candidates.failed(&asked("ada"), now, LONG);
        assert_eq!(candidates.due(now, 9), []);
        let due = candidates.next_due().unwrap();
        assert_eq!(due, now + pause(failures, LONG));
        now = due;
    }
}

#[test]
fn fresh_evidence_ends_the_pause() {
    let mut candidates = Candidates::default();
    candidates.want("ada", None, at(0));
    for _ in 0..5 {
        candidates.due(at(0), 9);
        candidates.failed(&asked("ada"), at(0), LONG);
    }
    candidates.fresh(at(1));
    assert_eq!(addresses(&candidates.due(at(1), 9)), ["ada"]);
    candidates.failed(&asked("ada"), at(1), 0);
    assert_eq!(candidates.next_due(), Some(at(1) + PAUSE_MIN / 2));
    candidates.want("ada", None, at(1));
    assert_eq!(addresses(&candidates.due(at(1), 9)), ["ada"]);
}

#[test]
fn a_linked_device_is_not_dialled_at_any_address() {
    let mut candidates = Candidates::default();
    for address in ["home", "office"] {
        candidates.want(address, None, at(0));
        candidates.due(at(0), 9);
        candidates.reached(&asked(address), ADA);
        candidates.linked(ADA);
    }
    assert_eq!((candidates.next_due(), candidates.linked_at("office")), (None, Some(ADA)));
    assert_eq!(candidates.due(at(99), 9), []);

    candidates.lost(ADA, at(99), at(99), 0);

    assert_eq!((candidates.next_due(), candidates.linked_at("office")), (Some(at(99) + PAUSE_MIN / 2), None));
    assert_eq!(addresses(&candidates.due(at(100), 9)), ["home"], "one address of a device at a time");
    candidates.failed(&asked("home"), at(100), 0);
    assert_eq!(addresses(&candidates.due(at(100), 9)), ["office"]);
}

#[test]
fn a_link_that_breaks_at_once_is_a_failure_and_one_that_held_is_not() {
    let mut candidates = Candidates::default();
    candidates.want("ada", None, at(0));
    candidates.due(at(0), 9);
    candidates.reached(&asked("ada"), ADA);
    for (lasted, pause) in [(0, 500), (1, 1_000), (2, 2_000), (3_600, 500), (5, 1_000)] {
        candidates.linked(ADA);
        candidates.lost(ADA, at(lasted), at(10), 0);
        assert_eq!(candidates.next_due(), Some(at(10) + Duration::from_millis(pause)), "lasted {lasted}");
    }
}

#[test]
fn room_bounds_the_dials() {
    let mut candidates = Candidates::default();
    for address in ["ada", "ben", "cid"] {
        candidates.want(address, None, at(0));
    }
    assert_eq!(addresses(&candidates.due(at(0), 2)), ["ada", "ben"]);
    assert_eq!(addresses(&candidates.due(at(0), 0)), [""; 0]);
    assert_eq!(addresses(&candidates.due(at(0), 2)), ["cid"]);
}

#[test]
fn what_is_forgotten_is_not_dialled_and_news_of_it_do_nothing() {
    let mut candidates = Candidates::default();
    candidates.want("ben", None, at(0));
    candidates.due(at(0), 9);
    candidates.forget("ben");
    candidates.reached(&asked("ben"), BEN);
    candidates.failed(&asked("ben"), at(0), 0);
    candidates.lost(BEN, at(0), at(0), 0);
    assert_eq!((candidates.next_due(), candidates.dialling()), (None, 0));
}

const CID: DeviceId = DeviceId([3; 32]);

fn recorded(device: DeviceId, address: &str) -> Dial {
    Dial { address: address.into(), expected: Some(device), is_recorded: true }
}

fn places(places: &[(DeviceId, &str, u64)]) -> BTreeMap<Place, Vec<u64>> {
    places.iter().map(|(device, address, counter)| ((*device, (*address).into()), vec![*counter])).collect()
}

fn told(said: &[(DeviceId, &str, u64)]) -> Candidates {
    let mut candidates = Candidates::default();
    candidates.record(places(said), at(0), || 0);
    candidates
}

#[test]
fn a_device_is_dialled_where_its_record_says_a_moment_later() {
    let mut candidates = told(&[(ADA, "home", 1)]);
    assert_eq!(candidates.due(at(0), 9), []);
    assert_eq!(candidates.next_due(), Some(PAUSE_MIN / 2));
    assert_eq!(candidates.due(at(1), 9), [recorded(ADA, "home")]);
    assert_eq!((candidates.dialling(), candidates.next_due()), (1, None));

    candidates.failed(&recorded(ADA, "home"), at(1), 0);
    assert_eq!(candidates.next_due(), Some(at(1) + PAUSE_MIN / 2));
    candidates.record(places(&[(ADA, "home", 1)]), at(1), || 0);
    assert_eq!(candidates.next_due(), Some(at(1) + PAUSE_MIN / 2), "the same word is no news");
}

#[test]
fn a_device_with_several_addresses_is_dialled_at_one_after_the_other() {
    let mut candidates = told(&[(ADA, "home", 1), (ADA, "office", 1), (BEN, "barn", 1)]);
    assert_eq!(addresses(&candidates.due(at(1), 9)), ["home", "barn"]);
    assert_eq!(candidates.next_due(), None, "nothing to wake up for");
    candidates.failed(&recorded(ADA, "home"), at(1), LONG);
    assert_eq!(addresses(&candidates.due(at(1), 9)), ["office"]);
}

#[test]
fn a_linked_device_is_not_dialled_where_its_record_says_until_the_link_is_lost() {
    let mut candidates = told(&[(ADA, "home", 1)]);
    candidates.linked(ADA);
    assert_eq!((candidates.due(at(9), 9), candidates.next_due()), (vec![], None));
    candidates.lost(ADA, at(99), at(100), 0);
    assert_eq!(addresses(&candidates.due(at(101), 9)), ["home"]);
}

#[test]
fn where_somebody_else_answers_nobody_dials_until_a_new_record_says_so() {
    let mut candidates = told(&[(ADA, "home", 1), (BEN, "home", 1)]);
    assert_eq!(candidates.due(at(1), 9).len(), 2, "each device has its own word for it");
    candidates.mistaken(&recorded(ADA, "home"));
    candidates.failed(&recorded(ADA, "home"), at(1), 0);
    candidates.fresh(at(99));
    candidates.record(places(&[(ADA, "home", 1), (BEN, "home", 1)]), at(99), || 0);
    assert_eq!(candidates.due(at(999), 9), []);

    candidates.record(places(&[(ADA, "home", 2), (BEN, "home", 1)]), at(999), || 0);
    assert_eq!(candidates.due(at(1_000), 9), [recorded(ADA, "home")]);
}

#[test]
fn what_no_record_says_any_more_is_forgotten() {
    let mut candidates = told(&[(ADA, "home", 1), (BEN, "barn", 1)]);
    candidates.due(at(1), 9);
    candidates.record(places(&[(BEN, "barn", 1)]), at(1), || 0);
    candidates.failed(&recorded(ADA, "home"), at(1), 0);
    candidates.failed(&recorded(BEN, "barn"), at(1), 0);
    assert_eq!(addresses(&candidates.due(at(99), 9)), ["barn"]);
}

#[test]
fn what_is_asked_for_is_not_dialled_twice() {
    let mut candidates = told(&[(ADA, "home", 1), (BEN, "barn", 1), (CID, "mill", 1)]);
    candidates.want("home", None, at(0));
    candidates.want("barn", Some(ADA), at(0));
    let dials = candidates.due(at(1), 9);
    assert_eq!(
        addresses(&dials),
        ["barn", "home", "barn", "mill"],
        "ben says the barn, ada was asked for there"
    );
    candidates.forget("home");
    candidates.failed(&asked("barn"), at(1), 0);
    assert_eq!(addresses(&candidates.due(at(1), 9)), ["home"]);
    candidates.set_aside(|(_, address)| address == "home");
    candidates.failed(&recorded(ADA, "home"), at(1), 0);
    assert_eq!(addresses(&candidates.due(at(99), 9)), ["barn"], "the one that was asked for");
}

#[test]
fn a_node_that_has_company_dials_nobody_of_whom_only_a_record_tells() {
    let device = |number: usize| DeviceId([u8::try_from(number).unwrap(); 32]);
    let names: Vec<String> = (1..=40).map(|number| format!("{number:02}")).collect();
    let said: Vec<_> = (1..=40).map(|number| (device(number), names[number - 1].as_str(), 1)).collect();
    let mut candidates = told(&said);
    assert_eq!(addresses(&candidates.due(at(1), 30)), ["01", "02", "03", "04"]);
    assert_eq!((candidates.due(at(1), 30), candidates.next_due()), (vec![], None));
    for number in 1..=4 {
        candidates.failed(&recorded(device(number), &names[number - 1]), at(1), 0);
    }
    assert_eq!(
        addresses(&candidates.due(at(9), 30)),
        ["05", "06", "07", "08"],
        "the longest wait comes first"
    );

    (5..=8)
        .for_each(|number| candidates.reached(&recorded(device(number), &names[number - 1]), device(number)));
    (5..19).for_each(|number| candidates.linked(device(number)));
    assert_eq!(candidates.due(at(9), 30).len(), 1, "fourteen links, and one more is wanted");
    candidates.linked(device(30));
    assert_eq!((candidates.due(at(99), 30), candidates.next_due()), (vec![], None));
}
