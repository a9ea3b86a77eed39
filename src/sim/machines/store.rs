//! The documents of one peer of the machine world: headers and tips in memory, judged by the machine that a
//! node steps.
//!
//! This file holds them; rules stand in `schema::document` alone. In the place of Automerge stands a check
//! that every dependency is there.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use schema::change::ChangeHeader;
use schema::digest::{Digest, Mark};
use schema::document::{
    Admitted, ChainEnd, ChainTips, ChangeSet, Defect, DocumentRef, Everything, Examined, Index, Intake,
    Judge, JudgedAuthor, Merged, Rebuilt, Refusal, RejudgeEffect, RejudgeInput, Rejudging, Rules, SetAside,
    Slice, Standing, TipPolicy, WrittenKey,
};
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::tip::Author;
use schema::wire::session::{Unit, Units};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, UserId};

use super::broken_promise::BrokenPromise;
use super::people::{self, Member, Pages};
use super::wire::{self, Key, TABLE};

/// Checkpoints four apart, so that chains of the world have some; a node's are 256 apart.
pub(super) const TIPS: TipPolicy = TipPolicy { checkpoint_seq: 4, checkpoint_charge: u64::MAX, recent: 0 };

/// Slices of two, so that passes of the world have some; a node's have 128 documents.
const SLICE: Slice = Slice { examined: 2, changed: 1 };

/// The documents of one peer, and everything by which it judges them.
pub(super) struct Store {
    /// The number of the peer.
    pub(super) peer: usize,
    pub(super) group: GroupId,
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) incarnation: u64,
    pub(super) roster: Arc<Roster>,
    pub(super) state: [u8; 32],
    pub(super) pages: Pages,
    pub(super) rules: Rules,
    pub(super) digest: Digest,
    pub(super) documents: BTreeMap<DocumentId, Held>,
    /// The judgement under which each author's documents were last judged.
    pub(super) authors: BTreeMap<(DeviceId, OpId), [u8; 32]>,
    pub(super) is_malicious: bool,
    /// Every change that was ever accepted here: nothing else may be set aside.
    pub(super) ever: BTreeSet<ChangeHash>,
    /// The first promise that was seen to break on the way.
    pub(super) broken: Option<BrokenPromise>,
}

/// One document.
#[derive(Default)]
pub(super) struct Held {
    pub(super) key: String,
    pub(super) index: Index,
    /// The accepted changes, dependencies first.
    pub(super) accepted: Vec<ChangeHeader>,
    /// The author and the kept tips of each chain.
    pub(super) chains: BTreeMap<ReplicaId, (Author, ChainTips)>,
    pub(super) set_aside: Option<SetAside<ChangeHeader>>,
}

/// The result of a step.
#[derive(Default)]
pub(super) struct Outcome {
    /// Documents that changed, with their marks before.
    pub(super) moved: Vec<Wanted>,
    pub(super) refused: Vec<(DocumentId, Refusal)>,
}

impl Held {
    /// The end of each chain.
    pub(super) fn ends(&self) -> impl Iterator<Item = ChainEnd> {
        self.index.replicas().map(|(replica, seq, change)| {
            let (author, _) = self.chains[&replica];
            ChainEnd { author, mark: Mark { replica, seq, change } }
        })
    }

    /// The accepted changes with their kept tips.
    pub(super) fn change_set(&self, document: DocumentRef) -> ChangeSet<ChangeHeader> {
        let mut set = ChangeSet::of(self.accepted.iter().cloned());
        set.add_stored_tips(document, self.chains.values().map(|(author, tips)| (*author, tips)));
        set
    }

    /// Appends accepted changes and keeps their tips; `rules` decide which tips are kept.
    fn append(&mut self, admitted: Vec<Admitted<ChangeHeader>>, rules: Rules) {
        for Admitted { change, author, tip } in admitted {
            self.index.accept(&change);
            let (_, tips) = self.chains.entry(change.replica).or_insert((author, ChainTips::default()));
            if let Some(tip) = &tip {
                tips.keep(tip.into(), TIPS, rules);
            }
            self.accepted.push(change);
        }
    }
}

