//! Changes judged on top of what is accepted already: a unit that a peer sent, or a change of this device.

use std::collections::BTreeMap;

use super::candidates::{Admitted, Candidates};
use super::judge::{Judge, Manifests, Signer};
use super::set_aside::Awaited;
use super::{Change, ChangeSet, Index, Refusal, admission};
use crate::tip::Author;

/// The document as it stands before a unit.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// The accepted changes.
    pub index: &'a Index,
    /// The changes that could bring back something that is set aside.
    pub awaited: Option<Awaited<'a>>,
}

/// The verdict on a unit. The answer is for the peer: the reason for which its first refused change was
/// refused.
pub enum Merged<C> {
    /// Nothing is accepted.
    Unchanged {
        /// The answer for the peer.
        answer: Result<(), Refusal>,
    },
    /// Changes are accepted.
    Grown {
        /// The accepted changes, dependencies first.
        admitted: Vec<Admitted<C>>,
        /// The answer for the peer.
        answer: Result<(), Refusal>,
    },
    /// The unit concerns what is set aside, or brings the branch of a fork that a cut names: the document has
    /// to be [rebuilt](Judge::rebuild) from everything known and these changes.
    Rebuild(ChangeSet<C>),
}

impl<M: Manifests, S: Signer> Judge<'_, M, S> {
    /// Judges the changes of a unit.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn merge<C: Change>(
        &mut self,
        received: ChangeSet<C>,
        standing: Standing<'_>,
    ) -> Result<Merged<C>, M::Error> {
        let mut candidates = Candidates::new(received);
        self.vet(&mut candidates, standing.index)?;
        let Candidates { changes, verdict } = &mut candidates;
        let mut accepted = verdict.accepted.iter().map(|at| changes.changes()[*at].header());
        let is_awaited =
            standing.awaited.is_some_and(|awaited| accepted.any(|header| awaited.contains(header)));
        if is_awaited || (self.rules.rebuilds_for_cuts() && !verdict.decided.is_empty()) {
            return Ok(Merged::Rebuild(candidates.changes));
        }
        let answer = changes.first_refusal(verdict).map_or(Ok(()), Err);
        if verdict.accepted.is_empty() {
            return Ok(Merged::Unchanged { answer });
        }
        Ok(Merged::Grown { admitted: candidates.into_judged().admitted, answer })
    }

    /// Judges changes of one document that this device has just made as `author`, in their order, as peers
    /// will judge them. They extend its own chain: they decide no fork and bring nothing back. All are
    /// accepted, or none.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn merge_own<C: Change>(
        &mut self,
        changes: Vec<C>,
        author: Author,
        index: &Index,
    ) -> Result<Result<Vec<Admitted<C>>, Refusal>, M::Error> {
        let mut candidates = Candidates::new(ChangeSet::own(changes, author, self));
        self.vet(&mut candidates, index)?;
        let refusal = candidates.changes.first_refusal(&candidates.verdict);
        Ok(refusal.map_or_else(|| Ok(candidates.into_judged().admitted), Err))
    }

    fn vet<C: Change>(&mut self, candidates: &mut Candidates<C>, index: &Index) -> Result<(), M::Error> {
        let own = BTreeMap::new();
        let bounds = candidates.bounds(&own, self)?;
        let bounds_of = |author: &Author| bounds[author].clone();
        let changes = &candidates.changes;
        let batch = admission::Case { index, own: &own, rules: self.rules, tips: changes.tips() };
        candidates.verdict = batch.judge(changes.headers(), bounds_of, |_, hash| hash);
        Ok(())
    }
}
