//! A document judged by everything that is known of it (authority 3.7.3).
//!
//! A document is what is accepted of all that is known: what it has, what was set aside of it, and what has
//! just been received, in this order. So a removal purges what lies beyond its cut, a removal that turns out
//! void brings it back, both by one function; and of a fork that no cut decides, the branch that was seen
//! first stays.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::{Admitted, Candidates, Judged};
use super::judge::{Judge, Manifests, Signer};
use super::set_aside::SetAside;
use super::{Change, ChangeSet, DocumentRef, Index, Refusal, admission};
use crate::change::ChangeHeader;
use crate::id::{ChangeHash, DeviceId, ReplicaId};
use crate::tip::Author;

/// Everything that is known of one document.
pub struct Everything<C> {
    /// The changes in the document's record; of a damaged one, those that are intact.
    pub stored: ChangeSet<C>,
    /// The changes that were set aside.
    pub set_aside: ChangeSet<C>,
    /// The changes of a unit that a peer sent just now, if there is one.
    pub received: ChangeSet<C>,
    /// The record is damaged, so that nothing of it counts as accepted.
    pub is_damaged: bool,
    /// The incarnation under which this device writes.
    pub incarnation: u64,
}

/// A document on its way to what is accepted of all that is known of it.
struct Rebuild<C> {
    candidates: Candidates<C>,
    /// Changes that were accepted until now.
    had: BTreeSet<ChangeHash>,
    /// Changes that are stored here, accepted or set aside.
    stored: BTreeSet<ChangeHash>,
    /// Changes that only the peer's unit brought.
    received: BTreeSet<ChangeHash>,
    /// This device's own stored changes, each of which may end a chain: the device can sign for it.
    own: BTreeMap<ChangeHash, Author>,
    is_damaged: bool,
    incarnation: u64,
}

/// The verdict on a document. The answer is for the peer: the reason for which the first change that it sent
/// was refused.
pub enum Rebuilt<C> {
    /// The same changes are accepted as before.
    Unchanged {
        /// The answer for the peer.
        answer: Result<(), Refusal>,
    },
    /// Something else is accepted than before.
    Changed(Box<Replacement<C>>),
}

/// The contents that replace those of a document.
pub struct Replacement<C> {
    /// The accepted changes, dependencies first; none: the row is as if it had never been written.
    pub admitted: Vec<Admitted<C>>,
    /// The changes to set aside from now on, and nothing else of the document.
    pub set_aside: SetAside<C>,
    /// Something that was accepted is no longer, or the document was damaged.
    pub is_loss: bool,
    /// The reason why something that was accepted is no longer.
    pub cause: Option<Refusal>,
    /// This device has to write under a new incarnation: its chain was cut short, or its last changes may be
    /// lost.
    pub needs_incarnation: bool,
    /// The answer for the peer.
    pub answer: Result<(), Refusal>,
}

impl<M: Manifests, S: Signer> Judge<'_, M, S> {
    /// Judges the document by everything that is known of it.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn rebuild<C: Change + Clone>(&mut self, everything: Everything<C>) -> Result<Rebuilt<C>, M::Error> {
        let mut rebuild = Rebuild::new(self.document, self.signer.device(), everything);
        rebuild.vet(self)?;
        if rebuild.changes_nothing() {
            return Ok(Rebuilt::Unchanged { answer: rebuild.answer() });
        }
        rebuild.sign_open_ends(self);
        Ok(Rebuilt::Changed(Box::new(rebuild.finish(self))))
    }
}

impl<C: Change + Clone> Rebuild<C> {
    fn new(document: DocumentRef, device: DeviceId, everything: Everything<C>) -> Self {
        let Everything { stored: mut known, set_aside, received, is_damaged, incarnation } = everything;
        let had = if is_damaged { BTreeSet::new() } else { known.hashes() };
        known.unite(set_aside);
        let stored = known.hashes();
        let own = own_changes(document, device, &known);
        let received = known.unite(received);
        let candidates = Candidates::new(known);
        Self { candidates, had, stored, received, own, is_damaged, incarnation }
    }

