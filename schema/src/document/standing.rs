//! The ends of a document's chains, compared with the bounds that the present roster sets.

use super::judge::{Judge, Manifests, Signer};
use crate::digest::Mark;
use crate::tip::Author;

/// The end of one chain of accepted changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// The author of the chain.
    pub author: Author,
    /// Its newest accepted change.
    pub mark: Mark,
}

impl<M: Manifests, S: Signer> Judge<'_, M, S> {
    /// Returns true if these chains end within every bound of their authors: then all their changes stay
    /// accepted.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn are_within_bounds(&mut self, ends: impl IntoIterator<Item = ChainEnd>) -> Result<bool, M::Error> {
        for ChainEnd { author, mark } in ends {
            let Ok(bounds) = self.bounds(&author)? else { return Ok(false) };
            let end = (mark.seq, mark.change);
            let is_within = |bound: (u64, _)| mark.seq < bound.0 || end == bound;
            if !bounds.iter().all(|bound| bound.end.is_some_and(is_within)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The mark of a chain as it is shown to peers: [undecided](Mark::undecided) where a cut names a change
    /// that is not here, so that the peer sends its branch. Where several cuts end a chain only the lowest
    /// counts, for what a higher one names is never accepted.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn shown_mark(&mut self, end: ChainEnd) -> Result<Mark, M::Error> {
        let Ok(bounds) = self.bounds(&end.author)? else { return Ok(end.mark) };
        let lowest = bounds.iter().filter_map(|bound| bound.end).min();
        let is_undecided = lowest.is_some_and(|(_, change)| change != end.mark.change);
        Ok(if is_undecided { end.mark.undecided() } else { end.mark })
    }
}
