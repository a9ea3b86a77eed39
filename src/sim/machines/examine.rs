//! The promises of the machine world (authority 4.1, D), examined once no event is left.

use std::collections::{BTreeMap, BTreeSet};

use schema::change::ChangeHeader;
use schema::document::{Bound, ChainTips, ChangeSet, Everything, Index, KeptTip, Rebuilt, Refusal, Rules};
use schema::tip::{Author, Tip};
use schema::{ChangeHash, DocumentId, OpId, ReplicaId};

use super::World;
use super::broken_promise::BrokenPromise;
use super::store::{Held, Store, TIPS};
use super::wire;

impl World {
    /// Looks for a promise that does not hold, when all links are up and nothing is under way.
    ///
    /// # Errors
    /// The first one.
    pub fn examine(&self) -> Result<(), BrokenPromise> {
        if let Some(broken) = self.peers.iter().find_map(|peer| peer.store.broken.clone()) {
            return Err(broken);
        }
        let members = self.members();
        let founder = &self.peers[0];
        let undecided = self.undecided();
        for &peer in &members {
            if self.peers[peer].member.ledger().hash() != founder.member.ledger().hash() {
                return Err(BrokenPromise::Ledger { peer });
            }
            self.examine_records(peer)?;
            self.examine_store(peer)?;
        }
        for &peer in &members[1..] {
            let (ours, theirs) = (&founder.store.documents, &self.peers[peer].store.documents);
            for (document, held) in ours.iter().chain(theirs) {
                let marks = |store: &Store| store.marks_of(*document);
                if !undecided.contains(document) && marks(&founder.store) != marks(&self.peers[peer].store) {
                    return Err(BrokenPromise::Differ { peer, key: held.key.clone() });
                }
            }
        }
        self.examine_losses(&members, &undecided)
    }

    /// Documents with a fork that nothing has decided yet (authority 3.7.4), on which members may differ: a
    /// chain has two changes at one place, and its author may write that far. A counting cut decides when it
    /// ends below that place, or when it is the lowest and a member holds the change that it names.
    fn undecided(&self) -> BTreeSet<DocumentId> {
        let mut places: BTreeMap<(ReplicaId, u64), usize> = BTreeMap::new();
        for made in self.made.values() {
            *places.entry((made.header.replica, made.header.seq)).or_default() += 1;
        }
        let members = self.members();
        let is_held = |document: &DocumentId, change: &ChangeHash| {
            let of_peer = |peer: &usize| self.peers[*peer].store.documents.get(document);
            members.iter().filter_map(of_peer).any(|held| held.index.contains(change))
        };
        let store = &self.peers[0].store;
        let is_undecided = |made: &&super::Made| {
            let (replica, seq) = (made.header.replica, made.header.seq);
            if places[&(replica, seq)] < 2 || store.replica(made.document, made.author) != replica {
                return false;
            }
            let Ok(bounds) = store.bounds(&made.author, made.document) else { return false };
            let Some(lowest) = bounds.iter().map(|bound| bound.end).min() else { return true };
            lowest.is_some_and(|(last, change)| last >= seq && !is_held(&made.document, &change))
        };
        self.made.values().filter(is_undecided).map(|made| made.document).collect()
    }

    /// Compares the stored device revocations of a peer with those of its ledger.
    fn examine_records(&self, peer: usize) -> Result<(), BrokenPromise> {
        let member = &self.peers[peer].member;
        let held: BTreeSet<_> = member.ledger().revocations().map(|known| known.payload.clone()).collect();
        let stored = member.stored_revocations();
        if *stored == held {
            return Ok(());
        }
        Err(BrokenPromise::Records { peer, stored: stored.len(), held: held.len() })
    }