    fn vet<M: Manifests, S: Signer>(&mut self, judge: &mut Judge<'_, M, S>) -> Result<(), M::Error> {
        let bounds = self.candidates.bounds(&self.own, judge)?;
        let bounds_of = |author: &Author| bounds[author].clone();
        let index = Index::new();
        let changes = &self.candidates.changes;
        let batch =
            admission::Case { index: &index, own: &self.own, rules: judge.rules, tips: changes.tips() };
        self.candidates.verdict = batch.judge(changes.headers(), bounds_of, |at, _| at);
        Ok(())
    }

    /// Returns true if the document stays as it is. A damaged one is replaced even if nothing is accepted of
    /// it; but not for a peer's unit of which nothing is accepted, since another peer may have it whole.
    fn changes_nothing(&self) -> bool {
        self.accepted() == self.had && (!self.is_damaged || !self.received.is_empty())
    }

    /// Signs those of this device's changes that end a chain.
    fn sign_open_ends<M: Manifests, S: Signer>(&mut self, judge: &Judge<'_, M, S>) {
        let Candidates { changes, verdict } = &mut self.candidates;
        for (at, author) in std::mem::take(&mut verdict.open) {
            let header = changes.changes()[at].header();
            let tip = judge.sign(author, header.seq, header.hash);
            verdict.tips.push(tip);
            changes.add_tip(tip);
        }
    }

    fn finish<M, S>(self, judge: &Judge<'_, M, S>) -> Replacement<C> {
        let accepted = self.accepted();
        let needs_incarnation = self.is_damaged || self.is_own_chain_shorter(&accepted);
        let (answer, cause) = (self.answer(), self.cause());
        let is_loss = self.is_damaged || !self.had.is_subset(&accepted);
        let stays = |change: &&C| judge.rules.sets_aside(&change.header().hash, &self.stored, &accepted);
        let others = self.candidates.changes.changes().iter().filter(stays).cloned().collect();
        let Judged { admitted, tips } = self.candidates.into_judged();
        let set_aside = SetAside::new(others, tips, &accepted);
        Replacement { admitted, set_aside, is_loss, cause, needs_incarnation, answer }
    }

    fn hash(&self, at: usize) -> ChangeHash {
        self.candidates.changes.changes()[at].header().hash
    }

    fn accepted(&self) -> BTreeSet<ChangeHash> {
        self.candidates.verdict.accepted.iter().map(|at| self.hash(*at)).collect()
    }

    fn answer(&self) -> Result<(), Refusal> {
        let mut refused = self.candidates.verdict.refused.iter();
        let first = refused.find(|(at, _)| self.received.contains(&self.hash(*at)));
        first.map_or(Ok(()), |(_, refusal)| Err(refusal.clone()))
    }

    /// The reason why something is no longer accepted: a refusal of its own before one that follows from
    /// another.
    fn cause(&self) -> Option<Refusal> {
        let refused = self.candidates.verdict.refused.iter();
        let lost = refused.filter(|(at, _)| self.had.contains(&self.hash(*at)));
        let follows = |refusal: &Refusal| matches!(refusal, Refusal::RefusedDependency { .. });
        lost.map(|(_, refusal)| refusal).min_by_key(|refusal| follows(refusal)).cloned()
    }

    /// Returns true if a chain that this device writes now has fewer accepted changes than before.
    fn is_own_chain_shorter(&self, accepted: &BTreeSet<ChangeHash>) -> bool {
        let mut lost = self.had.difference(accepted).filter_map(|change| self.own.get(change));
        lost.any(|author| author.incarnation == self.incarnation)
    }
}

/// This device can vouch for each of its own stored changes; not for those that only a peer claims to be
/// ours.
fn own_changes<C: Change>(
    document: DocumentRef,
    device: DeviceId,
    stored: &ChangeSet<C>,
) -> BTreeMap<ChangeHash, Author> {
    let authors = stored.tips().iter().map(|tip| tip.tip().author).filter(|author| author.device == device);
    let authors: BTreeMap<ReplicaId, Author> =
        authors.map(|author| (document.replica(&author), author)).collect();
    let own = |header: &ChangeHeader| Some((header.hash, *authors.get(&header.replica)?));
    stored.headers().filter_map(own).collect()
}
