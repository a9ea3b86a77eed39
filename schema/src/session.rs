//! The session machine: makes the documents of one group equal on the two ends of one link.
//!
//! Each side sends the root of its documents. Where the roots differ the initiator walks: it sends its leaves
//! page by page, and the responder replies with its version vectors of the documents that differ. Each side
//! queues what the other lacks and requests what it lacks itself. The queue holds document ids and marks,
//! never bytes; a window bounds the changes under way. Afterwards each new change is sent as it comes. Roots
//! are compared again whenever both sides are quiet, so that a lost frame is repaired; a pair of roots is
//! walked at most once.

mod compare;
pub mod ledger;
mod outbox;
mod port;
mod roots;
mod transfer;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::port::{Documents, Effect, Input, SessionFault, StepError, Supply, Wanted};

use self::compare::Comparison;
use self::outbox::Outbox;
use self::walk::Walk;
use crate::DocumentId;
use crate::digest::Page;
use crate::limits::{ANSWER_TIMEOUT, WINDOW_BYTES};
use crate::time::Moment;
use crate::wire::session::{RootReason, SessionFrame};

/// The time that the slowest supported link takes for a KiB.
const SLOWEST: Duration = Duration::from_millis(32);

/// One end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSide {
    /// This side dialled the link; it alone walks.
    pub initiator: bool,
    /// A random number drawn for this session, so that a late answer to an earlier one is recognised.
    pub incarnation: u64,
}

/// The state of one group's session on one link.
#[derive(Debug)]
pub struct Session {
    side: SessionSide,
    /// The peer has answered our opening; frames that it sent before belong to an earlier session.
    ready: bool,
    /// Incarnation of the peer's last opening; a repeated opening restarts nothing.
    peer_incarnation: Option<u64>,
    peer_root: Option<[u8; 32]>,
    /// The peer's root arrived after the last walk began, so it is worth a walk.
    is_peer_root_new: bool,
    /// Responder: the peer's root differs and waits for ours.
    is_root_owed: bool,
    /// The roster changed since we last sent our root.
    is_rejudged: bool,
    sent_root: Option<[u8; 32]>,
    root_due: Option<Moment>,
    /// Initiator: the walk under way.
    walk: Option<Walk>,
    /// The roots, ours first, of the last complete walk.
    walked: Option<([u8; 32], [u8; 32])>,
    /// Responder: a page that is not answered yet.
    unanswered: Option<Page>,
    outbox: Outbox,
    /// Marks of the peer that are not compared with ours yet, by frame.
    comparisons: VecDeque<Comparison>,
    /// The shell owes an [`Input::Continue`].
    is_to_continue: bool,
    /// Number of the last Units frame that we sent.
    number: u64,
    /// Units frames that the peer has not acknowledged: number and bytes.
    in_flight: VecDeque<(u64, usize)>,
    /// Units frames of the peer that we have not acknowledged: bytes by number.
    applying: BTreeMap<u64, usize>,
    /// Number of the last Units frame of the peer.
    received: u64,
    /// Number of repeated requests of each document after a refusal that may be temporary.
    retries: BTreeMap<DocumentId, u32>,
    is_synced: bool,
    /// The time from which the peer owes the next acknowledgement, if anything is in flight.
    ack_owed_since: Moment,
}

