//! Real processes: one is killed in the middle of an import and loses nothing, another is removed in the
//! middle of one and gets nothing more; commands work beside a node.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Home, Process, until};

/// Rows of the import: several batches.
const ROWS: usize = 2_000;
/// Rows written to the import before the kill: too few for it to have ended.
const ROWS_FED: usize = 1_200;

/// Makes a CSV file of `count` airports.
fn airports(count: usize) -> String {
    (0..count).fold("iata,city,latitude\n".to_owned(), |mut text, number| {
        writeln!(text, "A{number:04},City of {number},{}.25", number % 90).unwrap();
        text
    })
}

/// Returns the rows that an import reports as acknowledged.
fn acknowledged(line: &str) -> usize {
    let document: Value = serde_json::from_str(line).unwrap();
    usize::try_from(document["acknowledged"].as_u64().unwrap()).unwrap()
}

fn keys(export: &str) -> BTreeSet<String> {
    let row = |line| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    export.lines().map(row).collect()
}

fn first_keys(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("A{number:04}")).collect()
}

/// Starts an import and waits until rows are acknowledged; it then waits for more input.
fn import_begun(home: &Home) -> (Process, usize) {
    let arguments =
        ["--json", "import", "airports", "-", "--format", "csv", "--key", "iata", "--number", "latitude"];
    let mut import = Process::start_fed(home.command(&arguments));
    import.input().write_all(airports(ROWS_FED).as_bytes()).unwrap();
    import.input().flush().unwrap();
    let first = acknowledged(&import.line());
    let rows = acknowledged(&import.line());
    assert!(first > 0 && rows > first && rows < ROWS_FED, "{first}, {rows}");
    (import, rows)
}

fn import_whole(home: &Home) -> Value {
    let file = home.file("airports.csv");
    std::fs::write(&file, airports(ROWS)).unwrap();
    let file = file.to_str().unwrap();
    let import = ["--json", "import", "airports", file, "--key", "iata", "--number", "latitude"];
    home.run(&import).json_lines().pop().unwrap()
}

