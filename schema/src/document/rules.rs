//! The rules that a document follows; with the feature `defects` one of them can be broken on purpose.
//!
//! Every build compiles these functions. Without the feature no value of [`Settable`] exists, so that a
//! [`Defect`] can be named and never set, and the compiler drops each branch for one. Tests, the machine
//! world and the demo's `--break admission` set one, and the same machines run with it.

use std::collections::BTreeSet;

use super::{Bound, Refusal};
use crate::id::ChangeHash;

/// A defect that this build can set.
#[cfg(feature = "defects")]
type Settable = Defect;
/// A defect that this build can set: there is none.
#[cfg(not(feature = "defects"))]
type Settable = std::convert::Infallible;

/// The rules that a document follows, one of them broken where a defect is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    set: Option<Settable>,
}

#[cfg(not(feature = "defects"))]
const _: () = assert!(size_of::<Rules>() == 0, "there is one set of rules");

/// A rule broken on purpose, which a test must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// Accepts the changes of every author without a bound: admission as the demo breaks it.
    AcceptsEveryAuthor,
    /// Accepts the changes of authors who may not write; bounds of those who may still hold.
    AcceptsNonWriters,
    /// Ignores the bounds that cuts set.
    IgnoresCuts,
    /// Re-judges no document when the roster changes.
    NeverRejudges,
    /// Ends the pass over an author's documents after its first page.
    RejudgesOnePage,
    /// Keeps the branch of a fork that arrived first, also where a cut names the other.
    KeepsFirstBranch,
    /// Deletes what is no longer accepted instead of setting it aside.
    DropsSetAside,
    /// Leaves set aside what is accepted again.
    NeverRestores,
    /// Sets refused changes aside, although they were never accepted.
    SetsRefusedAside,
    /// Keeps the first tip of a chain instead of the newest.
    KeepsFirstTip,
    /// Believes tips without verifying their signatures.
    BelievesTips,
    /// Waives C2: accepts a change before its dependencies.
    WaivesDependencies,
    /// Waives C3: accepts a change behind a gap in its chain.
    WaivesSequence,
    /// Waives C4: accepts a change that does not depend on the previous one of its chain.
    WaivesPrevious,
    /// Waives C5: accepts a change with any first op.
    WaivesStartOp,
    /// Waives C6: accepts two changes at one place of a chain.
    WaivesForks,
}

impl Rules {
    /// The rules with one of them broken.
    #[cfg(feature = "defects")]
    pub fn with_defect(defect: Defect) -> Self {
        Self { set: Some(defect) }
    }

    #[cfg(feature = "defects")]
    fn defect(self) -> Option<Defect> {
        self.set
    }

    #[cfg(not(feature = "defects"))]
    fn defect(self) -> Option<Defect> {
        self.set.map(|none| match none {})
    }

    fn has(self, defect: Defect) -> bool {
        self.defect() == Some(defect)
    }

    /// Returns the judgement under which an author's documents are stored. A constant one never changes, so
    /// that nothing is re-judged, and differs from every true one, so that a node with sound rules judges
    /// all of them.
    pub fn judgement(self, of_roster: [u8; 32]) -> [u8; 32] {
        match self.defect() {
            Some(Defect::AcceptsEveryAuthor | Defect::NeverRejudges) => [0; 32],
            _ => of_roster,
        }
    }

    pub(super) fn bounds(self, of_roster: Result<Vec<Bound>, Refusal>) -> Result<Vec<Bound>, Refusal> {
        match self.defect() {
            Some(Defect::AcceptsEveryAuthor) => Ok(Vec::new()),
            Some(Defect::AcceptsNonWriters) => of_roster.or(Ok(Vec::new())),
            Some(Defect::IgnoresCuts) => of_roster.map(|_| Vec::new()),
            _ => of_roster,
        }
    }

    pub(super) fn bar(self, of_roster: Option<Refusal>) -> Option<Refusal> {
        of_roster.filter(|_| !self.has(Defect::AcceptsEveryAuthor) && !self.has(Defect::AcceptsNonWriters))
    }

    pub(super) fn verifies_tips(self) -> bool {
        !self.has(Defect::BelievesTips)
    }

    pub(super) fn waives(self, refusal: &Refusal) -> bool {
        matches!(
            (self.defect(), refusal),
            (Some(Defect::WaivesDependencies), Refusal::MissingDependency { .. })
                | (Some(Defect::WaivesSequence), Refusal::SequenceGap { .. })
                | (Some(Defect::WaivesPrevious), Refusal::PreviousNotDirect)
                | (Some(Defect::WaivesStartOp), Refusal::StartOp { .. })
                | (Some(Defect::WaivesForks), Refusal::Fork { .. })
        )
    }

    pub(super) fn rebuilds_for_cuts(self) -> bool {
        !self.has(Defect::KeepsFirstBranch)
    }

    pub(super) fn rejudges_one_page(self) -> bool {
        self.has(Defect::RejudgesOnePage)
    }

    pub(super) fn sets_aside(
        self,
        change: &ChangeHash,
        stored: &BTreeSet<ChangeHash>,
        accepted: &BTreeSet<ChangeHash>,
    ) -> bool {
        match self.defect() {
            Some(Defect::DropsSetAside) => false,
            Some(Defect::NeverRestores) => stored.contains(change),
            Some(Defect::SetsRefusedAside) => !accepted.contains(change),
            _ => stored.contains(change) && !accepted.contains(change),
        }
    }

    pub(super) fn replaces_tips(self) -> bool {
        !self.has(Defect::KeepsFirstTip)
    }
}
