//! Changes that are being judged, with the tips that vouch for them and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Authority, Judge, Manifests, Signer};
use super::{Bound, Change, ChangeSet, Refusal, Verdict};
use crate::id::{ChangeHash, ReplicaId};
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

/// Changes that are being judged.
pub(super) struct Candidates<C> {
    pub(super) changes: ChangeSet<C>,
    pub(super) verdict: Verdict,
}

impl<C: Change> Candidates<C> {
    pub(super) fn new(changes: ChangeSet<C>) -> Self {
        Self { changes, verdict: Verdict::default() }
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

    /// The author of each chain that grew.
    fn authors(&self) -> BTreeMap<ReplicaId, Author> {
        let ends = self.verdict.tips.iter().map(|tip| (tip.replica(), tip.tip().author));
        let replica = |at: usize| self.changes.changes()[at].header().replica;
        ends.chain(self.verdict.open.iter().map(|(at, author)| (replica(*at), *author))).collect()
    }

    /// Takes the accepted changes out, dependencies first, each with the tip over itself; and all tips.
    pub(super) fn into_judged(self) -> Judged<C> {
        let authors = self.authors();
        let (changes, tips) = self.changes.into_parts();
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

/// The accepted changes, and the tips over all of them.
pub(super) struct Judged<C> {
    pub(super) admitted: Vec<Admitted<C>>,
    pub(super) tips: Vec<VerifiedTip>,
}

fn over_change(tip: &VerifiedTip) -> ((ReplicaId, ChangeHash), Tip) {
    ((tip.replica(), tip.tip().change), *tip.tip())
}
