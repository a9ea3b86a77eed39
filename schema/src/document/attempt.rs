//! Judging a set of changes until the document can hold all that is accepted.
//!
//! A change can pass every check and still not be applicable, for it may name an object that no dependency of
//! it made. Then the shortest beginning of the accepted changes that cannot be applied is found by halving,
//! the author of its last change is left out, and the rest is judged again: one author's faulty change holds
//! up nobody else's.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Authority, Judge, Manifests, Signer};
use super::{Bound, Change, ChangeSet, Refusal, Verdict};
use crate::id::{ChangeHash, ReplicaId};
use crate::limits::INAPPLICABLE_MAX;
use crate::tip::{Author, Tip, VerifiedTip};

/// An accepted change, with the facts that are stored beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted<C> {
    /// The change.
    pub change: C,
    /// The author of the change.
    pub author: Author,
    /// The tip over the change itself, where there is one.
    pub tip: Option<Tip>,
}

/// The bounds of each author's changes.
pub(super) type Bounds = BTreeMap<Author, Result<Vec<Bound>, Refusal>>;

/// Changes that are being judged, with the verdict so far.
pub(super) struct Attempt<C> {
    pub(super) changes: ChangeSet<C>,
    pub(super) verdict: Verdict,
    inapplicable: BTreeMap<Author, Refusal>,
    halving: Option<Halving>,
}

/// The search for the first accepted change that cannot be applied.
struct Halving {
    /// The reason that the document gave for all of them together.
    what: String,
    /// A number of leading accepted changes that can be applied.
    good: usize,
    /// A number of them that cannot.
    bad: usize,
}

impl<C: Change> Attempt<C> {
    pub(super) fn new(changes: ChangeSet<C>) -> Self {
        Self { changes, verdict: Verdict::default(), inapplicable: BTreeMap::new(), halving: None }
    }

    /// C8 for each author who vouches for some of the changes. The tips by which cuts name the ends of chains
    /// join the others.
    pub(super) fn bounds<M: Manifests, S: Signer>(
        &mut self,
        own: &BTreeMap<ChangeHash, Author>,
        judge: &mut Judge<'_, M, S>,
    ) -> Result<Bounds, M::Error> {
        let authors = self.changes.tips().iter().map(|tip| tip.tip().author).chain(own.values().copied());
        let authors: BTreeSet<Author> = authors.collect();
        let mut bounds = Bounds::new();
        for author in authors {
            if let Some(refusal) = self.inapplicable.get(&author) {
                bounds.insert(author, Err(refusal.clone()));
                continue;
            }
            let Authority { bounds: of_author, tips } = judge.authority(&author)?;
            bounds.insert(author, of_author);
            for tip in tips {
                if self.changes.headers().any(|header| header.hash == tip.change)
                    && let Some(tip) = judge.verify(&tip)
                {
                    self.changes.add_tip(tip);
                }
            }
        }
        Ok(bounds)
    }

    /// Returns true if too many authors' changes could not be applied.
    pub(super) fn is_exhausted(&self) -> bool {
        self.inapplicable.len() == INAPPLICABLE_MAX
    }

    /// The first author's refusal for changes that could not be applied.
    pub(super) fn first_inapplicable(&self) -> Option<Refusal> {
        self.inapplicable.values().next().cloned()
    }

    /// The changes to apply next, in order: all that are accepted, or as many of them as the search tries.
    pub(super) fn to_apply(&self) -> impl Iterator<Item = &C> {
        let count = self.halving.as_ref().map_or(self.verdict.accepted.len(), Halving::middle);
        self.verdict.accepted[..count].iter().map(|at| &self.changes.changes()[*at])
    }

    /// Notes that the changes were applied. Returns false if the search only tried them.
    pub(super) fn on_applied(&mut self) -> bool {
        match &mut self.halving {
            Some(halving) => {
                halving.good = halving.middle();
                false
            }
            None => true,
        }
    }

    /// Notes that the document cannot hold the changes, which begins or narrows the search.
    pub(super) fn on_inapplicable(&mut self, what: String) {
        match &mut self.halving {
            Some(halving) => halving.bad = halving.middle(),
            None => self.halving = Some(Halving { what, good: 0, bad: self.verdict.accepted.len() }),
        }
    }

    /// Returns true if the search goes on. Where it has ended, the author of the change that it found is left
    /// out from now on.
    pub(super) fn is_searching(&mut self) -> bool {
        let Some(halving) = self.halving.take_if(|halving| halving.bad - halving.good <= 1) else {
            return self.halving.is_some();
        };
        let replica = self.changes.changes()[self.verdict.accepted[halving.good]].header().replica;
        let author = self.authors()[&replica];
        self.inapplicable.insert(author, Refusal::Inapplicable { what: halving.what });
        false
    }

    /// The author of each chain that grew.
    fn authors(&self) -> BTreeMap<ReplicaId, Author> {
        let ends = self.verdict.tips.iter().map(|tip| (tip.replica(), tip.tip().author));
        let replica = |at: usize| self.changes.changes()[at].header().replica;
        ends.chain(self.verdict.open.iter().map(|(at, author)| (replica(*at), *author))).collect()
    }

    /// Takes the accepted changes out, dependencies first, each with the tip over itself; and all tips.
    pub(super) fn take_judged(&mut self) -> Judged<C> {
        let authors = self.authors();
        let (changes, tips) = std::mem::take(&mut self.changes).into_parts();
        let mut changes: Vec<Option<C>> = changes.into_iter().map(Some).collect();
        let over_change: BTreeMap<_, _> = tips.iter().map(over_change).collect();
        let admitted = self.verdict.accepted.iter().filter_map(|at| changes[*at].take()).map(|change| {
            let header = change.header();
            let author = authors[&header.replica];
            let tip = over_change.get(&(header.replica, header.hash)).copied();
            Admitted { change, author, tip }
        });
        Judged { admitted: admitted.collect(), tips }
    }
}

/// The changes of an attempt that has come to its end.
pub(super) struct Judged<C> {
    pub(super) admitted: Vec<Admitted<C>>,
    pub(super) tips: Vec<VerifiedTip>,
}

fn over_change(tip: &VerifiedTip) -> ((ReplicaId, ChangeHash), Tip) {
    ((tip.replica(), tip.tip().change), *tip.tip())
}

impl Halving {
    fn middle(&self) -> usize {
        self.good.midpoint(self.bad)
    }
}
