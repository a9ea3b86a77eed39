//! The checks C1 to C8, which a change of one document passes before it reaches Automerge (authority 3.6).
//!
//! A batch is judged as a whole: the order and repetition of its changes have no influence, and a refused
//! change takes down nothing but the changes that depend on it.

mod batch;
mod index;

use std::collections::{BTreeMap, BTreeSet};

use crate::change::ChangeHeader;
use crate::id::{ChangeHash, OpId, ReplicaId};
use crate::tip::{Author, VerifiedTip};

pub use self::index::Index;
use super::{Refusal, Rules};

/// The result of judging a batch. Changes are named by their position in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The accepted changes, in topological order.
    pub accepted: Vec<usize>,
    /// The number of changes that were known already or came twice.
    pub duplicates: usize,
    /// The refused changes, ascending by hash, with the first check that each fails.
    pub refused: Vec<(usize, Refusal)>,
    /// The tip over the newest accepted change of each replica that grew.
    pub tips: Vec<VerifiedTip>,
    /// The newest accepted changes that have no tip, because they are our own and not signed yet.
    pub open: Vec<(usize, Author)>,
    /// Replicas of which the batch has the branch of a fork that a cut names, and the index another: the
    /// document must be rebuilt from everything known.
    pub decided: BTreeSet<ReplicaId>,
}

impl Verdict {
    /// The changes to ask the peer for again.
    pub fn missing(&self) -> BTreeSet<ChangeHash> {
        let dependency = |refusal: &Refusal| match refusal {
            Refusal::MissingDependency { dependency } => Some(*dependency),
            _ => None,
        };
        self.refused.iter().filter_map(|(_, refusal)| dependency(refusal)).collect()
    }
}

/// The end that a cut sets to one replica (authority 3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// The op that cuts.
    pub revocation: OpId,
    /// The last change that stays accepted, with its sequence number; `None`: none does.
    pub end: Option<(u64, ChangeHash)>,
}

/// A batch of changes to judge, and everything to judge it by but the bounds of its authors.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// The changes that are accepted already.
    pub(super) index: &'a Index,
    /// Verified tips.
    pub(super) tips: &'a [VerifiedTip],
    /// Changes in which a chain may end without a tip, with their author: the judge made them, and can sign
    /// for them.
    pub(super) own: &'a BTreeMap<ChangeHash, Author>,
    /// The rules.
    pub(super) rules: Rules,
}

impl<'a> Case<'a> {
    /// Judges `changes`. `bounds` tells for each author once whether they may write (C8), and within which
    /// bounds: the lowest of them holds. A change that a bound names is known when it is in the index or in
    /// the batch; until then the bound holds by the change's place alone. Of changes that could be judged
    /// next, the one with the least `rank` is, by position and hash.
    pub(super) fn judge<R: Ord>(
        self,
        changes: impl IntoIterator<Item = &'a ChangeHeader>,
        bounds: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
        rank: impl Fn(usize, ChangeHash) -> R,
    ) -> Verdict {
        batch::Batch::new(self, changes.into_iter().collect(), bounds).judge(rank)
    }
}

/// Judges a batch on top of what is accepted, equal ranks by hash.
pub fn vet(
    index: &Index,
    changes: &[ChangeHeader],
    tips: &[VerifiedTip],
    bounds: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
) -> Verdict {
    let case = Case { index, tips, own: &BTreeMap::new(), rules: Rules::default() };
    case.judge(changes, bounds, |_, hash| hash)
}

/// Judges a document by everything that is known of it, in the order in which it was first seen: of two
/// histories of one chain the one that was seen first stays (authority 3.7.4), unless a bound decides between
/// them.
///
/// Changes that were accepted before come first, and with them what they depend on, so that nothing takes
/// their place. A chain may end in any change of `own`: the judge made it, and can sign for it.
pub fn vet_everything(
    known: &[ChangeHeader],
    tips: &[VerifiedTip],
    own: &BTreeMap<ChangeHash, Author>,
    bounds: impl FnMut(&Author) -> Result<Vec<Bound>, Refusal>,
) -> Verdict {
    let case = Case { index: &Index::new(), tips, own, rules: Rules::default() };
    case.judge(known, bounds, |at, _| at)
}
