//! What sled is held to beyond the common suite: its files, its lock, its parts.

use std::fs;

use super::super::conformance::{Fixture, conformance};
use super::super::engine::Batch;
use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn try_open(&self) -> Result<SledEngine, OpenError> {
        SledEngine::open(self.path(), &SledOptions { cache_bytes: 8 << 20 })
    }

    /// sled as it is, without our lock, parts and checksums.
    fn raw(&self) -> sled::Db {
        let config = sled::Config::new().path(self.path()).segment_size(SEGMENT_BYTES).flush_every_ms(None);
        config.open().unwrap()
    }

    fn raw_keys(&self, space: &[u8]) -> Vec<Vec<u8>> {
        let db = self.raw();
        let keys =
            db.open_tree(tree_name(space)).unwrap().iter().keys().map(|key| key.unwrap().to_vec()).collect();
        drop(db);
        assert!(files::wait_until_free(self.path()));
        keys
    }
}

impl Fixture for Place {
    type Engine = SledEngine;

    const INTERNAL_NAME: &[u8] = b"__sled__default";

    fn open(&self) -> SledEngine {
        self.try_open().unwrap()
    }

    fn damage(&self, space: &[u8], key: &[u8]) {
        let db = self.raw();
        let tree = db.open_tree(tree_name(space)).unwrap();
        let key = [&[1], key].concat();
        let mut value = tree.get(&key).unwrap().unwrap();
        value[0] ^= 1;
        tree.insert(key, value).unwrap();
        tree.flush().unwrap();
        drop((tree, db));
        assert!(files::wait_until_free(self.path()));
    }
}

conformance!(Place::new());

fn put(key: &str, value: Vec<u8>) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

#[test]
fn a_second_open_is_told_that_the_database_is_in_use() {
    let place = Place::new();
    let first = place.open();
    assert!(matches!(place.try_open(), Err(OpenError::Locked { path }) if path == place.path()));
    drop(first);
    place.open();
}

#[test]
fn a_database_that_a_bare_sled_holds_is_in_use_too() {
    let place = Place::new();
    drop(place.open());
    let raw = place.raw();
    assert!(matches!(place.try_open(), Err(OpenError::Locked { .. })));
    drop(raw);
}

#[test]
fn the_lock_is_free_as_soon_as_the_engine_is_dropped() {
    let place = Place::new();
    for round in 0..10_u8 {
        let engine = place.open();
        engine.open_space(b"garden").unwrap().apply(&put("a", vec![round; 300_000])).unwrap();
        drop(engine);
        assert!(place.try_open().is_ok(), "round {round}");
    }
}

#[test]
fn another_format_is_named() {
    let place = Place::new();
    drop(place.open());
    fs::write(place.path().join("format"), "peerbase store format 7\n").unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Format { found: 7, supported: files::FORMAT })));
}

#[test]
fn a_format_record_that_is_gone_or_unreadable_is_damage() {
    let place = Place::new();
    place.open().open_space(b"garden").unwrap();
    let record = place.path().join("format");
    for wrong in [&b"peerbase store format x"[..], b"", b"\xFF\xFF"] {
        fs::write(&record, wrong).unwrap();
        assert!(matches!(place.try_open(), Err(OpenError::Damaged { .. })), "{wrong:?}");
    }
    fs::remove_file(&record).unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Damaged { .. })));
    assert!(!record.exists(), "what was damaged is not taken for new");
}

#[test]
fn a_first_open_that_crashed_is_begun_again() {
    let place = Place::new();
    assert!(!SledOptions::default().exists_in(place.path()));
    drop(sled::Config::new().path(place.path()).segment_size(SEGMENT_BYTES).open().unwrap());
    fs::write(place.path().join("format.new"), b"peer").unwrap();
    assert!(files::wait_until_free(place.path()));
    assert!(SledOptions::default().exists_in(place.path()));
    drop(place.open());
    assert!(SledOptions::default().exists_in(place.path()));
    assert!(place.try_open().is_ok());

    // It may have come as far as the mark in the database.
    fs::remove_file(place.path().join("format")).unwrap();
    assert!(place.try_open().is_ok());
    assert!(place.path().join("format").exists());
}

