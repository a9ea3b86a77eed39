//! Whole nodes and single rows, explained to people.

use peerbase::control::reply::{Backup, Explanation, Status};

pub(super) fn of(status: &Status) -> String {
    format!("{} links", status.links.len())
}

pub(super) fn of_explanation(explanation: &Explanation) -> String {
    explanation.what.clone()
}

pub(super) fn of_backup(backup: &Backup) -> String {
    format!("{} rows", backup.rows)
}
