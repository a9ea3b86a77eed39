//! One group over one link: which frame may follow which; what to send next.
//!
//! Both sides announce the root of their documents. Where roots differ the initiator [walks](walk): it sends its leaves
//! page by page, the responder answers with its tip vectors of what differs, and each side queues what the other lacks
//! and asks for what it lacks itself. The [queue](outbox) holds document ids, never bytes; a window bounds what is under
//! way.
//! Afterwards every change is sent as it comes. Roots are compared again whenever both sides are quiet, so that
//! whatever was lost on the way is found; a pair of roots that was walked is not walked again.

pub mod frame;
pub mod ledger;
mod outbox;
mod port;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::port::{Documents, Effect, Input, SessionFault, StepError, Supply, Wanted};

use self::frame::{FRAME_DOCUMENTS, RootWhy, SessionFrame, Unit, Units};
use self::outbox::Outbox;
use self::walk::{Walk, request};
use crate::DocumentId;
use crate::admission::Refusal;
use crate::digest::Page;
use crate::limits::{UNIT_BYTES_MAX, WINDOW_BYTES};
use crate::time::Timestamp;

/// Changes of one Units frame, bytes: small enough to be fair, large enough to be cheap.
const FRAME_UNITS_BYTES: usize = 512 << 10;
/// What one Units frame may count for: one of the largest units beside others, with its tips and heads.
const UNITS_BYTES_MAX: usize = 2 * UNIT_BYTES_MAX + (1 << 20);
/// How soon after a change the peer hears of the new root.
const ROOT_DELAY: Duration = Duration::from_millis(250);
/// How long a peer may owe an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a document is asked for again before the documents are equal.
const ASKS_MAX: u32 = 3;
/// So many documents: a peer can make up any number.
const ASKED_MAX: usize = 4_096;

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
        [answer, acknowledgement].into_iter().flatten().min().map(|since| since + ANSWER_TIMEOUT)
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
            SessionFrame::Units(units) => {
                if units.number <= self.received {
                    return Err(SessionFault::Unexpected { what: "units out of order" }.into());
                }
                self.received = units.number;
                // Who sends what there is does not look for more.
                if let Some(asked) = self.walk.as_mut().and_then(|walk| walk.asked.as_mut())
                    && !units.units.is_empty()
                {
                    *asked = now;
                }
                self.applying.insert(units.number, bytes(&units.units));
                // An honest peer has at most a window and one unit under way.
                if self.applying.values().sum::<usize>() > WINDOW_BYTES + UNITS_BYTES_MAX {
                    return Err(SessionFault::Unexpected { what: "units beyond the window" }.into());
                }
                effects.push(Effect::Apply(units));
            }
            SessionFrame::Ack { number, refused } => {
                if number > self.number {
                    return Err(SessionFault::Unexpected { what: "acknowledgement of nothing" }.into());
                }
                while self.in_flight.front().is_some_and(|(sent, _)| *sent <= number) {
                    self.in_flight.pop_front();
                    self.unacknowledged = now;
                }
                if !refused.is_empty() {
                    let short = |(document, refusal): (_, Refusal)| (document, refusal.shortened());
                    effects.push(Effect::Refused(refused.into_iter().map(short).collect()));
                }
            }
        }
        Ok(())
    }

    fn applied<D: Documents>(
        &mut self,
        number: u64,
        refused: Vec<(DocumentId, Refusal)>,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        if self.applying.remove(&number).is_none() {
            return Ok(());
        }
        let mut lacking = Vec::new();
        for (document, refusal) in &refused {
            let is_new = !self.asked.contains_key(document);
            if !refusal.is_pending() || (is_new && self.asked.len() == ASKED_MAX) {
                continue;
            }
            let asked = self.asked.entry(*document).or_default();
            if *asked < ASKS_MAX {
                *asked += 1;
                lacking.push((*document, documents.asks(*document).map_err(StepError::Local)?));
            }
        }
        effects.push(Effect::Send(SessionFrame::Ack { number, refused }));
        request(lacking, effects);
        Ok(())
    }

    /// Fills the window from the outbox.
    fn pump<D: Documents>(
        &mut self,
        now: Timestamp,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        while self.ready && !self.outbox.is_empty() {
            let room = WINDOW_BYTES.saturating_sub(self.in_flight.iter().map(|(_, bytes)| bytes).sum());
            if room == 0 {
                break;
            }
            let wanted = self.outbox.take(FRAME_DOCUMENTS);
            let supply = documents.supply(wanted, room.min(FRAME_UNITS_BYTES))?;
            let is_held_up = !supply.later.is_empty();
            self.outbox.put_back(supply.later);
            if supply.units.is_empty() {
                // Nothing more can be sent before something is stored.
                if is_held_up {
                    break;
                }
                continue;
            }
            if self.in_flight.is_empty() {
                self.unacknowledged = now;
            }
            self.number += 1;
            self.in_flight.push_back((self.number, bytes(&supply.units)));
            let (number, state) = (self.number, documents.state());
            let units = Units { number, state, authors: supply.authors, units: supply.units };
            effects.push(Effect::Send(SessionFrame::Units(units)));
        }
        Ok(())
    }

    /// Compares roots once everything under way has arrived.
    fn compare<D: Documents>(
        &mut self,
        now: Timestamp,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        if !self.is_quiet() {
            self.synced = false;
            self.root_due = None;
            return Ok(());
        }
        let root = documents.root()?;
        if self.their_root == Some(root) {
            self.root_due = None;
            self.answer_due = false;
            if self.sent_root != Some(root) {
                let why = self.why();
                self.announce(root, why, effects);
            }
            self.asked.clear();
            if !std::mem::replace(&mut self.synced, true) {
                effects.push(Effect::Synced);
            }
            return Ok(());
        }
        self.synced = false;
        if self.sent_root != Some(root) {
            let due = *self.root_due.get_or_insert(now + ROOT_DELAY);
            if now >= due {
                let why = self.why();
                self.announce(root, why, effects);
            }
        } else if self.answer_due {
            let why = self.why();
            self.announce(root, why, effects);
        }
        if let (true, true, Some(theirs)) = (self.initiator, self.fresh, self.their_root) {
            self.fresh = false;
            if self.walked != Some((root, theirs)) {
                self.walk = Some(Walk::new((root, theirs)));
                self.walk_on(now, documents, effects)?;
            }
        }
        Ok(())
    }

    fn announce(&mut self, root: [u8; 32], why: RootWhy, effects: &mut Vec<Effect>) {
        self.sent_root = Some(root);
        self.root_due = None;
        self.answer_due = false;
        effects.push(Effect::Send(SessionFrame::Root { root, why }));
    }

    /// Why a root is said in the course of a session.
    fn why(&mut self) -> RootWhy {
        if std::mem::take(&mut self.rejudged) { RootWhy::Rejudged } else { RootWhy::Compare }
    }

    fn is_quiet(&self) -> bool {
        let is_owed = self.walk.is_some() || !self.in_flight.is_empty();
        let owes = self.question.is_some() || !self.applying.is_empty();
        self.ready && !is_owed && !owes && self.outbox.is_empty()
    }
}

/// What units count for in a window.
fn bytes(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.message.len() + 100 * unit.tips.len()).sum()
}
