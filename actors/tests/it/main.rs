//! Links between nodes without groups, over memory and over WebSockets, and changes that Automerge cannot
//! apply.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod hostile_changes;
#[allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]
mod hostile_links;
mod links;
mod support;
mod websocket;
