//! What a peer of the machine world holds: headers and tips where a node has documents, judged as a node judges them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::change::ChangeHeader;
use schema::digest::{Digest, Mark};
use schema::document::{Bound, Index, Refusal, Verdict, vet, vet_anew};
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::tip::{Author, Tip, VerifiedTip};
use schema::wire::session::{Unit, Units};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, UserId};

use super::broken::Broken;
use super::known::Known;
use super::mutant::Mutant;
use super::people::{self, Member, Pages};
use super::wire::{self, TABLE};

/// The headers of every document, and what vouches for them.
pub(super) struct Store {
    /// Which peer it is of.
    pub(super) peer: usize,
    pub(super) group: GroupId,
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) incarnation: u64,
    pub(super) roster: Arc<Roster>,
    pub(super) state: [u8; 32],
    pub(super) pages: Pages,
    pub(super) digest: Digest,
    pub(super) documents: BTreeMap<DocumentId, Held>,
    /// How each author was judged when their documents were last judged.
    pub(super) authors: BTreeMap<(DeviceId, OpId), [u8; 32]>,
    /// Takes everything from everybody, and writes as if nothing had happened: the malicious member.
    pub(super) lenient: bool,
    /// Everything that was ever accepted here: nothing else may be kept.
    pub(super) ever: BTreeSet<ChangeHash>,
    /// How this peer deviates from the rules.
    pub(super) mutant: Option<Mutant>,
    /// The first promise that was seen to break on the way.
    pub(super) broken: Option<Broken>,
}

/// One document.
#[derive(Default)]
pub(super) struct Held {
    pub(super) key: String,
    pub(super) index: Index,
    /// What is accepted, dependencies first.
    pub(super) accepted: Known,
    /// What was accepted and is not any more.
    pub(super) kept: Known,
}

/// What a step left behind.
#[derive(Default)]
pub(super) struct Outcome {
    /// Documents that moved, with their marks before.
    pub(super) moved: Vec<Wanted>,
    pub(super) refused: Vec<(DocumentId, Refusal)>,
}

impl Store {
    pub(super) fn new(peer: usize, member: &Member, lenient: bool) -> Self {
        let roster = member.ledger().roster().clone();
        Self {
            peer,
            group: member.ledger().group(),
            user: people::user(member.person),
            device: people::device(member.person),
            incarnation: 0,
            state: roster.state_digest(),
            roster,
            pages: member.pages.clone(),
            digest: Digest::default(),
            documents: BTreeMap::new(),
            authors: BTreeMap::new(),
            lenient,
            ever: BTreeSet::new(),
            mutant: None,
            broken: None,
        }
    }

    pub(super) fn document(&self, key: &str) -> DocumentId {
        DocumentId::of(self.group, TABLE, key)
    }

    pub(super) fn replica(&self, document: DocumentId, author: Author) -> ReplicaId {
        ReplicaId::of(self.group, document, author.device, author.grant, author.incarnation)
    }

    /// Under which grant this device writes; `None`: it may not.
    pub(super) fn grant(&self) -> Option<OpId> {
        let grant = self.roster.grant(self.user).filter(|_| self.roster.may_write(self.user, self.device));
        grant.filter(|grant| self.roster.accepts(self.device, *grant).is_ok())
    }

    /// Changes a document, as one who `author` is; what this peer itself refuses is no write (D4).
    pub(super) fn write(
        &mut self,
        key: &str,
        author: Author,
        content: u64,
    ) -> Option<(Wanted, ChangeHeader)> {
        let document = self.document(key);
        let replica = self.replica(document, author);
        let header = {
            let nothing = Index::new();
            let index = self.documents.get(&document).map_or(&nothing, |held| &held.index);
            // As Automerge does: all heads, and the replica's own newest change even where another has merged it.
            let mut deps: BTreeSet<_> = index.heads().iter().map(|head| head.0).collect();
            deps.extend(index.newest(&replica).map(|own| own.0));
            let (seq, start_op) = (index.length(&replica) + 1, index.next_start_op());
            wire::header(&(replica.0, seq, start_op, deps.into_iter().collect(), content))
        };

        let before = self.marks_of(document);
        let mut came = Known::default();
        came.put_tip(replica, wire::sign(author, document, header.seq, header.hash));
        came.headers.push(header.clone());
        let verdict = self.judge(document, &mut came, false);
        if let Some((_, refusal)) = verdict.refused.first() {
            let silenced = Broken::Silenced { peer: self.peer, refusal: Box::new(refusal.clone()) };
            self.broken.get_or_insert(silenced);
            return None;
        }
        self.take(document, key, &came, &verdict);
        Some((Wanted { document, have: before }, header))
    }

    /// Judges and takes what a peer sent.
    pub(super) fn apply(&mut self, units: Units) -> Outcome {
        let mut outcome = Outcome::default();
        for unit in units.units {
            let document = unit.document;
            if let Err(refusal) = self.apply_unit(unit, &units.authors, &mut outcome) {
                outcome.refused.push((document, refusal));
            }
        }
        outcome
    }

