//! Links between nodes that have nothing else, over memory and over WebSockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod hostile_changes;
mod links;
mod support;
mod websocket;
