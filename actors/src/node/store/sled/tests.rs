//! Tests of the sled engine beyond the common suite: its files, its lock, its split values.

use std::fs;

use super::super::conformance::{Fixture, conformance};
use super::super::engine::Batch;
use super::*;

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn try_open(&self) -> Result<SledEngine, OpenError> {
        SledEngine::open(self.path(), &SledOptions { cache_bytes: 8 << 20 })
    }

    /// The sled database below the engine, without our lock, split values and checksums.
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

impl Fixture for Disk {
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

conformance!(Disk::new());

fn put(key: &str, value: Vec<u8>) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

#[test]
fn a_second_open_fails_with_locked() {
    let disk = Disk::new();
    let first = disk.open();
    assert!(matches!(disk.try_open(), Err(OpenError::Locked { path }) if path == disk.path()));
    drop(first);
    disk.open();
}

#[test]
fn a_database_that_a_plain_sled_has_open_is_locked_too() {
    let disk = Disk::new();
    drop(disk.open());
    let raw = disk.raw();
    assert!(matches!(disk.try_open(), Err(OpenError::Locked { .. })));
    drop(raw);
}

#[test]
fn the_lock_is_free_as_soon_as_the_engine_is_dropped() {
    let disk = Disk::new();
    for round in 0..10_u8 {
        let engine = disk.open();
        engine.open_space(b"garden").unwrap().apply(&put("a", vec![round; 300_000])).unwrap();
        drop(engine);
        assert!(disk.try_open().is_ok(), "round {round}");
    }
}

#[test]
fn a_database_of_another_format_is_refused_with_its_version() {
    let disk = Disk::new();
    drop(disk.open());
    fs::write(disk.path().join("format"), "peerbase store format 7\n").unwrap();
    assert!(matches!(disk.try_open(), Err(OpenError::Format { found: 7, supported: files::FORMAT })));
}

#[test]
fn a_missing_or_unreadable_format_record_is_damage() {
    let disk = Disk::new();
    disk.open().open_space(b"garden").unwrap();
    let record = disk.path().join("format");
    for wrong in [&b"peerbase store format x"[..], b"", b"\xFF\xFF"] {
        fs::write(&record, wrong).unwrap();
        assert!(matches!(disk.try_open(), Err(OpenError::Damaged { .. })), "{wrong:?}");
    }
    fs::remove_file(&record).unwrap();
    assert!(matches!(disk.try_open(), Err(OpenError::Damaged { .. })));
    assert!(!record.exists(), "a damaged database is not treated as a new one");
}

#[test]
fn a_first_open_that_crashed_can_be_repeated() {
    let disk = Disk::new();
    assert!(!SledOptions::default().exists_in(disk.path()));
    drop(sled::Config::new().path(disk.path()).segment_size(SEGMENT_BYTES).open().unwrap());
    fs::write(disk.path().join("format.new"), b"peer").unwrap();
    assert!(files::wait_until_free(disk.path()));
    assert!(SledOptions::default().exists_in(disk.path()));
    drop(disk.open());
    assert!(SledOptions::default().exists_in(disk.path()));
    assert!(disk.try_open().is_ok());

    // The crash may also have come after the mark in the database.
    fs::remove_file(disk.path().join("format")).unwrap();
    assert!(disk.try_open().is_ok());
    assert!(disk.path().join("format").exists());
}

#[test]
fn a_file_in_place_of_the_folder_is_no_damage() {
    let disk = Disk::new();
    let path = disk.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(matches!(SledEngine::open(&path, &SledOptions::default()), Err(OpenError::Io { .. })));
}

/// Damages each file in many ways; returns the number of refused opens and of opens that lost rows.
fn survey_of_damage(sessions: usize) -> (usize, usize) {
    let disk = Disk::new();
    for _ in 0..sessions {
        let engine = disk.open();
        let space = engine.open_space(b"garden").unwrap();
        for n in 0..200_u8 {
            space.apply(&put(&format!("key {n}"), vec![n; 2000])).unwrap();
        }
        engine.flush().unwrap();
    }
    let paths = || {
        fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
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

            let opened = disk.try_open();
            let Some(Ok(space)) = opened.as_ref().ok().map(|engine| engine.open_space(b"garden")) else {
                let typed = matches!(opened, Ok(_) | Err(OpenError::Damaged { .. } | OpenError::Store(_)));
                assert!(typed, "{} round {round}: {:?}", target.display(), opened.err());
                refused += 1;
                continue;
            };
            let found = space.scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
            let found = found.filter_map(Result::ok).count();
            assert!(found > 0 || round > 3, "{} round {round}: emptied silently", target.display());
            hurt += usize::from(found < 200);
        }
    }
    (refused, hurt)
}

#[test]
fn damaged_files_give_errors_and_never_a_panic() {
    let (refused, hurt) = survey_of_damage(1);
    assert!(refused > 16 && hurt > 0, "{refused} refused, {hurt} hurt");
    // From the second open on there is a snapshot, and sled detects a log that does not fit it.
    let (refused, hurt) = survey_of_damage(2);
    assert!(refused > 32, "{refused} refused, {hurt} hurt");
}

#[test]
fn no_page_is_spilled_beside_the_log() {
    let disk = Disk::new();
    let engine = disk.open();
    let space = engine.open_space(b"garden").unwrap();
    // Leaves full of the largest unsplit values and keys, rewritten until pages are consolidated.
    for round in 0..4_u8 {
        for n in 0..40_u8 {
            let key = [&[n][..], &[round % 2; super::super::engine::KEY_BYTES_MAX - 1]].concat();
            let mut batch = Batch::default();
            batch.put(key, vec![n ^ round; space::PART_BYTES]);
            batch.put([n], vec![n ^ round; 1 << 20]);
            space.apply(&batch).unwrap();
        }
        engine.flush().unwrap();
        assert_eq!(fs::read_dir(disk.path().join("blobs")).unwrap().count(), 0, "round {round}");
    }
}