#[test]
fn a_folder_that_is_a_file_is_no_damage() {
    let place = Place::new();
    let path = place.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(matches!(SledEngine::open(&path, &SledOptions::default()), Err(OpenError::Io { .. })));
}

/// Damages each file in each of many ways; says how often the open was refused and how often it cost rows.
fn survey_of_damage(sessions: usize) -> (usize, usize) {
    let place = Place::new();
    for _ in 0..sessions {
        let engine = place.open();
        let space = engine.open_space(b"garden").unwrap();
        for n in 0..200_u8 {
            space.apply(&put(&format!("key {n}"), vec![n; 2000])).unwrap();
        }
        engine.flush().unwrap();
    }
    let paths = || {
        fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    };
    let files: Vec<_> = paths().map(|path| (fs::read(&path).unwrap(), path)).collect();

    let (mut refused, mut hurt) = (0, 0);
    for (good, target) in files.iter().filter(|(_, path)| !path.ends_with("lock")) {
        let used = good.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        for round in 0..16 {
            let mut bad = good.clone();
            match round {
                0 => bad.clear(),
                1 => bad.truncate(used / 2),
                2 => bad.fill(0xAA),
                3 => bad.fill(0),
                _ => bad[used * (round - 4) / 12] ^= 0x40,
            }
            paths().for_each(|path| fs::remove_file(path).unwrap()); // also the snapshot of the last open
            for (content, path) in &files {
                fs::write(path, if path == target { &bad } else { content }).unwrap();
            }

            let opened = place.try_open();
            let Some(Ok(space)) = opened.as_ref().ok().map(|engine| engine.open_space(b"garden")) else {
                let typed = matches!(opened, Ok(_) | Err(OpenError::Damaged { .. } | OpenError::Store(_)));
                assert!(typed, "{} round {round}: {:?}", target.display(), opened.err());
                refused += 1;
                continue;
            };
            let found = space.scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
            let found = found.filter_map(Result::ok).count();
            assert!(found > 0 || round > 3, "{} round {round}: emptied in silence", target.display());
            hurt += usize::from(found < 200);
        }
    }
    (refused, hurt)
}

#[test]
fn damaged_files_give_errors_and_never_a_panic() {
    let (refused, hurt) = survey_of_damage(1);
    assert!(refused > 16 && hurt > 0, "{refused} refused, {hurt} hurt");
    // From the second open on there is a snapshot, and sled notices what does not fit it.
    let (refused, hurt) = survey_of_damage(2);
    assert!(refused > 32, "{refused} refused, {hurt} hurt");
}

#[test]
fn no_page_is_ever_spilled_beside_the_log() {
    let place = Place::new();
    let engine = place.open();
    let space = engine.open_space(b"garden").unwrap();
    // Leaves full of the largest values and keys that lie in a page, rewritten until pages are consolidated.
    for round in 0..4_u8 {
        for n in 0..40_u8 {
            let key = [&[n][..], &[round % 2; super::super::engine::KEY_BYTES_MAX - 1]].concat();
            let mut batch = Batch::default();
            batch.put(key, vec![n ^ round; space::PART_BYTES]);
            batch.put([n], vec![n ^ round; 1 << 20]);
            space.apply(&batch).unwrap();
        }
        engine.flush().unwrap();
        assert_eq!(fs::read_dir(place.path().join("blobs")).unwrap().count(), 0, "round {round}");
    }
}