impl Store {
    pub(super) fn new(peer: usize, member: &Member, is_malicious: bool) -> Self {
        let roster = member.ledger().roster().clone();
        let rules = match is_malicious {
            true => Rules::with_defect(Defect::AcceptsEveryAuthor),
            false => Rules::default(),
        };
        Self {
            peer,
            group: member.ledger().group(),
            user: people::user(member.person),
            device: people::device(member.person),
            incarnation: 0,
            state: roster.state_digest(),
            roster,
            pages: member.pages.clone(),
            rules,
            digest: Digest::default(),
            documents: BTreeMap::new(),
            authors: BTreeMap::new(),
            is_malicious,
            ever: BTreeSet::new(),
            broken: None,
        }
    }

    pub(super) fn document(&self, key: &str) -> DocumentId {
        DocumentId::of(self.group, TABLE, key)
    }

    pub(super) fn reference(&self, document: DocumentId) -> DocumentRef {
        DocumentRef { group: self.group, document }
    }

    pub(super) fn replica(&self, document: DocumentId, author: Author) -> ReplicaId {
        self.reference(document).replica(&author)
    }

    /// Passes everything by which a document is judged to `act`.
    pub(super) fn judged<R>(
        &self,
        document: DocumentId,
        act: impl FnOnce(&mut Judge<'_, &Pages, Key>) -> Result<R, Infallible>,
    ) -> R {
        let Ok(result) = act(&mut Judge {
            rules: self.rules,
            document: self.reference(document),
            roster: &self.roster,
            manifests: &mut &self.pages,
            signer: &Key(self.device),
        });
        result
    }

    /// The grant under which this device writes; `None`: it may not.
    pub(super) fn grant(&self) -> Option<OpId> {
        self.roster.grant_to_write(self.user, self.device)
    }

    /// Changes a document in the name of `author`. A change that this peer itself refuses is no write (D4).
    pub(super) fn write(
        &mut self,
        key: &str,
        author: Author,
        content: u64,
    ) -> Option<(Vec<Wanted>, ChangeHeader)> {
        let document = self.document(key);
        let replica = self.replica(document, author);
        let header = {
            let empty = Index::new();
            let index = self.documents.get(&document).map_or(&empty, |held| &held.index);
            // As Automerge does: all heads, and the replica's own newest change even where another has merged
            // it.
            let mut deps: BTreeSet<_> = index.heads().iter().map(|head| head.0).collect();
            deps.extend(index.newest(&replica).map(|own| own.0));
            let (seq, start_op) = (index.length(&replica) + 1, index.next_start_op());
            wire::header(&(replica.0, seq, start_op, deps.into_iter().collect(), content))
        };
        let admitted = self.judged(document, |judge| {
            let empty = Index::new();
            let index = self.documents.get(&document).map_or(&empty, |held| &held.index);
            judge.merge_own(vec![header.clone()], author, index)
        });
        let before = self.marks_of(document);
        match admitted {
            Ok(admitted) => self.grow(document, key, admitted),
            Err(refusal) => {
                let silenced = BrokenPromise::Silenced { peer: self.peer, refusal: Box::new(refusal) };
                self.broken.get_or_insert(silenced);
                return None;
            }
        }
        Some((vec![Wanted { document, have: before }], header))
    }

    /// Judges and takes in the units of one frame.
    pub(super) fn apply(&mut self, units: Units) -> Outcome {
        let mut outcome = Outcome::default();
        for unit in units.units {
            let document = unit.document;
            if let Err(refusal) = self.apply_unit(&unit, &units.authors, &mut outcome) {
                outcome.refused.push((document, refusal));
            }
        }
        outcome
    }

    fn apply_unit(
        &mut self,
        unit: &Unit,
        authors: &[(DeviceId, OpId)],
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let document = unit.document;
        unit.check_place(self.group)?;
        let mut received = ChangeSet::of(wire::read(&unit.message));
        self.judged(document, |judge| Ok(received.add_unit_tips(&unit.tips, authors, judge)))?;
        let empty = Index::new();
        let index = self.documents.get(&document).map_or(&empty, |held| &held.index);
        let intake = Intake::new(received, index, self.device, self.incarnation);
        if intake.needs_incarnation {
            self.renew_incarnation();
        }
        self.merge(document, &unit.key, intake.received, outcome)
    }

    fn merge(
        &mut self,
        document: DocumentId,
        key: &str,
        received: ChangeSet<ChangeHeader>,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let before = self.marks_of(document);
        let empty = Index::new();
        let held = self.documents.get(&document);
        let index = held.map_or(&empty, |held| &held.index);
        let awaited = held.and_then(|held| held.set_aside.as_ref()).map(SetAside::awaited);
        let standing = Standing { index, awaited };
        match self.judged(document, |judge| judge.merge(received, standing)) {
            Merged::Unchanged { answer } => answer,
            Merged::Rebuild(received) => self.rebuild(document, received, outcome),
            Merged::Grown { admitted, answer } => {
                self.grow(document, key, admitted);
                outcome.moved.push(Wanted { document, have: before });
                answer
            }
        }
    }

    /// Adds accepted changes to a document.
    fn grow(&mut self, document: DocumentId, key: &str, admitted: Vec<Admitted<ChangeHeader>>) {
        let mut held = self.documents.remove(&document).unwrap_or_default();
        key.clone_into(&mut held.key);
        self.put(document, held, admitted);
    }

    /// Judges a document by everything that is known of it.
    pub(super) fn rebuild(
        &mut self,
        document: DocumentId,
        received: ChangeSet<ChangeHeader>,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let before = self.marks_of(document);
        let held = self.documents.get(&document).expect("it was judged before");
        let everything = Everything {
            stored: held.change_set(self.reference(document)),
            set_aside: held.set_aside.clone().map(ChangeSet::from).unwrap_or_default(),
            received,
            is_damaged: false,
            incarnation: self.incarnation,
        };
        let replacement = match self.judged(document, |judge| judge.rebuild(everything)) {
            Rebuilt::Unchanged { answer } => return answer,
            Rebuilt::Changed(replacement) => replacement,
        };
        let key = self.documents[&document].key.clone();
        let set_aside = Some(replacement.set_aside).filter(|set_aside| !set_aside.changes.is_empty());
        self.put(document, Held { key, set_aside, ..Held::default() }, replacement.admitted);
        if replacement.needs_incarnation {
            self.renew_incarnation();
        }
        outcome.moved.push(Wanted { document, have: before });
        replacement.answer
    }

    /// Judges by another roster from now on, and again what was judged otherwise before.
    pub(super) fn set_roster(&mut self, roster: Arc<Roster>, pages: Pages) -> Outcome {
        self.state = roster.state_digest();
        (self.roster, self.pages) = (roster, pages);
        let mut rejudging = Rejudging::new(SLICE, self.rules);
        let judged = self.authors.iter().map(|(author, judged)| JudgedAuthor {
            author: *author,
            judged: *judged,
            judgement: self.judgement(author.0, author.1),
        });
        rejudging.on_roster(judged, |stale| self.set_aside_by(stale), []);
        let (mut outcome, mut input) = (Outcome::default(), RejudgeInput::Start);
        loop {
            input = match rejudging.step(input) {
                RejudgeEffect::Judge(document) => {
                    let examined = self.examined(document);
                    if !self.judged(document, |judge| rejudging.stands(examined, judge)) {
                        let moved = outcome.moved.len();
                        let _ = self.rebuild(document, ChangeSet::default(), &mut outcome);
                        (moved..outcome.moved.len()).for_each(|_| rejudging.count_changed());
                    }
                    RejudgeInput::Judged
                }
                RejudgeEffect::List { author, after, count } => {
                    RejudgeInput::Listed(self.written_by(author, after, count))
                }
                RejudgeEffect::Store { author, judgement } => {
                    self.authors.insert(author, judgement);
                    RejudgeInput::Stored
                }
                RejudgeEffect::Pause if rejudging.is_under_way() => RejudgeInput::Start,
                RejudgeEffect::Pause => return outcome,
            };
        }
    }

    /// The documents of which something by one of these authors is set aside.
    fn set_aside_by(&self, authors: &BTreeSet<(DeviceId, OpId)>) -> Vec<DocumentId> {
        let concerns = |held: &Held| {
            let mut tips = held.set_aside.iter().flat_map(|set_aside| &set_aside.tips);
            tips.any(|tip| authors.contains(&(tip.tip().author.device, tip.tip().author.grant)))
        };
        let concerned = self.documents.iter().filter(|(_, held)| concerns(held));
        concerned.map(|(document, _)| *document).collect()
    }

    /// Some documents that an author wrote, behind `after`.
    fn written_by(
        &self,
        author: (DeviceId, OpId),
        after: Option<WrittenKey>,
        count: usize,
    ) -> Vec<WrittenKey> {
        let keys = self.documents.iter().flat_map(|(document, held)| {
            let authors = held.chains.values().map(|(author, _)| author);
            let of_author = authors.filter(|of| (of.device, of.grant) == author);
            of_author.map(|author| (author.incarnation, *document))
        });
        let keys: BTreeSet<WrittenKey> = keys.filter(|key| Some(*key) > after).collect();
        keys.into_iter().take(count).collect()
    }

    fn examined(&self, document: DocumentId) -> Examined<(DeviceId, OpId)> {
        let held = &self.documents[&document];
        let ends = held.ends().map(|end| ((end.author.device, end.author.grant), end));
        Examined { is_set_aside: held.set_aside.is_some(), ends: Some(ends.collect()) }
    }

    fn judgement(&self, device: DeviceId, grant: OpId) -> [u8; 32] {
        self.rules.judgement(self.roster.judgement(device, grant))
    }

    /// Puts a document with more accepted changes in the place of the old one.
    /// A change that Automerge would queue for its dependencies breaks D7.
    fn put(&mut self, document: DocumentId, mut held: Held, admitted: Vec<Admitted<ChangeHeader>>) {
        if let Some(change) = orphan(&held.index, admitted.iter().map(|admitted| &admitted.change)) {
            self.broken.get_or_insert(BrokenPromise::Queued { peer: self.peer, change });
        }
        for Admitted { change, author, .. } in &admitted {
            let author = (author.device, author.grant);
            if !self.authors.contains_key(&author) {
                self.authors.insert(author, self.judgement(author.0, author.1));
            }
            self.ever.insert(change.hash);
        }
        held.append(admitted, self.rules);
        self.documents.insert(document, held);
        let marks = self.marks_of(document);
        self.digest.set(document, &marks);
    }

    /// Goes on under a new incarnation, so that no sequence number is used twice. The malicious member does
    /// not care.
    fn renew_incarnation(&mut self) {
        if !self.is_malicious {
            self.incarnation += 1;
        }
    }

    pub(super) fn marks_of(&self, document: DocumentId) -> Vec<Mark> {
        let Some(held) = self.documents.get(&document) else { return Vec::new() };
        held.index.replicas().map(|(replica, seq, change)| Mark { replica, seq, change }).collect()
    }
}

/// The first of these changes that a document could not hold before another.
fn orphan<'a>(index: &Index, changes: impl Iterator<Item = &'a ChangeHeader>) -> Option<ChangeHash> {
    let mut applied = BTreeSet::new();
    for change in changes {
        if !change.deps.iter().all(|dep| index.contains(dep) || applied.contains(dep)) {
            return Some(change.hash);
        }
        applied.insert(change.hash);
    }
    None
}
