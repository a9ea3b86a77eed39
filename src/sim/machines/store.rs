//! What a peer of the machine world holds: headers and tips where a node has documents, judged as a node judges them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schema::admission::{Bound, Index, Refusal, Verdict, vet, vet_anew};
use schema::change::ChangeHeader;
use schema::digest::{Digest, Mark};
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::session::frame::{Unit, Units};
use schema::tip::{Author, Tip, VerifiedTip};
use schema::{ChangeHash, DeviceId, DocumentId, GroupId, OpId, ReplicaId, UserId};

use super::people::{self, Member, Pages};
use super::wire::{self, TABLE};

/// A tip whose place is a multiple of this stays beside the newest; a node's checkpoints are 256 apart.
const CHECKPOINT: u64 = 4;

/// The headers of every document, and what vouches for them.
pub(super) struct Store {
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

/// Changes of one document, and what vouches for them.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) headers: Vec<ChangeHeader>,
    pub(super) tips: BTreeMap<ReplicaId, BTreeMap<u64, Vec<Tip>>>,
}

/// What a step left behind.
#[derive(Default)]
pub(super) struct Outcome {
    /// Documents that moved, with their marks before.
    pub(super) moved: Vec<Wanted>,
    pub(super) refused: Vec<(DocumentId, Refusal)>,
}

impl Store {
    pub(super) fn new(member: &Member, lenient: bool) -> Self {
        let roster = member.ledger.roster().clone();
        Self {
            group: member.ledger.group(),
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

    /// Changes a document, as one who `author` is; what peers would refuse is no write (D4).
    ///
    /// # Panics
    /// When this peer itself refuses what it wrote.
    pub(super) fn write(&mut self, key: &str, author: Author, content: u64) -> (Wanted, ChangeHash) {
        let document = self.document(key);
        let replica = self.replica(document, author);
        let held = self.documents.entry(document).or_default();
        held.key = key.to_owned();
        // As Automerge does: all heads, and the replica's own newest change even where another has merged it.
        let mut deps: BTreeSet<_> = held.index.heads().iter().map(|head| head.0).collect();
        deps.extend(held.index.newest(&replica).map(|own| own.0));
        let (seq, start_op) = (held.index.length(&replica) + 1, held.index.next_start_op());
        let header = wire::header(&(replica.0, seq, start_op, deps.into_iter().collect(), content));
        let hash = header.hash;

        let before = self.marks_of(document);
        let mut came = Known::default();
        came.put_tip(replica, wire::sign(author, document, seq, hash));
        came.headers.push(header);
        let verdict = self.judge(document, &mut came, false);
        assert_eq!(
            verdict.accepted,
            [0],
            "D4: who may write is refused by themselves: {:?}",
            verdict.refused
        );
        self.take(document, &came, &verdict);
        (Wanted { document, have: before }, hash)
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
        let held = self.documents.entry(document).or_default();
        held.key = unit.key;
        let places: BTreeMap<_, _> = came.headers.iter().map(|h| ((h.replica, h.seq), h.hash)).collect();
        for tip in &unit.tips {
            let author = usize::try_from(tip.author).ok().and_then(|number| authors.get(number));
            let Some(&(device, grant)) = author else { return Err(Refusal::Unvouched) };
            let author = Author { device, grant, incarnation: tip.incarnation };
            let replica = ReplicaId::of(self.group, document, device, grant, tip.incarnation);
            let Some(&change) = places.get(&(replica, tip.seq)) else { continue };
            if held.index.contains(&change) {
                continue;
            }
            let tip = Tip { author, seq: tip.seq, change, signature: tip.signature };
            came.put_tip(replica, *wire::verify(self.group, document, &tip)?.tip());
        }

        let before = self.marks_of(document);
        let verdict = self.judge(document, &mut came, false);
        let kept = &self.documents[&document].kept;
        let is_awaited = verdict.accepted.iter().any(|place| kept.may_need(&came.headers[*place]));
        if is_awaited || !verdict.decided.is_empty() {
            return self.rejudge(document, came, outcome);
        }
        let refusal = verdict.refused.first().map(|(_, refusal)| refusal.clone());
        if !verdict.accepted.is_empty() {
            let is_ours = |tip: &VerifiedTip| {
                let author = tip.tip().author;
                (author.device, author.incarnation) == (self.device, self.incarnation)
            };
            let is_ours = verdict.tips.iter().any(is_ours);
            self.take(document, &came, &verdict);
            outcome.moved.push(Wanted { document, have: before });
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
            accepts.insert(author, bounds);
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
        match self.documents.get(&document).filter(|_| !anew) {
            Some(held) => vet(&held.index, &known.headers, &tips, accept),
            None => vet_anew(&known.headers, &tips, &BTreeMap::new(), accept),
        }
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

    /// Takes what was accepted.
    ///
    /// # Panics
    /// When Automerge would wait for something (D7).
    pub(super) fn take(&mut self, document: DocumentId, known: &Known, verdict: &Verdict) {
        let held = self.documents.get_mut(&document).expect("it was judged");
        for tip in &verdict.tips {
            let author = (tip.tip().author.device, tip.tip().author.grant);
            self.authors.entry(author).or_insert_with(|| self.roster.judgement(author.0, author.1));
        }
        for place in &verdict.accepted {
            let header = &known.headers[*place];
            let are_here = header.deps.iter().all(|dep| held.index.contains(dep));
            assert!(are_here, "D7: a change was accepted before what it depends on");
            held.index.accept(header);
            self.ever.insert(header.hash);
            held.accepted.headers.push(header.clone());
            if let Some(tip) = known.tip_over(header) {
                held.accepted.keep_tip(header.replica, tip);
            }
        }
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

impl Known {
    pub(super) fn all_tips(&self) -> impl Iterator<Item = &Tip> {
        self.tips.values().flat_map(BTreeMap::values).flatten()
    }

    /// Whether a change that was just accepted may bring something of this back, or is part of it.
    fn may_need(&self, change: &ChangeHeader) -> bool {
        self.headers.iter().any(|kept| kept.replica == change.replica || kept.deps.contains(&change.hash))
    }

    /// The tip over a change itself.
    pub(super) fn tip_over(&self, header: &ChangeHeader) -> Option<Tip> {
        let of_place = self.tips.get(&header.replica)?.get(&header.seq)?;
        of_place.iter().find(|tip| tip.change == header.hash).copied()
    }

    pub(super) fn put_tip(&mut self, replica: ReplicaId, tip: Tip) {
        let of_place = self.tips.entry(replica).or_default().entry(tip.seq).or_default();
        if !of_place.contains(&tip) {
            of_place.push(tip);
        }
    }

    /// Keeps the newest tip of a chain and its checkpoints, as a node's records do.
    fn keep_tip(&mut self, replica: ReplicaId, tip: Tip) {
        let of_replica = self.tips.entry(replica).or_default();
        of_replica.retain(|seq, _| seq.is_multiple_of(CHECKPOINT));
        of_replica.insert(tip.seq, vec![tip]);
    }
}
