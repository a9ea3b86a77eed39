//! Kills a process while it writes, 32 times: every acknowledged write is on disk and no commit is partial.
//!
//! The child writes to a real disk and prints each acknowledgement; a seed draws the moment of each kill.
//! `actors/tests/store_crash.rs` shows the same for a power cut, at the level of the store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use actors::clock::{Clock, Random};
use peerbase::{Counter, Group, Node, TableName};
use serde::{Deserialize, Serialize};

const FOLDER: &str = "PEERBASE_CRASH_FOLDER";
/// Repeats a run with the seed that a failure printed.
const SEED: &str = "PEERBASE_CRASH_SEED";
const KILLS: usize = 32;
const BATCH: usize = 4;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    title: String,
    done: bool,
}

const TASKS: TableName<Task> = TableName::new("tasks");

fn task(title: &str) -> Task {
    Task { title: title.to_owned(), done: false }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tally {
    count: Counter,
    letters: String,
}

const TALLIES: TableName<Tally> = TableName::new("tallies");

async fn home(folder: &Path) -> (Node, Group) {
    let node = Node::builder(folder).open().await.unwrap();
    let home = match node.groups().first() {
        Some(info) => node.group(info.id).unwrap(),
        None => node.create_group("home").await.unwrap(),
    };
    home.table(TALLIES)
        .put_if_absent("all", &Tally { count: 0.into(), letters: String::new() })
        .await
        .unwrap();
    (node, home)
}

/// The child: writes until it is killed. In the parent it returns at once.
#[tokio::test]
async fn child_process_that_writes_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let (node, home) = home(Path::new(&folder)).await;
    let (tasks, tallies) = (home.table(TASKS), home.table(TALLIES));
    print("open");
    for number in tasks.list().unwrap().len().. {
        let batch: Vec<_> = (0..BATCH).map(|row| task(&format!("{number}-{row}"))).collect();
        let keys = tasks.insert_many(&batch).await.unwrap();
        print(&format!("batch {}", keys.join(" ")));
        let add = |tally: &mut Tally| {
            tally.count.increment(1);
            tally.letters.push('x');
        };
        tallies.update("all", add).await.unwrap();
        print("count");
        let pad = "x".repeat(number * 97 % 50_000);
        tasks.update(&keys[0], |task| task.title += &format!(" {pad}")).await.unwrap();
        print(&format!("pad {} {}", keys[0], pad.len()));
    }
    drop(node);
}

fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nchild: {line}").unwrap();
    out.flush().unwrap();
}

/// Runs the child, kills it after `after`, and returns the lines it printed before that.
fn run_and_kill(folder: &Path, after: Duration, once_open: bool) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_process_that_writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    if once_open {
        said.extend(lines.find(|line| line == "child: open"));
        assert_eq!(said.len(), 1, "the child opens the database");
    }
    let rest = thread::spawn(move || lines.collect::<Vec<_>>());
    thread::sleep(after); // the moment of the kill is the experiment; nothing waits for a condition
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    said.extend(rest.join().unwrap());
    // The kill may truncate the last line: every line starts after its own line break and ends with a known
    // word.
    said.into_iter().filter_map(|line| line.strip_prefix("child: ").map(str::to_owned)).collect()
}

/// Every write that a child has acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    batches: Vec<Vec<String>>,
    pads: BTreeMap<String, usize>,
    counted: i64,
    kills: i64,
}

impl Acknowledged {
    fn note(&mut self, said: &[String]) {
        self.kills += 1;
        for line in said {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            match (words[0].as_str(), &words[1..]) {
                ("batch", keys) if keys.len() == BATCH && keys[BATCH - 1].len() == 36 => {
                    self.batches.push(keys.to_vec());
                }
                ("count", []) => self.counted += 1,
                ("pad", [key, length]) => drop(self.pads.insert(key.clone(), length.parse().unwrap())),
                _ => {}
            }
        }
    }

    fn assert_kept(&self, home: &Group) {
        let rows: BTreeMap<_, _> = home.table(TASKS).list().unwrap().into_iter().collect();
        for key in self.batches.iter().flatten() {
            assert!(rows.contains_key(key), "acknowledged row {key} is lost");
        }
        for (key, pad) in &self.pads {
            let found = rows[key].title.split_once(' ').map(|(_, pad)| pad.len());
            assert_eq!(found, Some(*pad), "acknowledged update of {key} is lost");
        }
        let mut batches = BTreeMap::<&str, usize>::new();
        for task in rows.values() {
            *batches.entry(task.title.split('-').next().unwrap()).or_default() += 1;
        }
        for (batch, rows) in batches {
            assert_eq!(rows % BATCH, 0, "{rows} rows of batch {batch}");
        }
        let tally = home.table(TALLIES).get("all").unwrap().unwrap();
        let count = tally.count.value();
        assert!(
            (self.counted..=self.counted + self.kills).contains(&count),
            "{count} counted of {}",
            self.counted
        );
        assert_eq!(tally.letters.len(), usize::try_from(count).unwrap(), "an update was applied in part");
        assert!(home.table(TASKS).unreadable().unwrap().is_empty());
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_every_kill_and_no_commit_is_partial() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| Clock::real().random_u64());
    println!("{SEED}={seed}");
    let mut random = Random::seeded(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();

    for kill in 0..KILLS {
        // One kill in four hits the child while it starts, opens or recovers.
        let once_open = !random.chance(0.25);
        let after = Duration::from_millis(random.within(0..=if once_open { 250 } else { 80 }));
        acknowledged.note(&run_and_kill(folder.path(), after, once_open));

        let (node, home) = home(folder.path()).await;
        acknowledged.assert_kept(&home);
        assert!(home.status().await.unwrap().quarantined.is_empty(), "kill {kill}");
        node.close().await;
    }

    let batches = acknowledged.batches.len();
    assert!(batches > KILLS, "{batches} batches are too few for a meaningful run");
    println!("{batches} batches, {} updates", acknowledged.pads.len());
}