#[test]
fn a_node_killed_during_an_import_holds_every_acknowledged_row_and_becomes_equal() {
    let (ada, ben) = (Home::with_group("Airports"), Home::empty());
    let (_ada, address) = ada.serve(&[]);
    let ticket = ada.run(&["group", "invite"]).ok();
    ben.run(&["join", ticket.trim(), "--wait", "--timeout", "60s"]).ok();
    let (killed, _) = ben.serve(&[]);

    let (import, rows) = import_begun(&ben);
    killed.kill();
    // It would find the database free and go on by itself.
    import.kill();
    let held = keys(&ben.export());
    assert!(held.is_superset(&first_keys(rows)), "{} of {rows} acknowledged rows", held.len());

    let (_ben, _) = ben.serve(&["--connect", &address]);
    let done = import_whole(&ben);
    assert_eq!(done["written"].as_u64().unwrap() + done["unchanged"].as_u64().unwrap(), ROWS as u64);
    assert!(done["unchanged"].as_u64().unwrap() >= rows as u64, "nothing is written twice: {done}");
    ben.run(&["put", "airports", "A0000", r#"{"city":"Seattle"}"#]).ok();
    until("both have the same rows", || ada.export() == ben.export());
    assert_eq!(keys(&ada.export()), first_keys(ROWS));
    assert_eq!(ada.run(&["get", "airports", "A0000"]).ok(), "{\"city\":\"Seattle\"}\n");
}

#[test]
fn an_import_that_is_killed_itself_leaves_every_acknowledged_row_and_can_be_repeated() {
    let ada = Home::with_group("Airports");

    let (import, rows) = import_begun(&ada);
    import.kill();

    let held = keys(&ada.export());
    assert!(held.is_superset(&first_keys(rows)) && held.len() < ROWS, "{} of {rows}", held.len());
    import_whole(&ada);
    assert_eq!(keys(&ada.export()), first_keys(ROWS));
    let again = import_whole(&ada);
    assert_eq!((again["written"].as_u64(), again["unchanged"].as_u64()), (Some(0), Some(ROWS as u64)));
}

#[test]
fn commands_work_from_another_process_while_a_node_serves() {
    let ada = Home::with_group("Garden");
    let (node, _) = ada.serve(&[]);

    ada.run(&["put", "tasks", "basil", r#"{"done":false}"#]).ok();
    assert_eq!(ada.run(&["get", "tasks", "basil"]).ok(), "{\"done\":false}\n");
    assert!(ada.run(&["--json", "status"]).json().is_object());
    assert_eq!(ada.run(&["list"]).ok(), "tasks\t1\n");
    node.stop().ok();

    assert_eq!(ada.run(&["get", "tasks", "basil"]).ok(), "{\"done\":false}\n", "and without it");
}

#[test]
fn two_processes_follow_each_other_and_one_that_was_away_catches_up() {
    let (ada, ben) = (Home::with_group("Garden"), Home::empty());
    let (_ada, _) = ada.serve(&[]);
    let ticket = ada.run(&["group", "invite"]).ok();
    let (node, _) = {
        ben.run(&["init"]).ok();
        ben.serve(&[])
    };
    ben.run(&["join", ticket.trim(), "--wait"]).ok();

    ada.run(&["put", "tasks", "basil", r#"{"done":false}"#]).ok();
    until("ben reads it", || ben.run(&["get", "tasks", "basil"]).out == "{\"done\":false}\n");
    node.stop().ok();
    ada.run(&["put", "tasks", "basil", r#"{"done":true}"#]).ok();
    ben.run(&["put", "tasks", "rope", r#"{"done":true}"#]).ok();
    let synced = ben.run(&["--json", "sync", "--timeout", "60s"]).json();

    assert_eq!(synced["with"].as_array().unwrap().len(), 1);
    assert_eq!(ben.run(&["get", "tasks", "basil"]).ok(), "{\"done\":true}\n");
    assert_eq!(ada.export(), ben.export());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the second is one of real time")]
fn a_member_who_is_removed_while_connected_loses_the_session_within_a_second_and_receives_nothing_more() {
    let (ada, ben, mia) = (Home::with_group("Garden"), Home::empty(), Home::empty());
    let (_ada, address) = ada.serve(&[]);
    let serving: Vec<Process> = [&ben, &mia]
        .map(|home| {
            let ticket = ada.run(&["group", "invite"]).ok();
            home.run(&["join", ticket.trim(), "--wait", "--timeout", "60s"]).ok();
            home.serve(&["--connect", &address, "--log-format", "json"]).0
        })
        .into();
    let mia_is = mia.run(&["--json", "whoami"]).json()["user"].as_str().unwrap().to_owned();
    let (mut import, _) = import_begun(&ada);
    until("mia is receiving", || !mia.export().is_empty());
    serving[1].skip_log();

    ada.run(&["group", "remove", &mia_is]).ok();
    let removed = Instant::now();
    let lost: Value = serde_json::from_str(&serving[1].logged("session lost")).unwrap();
    assert!(removed.elapsed() < Duration::from_secs(1), "{lost}");
    let peers =
        |home: &Home| home.run(&["--json", "status"]).json()["groups"][0]["peers"].as_array().unwrap().len();
    until("ben has heard too", || peers(&mia) == 0);
    let before = keys(&mia.export());
    import.input().write_all(&airports(ROWS).as_bytes()[airports(ROWS_FED).len()..]).unwrap();
    import.end().ok();

    until("the others have every row", || {
        keys(&ben.export()) == first_keys(ROWS) && ada.export() == ben.export()
    });
    assert!(before.len() < ROWS);
    assert_eq!(keys(&mia.export()), before, "she never gets another row");
}