impl Session {
    /// Opens a session. `in_sync`: both Hellos carried the same hash, so nothing needs to be compared.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open<D: Documents>(
        now: Moment,
        side: SessionSide,
        in_sync: bool,
        documents: &mut D,
    ) -> Result<(Self, Vec<Effect>), D::Error> {
        let root = documents.digest().root();
        let mut session = Self::new(now, side, root);
        session.ready = in_sync;
        session.peer_root = in_sync.then_some(root);
        session.is_synced = in_sync;
        let effects = if in_sync {
            vec![Effect::Synced]
        } else {
            let reason = RootReason::Opening { incarnation: side.incarnation };
            vec![Effect::Send(SessionFrame::Root { root, reason })]
        };
        Ok((session, effects))
    }

    fn new(now: Moment, side: SessionSide, root: [u8; 32]) -> Self {
        Self {
            side,
            ready: false,
            peer_incarnation: None,
            peer_root: None,
            is_peer_root_new: false,
            is_root_owed: false,
            is_rejudged: false,
            sent_root: Some(root),
            root_due: None,
            walk: None,
            walked: None,
            unanswered: None,
            outbox: Outbox::default(),
            comparisons: VecDeque::new(),
            is_to_continue: false,
            number: 0,
            in_flight: VecDeque::new(),
            applying: BTreeMap::new(),
            received: 0,
            retries: BTreeMap::new(),
            is_synced: false,
            ack_owed_since: now,
        }
    }

    /// Returns true if both sides had equal documents when they last compared roots, and none has changed
    /// since.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Returns true while a frame of the peer is compared, in several steps: the shell holds the next ones
    /// back.
    pub fn is_comparing(&self) -> bool {
        !self.comparisons.is_empty()
    }

    /// Returns the bytes of the peer's frames that are not judged and compared yet.
    pub fn unjudged_bytes(&self) -> usize {
        let compared = self.comparisons.iter().map(Comparison::bytes).sum::<usize>();
        compared + self.applying.values().sum::<usize>()
    }

    /// Returns the time at which the session needs an [`Input::Wake`].
    pub fn wake_at(&self) -> Option<Moment> {
        [self.stalls_at(), self.root_due].into_iter().flatten().min()
    }

    /// The time from which the peer has owed an answer or an acknowledgement for too long.
    fn stalls_at(&self) -> Option<Moment> {
        let answer = self.walk.as_ref().and_then(|walk| walk.asked);
        let acknowledgement = (!self.in_flight.is_empty()).then_some(self.ack_owed_since);
        // It waits behind our bytes in flight, and the peer's acknowledgement behind a window of theirs.
        let bytes = acknowledgement.map_or(0, |_| self.in_flight_bytes() + WINDOW_BYTES);
        let patience = ANSWER_TIMEOUT + SLOWEST * u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
        [answer, acknowledgement].into_iter().flatten().min().map(|since| since + patience)
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Advances the session by one input and returns the effects to perform, in order.
    ///
    /// # Errors
    /// [`StepError::Fault`] ends the session and the link.
    pub fn step<D: Documents>(
        &mut self,
        now: Moment,
        input: Input,
        documents: &mut D,
    ) -> Result<Vec<Effect>, StepError<D::Error>> {
        let mut effects = Vec::new();
        match input {
            Input::Frame(frame) => self.on_frame(now, frame, documents, &mut effects)?,
            Input::Changed(changed) => self.on_changed(changed),
            Input::Applied { number, refused } => {
                self.on_applied(number, refused, documents, &mut effects)?;
            }
            Input::Rejudged => self.on_rejudged(),
            Input::Continue => {
                self.is_to_continue = false;
                self.compare(documents, &mut effects).map_err(StepError::Local)?;
            }
            Input::Wake => {
                if self.stalls_at().is_some_and(|at| now >= at) {
                    return Err(SessionFault::Stalled.into());
                }
            }
        }
        self.fill_window(now, documents, &mut effects).map_err(StepError::Local)?;
        self.advance_walk(now, documents, &mut effects).map_err(StepError::Local)?;
        self.compare_roots(now, documents, &mut effects).map_err(StepError::Local)?;
        Ok(effects)
    }

    fn on_frame<D: Documents>(
        &mut self,
        now: Moment,
        frame: SessionFrame,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        if let Some(what) = frame.violation() {
            return Err(SessionFault::Unexpected { what }.into());
        }
        if !self.ready && !matches!(frame, SessionFrame::Root { .. }) {
            return Ok(()); // it belongs to the session before this one
        }
        match frame {
            SessionFrame::Root { root, reason } => {
                self.on_root(now, root, reason, documents, effects).map_err(StepError::Local)
            }
            SessionFrame::Leaves(page) => Ok(self.on_leaves(page)?),
            SessionFrame::Vectors { documents: theirs, through } => {
                self.on_vectors(theirs, through, documents, effects)
            }
            SessionFrame::Request { documents: theirs } => {
                self.begin_comparison(theirs, None, documents, effects)
            }
            SessionFrame::Units(units) => Ok(self.on_units(now, units, effects)?),
            SessionFrame::Ack { number, refused } => Ok(self.on_ack(now, number, refused, effects)?),
        }
    }

    /// Local changes, or changes from another peer.
    fn on_changed(&mut self, changed: Vec<Wanted>) {
        if self.ready {
            for wanted in changed {
                // Marks that the peer sent itself are better than our guess.
                if !self.outbox.contains(&wanted.document) {
                    self.outbox.push(wanted);
                }
            }
        }
    }

    fn on_rejudged(&mut self) {
        self.walked = None;
        self.is_peer_root_new = self.ready;
        self.is_root_owed = self.ready;
        self.is_rejudged = true;
    }

    fn is_quiet(&self) -> bool {
        let is_owed = self.walk.is_some() || !self.in_flight.is_empty();
        let owes = self.unanswered.is_some() || !self.applying.is_empty();
        self.ready && !is_owed && !owes && self.outbox.is_empty() && self.comparisons.is_empty()
    }
}
