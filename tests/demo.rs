//! The program's demo holds every promise that it makes, and says so.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use peerbase::{Node, TableName};
use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peerbase")).arg("demo").args(arguments).output().unwrap()
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
}

#[tokio::test]
async fn kept_databases_open_with_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("my club");

    let told = told(&demo(&["--keep", kept.to_str().unwrap()]));

    let last: Vec<&str> = told.lines().rev().take(3).collect();
    for (who, command) in ["cid", "ben", "ada"].into_iter().zip(last) {
        let data = format!(" --data '{}' ", kept.join(who).display());
        assert!(command.contains(&data), "{command}");
        assert_eq!(task(&kept.join(who), "basil").await["what"], "water all herbs", "{who}");
    }
}

/// A task in a kept database of the story.
async fn task(folder: &Path, key: &str) -> Value {
    const TASKS: TableName<Value> = TableName::new("tasks");
    let node = Node::builder(folder).open().await.unwrap();
    let club = node.group(node.groups()[0].id).unwrap();
    let task = club.table(TASKS).get(key).unwrap().unwrap();
    node.close().await;
    task
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
fn a_demo_that_is_interrupted_says_so_and_clears_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_peerbase"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    let mut told = String::new();
    while !told.contains("One list in three places") {
        assert_ne!(out.read_line(&mut told).unwrap(), 0, "{told}");
    }

    let id = run.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -INT \"$0\"", &id]).status().unwrap().success());

    out.read_to_string(&mut told).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert!(told.contains("interrupted"), "{told}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the temporary folder is gone");
}

#[test]
fn without_a_command_the_program_helps_and_fails() {
    let run = Command::new(env!("CARGO_BIN_EXE_peerbase")).output().unwrap();

    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8(run.stderr).unwrap().contains("demo"));
}
