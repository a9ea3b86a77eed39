//! A disk that fills up and a folder that is moved away under a served node: it ends with the remedy, and
//! what it refused is not there afterwards.

use std::path::Path;
use std::process::Command;

use crate::process::Home;

/// A file system in memory with little room, unmounted on drop.
struct SmallDisk<'a> {
    at: &'a Path,
}

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, mib: u32) -> Result<Self, String> {
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", at.to_str().unwrap()])?;
        Ok(Self { at })
    }

    fn resize(&self, mib: u32) {
        let at = self.at.to_str().unwrap();
        run("mount", &["-o", &format!("remount,size={mib}m"), at]).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", self.at.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

/// Writes rows until one is refused; returns the keys that were acknowledged, and the refused one.
fn write_until_refused(home: &Home) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    for number in 0..1_000 {
        let key = format!("{number:04}");
        let row = format!(r#"{{"noise":"{}"}}"#, noise(number));
        let output = home.feed(&["put", "tasks", &key, "-"], row.as_bytes());
        if output.status.code() != Some(0) {
            println!("{} rows, then: {}", acknowledged.len(), output.error.trim());
            return (acknowledged, key);
        }
        acknowledged.push(key);
    }
    panic!("1 000 rows fit");
}

/// 50 KB that no compression makes small.
fn noise(seed: u64) -> String {
    let mut state = seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..50_000).map(|_| next()).map(|char| if char == '"' || char == '\\' { '~' } else { char }).collect()
}

/// Asserts that the node holds the acknowledged rows and not the refused one.
fn assert_rows(home: &Home, acknowledged: &[String], refused: &str) {
    for key in acknowledged {
        home.run(&["get", "tasks", key]).ok();
    }
    let missing = home.run(&["get", "tasks", refused]);
    assert_ne!(missing.status.code(), Some(0), "the refused row is readable: {}", missing.out);
}

#[test]
fn a_full_disk_ends_the_node_with_the_remedy_and_loses_no_acknowledged_row() {
    let home = Home::empty();
    let disk = match SmallDisk::mount(home.path(), 24) {
        Ok(disk) => disk,
        Err(missing) => {
            return println!("SKIPPED, NOTHING WAS TESTED: a full disk needs root and mount: {missing}");
        }
    };
    home.run(&["init"]).ok();
    home.run(&["group", "create", "Garden"]).ok();
    let (process, _) = home.serve(&[]);

    let (acknowledged, refused) = write_until_refused(&home);
    let ended = process.end();

    assert!(acknowledged.len() > 10, "{} rows", acknowledged.len());
    let log = ended.failed(1);
    let last = log.trim_end().lines().last().unwrap();
    assert!(last.contains("free space"), "{last}");

    disk.resize(256);
    assert_rows(&home, &acknowledged, &refused);
    let (process, _) = home.serve(&[]);
    assert_rows(&home, &acknowledged, &refused);
    home.run(&["put", "tasks", &refused, "{}"]).ok();
    process.stop().ok();
}

#[test]
fn a_folder_that_is_moved_away_ends_the_node_with_the_remedy() {
    let home = Home::with_group("Garden");
    home.run(&["put", "tasks", "rope", "{}"]).ok();
    let (process, _) = home.serve(&[]);
    let away = tempfile::tempdir().unwrap();
    let moved = away.path().join("moved");

    std::fs::rename(home.path(), &moved).unwrap();
    let ended = process.end();
    std::fs::rename(&moved, home.path()).unwrap();

    let log = ended.failed(1);
    let last = log.trim_end().lines().last().unwrap();
    assert!(last.contains("folder"), "{last}");
    home.run(&["get", "tasks", "rope"]).ok();
}
