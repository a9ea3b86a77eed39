//! What waits to be written to one link, and whose turn it is (pure).
//!
//! The link's own frames go first; while others wait they take no more than half of what is written, except for a
//! Hello, since nothing overtakes what the peer must have heard before it. Presents and each group have a lane of their
//! own, and lanes take turns by bytes: deficit round robin (Shreedhar and Varghese, 1995). Within a lane order is kept.

use std::collections::{BTreeMap, VecDeque};

use schema::limits::{OUTBOUND_BYTES_MAX, OUTBOUND_FRAMES_MAX};
use schema::wire::link::LinkFrame;

/// What a lane may write in its turn, bytes: a record. What is too little for its next frame is kept for the next turn,
/// so that a small write waits for little of each of the others, however many they are.
const QUANTUM_BYTES: usize = 64 << 10;

/// Whether a frame may still be written when its turn has come.
pub(super) type Condition = Box<dyn Fn() -> bool + Send + Sync>;

/// An encoded frame that waits.
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    /// Always, where there is none.
    pub(super) allowed: Option<Condition>,
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// The link's: Hello, and what is said of tickets behind it.
    Greeting,
    /// The link's: Ping, Pong.
    Pulse,
    /// Of groups that have no number yet, as long as group frames are: Present.
    Present,
    /// The group's that the peer knows by this number.
    Group(u32),
}

/// What is written next.
pub(super) enum Next {
    Frame(Waiting),
    /// The last frame.
    Bye(Vec<u8>),
}

/// The queue is as long as it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow {
    /// Bytes that were waiting.
    pub(super) queued: usize,
}

/// The frames of one link that wait.
#[derive(Default)]
pub(super) struct Outbound {
    /// Those of the link itself, and whether each is a Hello.
    own: VecDeque<(bool, Waiting)>,
    /// Hellos among them.
    greetings: usize,
    /// What they have written more than the lanes that waited meanwhile, bytes.
    ahead: usize,
    /// Those that have something to write.
    lanes: BTreeMap<Lane, Turns>,
    /// The same lanes; the first is having its turn.
    round: VecDeque<Lane>,
    bye: Option<Vec<u8>>,
    frames: usize,
    /// Waiting or being written.
    bytes: usize,
    /// Of the frame that is being written.
    taken: usize,
}

#[derive(Default)]
struct Turns {
    frames: VecDeque<Waiting>,
    /// What it may still write, bytes.
    deficit: usize,
}

impl Lane {
    /// Where a frame waits.
    pub(super) fn of(frame: &LinkFrame) -> Self {
        match frame {
            LinkFrame::Group { channel, .. } => Self::Group(*channel),
            LinkFrame::Present { .. } => Self::Present,
            LinkFrame::Ping { .. } | LinkFrame::Pong { .. } => Self::Pulse,
            LinkFrame::Hello(_)
            | LinkFrame::Join(_)
            | LinkFrame::Declined { .. }
            | LinkFrame::Auth(_)
            | LinkFrame::Bye { .. } => Self::Greeting,
        }
    }
}

impl Outbound {
    /// Queues a frame.
    pub(super) fn push(&mut self, lane: Lane, waiting: Waiting) -> Result<(), Overflow> {
        let more = waiting.bytes.len();
        if self.frames == OUTBOUND_FRAMES_MAX || self.bytes + more > OUTBOUND_BYTES_MAX {
            return Err(Overflow { queued: self.bytes });
        }
        self.frames += 1;
        self.bytes += more;
        match lane {
            Lane::Greeting => {
                self.greetings += 1;
                self.own.push_back((true, waiting));
            }
            Lane::Pulse => self.own.push_back((false, waiting)),
            Lane::Present | Lane::Group(_) => {
                self.lanes.entry(lane).or_default().frames.push_back(waiting);
                if self.lanes.len() > self.round.len() {
                    self.round.push_back(lane);
                    if self.round.len() == 1 {
                        self.begin_turn();
                    }
                }
            }
        }
        Ok(())
    }

    /// Queues the last frame, however much waits before it. The first one counts.
    pub(super) fn say_bye(&mut self, bye: Vec<u8>) {
        self.bye.get_or_insert(bye);
    }

    /// Takes the next frame; the one before has been written.
    pub(super) fn next(&mut self) -> Option<Next> {
        self.bytes -= std::mem::take(&mut self.taken);
        let own_first = self.greetings > 0 || self.ahead < QUANTUM_BYTES || self.round.is_empty();
        let own = if own_first { self.own.pop_front() } else { None };
        let waiting = match own {
            Some((greeting, waiting)) => {
                self.greetings -= usize::from(greeting);
                let ahead = self.ahead + waiting.bytes.len();
                self.ahead = if self.round.is_empty() { 0 } else { ahead };
                waiting
            }
            None => match self.take_turn() {
                Some(waiting) => {
                    self.ahead = self.ahead.saturating_sub(waiting.bytes.len());
                    waiting
                }
                None => return self.bye.take().map(Next::Bye),
            },
        };
        self.frames -= 1;
        self.taken = waiting.bytes.len();
        Some(Next::Frame(waiting))
    }

    /// Bytes that wait or are being written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn take_turn(&mut self) -> Option<Waiting> {
        loop {
            let lane = *self.round.front()?;
            let turns = self.lanes.get_mut(&lane).expect("a lane of the round has something to write");
            let next = turns.frames.front().expect("a lane is kept while it has something to write");
            if let Some(deficit) = turns.deficit.checked_sub(next.bytes.len()) {
                turns.deficit = deficit;
                let waiting = turns.frames.pop_front();
                if turns.frames.is_empty() {
                    // Who has nothing to write saves nothing up.
                    self.lanes.remove(&lane);
                    self.round.pop_front();
                    self.begin_turn();
                }
                return waiting;
            }
            self.round.rotate_left(1);
            self.begin_turn();
        }
    }

    fn begin_turn(&mut self) {
        if let Some(turns) = self.round.front().and_then(|lane| self.lanes.get_mut(lane)) {
            turns.deficit += QUANTUM_BYTES;
        }
    }
}

#[cfg(test)]
mod tests;
