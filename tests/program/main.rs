//! The built program as a process of its own: its commands, its demo, several of it on one machine.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod demo;
mod process;
mod processes;
