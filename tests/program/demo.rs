//! The program's demo keeps every promise that it makes, and shows it.
#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peerbase::Node;
use serde_json::Value;

/// Held while a demo runs: the demo measures times, and two at once would slow each other down.
static STAGE: Mutex<()> = Mutex::new(());
/// The longest wait for anything.
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

/// A running program; it is killed when the test ends.
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

    /// Sends SIGINT, as a terminal does on Ctrl-C; returns the exit status.
    fn interrupt(&mut self) -> Option<i32> {
        let id = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -INT \"$0\"", &id]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

/// Reads lines until one contains `what`; returns all of them.
fn read_until(out: &mut impl BufRead, what: &str) -> String {
    let mut output = String::new();
    while !output.contains(what) {
        assert_ne!(out.read_line(&mut output).unwrap(), 0, "{output}");
    }
    output
}

/// Returns the commands at the end of the output of a demo with kept databases.
fn pasted(output: &str) -> Vec<String> {
    let last: Vec<&str> = output.lines().rev().take(3).collect();
    last.into_iter().rev().map(|line| line.trim().to_owned()).collect()
}

/// Runs a command in a shell, as one that was pasted.
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

/// Returns the output of a demo that kept every promise, in 100 columns and without colours.
fn output_of(run: &Output) -> String {
    let output = String::from_utf8(run.stdout.clone()).unwrap();
    assert!(run.status.success(), "{output}");
    let verdict = output.lines().find(|line| line.contains("promises kept")).unwrap();
    let numbers: Vec<&str> = verdict.split_whitespace().filter(|word| word.parse::<u32>().is_ok()).collect();
    assert!(matches!(numbers[..], [held, all] if held == all && held != "0"), "{verdict}");
    let drawn = output.lines().take_while(|line| !line.contains("databases are kept"));
    assert!(drawn.into_iter().all(|line| line.chars().count() <= 100), "it fits 100 columns:\n{output}");
    assert!(!output.contains('\u{1b}'), "a pipe gets no colour codes");
    output
}

#[test]
fn the_story_keeps_every_promise() {
    let output = output_of(&demo(&[]));

    assert!(output.lines().last().unwrap().contains("promises kept"), "{output}");
    assert!(
        output.contains("✓ what cid wrote after is gone") && output.contains("BeyondCut: change 1"),
        "{output}"
    );
}

/// Shows that promises can break: without admission, the changes of a removed member stay.
#[test]
fn a_story_with_broken_admission_ends_with_1_and_names_the_broken_promises() {
    let run = demo(&["--break", "admission"]);

    let output = String::from_utf8(run.stdout).unwrap();
    assert_eq!(run.status.code(), Some(1), "{output}");
    let broken: Vec<&str> = output.lines().rev().take_while(|line| !line.is_empty()).collect();
    assert!(broken.iter().any(|line| line.contains("✗ what cid wrote after is gone")), "{output}");
    assert!(broken.iter().any(|line| line.contains("✗ ben can say why")), "{output}");
    assert!(
        output.contains("✓ what cid wrote before stays") && output.contains("✓ counters add up"),
        "{output}"
    );
    assert!(!broken[0].contains("26 of 26"), "{output}");
}

#[test]
fn scale_keeps_every_promise_and_its_kept_databases_work() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("airfields");

    let output = output_of(&demo(&["scale", "--keep", kept.to_str().unwrap()]));

    assert!(output.contains("3 379 rows, 12 of them edited or new"), "{output}");
    let [get, history, serve] = &pasted(&output)[..] else { panic!("{output}") };
    let seattle: Value = serde_json::from_str(&paste(get)).unwrap();
    assert_eq!((&seattle["city"], &seattle["visited_by"]), (&"Seattle".into(), &"ada".into()));
    assert_eq!(paste(history).lines().count(), 2, "imported, and visited");
    assert_eq!(serve_and_get(serve, &kept.join("cid"), ["airports", "SEA"]), seattle);
}

#[test]
fn the_kept_databases_of_the_story_work() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("my club");

    let output = output_of(&demo(&["--keep", kept.to_str().unwrap()]));

    let [list, history, serve] = &pasted(&output)[..] else { panic!("{output}") };
    let tasks = paste(list);
    assert!(tasks.contains("water all herbs") && tasks.contains("mend the hose"), "{tasks}");
    assert!(paste(history).lines().count() >= 3, "bought by nobody, then taken by ada and by ben");
    assert_eq!(serve_and_get(serve, &kept.join("cid"), ["tasks", "basil"])["what"], "water all herbs");
}

#[test]
fn a_folder_with_files_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter"), "dear ben").unwrap();
    let name = folder.path().to_str().unwrap();

    for arguments in [["--keep", name, "story"], ["--keep", name, "scale"]] {
        let run = demo(&arguments);

        assert_eq!(run.status.code(), Some(1));
        let error = String::from_utf8(run.stderr).unwrap();
        assert!(error.contains("not empty") && error.contains(name), "{error}");
        assert!(run.stdout.is_empty());
        let left: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["letter"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("letter")).unwrap(), "dear ben");
    }
}

/// Ctrl-C leaves no folder behind.
#[test]
fn an_interrupted_story_prints_that_and_removes_its_folder() {
    let _stage = stage();
    let folder = tempfile::tempdir().unwrap();
    let (mut run, mut out) = Running::start(peerbase().arg("demo").env("TMPDIR", folder.path()));
    read_until(&mut out, "One list in three places");

    assert_eq!(run.interrupt(), Some(1));

    let mut output = String::new();
    out.read_to_string(&mut output).unwrap();
    assert!(output.contains("interrupted"), "{output}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the temporary folder is gone");
}

/// A child that survived would keep the database locked.
#[tokio::test]
async fn an_interrupted_scale_leaves_no_process_behind() {
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
fn without_a_command_the_program_prints_help_and_fails() {
    let run = peerbase().output().unwrap();

    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8(run.stderr).unwrap().contains("demo"));
}
