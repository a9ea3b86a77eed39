//! Deviations from the rules, each of which must break a promise that the examination then names: the canaries that
//! show that it looks.

use std::collections::BTreeSet;

use schema::ChangeHash;
use schema::document::{Bound, Refusal, Verdict};

use super::store::Store;

/// What every honest peer of a world does otherwise than the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// Where a cut names another branch of a fork than the one that was seen first, stays with this one.
    KeepsBranch,
    /// Takes no cut into account.
    ForgetsCuts,
    /// Does not judge anew what it has when the membership changes.
    KeepsFallen,
    /// Throws away what is not accepted any more.
    DropsKept,
    /// Goes on writing under the first grant that it ever had.
    KeepsGrant,
    /// Takes a change into the document though its chain has a gap before it.
    SkipsGaps,
    /// Takes a change into the document though it does not name the one before it.
    SkipsPrevious,
    /// Takes a change into the document though its chain has another at its place.
    TakesForks,
    /// Takes a change into the document whatever op it begins with.
    SkipsStartOp,
    /// Does not verify the signatures of tips.
    BelievesTips,
    /// Keeps the first tip of a chain instead of the newest.
    KeepsFirstTip,
    /// Takes a change into the document before those that it depends on.
    TakesOrphans,
    /// Takes what anybody wrote.
    TakesAnybody,
    /// Keeps what it refused, as if it might be of use.
    RemembersRefused,
    /// Keeps what was not accepted for a while beside what is accepted again.
    NeverLetsGo,
}

impl Mutant {
    /// Whether a refused change comes into the document all the same.
    fn waives(self, refusal: &Refusal) -> bool {
        match self {
            Self::SkipsGaps => matches!(refusal, Refusal::SequenceGap { .. }),
            Self::SkipsPrevious => matches!(refusal, Refusal::PreviousNotDirect),
            Self::TakesForks => matches!(refusal, Refusal::Fork { .. }),
            Self::SkipsStartOp => matches!(refusal, Refusal::StartOp { .. }),
            Self::TakesOrphans => matches!(refusal, Refusal::MissingDependency { .. }),
            _ => false,
        }
    }
}

impl Store {
    /// Whether this peer deviates so.
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// C8 as this peer sees it.
    pub(super) fn bounds_seen(&self, bounds: Result<Vec<Bound>, Refusal>) -> Result<Vec<Bound>, Refusal> {
        match self.mutant {
            Some(Mutant::ForgetsCuts) => bounds.map(|_| Vec::new()),
            Some(Mutant::TakesAnybody) => bounds.or(Ok(Vec::new())),
            _ => bounds,
        }
    }

    /// Places of refused changes that come into the document all the same; the index cannot know them.
    pub(super) fn waived<'a>(&'a self, verdict: &'a Verdict) -> impl Iterator<Item = usize> + 'a {
        let refused = verdict
            .refused
            .iter()
            .filter(|(_, refusal)| self.mutant.is_some_and(|mutant| mutant.waives(refusal)));
        refused.map(|(place, _)| *place)
    }

    /// What need not be kept once this is accepted.
    pub(super) fn let_go(&self, accepted: BTreeSet<ChangeHash>) -> BTreeSet<ChangeHash> {
        match self.mutant {
            Some(Mutant::NeverLetsGo) => BTreeSet::new(),
            _ => accepted,
        }
    }
}
