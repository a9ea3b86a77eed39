//! The walk: the initiator sends its leaves page by page, the responder replies with version vectors.
//!
//! Each page waits for its reply, each reply is a bounded piece of work, and neither side searches further
//! while the outbox is full. So a group of any size is walked in small steps, between which other peers are
//! served.

use super::Session;
use super::port::{Documents, Effect, SessionFault, StepError, Wanted};
use crate::DocumentId;
use crate::digest::{Mark, Page};
use crate::limits::{FRAME_MARKS, MARKS_MAX, PAGE_LEAVES};
use crate::time::Moment;
use crate::wire::session::{SessionFrame, weight};

/// A walk of the initiator.
#[derive(Debug)]
pub(super) struct Walk {
    /// The roots, ours first.
    pub(super) pair: ([u8; 32], [u8; 32]),
    /// The last document that was compared.
    after: Option<DocumentId>,
    /// The end of the page that was sent last.
    through: Option<DocumentId>,
    /// The time from which the peer owes a reply; `None`: the next page is not sent yet.
    pub(super) asked: Option<Moment>,
}

impl Walk {
    pub(super) fn new(pair: ([u8; 32], [u8; 32])) -> Self {
        Self { pair, after: None, through: None, asked: None }
    }

    /// The page that was sent last is compared, up to a document.
    pub(super) fn proceed(&mut self, through: Option<DocumentId>) {
        self.after = through.or(self.through);
    }

    /// Returns true if every page is compared.
    pub(super) fn is_complete(&self) -> bool {
        self.after.is_none()
    }

    /// Returns true if the document lies in the page that was sent last.
    fn covers(&self, document: DocumentId) -> bool {
        self.after.is_none_or(|after| after < document)
            && self.through.is_none_or(|through| document <= through)
    }
}

impl Session {
    /// Sends the next page, or replies to the peer's, unless there is enough to send.
    pub(super) fn advance_walk<D: Documents>(
        &mut self,
        now: Moment,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        if self.outbox.is_full() {
            return Ok(());
        }
        if let Some(walk) = self.walk.as_mut().filter(|walk| walk.asked.is_none()) {
            let page = documents.digest().page(walk.after, PAGE_LEAVES);
            walk.through = page.through;
            walk.asked = Some(now);
            effects.push(Effect::Send(SessionFrame::Leaves(page)));
        }
        if let Some(page) = self.unanswered.take() {
            effects.push(Effect::Send(vectors(page, documents)?));
        }
        Ok(())
    }

    /// Restarts the time in which the peer must reply to a page: the reply waits behind other frames of the
    /// peer.
    pub(super) fn extend_reply_time(&mut self, now: Moment) {
        if let Some(asked) = self.walk.as_mut().and_then(|walk| walk.asked.as_mut()) {
            *asked = now;
        }
    }

    /// Responder: the initiator sends a page.
    pub(super) fn on_leaves(&mut self, page: Page) -> Result<(), SessionFault> {
        if self.side.initiator {
            return Err(SessionFault::Unexpected { what: "leaves from the responder" });
        }
        match self.unanswered.replace(page) {
            None => Ok(()),
            Some(_) => Err(SessionFault::Unexpected { what: "leaves before the last ones were answered" }),
        }
    }

    /// Initiator: the responder replies to a page.
    pub(super) fn on_vectors<D: Documents>(
        &mut self,
        theirs: Vec<(DocumentId, Vec<Mark>)>,
        through: Option<DocumentId>,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        // Otherwise it is a stale reply: the peer has restarted the session.
        let Some(walk) = self.walk.take_if(|walk| walk.asked.take().is_some()) else { return Ok(()) };
        if !through.is_none_or(|through| walk.covers(through)) {
            return Err(SessionFault::Unexpected { what: "vectors beyond the page" }.into());
        }
        self.begin_comparison(theirs, Some((walk, through)), documents, effects)
    }

    /// Queues a document of which the peer has the marks `have`, if it lacks some of `mine`.
    pub(super) fn queue_if_lacking(&mut self, document: DocumentId, mut have: Vec<Mark>, mine: &[Mark]) {
        if lacks(&have, mine) {
            // Replicas that are not stored here do not matter for what is sent.
            have.retain(|mark| mine.binary_search_by_key(&mark.replica, |own| own.replica).is_ok());
            have.sort_unstable();
            self.outbox.push(Wanted { document, have });
        }
    }
}

/// Builds the reply to a page: version vectors of the documents that differ, as many as one frame carries.
fn vectors<D: Documents>(mut page: Page, documents: &mut D) -> Result<SessionFrame, D::Error> {
    let ours = documents.digest().page(page.after, PAGE_LEAVES).through;
    let mut through = ours.filter(|ours| page.through.is_none_or(|end| *ours < end));
    if let Some(through) = through {
        page.leaves.retain(|(document, _)| *document <= through);
        page.through = Some(through);
    }
    let mut differing = documents.digest().differing(&page);
    differing.sort_unstable();
    let (mut vectors, mut sum) = (Vec::new(), 0);
    for document in differing {
        if sum >= FRAME_MARKS {
            through = vectors.last().map(|(document, _)| *document);
            break;
        }
        let vector = (document, truncated(documents.marks_for_peer(document)?));
        sum += weight(&vector);
        vectors.push(vector);
    }
    Ok(SessionFrame::Vectors { documents: vectors, through })
}

/// Requests documents, in as many frames as necessary.
pub(super) fn send_requests(requests: Vec<(DocumentId, Vec<Mark>)>, effects: &mut Vec<Effect>) {
    let (mut documents, mut sum) = (Vec::new(), 0);
    for (document, marks) in requests {
        let request = (document, truncated(marks));
        sum += weight(&request);
        documents.push(request);
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

/// The part of a version vector that is sent.
fn truncated(mut marks: Vec<Mark>) -> Vec<Mark> {
    marks.truncate(MARKS_MAX);
    marks
}

/// Returns true if the vector `there` has a change that `here` has not.
pub(super) fn lacks(here: &[Mark], there: &[Mark]) -> bool {
    there.iter().any(|mark| {
        here.binary_search_by_key(&mark.replica, |own| own.replica)
            .map_or(true, |position| here[position].is_undecided() || here[position].seq < mark.seq)
    })
}