#[test]
fn a_spilled_page_is_detected_and_synced() {
    let disk = Disk::new();
    let watch = {
        drop(disk.open());
        SpillWatch::new(disk.path()).unwrap()
    };
    assert_eq!(watch.sync().unwrap(), 0);
    fs::write(disk.path().join("blobs").join("17"), b"page").unwrap();
    fs::File::open(disk.path().join("blobs")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(watch.sync().unwrap(), 1);
    assert_eq!(watch.sync().unwrap(), 0, "a second sync finds no change");
}

#[test]
fn parts_are_removed_with_their_value_and_equal_ones_are_kept() {
    let disk = Disk::new();
    let parts = || disk.raw_keys(b"garden").into_iter().filter(|key| key[0] == 2).collect::<Vec<_>>();
    let apply = |batch: &Batch| disk.open().open_space(b"garden").unwrap().apply(batch).unwrap();
    let mut value: Vec<u8> = (0..5_u8).flat_map(|part| [part; space::PART_BYTES]).collect();

    apply(&put("a", value.clone()));
    let before = parts();
    assert_eq!(before.len(), 5);

    value[0] = 99;
    value.truncate(4 * space::PART_BYTES);
    apply(&put("a", value.clone()));
    let after = parts();
    assert_eq!(after.len(), 4);
    assert_eq!(after.iter().filter(|part| before.contains(part)).count(), 3, "equal parts are kept");

    apply(&put("b", value.clone()));
    assert_eq!(parts().len(), 8, "a part has one owner");
    let mut batch = Batch::default();
    batch.remove("a");
    apply(&batch);
    assert_eq!(parts().len(), 4);
    assert_eq!(disk.open().open_space(b"garden").unwrap().get(b"b").unwrap(), Some(value));

    apply(&put("b", b"small".to_vec()));
    assert_eq!(disk.raw_keys(b"garden"), [b"\x01b"], "neither parts nor marks are left");
}

#[test]
fn the_largest_value_is_read_whole() {
    let disk = Disk::new();
    let value = vec![7; super::super::engine::VALUE_BYTES_MAX];
    {
        let engine = disk.open();
        engine.open_space(b"garden").unwrap().apply(&put("a", value.clone())).unwrap();
        engine.flush().unwrap();
        assert_eq!(fs::read_dir(disk.path().join("blobs")).unwrap().count(), 0);
    }
    assert!(disk.open().open_space(b"garden").unwrap().get(b"a").unwrap() == Some(value));
}

#[test]
fn a_lost_part_is_damage_to_its_value() {
    let disk = Disk::new();
    disk.open().open_space(b"garden").unwrap().apply(&put("a", vec![1; 200_000])).unwrap();
    {
        let db = disk.raw();
        let tree = db.open_tree(tree_name(b"garden")).unwrap();
        let part = tree.range([2]..).next().unwrap().unwrap().0;
        tree.remove(part).unwrap();
    }
    assert!(files::wait_until_free(disk.path()));
    let engine = disk.open();
    let got = engine.open_space(b"garden").unwrap().get(b"a");
    assert!(matches!(&got, Err(StoreError::Damaged { key, .. }) if key == b"a"), "{got:?}");
}

#[test]
fn after_a_failure_writes_are_refused_until_the_engine_is_opened_again() {
    let disk = Disk::new();
    let engine = disk.open();
    let space = engine.open_space(b"garden").unwrap();
    space.apply(&put("a", b"1".to_vec())).unwrap();
    engine.flush().unwrap();
    let failed =
        engine.health.read::<()>("read", || Err(sled::Error::Io(std::io::Error::other("bad sector"))));
    assert!(matches!(failed, Err(StoreError::Engine { .. })));

    assert!(matches!(space.apply(&put("b", b"2".to_vec())), Err(StoreError::Failed { .. })));
    assert!(matches!(engine.flush(), Err(StoreError::Failed { .. })));
    assert_eq!(space.get(b"a").unwrap().unwrap(), b"1", "reads still work");

    drop((space, engine));
    let engine = disk.open();
    let space = engine.open_space(b"garden").unwrap();
    space.apply(&put("b", b"2".to_vec())).unwrap();
    engine.flush().unwrap();
}

#[test]
fn what_was_refused_because_the_folder_was_moved_is_absent_after_it_returned() {
    let disk = Disk::new();
    let engine = disk.open();
    let space = engine.open_space(b"garden").unwrap();
    let big = |byte| vec![byte; 3 * space::PART_BYTES];
    space.apply(&put("a", b"1".to_vec())).unwrap();
    space.apply(&put("b", big(1))).unwrap();
    engine.flush().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(disk.path(), elsewhere.path().join("moved")).unwrap();

    for batch in [put("a", b"2".to_vec()), put("b", big(2)), put("a", big(3)), put("c", b"4".to_vec())] {
        space.apply(&batch).unwrap();
    }
    let refused = engine.flush().unwrap_err();
    drop((space, engine));
    fs::rename(elsewhere.path().join("moved"), disk.path()).unwrap();

    assert!(
        matches!(&refused, StoreError::Engine { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound),
        "{refused:?}"
    );
    let engine = disk.open();
    let space = engine.open_space(b"garden").unwrap();
    assert_eq!(space.get(b"a").unwrap().unwrap(), b"1");
    assert_eq!(space.get(b"b").unwrap().unwrap(), big(1));
    assert_eq!(space.get(b"c").unwrap(), None);
}
