//! Finding what differs: the initiator shows its leaves page by page, the responder answers with tip vectors.
//!
//! One frame asks for one frame, each a bounded piece of work, and nobody looks for more while there is enough to send.
//! So a group of any size is walked in turns, between which others are served.

use super::Session;
use super::port::{Documents, Effect, SessionFault, StepError, Wanted};
use crate::DocumentId;
use crate::digest::{Mark, Page};
use crate::time::Timestamp;
use crate::wire::session::{FRAME_MARKS, MARKS_MAX, PAGE_LEAVES, SessionFrame, weight};

/// A walk of the initiator.
#[derive(Debug)]
pub(super) struct Walk {
    /// The roots, ours first.
    pub(super) pair: ([u8; 32], [u8; 32]),
    /// What was walked.
    after: Option<DocumentId>,
    /// Where the page ends that was shown last.
    through: Option<DocumentId>,
    /// Since when the peer owes an answer; `None`: the next page is not shown yet.
    pub(super) asked: Option<Timestamp>,
}

impl Walk {
    pub(super) fn new(pair: ([u8; 32], [u8; 32])) -> Self {
        Self { pair, after: None, through: None, asked: None }
    }

    /// Whether the document is in the page that was shown last.
    fn is_ahead(&self, document: DocumentId) -> bool {
        self.after.is_none_or(|after| after < document)
            && self.through.is_none_or(|through| document <= through)
    }
}

impl Session {
    /// Shows the next page, or answers the one that was shown, unless there is enough to send.
    pub(super) fn walk_on<D: Documents>(
        &mut self,
        now: Timestamp,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        if self.outbox.is_full() {
            return Ok(());
        }
        if let Some(walk) = self.walk.as_mut().filter(|walk| walk.asked.is_none()) {
            let page = documents.page(walk.after, PAGE_LEAVES)?;
            walk.through = page.through;
            walk.asked = Some(now);
            effects.push(Effect::Send(SessionFrame::Leaves(page)));
        }
        if let Some(page) = self.question.take() {
            effects.push(Effect::Send(answer(page, documents)?));
        }
        Ok(())
    }

    /// The answer to a page comes behind what was just heard.
    pub(super) fn hear_on(&mut self, now: Timestamp) {
        if let Some(asked) = self.walk.as_mut().and_then(|walk| walk.asked.as_mut()) {
            *asked = now;
        }
    }

    /// The initiator shows a page.
    pub(super) fn asked(&mut self, page: Page) -> Result<(), SessionFault> {
        if self.initiator {
            return Err(SessionFault::Unexpected { what: "leaves from the responder" });
        }
        match self.question.replace(page) {
            None => Ok(()),
            Some(_) => Err(SessionFault::Unexpected { what: "leaves before the last ones were answered" }),
        }
    }

    /// The responder answers a page.
    pub(super) fn answered<D: Documents>(
        &mut self,
        theirs: Vec<(DocumentId, Vec<Mark>)>,
        through: Option<DocumentId>,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        // The answer to a question of before the peer began anew.
        let Some(mut walk) = self.walk.take_if(|walk| walk.asked.take().is_some()) else { return Ok(()) };
        if !through.is_none_or(|through| walk.is_ahead(through)) {
            return Err(SessionFault::Unexpected { what: "an answer to something else" }.into());
        }
        let mut lacking = Vec::new();
        for (document, have) in theirs {
            let mine = documents.marks(document).map_err(StepError::Local)?;
            // Of an undecided chain the peer's may be the right one, however long ours is.
            let asks = documents.asks(document).map_err(StepError::Local)?;
            if lacks(&asks, &have) || have.len() == MARKS_MAX {
                lacking.push((document, asks));
            }
            self.want(document, have, &mine);
        }
        request(lacking, effects);
        walk.after = through.or(walk.through);
        if walk.after.is_some() {
            self.walk = Some(walk);
        } else {
            self.walked = Some(walk.pair);
        }
        Ok(())
    }

    /// The peer says what it has of a document, where we have `mine`.
    pub(super) fn want(&mut self, document: DocumentId, mut have: Vec<Mark>, mine: &[Mark]) {
        if lacks(&have, mine) {
            // What we do not know of is nothing to us.
            have.retain(|mark| mine.binary_search_by_key(&mark.replica, |own| own.replica).is_ok());
            have.sort_unstable();
            self.outbox.put(Wanted { document, have });
        }
    }
}

/// Our tip vectors of what differs in a stretch, as far as one frame goes.
fn answer<D: Documents>(mut page: Page, documents: &mut D) -> Result<SessionFrame, D::Error> {
    let ours = documents.page(page.after, PAGE_LEAVES)?.through;
    let mut through = ours.filter(|ours| page.through.is_none_or(|end| *ours < end));
    if let Some(through) = through {
        page.leaves.retain(|(document, _)| *document <= through);
        page.through = Some(through);
    }
    let mut differing = documents.differing(&page)?;
    differing.sort_unstable();
    let (mut vectors, mut sum) = (Vec::new(), 0);
    for document in differing {
        if sum >= FRAME_MARKS {
            through = vectors.last().map(|(document, _)| *document);
            break;
        }
        let vector = (document, shown(documents.asks(document)?));
        sum += weight(&vector);
        vectors.push(vector);
    }
    Ok(SessionFrame::Vectors { documents: vectors, through })
}

/// Asks for documents, in as many frames as it takes.
pub(super) fn request(lacking: Vec<(DocumentId, Vec<Mark>)>, effects: &mut Vec<Effect>) {
    let (mut documents, mut sum) = (Vec::new(), 0);
    for (document, asks) in lacking {
        let asked = (document, shown(asks));
        sum += weight(&asked);
        documents.push(asked);
        if sum >= FRAME_MARKS {
            let documents = std::mem::take(&mut documents);
            effects.push(Effect::Send(SessionFrame::Request { documents }));
            sum = 0;
        }
    }
    if !documents.is_empty() {
        effects.push(Effect::Send(SessionFrame::Request { documents }));
    }
}

/// As much of a tip vector as crosses the link.
fn shown(mut marks: Vec<Mark>) -> Vec<Mark> {
    marks.truncate(MARKS_MAX);
    marks
}

/// Whether `there` has a change that `here` has not.
fn lacks(here: &[Mark], there: &[Mark]) -> bool {
    there.iter().any(|mark| {
        here.binary_search_by_key(&mark.replica, |own| own.replica)
            .map_or(true, |position| here[position].is_undecided() || here[position].seq < mark.seq)
    })
}
