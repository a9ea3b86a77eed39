//! The rules as production follows them. Each function is the counterpart of one in `canary.rs`.

use std::collections::BTreeSet;

use crate::document::{Bound, Refusal};
use crate::id::ChangeHash;

/// The rules that a document follows: there is one set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules(());

impl Rules {
    /// Returns the judgement under which an author's documents are stored.
    pub fn judgement(self, of_roster: [u8; 32]) -> [u8; 32] {
        of_roster
    }

    pub(in crate::document) fn bounds(
        self,
        of_roster: Result<Vec<Bound>, Refusal>,
    ) -> Result<Vec<Bound>, Refusal> {
        of_roster
    }

    pub(in crate::document) fn bar(self, of_roster: Option<Refusal>) -> Option<Refusal> {
        of_roster
    }

    pub(in crate::document) fn verifies_tips(self) -> bool {
        true
    }

    pub(in crate::document) fn waives(self, _: &Refusal) -> bool {
        false
    }

    pub(in crate::document) fn rebuilds_for_cuts(self) -> bool {
        true
    }

    pub(in crate::document) fn sets_aside(
        self,
        change: &ChangeHash,
        stored: &BTreeSet<ChangeHash>,
        accepted: &BTreeSet<ChangeHash>,
    ) -> bool {
        stored.contains(change) && !accepted.contains(change)
    }

    pub(in crate::document) fn replaces_tips(self) -> bool {
        true
    }
}
