//! One group over one link: which frame may follow which; what to send next.
//!
//! Both sides announce the root of their documents. Where roots differ the initiator walks: it sends its leaves page
//! by page, the responder answers with its tip vectors of what differs, and each side queues what the other lacks
//! and asks for what it lacks itself. The queue holds document ids and marks, never bytes; a window bounds what is under
//! way. Afterwards every change is sent as it comes. Roots are compared again whenever both sides are quiet, so that
//! whatever was lost on the way is found; a pair of roots that was walked is not walked again.

pub mod ledger;
mod outbox;
mod port;
mod roots;
mod transfer;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::port::{Documents, Effect, Input, SessionFault, StepError, Supply, Wanted};

use self::outbox::Outbox;
use self::walk::Walk;
use crate::DocumentId;
use crate::digest::Page;
use crate::limits::WINDOW_BYTES;
use crate::time::Timestamp;
use crate::wire::session::{RootWhy, SessionFrame};

/// How long a peer may owe an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What a link is thought to take for a KiB at most.
const SLOWEST: Duration = Duration::from_millis(32);

/// The state of one group's conversation over one link.
#[derive(Debug)]
pub struct Session {
    initiator: bool,
    /// What the peer's answer to our opening must name.
    era: u64,
    /// The peer has answered our opening: what it says from then on is meant for this session.
    ready: bool,
    /// Of the peer's opening that was heard last; one that is repeated begins nothing anew.
    their_era: Option<u64>,
    their_root: Option<[u8; 32]>,
    /// Their root came after the last walk began, so it is worth walking.
    fresh: bool,
    /// Responder: an unequal root waits for ours.
    answer_due: bool,
    /// Our membership changed since we last said our root.
    rejudged: bool,
    sent_root: Option<[u8; 32]>,
    root_due: Option<Timestamp>,
    /// Initiator: the walk under way.
    walk: Option<Walk>,
    walked: Option<([u8; 32], [u8; 32])>,
    /// Responder: a page that is not answered yet.
    question: Option<Page>,
    outbox: Outbox,
    number: u64,
    in_flight: VecDeque<(u64, usize)>,
    /// What the peer has sent and we have not acknowledged, bytes by number.
    applying: BTreeMap<u64, usize>,
    received: u64,
    asked: BTreeMap<DocumentId, u32>,
    synced: bool,
    /// Since when the peer owes the next acknowledgement, if anything is under way.
    unacknowledged: Timestamp,
}