    fn examine_store(&self, peer: usize) -> Result<(), BrokenPromise> {
        let store = &self.peers[peer].store;
        for (document, held) in &store.documents {
            let key = || held.key.clone();
            if !self
                .made
                .values()
                .any(|made| made.document == *document && store.ever.contains(&made.header.hash))
            {
                return Err(BrokenPromise::Clutter { peer, key: key() });
            }
            let mut index = Index::new();
            for header in &held.accepted {
                let change = header.hash;
                let max_ops: Option<Vec<u64>> = header.deps.iter().map(|dep| index.max_op(dep)).collect();
                let follows = header.seq == index.length(&header.replica) + 1
                    && index.newest(&header.replica).is_none_or(|newest| header.deps.contains(&newest))
                    && max_ops.is_some_and(|max| header.start_op == 1 + max.into_iter().max().unwrap_or(0));
                if !follows {
                    return Err(BrokenPromise::Order { peer, key: key(), change });
                }
                index.accept(header);
                self.examine_change(peer, change)?;
            }
            for (replica, seq, change) in index.replicas() {
                let (author, tips) = &held.chains[&replica];
                let is_proof = |kept: &KeptTip| {
                    let tip = Tip { author: *author, seq, change, signature: kept.signature };
                    kept.seq == seq
                        && store.replica(*document, *author) == replica
                        && wire::verify(store.group, *document, &tip).is_some()
                };
                if !tips.newest().is_some_and(is_proof) {
                    return Err(BrokenPromise::Unproven { peer, key: key() });
                }
            }
            if !store.accepts_all(*document, held) {
                return Err(BrokenPromise::Stale { peer, key: key() });
            }
            let is_hoarded = |header: &&ChangeHeader| {
                !store.ever.contains(&header.hash) || held.index.contains(&header.hash)
            };
            let mut aside = held.set_aside.iter().flat_map(|set_aside| &set_aside.changes);
            if let Some(change) = aside.find(is_hoarded) {
                return Err(BrokenPromise::Hoarded { peer, change: change.hash });
            }
            let most = |replica: &ReplicaId| index.length(replica) / TIPS.checkpoint_seq + 1;
            let is_clutter = |(replica, (_, tips)): (&ReplicaId, &(Author, ChainTips))| {
                tips.iter().count() as u64 > most(replica)
            };
            if held.chains.iter().any(is_clutter) {
                return Err(BrokenPromise::Clutter { peer, key: key() });
            }
        }
        Ok(())
    }

    /// C8 and D2 of one change, from what the world knows of it and no peer does.
    fn examine_change(&self, peer: usize, change: ChangeHash) -> Result<(), BrokenPromise> {
        let roster = &self.peers[peer].store.roster;
        let Some(made) = self.made.get(&change) else { return Err(BrokenPromise::Forged { peer, change }) };
        let (device, grant) = (made.author.device, made.author.grant);
        let Ok(user) = roster.accepts(device, grant) else {
            return Err(BrokenPromise::NotAllowed { peer, change });
        };
        for cut in roster.cuts(user, device, grant) {
            let said = |op: &OpId| self.signed[op];
            let last = cut.amnesties.iter().map(|(op, _)| said(op)).chain([said(&cut.revocation)]).max();
            if Some(made.at) > last {
                return Err(BrokenPromise::BeyondCut { peer, change, revocation: cut.revocation });
            }
        }
        let Ok(bounds) = self.peers[peer].store.bounds(&made.author, made.document) else {
            return Err(BrokenPromise::NotAllowed { peer, change });
        };
        let is_beyond = |bound: &&Bound| bound.end.is_none_or(|(seq, _)| made.header.seq > seq);
        if let Some(Bound { revocation, .. }) = bounds.iter().find(is_beyond) {
            return Err(BrokenPromise::BeyondCut { peer, change, revocation: *revocation });
        }
        Ok(())
    }

    /// Checks that every change of an honest member within its bounds, on accepted changes, is still held.
    fn examine_losses(
        &self,
        members: &[usize],
        undecided: &BTreeSet<DocumentId>,
    ) -> Result<(), BrokenPromise> {
        let store = &self.peers[0].store;
        let mut made: Vec<_> = self.made.iter().collect();
        made.sort_by_key(|(_, made)| made.at);
        let mut due: BTreeSet<ChangeHash> = BTreeSet::new();
        for (change, made) in made {
            let held = store.documents.get(&made.document);
            let is_here = |change: &ChangeHash| held.is_some_and(|held| held.index.contains(change));
            if is_here(change) {
                due.insert(*change);
                continue;
            }
            let Ok(bounds) = store.bounds(&made.author, made.document) else { continue };
            if members.contains(&made.peer)
                && !undecided.contains(&made.document)
                && bounds.is_empty()
                && made.header.deps.iter().all(|dep| due.contains(dep))
            {
                return Err(BrokenPromise::Lost { peer: made.peer, change: *change });
            }
        }
        Ok(())
    }
}

impl Store {
    /// The bounds of an author's accepted changes by the sound rules, even for a peer with a defect.
    fn bounds(&self, author: &Author, document: DocumentId) -> Result<Vec<Bound>, Refusal> {
        self.judged(document, |judge| {
            judge.rules = Rules::default();
            judge.bounds(author)
        })
    }

    /// Returns true if a rebuild of a document accepts exactly what is accepted of it.
    fn accepts_all(&self, document: DocumentId, held: &Held) -> bool {
        let reference = self.reference(document);
        let everything = Everything {
            stored: held.change_set(reference),
            set_aside: ChangeSet::default(),
            received: ChangeSet::default(),
            is_damaged: false,
            incarnation: self.incarnation,
        };
        matches!(self.judged(document, |judge| judge.rebuild(everything)), Rebuilt::Unchanged { .. })
    }
}
