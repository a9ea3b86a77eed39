//! The promises of every engine, as one suite that the tests of each engine run in full.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::engine::{Batch, Engine, Entry, KEY_BYTES_MAX, Space, VALUE_BYTES_MAX};
use super::error::StoreError;

/// A disk on which the engine under test can be opened again and again.
pub(super) trait Fixture {
    /// The engine under test.
    type Engine: Engine;
    /// A name that the engine uses for itself, and that a space may have too.
    const INTERNAL_NAME: &[u8] = b"__internal__";
    /// Opens the engine with everything that is stored on the disk.
    fn open(&self) -> Self::Engine;
    /// Damages one stored value while the engine is closed.
    fn damage(&self, space: &[u8], key: &[u8]);
}

/// Defines one test for each promise; `$fixture` makes a new disk for the engine under test.
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::node::store::conformance::conformance!(
            $fixture,
            a_value_is_found_until_its_key_is_removed,
            the_last_write_to_a_key_in_a_batch_wins,
            scans_run_in_key_order_from_both_ends,
            bounds_include_and_exclude,
            empty_keys_and_values_are_stored,
            keys_of_zeros_and_ones_keep_their_order,
            big_values_are_read_whole,
            big_values_are_replaced_by_small_ones,
            spaces_are_separate,
            a_dropped_space_is_empty_when_opened_again,
            every_entry_is_there_after_a_reopen,
            a_damaged_value_leaves_the_others_readable,
            a_damaged_big_value_can_be_replaced,
            keys_and_values_that_are_too_long_change_nothing,
            it_behaves_like_an_ordered_map
        );
    };
    ($fixture:expr, $($promise:ident),+) => {
        $(#[test]
        fn $promise() {
            $crate::node::store::conformance::$promise(&$fixture);
        })+
    };
}
pub(super) use conformance;

fn put(space: &dyn Space, entries: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    for (key, value) in entries {
        batch.put(*key, *value);
    }
    space.apply(&batch).unwrap();
}

fn all(space: &dyn Space) -> Vec<Entry> {
    space.scan(Unbounded, Unbounded).map(Result::unwrap).collect()
}