impl Session {
    /// Opens a session. `era` is a random number; `in_sync`: both Hellos carried the same hash, so there is nothing
    /// to say.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open<D: Documents>(
        now: Timestamp,
        (initiator, era): (bool, u64),
        in_sync: bool,
        documents: &mut D,
    ) -> Result<(Self, Vec<Effect>), D::Error> {
        let root = documents.root()?;
        let mut session = Self::new(now, initiator, era, root);
        session.ready = in_sync;
        session.their_root = in_sync.then_some(root);
        session.synced = in_sync;
        let effects = if in_sync {
            vec![Effect::Synced]
        } else {
            let why = RootWhy::Opening { era };
            vec![Effect::Send(SessionFrame::Root { root, why })]
        };
        Ok((session, effects))
    }

    fn new(now: Timestamp, initiator: bool, era: u64, root: [u8; 32]) -> Self {
        Self {
            initiator,
            era,
            ready: false,
            their_era: None,
            their_root: None,
            fresh: false,
            answer_due: false,
            rejudged: false,
            sent_root: Some(root),
            root_due: None,
            walk: None,
            walked: None,
            question: None,
            outbox: Outbox::default(),
            number: 0,
            in_flight: VecDeque::new(),
            applying: BTreeMap::new(),
            received: 0,
            asked: BTreeMap::new(),
            synced: false,
            unacknowledged: now,
        }
    }

    /// Both sides had equal documents when they last compared, and nothing has moved since.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// When the session wants an [`Input::Wake`].
    pub fn wake_at(&self) -> Option<Timestamp> {
        [self.stalls_at(), self.root_due].into_iter().flatten().min()
    }

    /// When the peer has owed something for too long; what it does not owe is no excuse.
    fn stalls_at(&self) -> Option<Timestamp> {
        let answer = self.walk.as_ref().and_then(|walk| walk.asked);
        let acknowledgement = (!self.in_flight.is_empty()).then_some(self.unacknowledged);
        // It waits behind what is under way, and the peer's word behind as much of theirs.
        let bytes = acknowledgement.map_or(0, |_| self.under_way() + WINDOW_BYTES);
        let patience = ANSWER_TIMEOUT + SLOWEST * u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
        [answer, acknowledgement].into_iter().flatten().min().map(|since| since + patience)
    }

    fn under_way(&self) -> usize {
        self.in_flight.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Takes one input to its effects.
    ///
    /// # Errors
    /// [`StepError::Fault`] ends the session and the link.
    pub fn step<D: Documents>(
        &mut self,
        now: Timestamp,
        input: Input,
        documents: &mut D,
    ) -> Result<Vec<Effect>, StepError<D::Error>> {
        let mut effects = Vec::new();
        match input {
            Input::Frame(frame) => {
                self.frame(now, frame, documents, &mut effects)?;
            }
            Input::Changed(changed) => {
                if self.ready {
                    for wanted in changed {
                        // What the peer said of itself is better than what we suppose.
                        if !self.outbox.contains(&wanted.document) {
                            self.outbox.put(wanted);
                        }
                    }
                }
            }
            Input::Applied { number, refused } => self.applied(number, refused, documents, &mut effects)?,
            Input::Rejudged => {
                self.walked = None;
                self.fresh = self.ready;
                self.answer_due = self.ready;
                self.rejudged = true;
            }
            Input::Wake => {
                if self.stalls_at().is_some_and(|at| now >= at) {
                    return Err(SessionFault::Stalled.into());
                }
            }
        }
        self.pump(now, documents, &mut effects).map_err(StepError::Local)?;
        self.walk_on(now, documents, &mut effects).map_err(StepError::Local)?;
        self.compare(now, documents, &mut effects).map_err(StepError::Local)?;
        Ok(effects)
    }

    fn frame<D: Documents>(
        &mut self,
        now: Timestamp,
        frame: SessionFrame,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        if let Some(what) = frame.excess() {
            return Err(SessionFault::Unexpected { what }.into());
        }
        match frame {
            SessionFrame::Root { root, why } => {
                if let RootWhy::Opening { era } = why {
                    let anew = self.their_era != Some(era);
                    if self.ready && anew {
                        // The peer begins anew, and so do we; what it owed is void.
                        *self = Self { ready: true, ..Self::new(now, self.initiator, self.era, root) };
                    }
                    self.their_era = Some(era);
                    let ours = documents.root().map_err(StepError::Local)?;
                    self.announce(ours, RootWhy::Answer { era }, effects);
                    if !self.ready && anew {
                        // Ours may have come when nobody was there yet: then it is owed an answer for ever.
                        self.announce(ours, RootWhy::Opening { era: self.era }, effects);
                    }
                }
                self.ready |= why == RootWhy::Answer { era: self.era };
                self.their_root = Some(root);
                self.fresh = true;
                self.answer_due = !self.initiator;
                if why == RootWhy::Rejudged {
                    self.walked = None;
                }
            }
            // Meant for the session before this one.
            _ if !self.ready => {}
            SessionFrame::Leaves(page) => self.asked(page)?,
            SessionFrame::Vectors { documents: theirs, through } => {
                self.answered(theirs, through, documents, effects)?;
            }
            SessionFrame::Request { documents: theirs } => {
                for (document, have) in theirs {
                    let mine = documents.marks(document).map_err(StepError::Local)?;
                    self.want(document, have, &mine);
                }
            }
            SessionFrame::Units(units) => self.came(now, units, effects)?,
            SessionFrame::Ack { number, refused } => self.acknowledged(now, number, refused, effects)?,
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let is_owed = self.walk.is_some() || !self.in_flight.is_empty();
        let owes = self.question.is_some() || !self.applying.is_empty();
        self.ready && !is_owed && !owes && self.outbox.is_empty()
    }
}
