//! The marks that a peer sent of documents, compared with ours: a bounded number in one step.
//!
//! To look at the marks of a document costs as much as it has chains, and one frame names thousands of
//! documents: the rest of a frame is compared in further steps, between which the shell serves others.

use std::collections::BTreeMap;

use super::Session;
use super::port::{Documents, Effect, SessionFault, StepError};
use super::walk::{Walk, lacks, send_requests};
use crate::DocumentId;
use crate::digest::Mark;
use crate::limits::{COMPARED_MARKS, FRAME_MARKS, MARKS_MAX};

/// The cost of a document beside its marks: a read of the store.
const DOCUMENT_MARKS: usize = 16;
/// The weight of comparisons under way: two full frames. A shell delivers no frame meanwhile, so that a
/// correct peer stays within one.
const WEIGHT_MAX: usize = 2 * (FRAME_MARKS + 1 + MARKS_MAX);

/// The documents of one frame that are still to be compared.
#[derive(Debug)]
pub(super) struct Comparison {
    /// In order of their ids.
    documents: BTreeMap<DocumentId, Vec<Mark>>,
    /// The walk to which the frame replies, and the last document that the reply covers; `None`: the peer
    /// requests these documents.
    reply: Option<(Walk, Option<DocumentId>)>,
    /// The documents of which the peer has more.
    requests: Vec<(DocumentId, Vec<Mark>)>,
}

impl Comparison {
    fn weight(&self) -> usize {
        self.documents.values().map(|marks| 1 + marks.len()).sum()
    }

    /// Its size in memory, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.weight() * size_of::<Mark>()
    }
}

impl Session {
    /// Begins to compare the documents of a frame.
    pub(super) fn begin_comparison<D: Documents>(
        &mut self,
        documents: Vec<(DocumentId, Vec<Mark>)>,
        reply: Option<(Walk, Option<DocumentId>)>,
        ours: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        let documents = documents.into_iter().collect();
        self.comparisons.push_back(Comparison { documents, reply, requests: Vec::new() });
        if self.comparisons.iter().map(Comparison::weight).sum::<usize>() > WEIGHT_MAX {
            return Err(SessionFault::Unexpected { what: "marks before the last ones were compared" }.into());
        }
        if self.is_to_continue { Ok(()) } else { self.compare(ours, effects).map_err(StepError::Local) }
    }

    /// Compares some documents. [`Effect::Continue`] follows if there are more.
    pub(super) fn compare<D: Documents>(
        &mut self,
        ours: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        let mut cost = 0;
        while let Some(mut comparison) = self.comparisons.pop_front() {
            while let Some((document, have)) = comparison.documents.pop_first() {
                if cost >= COMPARED_MARKS {
                    comparison.documents.insert(document, have);
                    self.comparisons.push_front(comparison);
                    self.is_to_continue = true;
                    effects.push(Effect::Continue);
                    return Ok(());
                }
                let mine = ours.marks(document)?;
                cost += DOCUMENT_MARKS + mine.len();
                if comparison.reply.is_some() {
                    // Of an undecided chain the peer's may be the right one, however long ours is.
                    let shown = ours.marks_for_peer(document)?;
                    if lacks(&shown, &have) || have.len() == MARKS_MAX {
                        comparison.requests.push((document, shown));
                    }
                }
                self.queue_if_lacking(document, have, &mine);
            }
            self.end_comparison(comparison, effects);
        }
        Ok(())
    }

    fn end_comparison(&mut self, Comparison { reply, requests, .. }: Comparison, effects: &mut Vec<Effect>) {
        send_requests(requests, effects);
        let Some((mut walk, through)) = reply else { return };
        walk.proceed(through);
        if walk.is_complete() {
            self.walked = Some(walk.pair);
        } else {
            self.walk = Some(walk);
        }
    }
}
