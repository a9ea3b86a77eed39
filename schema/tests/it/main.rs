//! The rules that peers agree on, from outside the crate, beside Automerge itself and the executable model.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
mod automerge_without_checks;
mod change;
mod document;
mod gate;
mod gate_access;
mod golden;
mod ledger;
mod ledger_properties;
mod ledger_records;
mod ledger_session;
mod ledger_vectors;
mod ledger_view;
mod session;
mod support;
mod sync_message;
mod worked_examples;
