//! One group over one link: which frame may follow which; what to send next.
//!
//! Both sides announce the root of their documents. Where roots differ the initiator walks: it sends its leaves page
//! by page, the responder answers with its tip vectors of what differs, and each side queues what the other lacks
//! and asks for what it lacks itself. The queue holds document ids, never bytes; a window bounds what is under way.
//! Afterwards every change is sent as it comes. Roots are compared again whenever both sides are quiet, so that
//! whatever was lost on the way is found; a pair of roots that was walked is not walked again.

pub mod frame;
pub mod ledger;
mod port;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::port::{Documents, Effect, Input, SessionFault, StepError, Supply, Wanted};

use self::frame::{RootWhy, SessionFrame, Unit, Units};
use crate::DocumentId;
use crate::admission::Refusal;
use crate::digest::Mark;
use crate::limits::{SYNC_MESSAGE_BYTES_MAX, WINDOW_BYTES};
use crate::time::Timestamp;

/// Leaves of one page: 64 bytes each, half a frame.
const PAGE_LEAVES: usize = 8_192;
/// Marks of one Vectors or Request frame: 72 bytes each, half a frame.
const FRAME_MARKS: usize = 6_000;
/// Documents that are looked up for one Units frame.
const FRAME_DOCUMENTS: usize = 2_048;
/// Changes of one Units frame, bytes: small enough to be fair, large enough to be cheap.
const FRAME_UNITS_BYTES: usize = 512 << 10;
/// The largest unit with its tips, bytes.
const UNITS_BYTES_MAX: usize = SYNC_MESSAGE_BYTES_MAX + (1 << 20);
/// How soon after a change the peer hears of the new root.
const ROOT_DELAY: Duration = Duration::from_millis(250);
/// How long a peer may owe an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a document is asked for again before the next walk.
const ASKS_MAX: u32 = 3;

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
    /// The membership under which the peer judged when it last said its root.
    their_state: Option<[u8; 32]>,
    /// Their root came after the last walk began, so it is worth walking.
    fresh: bool,
    /// Responder: an unequal root waits for ours.
    answer_due: bool,
    /// Our membership changed since we last said our root.
    rejudged: bool,
    sent_root: Option<[u8; 32]>,
    root_due: Option<Timestamp>,
    /// Initiator: the pair of roots under walk. A page is always under way.
    walk: Option<([u8; 32], [u8; 32])>,
    walk_through: Option<DocumentId>,
    walked: Option<([u8; 32], [u8; 32])>,
    outbox: VecDeque<DocumentId>,
    have: BTreeMap<DocumentId, Vec<Mark>>,
    number: u64,
    in_flight: VecDeque<(u64, usize)>,
    /// What the peer has sent and we have not acknowledged, bytes by number.
    applying: BTreeMap<u64, usize>,
    received: u64,
    asked: BTreeMap<DocumentId, u32>,
    synced: bool,
    progress: Timestamp,
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
        session.their_state = in_sync.then(|| documents.state());
        session.synced = in_sync;
        let effects = if in_sync {
            vec![Effect::Synced]
        } else {
            let why = RootWhy::Opening { era };
            vec![Effect::Send(SessionFrame::Root { root, state: documents.state(), why })]
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
            their_state: None,
            fresh: false,
            answer_due: false,
            rejudged: false,
            sent_root: Some(root),
            root_due: None,
            walk: None,
            walk_through: None,
            walked: None,
            outbox: VecDeque::new(),
            have: BTreeMap::new(),
            number: 0,
            in_flight: VecDeque::new(),
            applying: BTreeMap::new(),
            received: 0,
            asked: BTreeMap::new(),
            synced: false,
            progress: now,
        }
    }

    /// Both sides had equal documents when they last compared, and nothing has moved since.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether the peer judges by this membership, as far as it said so: then it refuses what we refuse.
    pub fn judges_by(&self, state: &[u8; 32]) -> bool {
        self.their_state.as_ref() == Some(state)
    }

    /// When the session wants an [`Input::Wake`].
    pub fn wake_at(&self) -> Option<Timestamp> {
        let owed = self.is_owed().then(|| self.progress + ANSWER_TIMEOUT);
        [owed, self.root_due].into_iter().flatten().min()
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
                self.progress = now;
                self.frame(now, frame, documents, &mut effects)?;
            }
            Input::Changed(changed) => {
                if self.ready {
                    for wanted in changed {
                        // What the peer said of itself is better than what we suppose.
                        if !self.have.contains_key(&wanted.document) {
                            self.queue(wanted);
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
                if self.is_owed() && now >= self.progress + ANSWER_TIMEOUT {
                    return Err(SessionFault::Stalled.into());
                }
            }
        }
        self.pump(now, documents, &mut effects).map_err(StepError::Local)?;
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
        match frame {
            SessionFrame::Root { root, state, why } => {
                self.their_state = Some(state);
                if let RootWhy::Opening { era } = why {
                    let anew = self.their_era != Some(era);
                    if self.ready && anew {
                        // The peer begins anew, and so do we; what it owed is void.
                        *self = Self { ready: true, ..Self::new(now, self.initiator, self.era, root) };
                    }
                    self.their_era = Some(era);
                    let ours = documents.root().map_err(StepError::Local)?;
                    self.announce(ours, RootWhy::Answer { era }, documents, effects);
                    if !self.ready && anew {
                        // Ours may have come when nobody was there yet: then it is owed an answer for ever.
                        self.announce(ours, RootWhy::Opening { era: self.era }, documents, effects);
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
            SessionFrame::Leaves(page) => {
                if self.initiator {
                    return Err(SessionFault::Unexpected { what: "leaves from the responder" }.into());
                }
                let mut answer = Vec::new();
                let mut marks = 0;
                for document in documents.differing(&page).map_err(StepError::Local)? {
                    let mine = documents.asks(document).map_err(StepError::Local)?;
                    marks += mine.len() + 1;
                    answer.push((document, mine));
                    if marks >= FRAME_MARKS {
                        let documents = std::mem::take(&mut answer);
                        effects.push(Effect::Send(SessionFrame::Vectors { documents, last: false }));
                        marks = 0;
                    }
                }
                effects.push(Effect::Send(SessionFrame::Vectors { documents: answer, last: true }));
            }
            SessionFrame::Vectors { documents: theirs, last } => {
                // The answer to a question of before the peer began anew.
                let Some(pair) = self.walk else { return Ok(()) };
                let mut request = Vec::new();
                for (document, have) in theirs {
                    let mine = documents.marks(document).map_err(StepError::Local)?;
                    if lacks(&have, &mine) {
                        self.queue(Wanted { document, have: have.clone() });
                    }
                    // Of an undecided chain the peer's may be the right one, however long ours is.
                    let asks = documents.asks(document).map_err(StepError::Local)?;
                    if lacks(&asks, &have) {
                        request.push((document, asks));
                    }
                }
                if !request.is_empty() {
                    effects.push(Effect::Send(SessionFrame::Request { documents: request }));
                }
                if last {
                    match self.walk_through {
                        Some(through) => {
                            self.send_page(Some(through), documents, effects).map_err(StepError::Local)?;
                        }
                        None => {
                            self.walk = None;
                            self.walked = Some(pair);
                        }
                    }
                }
            }
            SessionFrame::Request { documents: theirs } => {
                for (document, have) in theirs {
                    let mine = documents.marks(document).map_err(StepError::Local)?;
                    if lacks(&have, &mine) {
                        self.queue(Wanted { document, have });
                    }
                }
            }
            SessionFrame::Units(units) => {
                if units.number <= self.received {
                    return Err(SessionFault::Unexpected { what: "units out of order" }.into());
                }
                self.received = units.number;
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
                }
                if !refused.is_empty() {
                    effects.push(Effect::Refused(refused));
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
        let mut request = Vec::new();
        for (document, refusal) in &refused {
            if !refusal.is_pending() {
                continue;
            }
            let asked = self.asked.entry(*document).or_default();
            if *asked < ASKS_MAX {
                *asked += 1;
                request.push((*document, documents.asks(*document).map_err(StepError::Local)?));
            }
        }
        effects.push(Effect::Send(SessionFrame::Ack { number, refused }));
        if !request.is_empty() {
            effects.push(Effect::Send(SessionFrame::Request { documents: request }));
        }
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
            let count = self.outbox.len().min(FRAME_DOCUMENTS);
            let wanted = self
                .outbox
                .drain(..count)
                .map(|document| Wanted { document, have: self.have.remove(&document).unwrap_or_default() });
            let supply = documents.supply(wanted.collect(), room.min(FRAME_UNITS_BYTES))?;
            let is_held_up = !supply.later.is_empty();
            for wanted in supply.later.into_iter().rev() {
                self.outbox.push_front(wanted.document);
                self.have.insert(wanted.document, wanted.have);
            }
            if supply.units.is_empty() {
                // Nothing more can be sent before something is stored.
                if is_held_up {
                    break;
                }
                continue;
            }
            if self.in_flight.is_empty() {
                self.progress = now;
            }
            self.number += 1;
            self.in_flight.push_back((self.number, bytes(&supply.units)));
            let units = Units { number: self.number, authors: supply.authors, units: supply.units };
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
                self.announce(root, why, documents, effects);
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
                self.announce(root, why, documents, effects);
            }
        } else if self.answer_due {
            let why = self.why();
            self.announce(root, why, documents, effects);
        }
        if let (true, true, Some(theirs)) = (self.initiator, self.fresh, self.their_root) {
            self.fresh = false;
            if self.walked != Some((root, theirs)) {
                self.walk = Some((root, theirs));
                self.progress = now;
                self.send_page(None, documents, effects)?;
            }
        }
        Ok(())
    }

    fn announce<D: Documents>(
        &mut self,
        root: [u8; 32],
        why: RootWhy,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) {
        self.sent_root = Some(root);
        self.root_due = None;
        self.answer_due = false;
        effects.push(Effect::Send(SessionFrame::Root { root, state: documents.state(), why }));
    }

    /// Why a root is said in the course of a session.
    fn why(&mut self) -> RootWhy {
        if std::mem::take(&mut self.rejudged) { RootWhy::Rejudged } else { RootWhy::Compare }
    }

    fn send_page<D: Documents>(
        &mut self,
        after: Option<DocumentId>,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        let page = documents.page(after, PAGE_LEAVES)?;
        self.walk_through = page.through;
        effects.push(Effect::Send(SessionFrame::Leaves(page)));
        Ok(())
    }

    fn queue(&mut self, wanted: Wanted) {
        if self.have.insert(wanted.document, wanted.have).is_none() {
            self.outbox.push_back(wanted.document);
        }
    }

    fn is_owed(&self) -> bool {
        self.walk.is_some() || !self.in_flight.is_empty()
    }

    fn is_quiet(&self) -> bool {
        self.ready && !self.is_owed() && self.outbox.is_empty() && self.applying.is_empty()
    }
}

/// What units count for in a window.
fn bytes(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.message.len() + 100 * unit.tips.len()).sum()
}

/// Whether `there` has a change that `here` has not.
fn lacks(here: &[Mark], there: &[Mark]) -> bool {
    there.iter().any(|mark| {
        here.binary_search_by_key(&mark.replica, |own| own.replica)
            .map_or(true, |position| here[position].is_undecided() || here[position].seq < mark.seq)
    })
}
