//! A store whose process is killed, or whose power is cut, keeps every acknowledged batch and shows none in
//! part.
//!
//! A child process, this same program run again, writes numbered batches and prints each number once its
//! batch is durable. At random moments the parent kills the child, or freezes its disk and checks a copy.

#![expect(clippy::unwrap_used, reason = "a test: failures panic, also in its helpers")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerbase_actors::node::store::{Batch, Durability, OpenEngine, SledOptions, SpaceHandle, StoreHandle};
use rand::rngs::{ChaCha8Rng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};

/// An engine's name, and its options.
type NamedEngine = (&'static str, &'static dyn OpenEngine);

/// The engines that promise to be durable.
const ENGINES: &[NamedEngine] = &[("sled", &SledOptions { cache_bytes: 8 << 20 })];

const FOLDER: &str = "PEERBASE_STORE_CRASH_FOLDER";
const ENGINE: &str = "PEERBASE_STORE_CRASH_ENGINE";
const KILLS: usize = 30;
const CUTS: usize = 20;
/// Batches in flight at once, so that several share a barrier.
const WINDOW: usize = 8;
/// Rows that each batch sets to its number.
const ROWS: u64 = 8;
/// Marks that exist after each batch: it adds one and removes the oldest.
const MARKS: u64 = 20;
const SPACES: [&str; 2] = ["garden", "house"];
const SOON: Duration = Duration::from_secs(30);

fn open(folder: &Path, engine: NamedEngine) -> StoreHandle {
    StoreHandle::open(folder, engine.1).unwrap()
}

fn number(space: &SpaceHandle, key: &str) -> u64 {
    let value = space.get(key.as_bytes()).unwrap();
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

/// The big value of the last multiple of seven; every other one is split into parts.
fn big(n: u64) -> Vec<u8> {
    let last = n - n % 7;
    last.to_be_bytes().repeat(if last.is_multiple_of(2) { 20_000 } else { 10 })
}

fn batch(n: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put("counter", n.to_be_bytes());
    for row in 0..ROWS {
        batch.put(format!("row {row}"), n.to_be_bytes());
    }
    batch.put(format!("mark {n:020}"), "");
    batch.remove(format!("mark {:020}", n.saturating_sub(MARKS)));
    if n.is_multiple_of(7) {
        batch.put("big", big(n));
    }
    batch
}

/// Checks that the space is in the state after the whole batches 1 to `counter`; returns the counter.
fn verify(space: &SpaceHandle) -> u64 {
    let n = number(space, "counter");
    for row in 0..ROWS {
        assert_eq!(number(space, &format!("row {row}")), n, "row {row}: a batch is visible in part");
    }
    let marks: Vec<_> =
        space.read(|view| view.prefix(b"mark").map(|mark| mark.unwrap().0).collect()).unwrap();
    let expected: Vec<_> =
        (n.saturating_sub(MARKS) + 1..=n).map(|n| format!("mark {n:020}").into_bytes()).collect();
    assert_eq!(marks, expected, "marks of batch {n}");
    if n >= 7 {
        assert!(space.get(b"big").unwrap() == Some(big(n)), "big value of batch {n}");
    }
    n
}

/// The child process. Does nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let name = std::env::var(ENGINE).unwrap();
    let engine = ENGINES.iter().find(|engine| engine.0 == name).unwrap();
    let store = open(Path::new(&folder), *engine);
    let spaces = SPACES.map(|name| store.space(name.as_bytes()).unwrap());
    let mut numbers = [0, 1].map(|at: usize| verify(&spaces[at]));
    println!("\nopen");
    let (slots, free) = mpsc::sync_channel(WINDOW);
    let free = Arc::new(Mutex::new(free));
    for at in [0, 1, 1].into_iter().cycle() {
        numbers[at] += 1;
        let (n, free) = (numbers[at], free.clone());
        slots.send(()).unwrap();
        store.submit(&spaces[at], batch(n), Durability::Immediate, move |outcome| {
            let mut out = std::io::stdout().lock();
            if outcome.is_err() || writeln!(out, "{} {n}", SPACES[at]).and_then(|()| out.flush()).is_err() {
                eprintln!("child: {outcome:?}");
                std::process::exit(1); // else it would outlive its parent
            }
            free.lock().unwrap().recv().unwrap();
        });
    }
}

/// A running child and the last acknowledged batch of each space.
struct Writer {
    child: Child,
    lines: Receiver<String>,
    acknowledged: BTreeMap<String, u64>,
}