#[test]
fn a_spilled_page_is_noticed_and_synced() {
    let place = Place::new();
    let watch = {
        drop(place.open());
        SpillWatch::new(place.path()).unwrap()
    };
    assert_eq!(watch.sync().unwrap(), 0);
    fs::write(place.path().join("blobs").join("17"), b"page").unwrap();
    fs::File::open(place.path().join("blobs")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(watch.sync().unwrap(), 1);
    assert_eq!(watch.sync().unwrap(), 0, "once is enough");
}

#[test]
fn parts_go_with_their_value_and_stay_when_they_are_equal() {
    let place = Place::new();
    let parts = || place.raw_keys(b"garden").into_iter().filter(|key| key[0] == 2).collect::<Vec<_>>();
    let apply = |batch: &Batch| place.open().open_space(b"garden").unwrap().apply(batch).unwrap();
    let mut value: Vec<u8> = (0..5_u8).flat_map(|part| [part; space::PART_BYTES]).collect();

    apply(&put("a", value.clone()));
    let before = parts();
    assert_eq!(before.len(), 5);

    value[0] = 99;
    value.truncate(4 * space::PART_BYTES);
    apply(&put("a", value.clone()));
    let after = parts();
    assert_eq!(after.len(), 4);
    assert_eq!(after.iter().filter(|part| before.contains(part)).count(), 3, "what is equal is kept");

    apply(&put("b", value.clone()));
    assert_eq!(parts().len(), 8, "a part has one owner");
    let mut batch = Batch::default();
    batch.remove("a");
    apply(&batch);
    assert_eq!(parts().len(), 4);
    assert_eq!(place.open().open_space(b"garden").unwrap().get(b"b").unwrap(), Some(value));

    apply(&put("b", b"small".to_vec()));
    assert_eq!(place.raw_keys(b"garden"), [b"\x01b"], "neither parts nor marks are left");
}

#[test]
fn the_largest_value_comes_back_whole() {
    let place = Place::new();
    let value = vec![7; super::super::engine::VALUE_BYTES_MAX];
    {
        let engine = place.open();
        engine.open_space(b"garden").unwrap().apply(&put("a", value.clone())).unwrap();
        engine.flush().unwrap();
        assert_eq!(fs::read_dir(place.path().join("blobs")).unwrap().count(), 0);
    }
    assert!(place.open().open_space(b"garden").unwrap().get(b"a").unwrap() == Some(value));
}

#[test]
fn a_part_that_is_lost_is_damage_to_its_value() {
    let place = Place::new();
    place.open().open_space(b"garden").unwrap().apply(&put("a", vec![1; 200_000])).unwrap();
    {
        let db = place.raw();
        let tree = db.open_tree(tree_name(b"garden")).unwrap();
        let part = tree.range([2]..).next().unwrap().unwrap().0;
        tree.remove(part).unwrap();
    }
    assert!(files::wait_until_free(place.path()));
    let engine = place.open();
    let got = engine.open_space(b"garden").unwrap().get(b"a");
    assert!(matches!(&got, Err(StoreError::Damaged { key, .. }) if key == b"a"), "{got:?}");
}

#[test]
fn after_a_failure_nothing_is_written_until_it_is_opened_again() {
    let place = Place::new();
    let engine = place.open();
    let space = engine.open_space(b"garden").unwrap();
    space.apply(&put("a", b"1".to_vec())).unwrap();
    let failed =
        engine.health.read::<()>("read", || Err(sled::Error::Io(std::io::Error::other("bad sector"))));
    assert!(matches!(failed, Err(StoreError::Engine { .. })));

    assert!(matches!(space.apply(&put("b", b"2".to_vec())), Err(StoreError::Failed { .. })));
    assert!(matches!(engine.flush(), Err(StoreError::Failed { .. })));
    assert_eq!(space.get(b"a").unwrap().unwrap(), b"1", "reading goes on");

    drop((space, engine));
    let engine = place.open();
    let space = engine.open_space(b"garden").unwrap();
    space.apply(&put("b", b"2".to_vec())).unwrap();
    engine.flush().unwrap();
}
