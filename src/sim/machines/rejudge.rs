//! Judging anew what was accepted under another membership, by the same steps as a node's `documents/rejudge.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use schema::digest::Mark;
use schema::document::Refusal;
use schema::ledger::Roster;
use schema::session::Wanted;
use schema::tip::{Author, Tip};
use schema::{ChangeHash, DeviceId, DocumentId, OpId};

use super::known::Known;
use super::mutant::Mutant;
use super::people::Pages;
use super::store::{Held, Outcome, Store};
use super::wire;

impl Store {
    /// Judges by another roster from now on, and what was judged before anew.
    pub(super) fn set_roster(&mut self, roster: Arc<Roster>, pages: Pages) -> Outcome {
        self.state = roster.state_digest();
        (self.roster, self.pages) = (roster, pages);
        let mut outcome = Outcome::default();
        if self.lenient || self.is(Mutant::KeepsFallen) {
            return outcome;
        }
        let roster = &self.roster;
        let otherwise = self
            .authors
            .iter()
            .filter(|((device, grant), judged)| roster.judgement(*device, *grant) != **judged);
        let authors: BTreeSet<(DeviceId, OpId)> = otherwise.map(|(author, _)| *author).collect();
        let wrote = |known: &Known| {
            known.all_tips().any(|tip| authors.contains(&(tip.author.device, tip.author.grant)))
        };
        let concerned = self.documents.iter().filter(|(_, held)| wrote(&held.accepted) || wrote(&held.kept));
        let concerned: Vec<DocumentId> = concerned.map(|(document, _)| *document).collect();
        for document in concerned {
            if !self.stands(document, &authors) {
                let _ = self.rejudge(document, Known::default(), &mut outcome);
            }
        }
        for author in authors {
            let judgement = self.roster.judgement(author.0, author.1);
            self.authors.insert(author, judgement);
        }
        outcome
    }

    /// Whether a document is plainly what it was: nothing of it lies beyond what its authors may write.
    fn stands(&self, document: DocumentId, authors: &BTreeSet<(DeviceId, OpId)>) -> bool {
        let held = &self.documents[&document];
        if !held.kept.headers.is_empty() {
            return false;
        }
        held.ends().all(|(mark, author)| {
            if !authors.contains(&(author.device, author.grant)) {
                return true;
            }
            let (Ok(bounds), _) = self.bounds(&author, document) else { return false };
            let within = |end: (u64, ChangeHash)| mark.seq < end.0 || (mark.seq, mark.change) == end;
            bounds.iter().all(|bound| bound.end.is_some_and(within))
        })
    }

    /// Judges a document by everything that is known of it, and what `came`; the first refusal of that is returned.
    pub(super) fn rejudge(
        &mut self,
        document: DocumentId,
        came: Known,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let before = self.marks_of(document);
        let held = self.documents.get_mut(&document).expect("it was judged before");
        let had: BTreeSet<ChangeHash> = held.accepted.headers.iter().map(|header| header.hash).collect();
        let mut known = held.accepted.clone();
        known.add(held.kept.clone());
        let ours: BTreeSet<ChangeHash> = known.headers.iter().map(|header| header.hash).collect();
        let came: BTreeSet<ChangeHash> = known.add(came).into_iter().collect();
        self.close_own(document, &mut known);

        let verdict = self.judge(document, &mut known, true);
        let hash = |place: usize| known.headers[place].hash;
        let first = verdict.refused.iter().find(|(place, _)| came.contains(&hash(*place)));
        let answer = first.map_or(Ok(()), |(_, refusal)| Err(refusal.clone()));
        let accepted = verdict.accepted.iter().copied().chain(self.waived(&verdict));
        let accepted: BTreeSet<ChangeHash> = accepted.map(hash).collect();
        if accepted == had {
            return answer;
        }

        let key = self.documents[&document].key.clone();
        let old = self.documents.remove(&document).expect("it is here");
        self.take(document, &key, &known, &verdict);
        let kept = known.without(&self.let_go(accepted), &ours);
        let drops = self.is(Mutant::DropsKept);
        let held = self.documents.get_mut(&document).expect("just taken");
        held.kept = if drops { Known::default() } else { kept };
        let is_ours_cut = old.ends().any(|(mark, author)| {
            (author.device, author.incarnation) == (self.device, self.incarnation)
                && held.index.length(&mark.replica) < mark.seq
        });
        if is_ours_cut {
            self.renew();
        }
        outcome.moved.push(Wanted { document, have: before });
        answer
    }

    /// This device vouches for each of its own changes: where its chain is truncated, it signs a closing tip.
    fn close_own(&self, document: DocumentId, known: &mut Known) {
        let is_ours = |tip: &&Tip| tip.author.device == self.device;
        let own: BTreeSet<Author> = known.all_tips().filter(is_ours).map(|tip| tip.author).collect();
        for author in own {
            let replica = self.replica(document, author);
            let chain = known.headers.iter().filter(|header| header.replica == replica);
            let tips: Vec<_> = chain.map(|h| wire::sign(author, document, h.seq, h.hash)).collect();
            tips.into_iter().for_each(|tip| known.put_tip(replica, tip));
        }
    }

    /// The tip vector with each chain marked of which a cut names a change that is not here.
    pub(super) fn undecided_as_missing(&self, document: DocumentId) -> Vec<Mark> {
        let Some(held) = self.documents.get(&document) else { return Vec::new() };
        let undecided = |(mark, author): (Mark, Author)| {
            let (Ok(bounds), _) = self.bounds(&author, document) else { return mark };
            let lowest = bounds.iter().filter_map(|bound| bound.end).min();
            if lowest.is_some_and(|(_, change)| change != mark.change) { mark.undecided() } else { mark }
        };
        held.ends().map(undecided).collect()
    }
}

impl Held {
    /// The end of each chain, and whose it is.
    pub(super) fn ends(&self) -> impl Iterator<Item = (Mark, Author)> {
        self.index.replicas().map(|(replica, seq, change)| {
            let tip = self.accepted.tips[&replica].values().flatten().next().expect("a chain has a tip");
            (Mark { replica, seq, change }, tip.author)
        })
    }
}
