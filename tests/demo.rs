//! The program's demo holds every promise that it makes, and says so.
#![cfg(feature = "cli")]

use std::process::Command;

#[test]
fn the_demo_holds_every_promise() {
    let run = Command::new(env!("CARGO_BIN_EXE_peerbase")).arg("demo").output().unwrap();

    let told = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{told}");
    let last = told.lines().last().unwrap();
    let numbers: Vec<&str> = last.split_whitespace().filter(|word| word.parse::<u32>().is_ok()).collect();
    assert!(matches!(numbers[..], [held, all] if held == all && held != "0"), "{last}");
    assert!(last.contains("promises held"), "{last}");
    assert!(told.lines().all(|line| line.chars().count() <= 100), "it fits 100 columns:\n{told}");
    assert!(!told.contains('\u{1b}'), "a pipe gets no colour codes");
}

#[test]
fn without_a_command_the_program_helps_and_fails() {
    let run = Command::new(env!("CARGO_BIN_EXE_peerbase")).output().unwrap();

    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8(run.stderr).unwrap().contains("demo"));
}