impl Writer {
    fn start(folder: &Path, engine: NamedEngine) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder)
            .env(ENGINE, engine.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
        Self { child, lines, acknowledged: BTreeMap::new() }
    }

    /// Reads one line. Fails if none arrives within `pause` or the child has ended.
    fn read_line(&mut self, pause: Duration) -> Result<(), RecvTimeoutError> {
        let line = self.lines.recv_timeout(pause)?;
        if let Some((space, n)) = line.split_once(' ')
            && let Ok(n) = n.parse()
        {
            let before = self.acknowledged.insert(space.to_owned(), n).unwrap_or(0);
            assert!(n > before, "{space}: batch {n} acknowledged after {before}");
        }
        Ok(())
    }

    /// Reads that many lines.
    fn read_lines(&mut self, lines: u32) {
        for _ in 0..lines {
            self.read_line(SOON).expect("the child still writes");
        }
    }

    /// Reads the lines that are in the pipe already, which takes the reading thread a moment.
    fn read_pending(&mut self) {
        while self.read_line(Duration::from_millis(20)).is_ok() {}
    }

    fn kill(&mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens the store after a crash and checks it against the acknowledged batches. `wrote` is true if a batch
/// was acknowledged since the last close.
fn verify_store(
    folder: &Path,
    engine: NamedEngine,
    acknowledged: &BTreeMap<String, u64>,
    wrote: bool,
    moment: &str,
) {
    let store = open(folder, engine);
    assert!(!wrote || !store.opened_cleanly(), "{moment}: a crash counted as a clean close");
    for name in SPACES {
        let kept = verify(&store.space(name.as_bytes()).unwrap());
        let promised = acknowledged.get(name).copied().unwrap_or(0);
        assert!(kept >= promised, "{moment}: {name} kept {kept} of {promised} acknowledged batches");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(store.close(SOON)).unwrap();
}

fn seeded(test: &str) -> ChaCha8Rng {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| SysRng.try_next_u64().unwrap());
    eprintln!("{test}: SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn a_killed_process_loses_no_acknowledged_batch_and_leaves_none_in_part() {
    ENGINES.iter().for_each(|engine| kill_often(*engine));
}

fn kill_often(engine: NamedEngine) {
    let mut random = seeded(&format!("kill -9, {}", engine.0));
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut wrote) = (BTreeMap::new(), false);
    for kill in 0..KILLS {
        let mut writer = Writer::start(folder.path(), engine);
        if kill % 5 == 4 {
            // During the start or the open.
            let _ = writer.read_line(Duration::from_micros(random.random_range(1..20_000)));
        } else {
            writer.read_lines(random.random_range(2..400));
        }
        writer.kill();
        while writer.read_line(SOON).is_ok() {} // acknowledged before the kill, though not read yet
        wrote |= !writer.acknowledged.is_empty();
        acknowledged.append(&mut writer.acknowledged);
        if kill % 3 > 0 {
            verify_store(folder.path(), engine, &acknowledged, wrote, &format!("kill {kill}"));
            wrote = false;
        } // else the next child opens it after the crash
    }
    assert!(acknowledged.values().sum::<u64>() > 100, "{acknowledged:?}");
}

/// A mounted file system in an image file, unmounted on drop.
struct Mount {
    at: PathBuf,
}

impl Mount {
    fn new(image: &Path, at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).unwrap();
        run("mount", &[&"-o", &"loop", &image, &at])?;
        Ok(Self { at })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("fsfreeze", &[&"--unfreeze", &self.at]); // an unmount would wait for a frozen file system
        if run("umount", &[&self.at]).is_err() {
            let _ = run("umount", &[&"--lazy", &self.at]);
        }
    }
}

fn run(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<(), String> {
    let output = Command::new(program).args(arguments.iter().map(AsRef::as_ref)).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

fn image(at: &Path, bytes: u64) -> Result<(), String> {
    std::fs::File::create(at).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &[&"-q", &at])
}

#[test]
fn a_power_cut_loses_no_acknowledged_batch_and_leaves_none_in_part() {
    ENGINES.iter().for_each(|engine| cut_often(*engine));
}

/// The child's file system is an image on an outer file system. Freezing the outer one stops all writes to
/// the image at any moment, also during an `fdatasync` of the child, so that a copy equals a disk after a
/// power cut.
fn cut_often(engine: NamedEngine) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mounted = image(&path("outer.img"), 2 << 30)
        .and_then(|()| Mount::new(&path("outer.img"), path("outer")))
        .and_then(|outer| {
            image(&path("outer/disk.img"), 1 << 30)?;
            let disk = Mount::new(&path("outer/disk.img"), path("disk"))?;
            run("fsfreeze", &[&"--freeze", &outer.at])?;
            run("fsfreeze", &[&"--unfreeze", &outer.at])?;
            Ok((disk, outer)) // in the order of unmounting
        });
    let (disk, outer) = match mounted {
        Ok(mounts) => mounts,
        Err(missing) => {
            return eprintln!(
                "SKIPPED, NOTHING WAS TESTED: a power cut needs root, loop devices, mkfs.ext4, fsfreeze: \
                 {missing}"
            );
        }
    };
    let mut random = seeded(&format!("power cut, {}", engine.0));

    let mut writer = Writer::start(&disk.at.join("db"), engine);
    for cut in 0..CUTS {
        if cut % 7 == 6 {
            writer.kill(); // so that later cuts also hit a database that was opened more than once
            let acknowledged = std::mem::take(&mut writer.acknowledged);
            writer = Writer::start(&disk.at.join("db"), engine);
            writer.acknowledged = acknowledged;
        }
        writer.read_lines(random.random_range(2..300));
        run("fsfreeze", &[&"--freeze", &outer.at]).unwrap();
        // Every batch acknowledged so far must be in the image: no barrier can end while it is frozen.
        writer.read_pending();
        let acknowledged = writer.acknowledged.clone();
        let copied = run("cp", &[&"--sparse=always", &path("outer/disk.img"), &path("copy.img")]);
        run("fsfreeze", &[&"--unfreeze", &outer.at]).unwrap();
        copied.unwrap();

        let copy = Mount::new(&path("copy.img"), path("copy")).unwrap(); // replays the journal
        verify_store(&copy.at.join("db"), engine, &acknowledged, true, &format!("cut {cut}"));
    }
    assert!(writer.acknowledged.values().sum::<u64>() > 100, "{:?}", writer.acknowledged);
    drop(writer); // before its disk
}