    fn apply_unit(
        &mut self,
        unit: Unit,
        authors: &[(DeviceId, OpId)],
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let document = unit.document;
        if document != DocumentId::of(self.group, &unit.table, &unit.key) {
            return Err(Refusal::Misplaced);
        }
        let mut came = Known { headers: wire::read(&unit.message), ..Known::default() };
        let has = |change: &ChangeHash| {
            self.documents.get(&document).is_some_and(|held| held.index.contains(change))
        };
        let places: BTreeMap<_, _> = came.headers.iter().map(|h| ((h.replica, h.seq), h.hash)).collect();
        for tip in &unit.tips {
            let author = usize::try_from(tip.author).ok().and_then(|number| authors.get(number));
            let Some(&(device, grant)) = author else { return Err(Refusal::Unvouched) };
            let author = Author { device, grant, incarnation: tip.incarnation };
            let replica = ReplicaId::of(self.group, document, device, grant, tip.incarnation);
            let Some(&change) = places.get(&(replica, tip.seq)) else { continue };
            if has(&change) {
                continue;
            }
            let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
            if !self.is(Mutant::BelievesTips) {
                wire::verify(self.group, document, &tip)?;
            }
            came.put_tip(replica, tip);
        }

        let before = self.marks_of(document);
        let verdict = self.judge(document, &mut came, false);
        let is_awaited = self.documents.get(&document).is_some_and(|held| {
            verdict.accepted.iter().any(|place| held.kept.may_need(&came.headers[*place]))
        });
        let is_decided = !verdict.decided.is_empty() && !self.is(Mutant::KeepsBranch);
        if is_awaited || is_decided {
            return self.rejudge(document, came, outcome);
        }
        let refusal = verdict.refused.first().map(|(_, refusal)| refusal.clone());
        if self.is(Mutant::RemembersRefused) {
            let refused = verdict.refused.iter().map(|(place, _)| came.headers[*place].clone());
            self.documents.entry(document).or_default().kept.headers.extend(refused);
        }
        if !verdict.accepted.is_empty() || self.waived(&verdict).next().is_some() {
            let is_ours = |tip: &VerifiedTip| {
                let author = tip.tip().author;
                (author.device, author.incarnation) == (self.device, self.incarnation)
            };
            let is_ours = verdict.tips.iter().any(is_ours);
            self.take(document, &unit.key, &came, &verdict);
            if !verdict.accepted.is_empty() {
                outcome.moved.push(Wanted { document, have: before });
            }
            if is_ours {
                self.renew();
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// C1 to C8, of what came alone or `anew`: of all of it, as if nothing was here.
    pub(super) fn judge(&self, document: DocumentId, known: &mut Known, anew: bool) -> Verdict {
        let authors: BTreeSet<Author> = known.all_tips().map(|tip| tip.author).collect();
        let mut accepts = BTreeMap::new();
        for author in authors {
            let (bounds, tips) = self.bounds(&author, document);
            accepts.insert(author, self.bounds_seen(bounds));
            for tip in tips {
                if known.headers.iter().any(|header| header.hash == tip.change)
                    && wire::verify(self.group, document, &tip).is_ok()
                {
                    known.put_tip(self.replica(document, author), tip);
                }
            }
        }
        let tips: Vec<_> = known.all_tips().map(|tip| tip.trust_stored(self.group, document)).collect();
        let accept = |author: &Author| accepts[author].clone();
        if anew {
            return vet_anew(&known.headers, &tips, &BTreeMap::new(), accept);
        }
        let nothing = Index::new();
        let index = self.documents.get(&document).map_or(&nothing, |held| &held.index);
        vet(index, &known.headers, &tips, accept)
    }

    /// C8: how far what `author` wrote to `document` is accepted; and what the cuts have of the end of that chain.
    pub(super) fn bounds(
        &self,
        author: &Author,
        document: DocumentId,
    ) -> (Result<Vec<Bound>, Refusal>, Vec<Tip>) {
        if self.lenient {
            return (Ok(Vec::new()), Vec::new());
        }
        let mut tips = Vec::new();
        let Ok(bounds) = self.roster.bounds(author, |manifest| {
            let tip = self.pages.tip(manifest, author, document);
            tips.extend(tip);
            Ok::<_, std::convert::Infallible>(tip.map(|tip| (tip.seq, tip.change)))
        });
        (bounds.map_err(|_| Refusal::NotAllowed { author: *author }), tips)
    }

    /// Takes what was accepted. What Automerge would let wait for its dependencies breaks D7.
    pub(super) fn take(&mut self, document: DocumentId, key: &str, known: &Known, verdict: &Verdict) {
        let mut held = self.documents.remove(&document).unwrap_or_default();
        key.clone_into(&mut held.key);
        for tip in &verdict.tips {
            let author = (tip.tip().author.device, tip.tip().author.grant);
            self.authors.entry(author).or_insert_with(|| self.roster.judgement(author.0, author.1));
        }
        let waived: BTreeSet<usize> = self.waived(verdict).collect();
        for &place in verdict.accepted.iter().chain(&waived) {
            let header = &known.headers[place];
            if !header.deps.iter().all(|dep| held.index.contains(dep)) {
                self.broken.get_or_insert(Broken::Queued { peer: self.peer, change: header.hash });
            }
            if !waived.contains(&place) {
                held.index.accept(header);
            } else if held.accepted.headers.contains(header) {
                continue;
            }
            self.ever.insert(header.hash);
            held.accepted.headers.push(header.clone());
            let keeps_first =
                self.is(Mutant::KeepsFirstTip) && held.accepted.tips.contains_key(&header.replica);
            if let Some(tip) = known.tip_over(header).filter(|_| !keeps_first) {
                held.accepted.keep_tip(header.replica, tip);
            }
        }
        self.documents.insert(document, held);
        let marks = self.marks_of(document);
        self.digest.set(document, &marks);
    }

    /// Goes on under a new incarnation, so that no sequence number is used twice.
    pub(super) fn renew(&mut self) {
        self.incarnation += 1;
    }

    pub(super) fn marks_of(&self, document: DocumentId) -> Vec<Mark> {
        let Some(held) = self.documents.get(&document) else { return Vec::new() };
        held.index.replicas().map(|(replica, seq, change)| Mark { replica, seq, change }).collect()
    }
}