fn keys(space: &dyn Space, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Vec<u8>> {
    space.scan(from, to).map(|entry| entry.unwrap().0).collect()
}

/// Bytes that no compression or deduplication makes small.
fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

pub(super) fn a_value_is_found_until_its_key_is_removed(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    assert_eq!(space.get(b"rose").unwrap(), None);

    put(&*space, &[(b"rose", b"red"), (b"lily", b"white")]);
    assert_eq!(space.get(b"rose").unwrap().unwrap(), b"red");

    let mut batch = Batch::default();
    batch.remove("rose");
    batch.remove("never there");
    space.apply(&batch).unwrap();
    assert_eq!(space.get(b"rose").unwrap(), None);
    assert_eq!(space.get(b"lily").unwrap().unwrap(), b"white");
}

pub(super) fn the_last_write_to_a_key_in_a_batch_wins(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    let mut batch = Batch::default();
    batch.put("a", "1");
    batch.remove("a");
    batch.remove("b");
    batch.put("b", "2");
    batch.put("c", noise(1, 300_000));
    batch.put("c", "3");
    space.apply(&batch).unwrap();
    assert_eq!(all(&*space), [(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
}

pub(super) fn scans_run_in_key_order_from_both_ends(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    let expected: Vec<Vec<u8>> = (0..200_u16).map(|n| format!("key {n:05}").into_bytes()).collect();
    for key in expected.iter().rev() {
        put(&*space, &[(key, b"value")]);
    }

    assert_eq!(keys(&*space, Unbounded, Unbounded), expected);
    let back: Vec<_> = space.scan(Unbounded, Unbounded).rev().map(|entry| entry.unwrap().0).collect();
    assert_eq!(back, expected.iter().rev().cloned().collect::<Vec<_>>());

    let mut both = space.scan(Unbounded, Unbounded);
    let mut found = Vec::new();
    while let Some(front) = both.next() {
        found.push(front.unwrap().0);
        found.extend(both.next_back().map(|entry| entry.unwrap().0));
    }
    assert!(both.next().is_none() && both.next_back().is_none(), "a scan that ended stays ended");
    found.sort();
    assert_eq!(found, expected, "the ends meet without losing or repeating an entry");
}

pub(super) fn bounds_include_and_exclude(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    put(&*space, &[(b"a", b""), (b"b", b""), (b"b\0", b""), (b"c", b"")]);
    let found =
        |from, to| keys(&*space, from, to).into_iter().map(|key| key.escape_ascii().to_string()).collect();
    let check = |from, to, expected: &[&str]| {
        let found: Vec<String> = found(from, to);
        assert_eq!(found, expected, "{from:?} {to:?}");
    };
    check(Included(b"b"), Unbounded, &["b", "b\\x00", "c"]);
    check(Excluded(b"b"), Unbounded, &["b\\x00", "c"]);
    check(Unbounded, Included(b"b"), &["a", "b"]);
    check(Unbounded, Excluded(b"b"), &["a"]);
    check(Included(b"b"), Included(b"b"), &["b"]);
    check(Included(b"b"), Excluded(b"c"), &["b", "b\\x00"]);
    check(Excluded(b"a"), Excluded(b"b"), &[]);
    check(Included(b"b"), Excluded(b"b"), &[]);
    check(Excluded(b"b"), Excluded(b"b"), &[]);
    check(Included(b"c"), Included(b"a"), &[]);
    check(Included(b"aa"), Included(b"az"), &[]);
}

pub(super) fn empty_keys_and_values_are_stored(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    put(&*space, &[(b"", b""), (b"a", b"")]);
    assert_eq!(space.get(b"").unwrap().unwrap(), b"");
    assert_eq!(all(&*space), [(vec![], vec![]), (b"a".to_vec(), vec![])]);
    space.apply(&Batch::default()).unwrap();
}

pub(super) fn keys_of_zeros_and_ones_keep_their_order(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for first in [0_u8, 1, 2, 3, 0x7F, 0xFE, 0xFF] {
        expected.push(vec![first]);
        for second in [0_u8, 1, 0xFF] {
            expected.push(vec![first, second]);
            expected.push([&[first, second][..], &[0xFF; 40]].concat());
        }
    }
    let mut batch = Batch::default();
    for key in &expected {
        batch.put(key.clone(), key.clone());
    }
    space.apply(&batch).unwrap();
    expected.sort();
    assert_eq!(keys(&*space, Unbounded, Unbounded), expected);
    for key in &expected {
        assert_eq!(space.get(key).unwrap().as_ref(), Some(key));
    }
    let ones = keys(&*space, Included(&[0xFF]), Unbounded);
    assert_eq!(ones.len(), expected.iter().filter(|key| key[0] == 0xFF).count());
}

pub(super) fn big_values_are_read_whole(fixture: &impl Fixture) {
    let sizes = [65_535, 65_536, 65_537, 131_072, 1 << 20, 3_000_001];
    {
        let engine = fixture.open();
        let space = engine.open_space(b"garden").unwrap();
        let mut batch = Batch::default();
        for (seed, size) in (0..).zip(sizes) {
            batch.put([seed], noise(seed, size));
        }
        batch.put("equal parts", vec![7; 1 << 20]);
        space.apply(&batch).unwrap();
        engine.flush().unwrap();
    }
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    for (seed, size) in (0..).zip(sizes) {
        assert!(space.get(&[seed]).unwrap().unwrap() == noise(seed, size), "{size} bytes");
    }
    assert!(space.get(b"equal parts").unwrap().unwrap() == vec![7; 1 << 20]);
    let lengths: Vec<usize> = all(&*space).iter().map(|(_, value)| value.len()).collect();
    assert_eq!(lengths, [&sizes[..], &[1 << 20]].concat(), "a scan shows values, not their parts");
}

pub(super) fn big_values_are_replaced_by_small_ones(fixture: &impl Fixture) {
    let small = |seed| [&[seed][..], b"small"].concat();
    {
        let engine = fixture.open();
        let space = engine.open_space(b"garden").unwrap();
        for round in 0..3 {
            put(&*space, &[(b"a", &noise(round, 200_000)), (b"b", &noise(round, 90_000)), (b"c", b"")]);
            put(&*space, &[(b"a", &small(round)), (b"c", &noise(round, 70_000))]);
            let mut batch = Batch::default();
            batch.remove("b");
            space.apply(&batch).unwrap();
            assert_eq!(space.get(b"a").unwrap(), Some(small(round)));
            assert_eq!(space.get(b"b").unwrap(), None);
            assert!(space.get(b"c").unwrap() == Some(noise(round, 70_000)));
        }
        engine.flush().unwrap();
    }
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    assert_eq!(all(&*space).len(), 2);
    put(&*space, &[(b"c", b"small after a reopen")]);
    assert_eq!(space.get(b"c").unwrap().unwrap(), b"small after a reopen");
}

pub(super) fn spaces_are_separate<F: Fixture>(fixture: &F) {
    let engine = fixture.open();
    let names: Vec<Vec<u8>> =
        (0..50_u8).map(|n| vec![n, 0, 0xFF]).chain([F::INTERNAL_NAME.to_vec()]).collect();
    for name in &names {
        put(&*engine.open_space(name).unwrap(), &[(b"name", name)]);
    }
    for name in &names {
        assert_eq!(all(&*engine.open_space(name).unwrap()), [(b"name".to_vec(), name.clone())]);
    }
    assert_eq!(engine.spaces().unwrap(), names, "sorted, without the engine's own");
}

pub(super) fn a_dropped_space_is_empty_when_opened_again(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    put(&*space, &[(b"rose", b"red"), (b"tree", &noise(1, 300_000))]);
    put(&*engine.open_space(b"house").unwrap(), &[(b"door", b"green")]);
    drop(space);

    engine.drop_space(b"garden").unwrap();
    engine.drop_space(b"never there").unwrap();

    assert_eq!(engine.spaces().unwrap(), [b"house"]);
    assert_eq!(all(&*engine.open_space(b"garden").unwrap()), []);
    assert_eq!(engine.open_space(b"house").unwrap().get(b"door").unwrap().unwrap(), b"green");
    engine.drop_space(b"garden").unwrap();
    engine.flush().unwrap();
    drop(engine);
    assert_eq!(fixture.open().spaces().unwrap(), [b"house"]);
}

pub(super) fn every_entry_is_there_after_a_reopen(fixture: &impl Fixture) {
    for round in 0..5_u8 {
        let engine = fixture.open();
        let space = engine.open_space(b"garden").unwrap();
        let expected: Vec<_> = (0..round).map(|n| (vec![n], noise(n, 1000 * usize::from(n)))).collect();
        assert_eq!(all(&*space), expected);
        put(&*space, &[(&[round], &noise(round, 1000 * usize::from(round)))]);
        engine.flush().unwrap();
    }
}

pub(super) fn a_damaged_value_leaves_the_others_readable(fixture: &impl Fixture) {
    {
        let engine = fixture.open();
        let space = engine.open_space(b"garden").unwrap();
        put(&*space, &[(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]);
        engine.flush().unwrap();
    }
    fixture.damage(b"garden", b"b");

    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    let is_b = |error: &StoreError| match error {
        StoreError::Damaged { space, key } => space == b"garden" && key == b"b",
        _ => false,
    };
    assert!(is_b(&space.get(b"b").unwrap_err()));
    assert_eq!(space.get(b"a").unwrap().unwrap(), b"1");
    for reverse in [false, true] {
        let scan = space.scan(Unbounded, Unbounded);
        let found: Vec<_> = if reverse { scan.rev().collect() } else { scan.collect() };
        assert_eq!(found.len(), 3, "the scan continues behind it");
        assert!(found[0].is_ok() && is_b(found[1].as_ref().unwrap_err()) && found[2].is_ok());
    }

    put(&*space, &[(b"b", b"fetched again")]);
    assert_eq!(space.get(b"b").unwrap().unwrap(), b"fetched again");
}

pub(super) fn a_damaged_big_value_can_be_replaced(fixture: &impl Fixture) {
    {
        let engine = fixture.open();
        put(&*engine.open_space(b"garden").unwrap(), &[(b"a", &noise(1, 200_000)), (b"b", b"2")]);
        engine.flush().unwrap();
    }
    fixture.damage(b"garden", b"a");

    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    assert!(matches!(space.get(b"a"), Err(StoreError::Damaged { .. })));
    put(&*space, &[(b"a", &noise(1, 200_000))]);
    assert!(space.get(b"a").unwrap() == Some(noise(1, 200_000)));
    let mut batch = Batch::default();
    batch.remove("a");
    space.apply(&batch).unwrap();
    assert_eq!(all(&*space), [(b"b".to_vec(), b"2".to_vec())]);
}

pub(super) fn keys_and_values_that_are_too_long_change_nothing(fixture: &impl Fixture) {
    let engine = fixture.open();
    let space = engine.open_space(b"garden").unwrap();
    put(&*space, &[(&[1; KEY_BYTES_MAX], b"longest key")]);

    let mut long_key = Batch::default();
    long_key.put("a", "1");
    long_key.put([0; KEY_BYTES_MAX + 1], "");
    assert!(matches!(space.apply(&long_key), Err(StoreError::KeyTooLong { .. })));
    let mut long_value = Batch::default();
    long_value.put("a", "1");
    long_value.put("b", vec![0; VALUE_BYTES_MAX + 1]);
    assert!(matches!(space.apply(&long_value), Err(StoreError::ValueTooLong { .. })));

    assert_eq!(all(&*space), [(vec![1; KEY_BYTES_MAX], b"longest key".to_vec())]);
    put(&*space, &[(b"a", b"the engine still writes")]);
}

type SeedAndSize = (u8, usize);
type Writes = Vec<(Vec<u8>, Option<SeedAndSize>)>;

#[derive(Clone, Debug)]
enum Step {
    /// Keys with seed and size of their new values; none removes the key.
    Apply(Writes),
    Scan(Bound<Vec<u8>>, Bound<Vec<u8>>, Vec<bool>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 0xFE, 0xFF]), 0..4);
    let bound = || prop_oneof![key().prop_map(Included), key().prop_map(Excluded), Just(Unbounded)];
    let size = prop_oneof![6 => 0_usize..200, 1 => 65_530_usize..65_545, 1 => 130_000_usize..200_000];
    let value = prop::option::weighted(0.75, (0_u8..4, size));
    prop::collection::vec(
        prop_oneof![
            8 => prop::collection::vec((key(), value), 0..12).prop_map(Step::Apply),
            4 => (bound(), bound(), prop::collection::vec(any::<bool>(), 0..20))
                .prop_map(|(from, to, ends)| Step::Scan(from, to, ends)),
            1 => Just(Step::Reopen),
        ],
        1..25,
    )
}

/// The writes as a batch, after they were applied to the model.
fn batch_of(writes: Writes, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in writes {
        match value.map(|(seed, size)| noise(seed, size)) {
            Some(value) => {
                batch.put(key.clone(), value.clone());
                model.insert(key, value);
            }
            None => {
                batch.remove(key.clone());
                model.remove(&key);
            }
        }
    }
    batch
}

pub(super) fn it_behaves_like_an_ordered_map(fixture: &impl Fixture) {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let mut case = 0_u32;
    let case = std::cell::RefCell::new(&mut case);
    runner
        .run(&steps(), |steps| {
            // One disk with a space per case: a new disk is slow for some engines.
            let name = {
                let mut case = case.borrow_mut();
                **case += 1;
                case.to_be_bytes()
            };
            let mut engine = Some(fixture.open());
            let open =
                |engine: &Option<_>| Engine::open_space(engine.as_ref().expect("open"), &name).unwrap();
            let mut space = open(&engine);
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Apply(writes) => space.apply(&batch_of(writes, &mut model)).unwrap(),
                    Step::Scan(from, to, ends) => {
                        let (from, to) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                        let crossed = super::engine::bounds_cross(from, to);
                        let mut expected = (!crossed).then(|| model.range::<[u8], _>((from, to)));
                        let mut scan = space.scan(from, to);
                        for front in ends {
                            let (found, expected) = if front {
                                (scan.next(), expected.as_mut().and_then(Iterator::next))
                            } else {
                                (scan.next_back(), expected.as_mut().and_then(DoubleEndedIterator::next_back))
                            };
                            let found = found.map(Result::unwrap);
                            prop_assert_eq!(found.as_ref().map(|(key, value)| (key, value)), expected);
                        }
                    }
                    Step::Reopen => {
                        drop(space);
                        drop(engine.take());
                        engine = Some(fixture.open());
                        space = open(&engine);
                    }
                }
            }
            prop_assert!(all(&*space) == model.into_iter().collect::<Vec<_>>());
            Ok(())
        })
        .unwrap();
}
