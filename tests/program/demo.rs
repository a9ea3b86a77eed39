//! The program's demo holds every promise that it makes, and says so.
#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peerbase::Node;
use serde_json::Value;

/// The demo tells how long things take and promises some of it: one at a time.
static STAGE: Mutex<()> = Mutex::new(());
/// Nothing that is waited for takes longer.
const DEADLINE: Duration = Duration::from_secs(20);

fn stage() -> MutexGuard<'static, ()> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn peerbase() -> Command {
    Command::new(env!("CARGO_BIN_EXE_peerbase"))
}

fn demo(arguments: &[&str]) -> Output {
    let _stage = stage();
    peerbase().arg("demo").args(arguments).output().unwrap()
}

/// A program that runs, killed with the test that started it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

impl Running {
    fn start(command: &mut Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (Self(child), out)
    }

    /// As a terminal does on Ctrl-C; gives the exit status.
    fn interrupt(&mut self) -> Option<i32> {
        let id = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -INT \"$0\"", &id]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

/// Reads on until a line holds `what`; gives everything up to there.
fn read_until(out: &mut impl BufRead, what: &str) -> String {
    let mut told = String::new();
    while !told.contains(what) {
        assert_ne!(out.read_line(&mut told).unwrap(), 0, "{told}");
    }
    told
}

/// The commands that end a demo whose databases are kept.
fn pasted(told: &str) -> Vec<String> {
    let last: Vec<&str> = told.lines().rev().take(3).collect();
    last.into_iter().rev().map(|line| line.trim().to_owned()).collect()
}

/// Runs a command as it is pasted into a shell.
fn paste(command: &str) -> String {
    let run = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// Runs the pasted `serve`, and a command beside it.
fn serve_and_get(serve: &str, folder: &Path, place: [&str; 2]) -> Value {
    let (mut server, mut out) = Running::start(Command::new("sh").args(["-c", &format!("exec {serve}")]));
    read_until(&mut out, "listening");
    let get = peerbase().arg("--data").arg(folder).arg("get").args(place).output().unwrap();
    assert!(get.status.success(), "{}", String::from_utf8_lossy(&get.stderr));
    assert_eq!(server.interrupt(), Some(0));
    serde_json::from_slice(&get.stdout).unwrap()
}

/// What was told, once it is known to end well: every promise held, in 100 columns, without colours.
fn told(run: &Output) -> String {
    let told = String::from_utf8(run.stdout.clone()).unwrap();
    assert!(run.status.success(), "{told}");
    let verdict = told.lines().find(|line| line.contains("promises held")).unwrap();
    let numbers: Vec<&str> = verdict.split_whitespace().filter(|word| word.parse::<u32>().is_ok()).collect();
    assert!(matches!(numbers[..], [held, all] if held == all && held != "0"), "{verdict}");
    let drawn = told.lines().take_while(|line| !line.contains("databases are kept"));
    assert!(drawn.into_iter().all(|line| line.chars().count() <= 100), "it fits 100 columns:\n{told}");
    assert!(!told.contains('\u{1b}'), "a pipe gets no colour codes");
    told
}

#[test]
fn the_story_holds_every_promise() {
    let told = told(&demo(&[]));

    assert!(told.lines().last().unwrap().contains("promises held"), "{told}");
    assert!(
        told.contains("✓ what cid wrote after is gone") && told.contains("BeyondCut: change 1"),
        "{told}"
    );
}

/// One believes ticks that can fail: with admission broken, what a removed member writes stays.
#[test]
fn a_story_without_admission_ends_non_zero_and_says_which_promise_broke() {
    let run = demo(&["--break", "admission"]);

    let told = String::from_utf8(run.stdout).unwrap();
    assert_eq!(run.status.code(), Some(1), "{told}");
    let broken: Vec<&str> = told.lines().rev().take_while(|line| !line.is_empty()).collect();
    assert!(broken.iter().any(|line| line.contains("✗ what cid wrote after is gone")), "{told}");
    assert!(broken.iter().any(|line| line.contains("✗ ben can say why")), "{told}");
    assert!(told.contains("✓ what cid wrote before stays") && told.contains("✓ counters add up"), "{told}");
    assert!(!broken[0].contains("26 of 26"), "{told}");
}

#[test]
fn scale_holds_every_promise_and_what_it_keeps_is_worked_with() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("airfields");

    let told = told(&demo(&["scale", "--keep", kept.to_str().unwrap()]));

    assert!(told.contains("3 379 rows, 12 of them edited or new"), "{told}");
    let [get, history, serve] = &pasted(&told)[..] else { panic!("{told}") };
    let seattle: Value = serde_json::from_str(&paste(get)).unwrap();
    assert_eq!((&seattle["city"], &seattle["visited_by"]), (&"Seattle".into(), &"ada".into()));
    assert_eq!(paste(history).lines().count(), 2, "imported, and visited");
    assert_eq!(serve_and_get(serve, &kept.join("cid"), ["airports", "SEA"]), seattle);
}

#[test]
fn a_kept_story_is_worked_with() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("my club");

    let told = told(&demo(&["--keep", kept.to_str().unwrap()]));

    let [list, history, serve] = &pasted(&told)[..] else { panic!("{told}") };
    let tasks = paste(list);
    assert!(tasks.contains("water all herbs") && tasks.contains("mend the hose"), "{tasks}");
    assert!(paste(history).lines().count() >= 3, "bought by nobody, then taken by ada and by ben");
    assert_eq!(serve_and_get(serve, &kept.join("cid"), ["tasks", "basil"])["what"], "water all herbs");
}

#[test]
fn a_folder_with_something_in_it_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter"), "dear ben").unwrap();
    let name = folder.path().to_str().unwrap();

    for arguments in [["--keep", name, "story"], ["--keep", name, "scale"]] {
        let run = demo(&arguments);

        assert_eq!(run.status.code(), Some(1));
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(said.contains("not empty") && said.contains(name), "{said}");
        assert!(run.stdout.is_empty());
        let left: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["letter"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("letter")).unwrap(), "dear ben");
    }
}

/// Ctrl-C is no reason to leave folders behind.
#[test]
fn a_story_that_is_interrupted_says_so_and_clears_away() {
    let _stage = stage();
    let folder = tempfile::tempdir().unwrap();
    let (mut run, mut out) = Running::start(peerbase().arg("demo").env("TMPDIR", folder.path()));
    read_until(&mut out, "One list in three places");

    assert_eq!(run.interrupt(), Some(1));

    let mut told = String::new();
    out.read_to_string(&mut told).unwrap();
    assert!(told.contains("interrupted"), "{told}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the temporary folder is gone");
}

/// A process that lived on would keep the database locked.
#[tokio::test]
async fn a_scale_that_is_interrupted_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, scratch) = (folder.path().join("kept"), folder.path().join("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    let keep = kept.to_str().unwrap();
    {
        let _stage = stage();
        let (mut run, mut out) =
            Running::start(peerbase().args(["demo", "scale", "--keep", keep]).env("TMPDIR", &scratch));
        read_until(&mut out, "serving again");

        assert_eq!(run.interrupt(), Some(1));
    }

    let deadline = Instant::now() + DEADLINE;
    let node = loop {
        match Node::builder(kept.join("ada")).open().await {
            Ok(node) => break node,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(node.groups().len(), 1);
    node.close().await;
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "the temporary folder is gone");
}

#[test]
fn without_a_command_the_program_helps_and_fails() {
    let run = peerbase().output().unwrap();

    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8(run.stderr).unwrap().contains("demo"));
}
