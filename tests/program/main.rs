//! The built program, run as a process: its commands, its demo, several processes on one machine.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod demo;
mod hostile;
mod process;
mod processes;
