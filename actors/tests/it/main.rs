//! Links between nodes without groups, over memory and over WebSockets, and changes that Automerge cannot
//! apply.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod hostile_changes;
mod links;
mod support;
mod websocket;
