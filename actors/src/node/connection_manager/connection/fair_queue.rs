//! The fair queue of outbound frames of one link (pure).
//!
//! The link's control frames come first. While others wait, heartbeats take at most half of the bytes
//! written; a Hello is exempt, since no frame may overtake a Hello that was queued before it. Presents and
//! each group have a lane of their own, and lanes share the link by bytes: deficit round robin (Shreedhar and
//! Varghese, 1995). Each lane keeps its order.

use std::collections::{BTreeMap, VecDeque};

use schema::limits::{OUTBOUND_BYTES_MAX, OUTBOUND_FRAMES_MAX};
use schema::wire::link::LinkFrame;

/// Bytes that a lane may write in its turn: one record, so that a small frame waits little for each other
/// lane. The part of it that is too short for the lane's next frame is added to its next turn.
const QUANTUM_BYTES: usize = 64 << 10;

/// Returns true if the frame may still be written; called at its turn.
pub(super) type Condition = Box<dyn Fn() -> bool + Send + Sync>;

/// An encoded frame in the queue.
pub(super) struct QueuedFrame {
    pub(super) bytes: Vec<u8>,
    /// Without a condition the frame is always written.
    pub(super) condition: Option<Condition>,
}

/// A sequence of frames that keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Control frames: Hello, and Join and Declined, which may not overtake it.
    Hello,
    /// Control frames: Ping, Pong.
    Heartbeat,
    /// Present frames: they belong to groups without a channel yet and are as long as group frames.
    Present,
    /// Frames of the group with this channel.
    Group(u32),
}

/// The next bytes to write.
pub(super) enum Next {
    Frame(QueuedFrame),
    /// The last frame of the link.
    Bye(Vec<u8>),
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow {
    /// Bytes in the queue.
    pub(super) queued: usize,
}

/// The queued frames of one link.
#[derive(Default)]
pub(super) struct FairQueue {
    control: VecDeque<ControlFrame>,
    /// Frames of [`Lane::Hello`] in `control`.
    hellos: usize,
    /// Bytes that control frames wrote beyond the lanes that waited meanwhile.
    ahead_bytes: usize,
    /// Lanes with frames.
    lanes: BTreeMap<Lane, LaneQueue>,
    /// The same lanes in the order of their turns; it is the turn of the first.
    turns: VecDeque<Lane>,
    bye: Option<Vec<u8>>,
    frames: usize,
    /// Bytes of frames that are queued or being written.
    bytes: usize,
    /// Bytes of the frame that is being written.
    writing_bytes: usize,
}

struct ControlFrame {
    is_hello: bool,
    frame: QueuedFrame,
}

#[derive(Default)]
struct LaneQueue {
    frames: VecDeque<QueuedFrame>,
    /// Bytes that the lane may still write in this turn.
    deficit: usize,
}

impl Lane {
    /// The lane of a frame.
    pub(super) fn of(frame: &LinkFrame) -> Self {
        match frame {
            LinkFrame::Group { channel, .. } => Self::Group(*channel),
            LinkFrame::Present { .. } => Self::Present,
            LinkFrame::Ping { .. } | LinkFrame::Pong { .. } => Self::Heartbeat,
            LinkFrame::Hello(_)
            | LinkFrame::Join(_)
            | LinkFrame::Declined { .. }
            | LinkFrame::Auth(_)
            | LinkFrame::Bye { .. } => Self::Hello,
        }
    }
}

impl FairQueue {
    /// Queues a frame.
    pub(super) fn push(&mut self, lane: Lane, frame: QueuedFrame) -> Result<(), Overflow> {
        let more = frame.bytes.len();
        if self.frames == OUTBOUND_FRAMES_MAX || self.bytes + more > OUTBOUND_BYTES_MAX {
            return Err(Overflow { queued: self.bytes });
        }
        self.frames += 1;
        self.bytes += more;
        match lane {
            Lane::Hello => {
                self.hellos += 1;
                self.control.push_back(ControlFrame { is_hello: true, frame });
            }
            Lane::Heartbeat => self.control.push_back(ControlFrame { is_hello: false, frame }),
            Lane::Present | Lane::Group(_) => {
                self.lanes.entry(lane).or_default().frames.push_back(frame);
                if self.lanes.len() > self.turns.len() {
                    self.turns.push_back(lane);
                    if self.turns.len() == 1 {
                        self.begin_turn();
                    }
                }
            }
        }
        Ok(())
    }

    /// Queues the last frame of the link, also in a full queue. A second call changes nothing.
    pub(super) fn push_bye(&mut self, bye: Vec<u8>) {
        self.bye.get_or_insert(bye);
    }

    /// Takes the next frame. The caller has written the one before.
    pub(super) fn next(&mut self) -> Option<Next> {
        self.bytes -= std::mem::take(&mut self.writing_bytes);
        let Some(frame) = self.next_control().or_else(|| self.next_of_lanes()) else {
            return self.bye.take().map(Next::Bye);
        };
        self.frames -= 1;
        self.writing_bytes = frame.bytes.len();
        Some(Next::Frame(frame))
    }

    fn next_control(&mut self) -> Option<QueuedFrame> {
        let no_lane_waits = self.turns.is_empty();
        if self.hellos == 0 && self.ahead_bytes >= QUANTUM_BYTES && !no_lane_waits {
            return None;
        }
        let ControlFrame { is_hello, frame } = self.control.pop_front()?;
        self.hellos -= usize::from(is_hello);
        self.ahead_bytes = if no_lane_waits { 0 } else { self.ahead_bytes + frame.bytes.len() };
        Some(frame)
    }

    /// Bytes of frames that are queued or being written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn next_of_lanes(&mut self) -> Option<QueuedFrame> {
        loop {
            let lane = *self.turns.front()?;
            let queue = self.lanes.get_mut(&lane).expect("a lane with a turn has frames");
            let next = queue.frames.front().expect("a lane is removed with its last frame");
            if let Some(deficit) = queue.deficit.checked_sub(next.bytes.len()) {
                queue.deficit = deficit;
                let frame = queue.frames.pop_front()?;
                self.ahead_bytes = self.ahead_bytes.saturating_sub(frame.bytes.len());
                if queue.frames.is_empty() {
                    // An empty lane keeps no deficit for later.
                    self.lanes.remove(&lane);
                    self.turns.pop_front();
                    self.begin_turn();
                }
                return Some(frame);
            }
            self.turns.rotate_left(1);
            self.begin_turn();
        }
    }

    fn begin_turn(&mut self) {
        if let Some(queue) = self.turns.front().and_then(|lane| self.lanes.get_mut(lane)) {
            queue.deficit += QUANTUM_BYTES;
        }
    }
}

#[cfg(test)]
mod tests;
