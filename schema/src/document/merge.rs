//! Changes judged on top of what is accepted already: a unit that a peer sent, or a change of this device.
//!
//! ```text
//! Judge ──accepted──▶ Apply ──Applied──▶ Done(Grown)
//!   │ ▲                 │ Inapplicable
//!   │ └──author left out── Try … Try
//!   ├──accepted, and own─────────────▶ Done(Grown)
//!   ├──nothing accepted──────────────▶ Done(Unchanged)
//!   └──set aside or a cut concerned──▶ Done(Rebuild)
//! ```

use std::collections::BTreeMap;

use super::attempt::{Admitted, Attempt};
use super::judge::{Judge, Manifests, Signer};
use super::set_aside::Awaited;
use super::{Change, ChangeSet, Effect, Index, Input, Refusal, admission};
use crate::tip::Author;

/// One unit, or one change of this device, on its way into a document.
pub struct Merge<C> {
    attempt: Attempt<C>,
    /// The document has the changes already, because this device made them there.
    is_own: bool,
    answer: Result<(), Refusal>,
}

/// The document as it stands before a unit.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// The accepted changes.
    pub index: &'a Index,
    /// The changes that could bring back something that is set aside.
    pub awaited: Option<Awaited<'a>>,
}

/// The end of a merge. The answer is for the peer: the reason for which its first refused change was refused.
pub enum Merged<C> {
    /// Nothing was accepted.
    Unchanged {
        /// The answer for the peer.
        answer: Result<(), Refusal>,
    },
    /// Changes were accepted and applied.
    Grown {
        /// The accepted changes, dependencies first.
        admitted: Vec<Admitted<C>>,
        /// The answer for the peer.
        answer: Result<(), Refusal>,
    },
    /// The unit concerns what is set aside, or brings the branch of a fork that a cut names: the document has
    /// to be [rebuilt](super::Rebuild) from everything known and these changes.
    Rebuild(ChangeSet<C>),
}

impl<C: Change> Merge<C> {
    /// Begins with the changes of a unit and their tips.
    pub fn new(received: ChangeSet<C>) -> Self {
        Self { attempt: Attempt::new(received), is_own: false, answer: Ok(()) }
    }

    /// Begins with a change that this device made in the document, as `author`. It is judged as peers will
    /// judge it; once accepted, nothing is left to apply.
    pub fn own<M: Manifests, S: Signer>(change: C, author: Author, judge: &Judge<'_, M, S>) -> Self {
        Self { attempt: Attempt::new(ChangeSet::own(change, author, judge)), is_own: true, answer: Ok(()) }
    }

    /// The changes to apply for the last effect, dependencies first.
    pub fn to_apply(&self) -> impl Iterator<Item = &C> {
        self.attempt.to_apply()
    }

    /// Goes one step: `standing` is the same in each.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn step<M: Manifests, S: Signer>(
        &mut self,
        input: Input,
        standing: Standing<'_>,
        judge: &mut Judge<'_, M, S>,
    ) -> Result<Effect<Merged<C>>, M::Error> {
        match input {
            Input::Start => return self.judge(standing, judge),
            Input::Applied => {
                if self.attempt.on_applied() {
                    return Ok(Effect::Done(self.finish()));
                }
            }
            Input::Inapplicable { what } => self.attempt.on_inapplicable(what),
        }
        if self.attempt.is_searching() { Ok(Effect::Try) } else { self.judge(standing, judge) }
    }

    fn judge<M: Manifests, S: Signer>(
        &mut self,
        standing: Standing<'_>,
        judge: &mut Judge<'_, M, S>,
    ) -> Result<Effect<Merged<C>>, M::Error> {
        if self.attempt.is_exhausted() {
            let answer = self.attempt.first_inapplicable().map_or(Ok(()), Err);
            return Ok(Effect::Done(Merged::Unchanged { answer }));
        }
        self.vet(standing.index, judge)?;
        if !self.attempt.verdict.refused.is_empty() && self.attempt.changes.verify_older_tips(judge) {
            self.vet(standing.index, judge)?;
        }
        let Attempt { changes, verdict, .. } = &mut self.attempt;
        let mut accepted = verdict.accepted.iter().map(|at| changes.changes()[*at].header());
        let is_awaited =
            standing.awaited.is_some_and(|awaited| accepted.any(|header| awaited.contains(header)));
        let is_decided = judge.rules.rebuilds_for_cuts() && !verdict.decided.is_empty();
        // A change of this device extends its own chain: it decides no fork and brings nothing back.
        if !self.is_own && (is_awaited || is_decided) {
            return Ok(Effect::Done(Merged::Rebuild(std::mem::take(changes))));
        }
        self.answer = changes.first_refusal(verdict).map_or(Ok(()), Err);
        if verdict.accepted.is_empty() {
            return Ok(Effect::Done(Merged::Unchanged { answer: self.answer.clone() }));
        }
        // Tips that are kept are sent to others in our name: each of them is verified first.
        changes.verify_older_tips(judge);
        Ok(if self.is_own { Effect::Done(self.finish()) } else { Effect::Apply })
    }

    fn finish(&mut self) -> Merged<C> {
        let admitted = self.attempt.take_judged().admitted;
        Merged::Grown { admitted, answer: std::mem::replace(&mut self.answer, Ok(())) }
    }

    fn vet<M: Manifests, S: Signer>(
        &mut self,
        index: &Index,
        judge: &mut Judge<'_, M, S>,
    ) -> Result<(), M::Error> {
        let own = BTreeMap::new();
        let bounds = self.attempt.bounds(&own, judge)?;
        let bounds_of = |author: &Author| bounds[author].clone();
        let changes = &self.attempt.changes;
        let batch = admission::Case { index, own: &own, rules: judge.rules, tips: changes.tips() };
        self.attempt.verdict = batch.judge(changes.headers(), bounds_of, |_, hash| hash);
        Ok(())
    }
}
