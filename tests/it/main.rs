//! All tests of the library that can share one process: nodes on virtual networks, hand-made peers, machines,
//! properties.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod addresses;
mod backup;
mod devices;
mod group;
mod hostile_ledger;
mod hostile_links;
mod hostile_rows;
mod invite;
mod json;
mod machines;
mod manifests;
mod membership;
mod merge;
mod node;
mod partition;
mod people;
mod recovery;
mod regression;
#[cfg(feature = "control")]
mod removal;
mod revocation;
mod sockets;
mod support;
mod table;
mod time;
mod watchdog;
mod wire;
