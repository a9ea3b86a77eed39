//! Frames of units on their way to the documents: read by workers, judged in the order of their numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef};
use schema::session::Documents as _;
use schema::wire::session::{Unit, Units};
use schema::{DeviceId, OpId};

use super::batches::Source;
use super::documents::{ReadUnit, UnitReader};
use super::{Message, State};
use crate::clock::{Clock, WorkQueue};
use crate::node::connection_manager::LinkId;

/// Units that are read in one slice: each has a signature at least.
const SLICE_UNITS: usize = 256;
/// Bytes of units after which a slice ends, each tip counted as 100: 70 ms of signatures, unless one unit
/// alone takes more.
const SLICE_BYTES: usize = 64 << 10;

/// A frame whose units were read.
pub(super) struct ReadFrame {
    link: LinkId,
    /// The session that the frame came in, of those that were open on the link.
    session: u64,
    number: u64,
    /// The membership states of the sender, and of this device when the units were read.
    states: [[u8; 32]; 2],
    units: Vec<ReadUnit>,
    /// The next frames of the session may be read.
    is_last: bool,
}

impl State {
    /// Takes a frame of units; those of one session are read one after another.
    pub(super) fn receive(&mut self, myself: &ActorRef<Message>, link: LinkId, units: Units) {
        let Some(peer) = self.sessions.get_mut(&link) else { return };
        peer.unread.push_back(units);
        if !peer.is_reading {
            self.read_next(myself, link);
        }
    }

    /// Has the next frames read.
    fn read_next(&mut self, myself: &ActorRef<Message>, link: LinkId) {
        let Some(peer) = self.sessions.get_mut(&link) else { return };
        let frames = next_frames(&mut peer.unread);
        peer.is_reading = !frames.is_empty();
        if frames.is_empty() {
            return;
        }
        let (session, queue, reader) = (peer.number, peer.queue, self.documents.unit_reader());
        let here = self.documents.state();
        let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
        self.arguments.clock.spawn_in(&mut self.tasks, async move {
            let heads: Vec<_> =
                frames.iter().map(|frame| (frame.number, frame.state, frame.units.len())).collect();
            let mut read = read(&clock, queue, reader, frames).await.into_iter();
            for (place, (number, state, count)) in heads.iter().enumerate() {
                let _ = myself.cast(Message::Read(Box::new(ReadFrame {
                    link,
                    session,
                    number: *number,
                    states: [*state, here],
                    units: read.by_ref().take(*count).collect(),
                    is_last: place + 1 == heads.len(),
                })));
            }
        });
    }

    /// Judges the units of a frame.
    pub(super) fn on_read(
        &mut self,
        myself: &ActorRef<Message>,
        ReadFrame { link, session, number, states, units, is_last }: ReadFrame,
    ) -> Result<(), ActorProcessingErr> {
        if self.sessions.get(&link).is_none_or(|peer| peer.number != session) {
            return Ok(());
        }
        if is_last {
            self.read_next(myself, link);
        }
        let received = units.len();
        // An honest peer with the same roster would have refused these changes too.
        let same = states == [self.documents.state(); 2] && !self.documents.is_rejudging();
        let mut outcome = self.documents.apply(units)?;
        let refused = std::mem::take(&mut outcome.refused);
        let meters = &self.arguments.meters;
        meters.sessions.received_units.add(received);
        meters.documents.accepted_units.add(received.saturating_sub(refused.len()));
        meters.documents.refused_units.add(refused.len());
        self.remember(&refused);
        let is_at_fault = refused.iter().any(|(_, refusal)| refusal.is_fault(same));
        self.submit(myself, outcome, Some(Source { link, number, refused }), |_| ());
        if is_at_fault {
            self.fault(link);
        }
        Ok(())
    }
}

/// The room that is left in a slice.
struct Room {
    units: usize,
    bytes: usize,
}

impl Room {
    fn of_a_slice() -> Self {
        Self { units: SLICE_UNITS, bytes: SLICE_BYTES }
    }

    fn is_left(&self) -> bool {
        self.units > 0 && self.bytes > 0
    }

    fn take(&mut self, unit: &Unit) {
        self.units = self.units.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(unit.message.len() + 100 * unit.tips.len());
    }
}

/// Takes as many frames as one slice holds, at least one: a sender of small frames waits once for a thread,
/// not once for each.
fn next_frames(unread: &mut VecDeque<Units>) -> Vec<Units> {
    let (mut frames, mut room) = (Vec::new(), Room::of_a_slice());
    while room.is_left()
        && let Some(frame) = unread.pop_front()
    {
        frame.units.iter().for_each(|unit| room.take(unit));
        frames.push(frame);
    }
    frames
}

/// A unit of a frame with the authors of the frame.
type Unread = (Arc<Vec<(DeviceId, OpId)>>, Unit);

/// Reads the units of frames, slice by slice.
async fn read(clock: &Clock, queue: WorkQueue, reader: UnitReader, frames: Vec<Units>) -> Vec<ReadUnit> {
    let of_frame = |frame: Units| {
        let authors = Arc::new(frame.authors);
        frame.units.into_iter().map(move |unit| (authors.clone(), unit))
    };
    let mut units = frames.into_iter().flat_map(of_frame);
    let mut done = Vec::new();
    loop {
        let (mut slice, mut room): (Vec<Unread>, _) = (Vec::new(), Room::of_a_slice());
        while room.is_left()
            && let Some((authors, unit)) = units.next()
        {
            room.take(&unit);
            slice.push((authors, unit));
        }
        if slice.is_empty() {
            return done;
        }
        let reader = reader.clone();
        let read = move |(authors, unit): Unread| reader.read(unit, &authors);
        done.extend(clock.work(queue, || slice.into_iter().map(read).collect::<Vec<_>>()).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, bytes: usize) -> Units {
        let document = schema::DocumentId([7; 32]);
        let (table, key, tips) = ("tasks".into(), "rope".into(), Vec::new());
        let units = vec![Unit { document, table, key, tips, message: vec![0; bytes] }];
        Units { number, state: [0; 32], authors: Vec::new(), units }
    }

    /// A member who wrote 100 rows a second was served three of them beside a flood of dear ones.
    #[test]
    fn small_frames_of_one_sender_are_read_together_and_large_ones_alone() {
        let mut unread: VecDeque<_> = (1..=300).map(|number| frame(number, 100)).collect();
        unread.push_back(frame(301, 1 << 20));
        unread.push_back(frame(302, 100));

        let slices: Vec<_> = (0..4).map(|_| next_frames(&mut unread).len()).collect();

        assert_eq!(slices, [256, 45, 1, 0]);
    }
}
