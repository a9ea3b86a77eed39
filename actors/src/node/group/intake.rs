//! Frames of units on their way to the documents: read by workers, judged in the order of their numbers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef};
use schema::document::Refusal;
use schema::session::Documents as _;
use schema::wire::session::{Unit, Units};
use schema::{DeviceId, DocumentId, OpId, UserId};
use tokio::task::AbortHandle;

use super::batches::Source;
use super::documents::{Outcome, ReadUnit, UnitReader};
use super::{Message, State};
use crate::clock::{Clock, Lane, WorkQueue};
use crate::node::connection_manager::LinkId;

/// Units that are read in one slice: each has a signature at least.
const SLICE_UNITS: usize = 256;
/// Bytes of units after which a slice ends, each tip counted as 100: 70 ms of signatures, unless one unit
/// alone takes more.
const SLICE_BYTES: usize = 64 << 10;

/// Frames of one session whose units were read.
pub(super) struct ReadFrames {
    link: LinkId,
    /// The session that the frames came in, of those that were open on the link.
    session: u64,
    frames: Vec<ReadFrame>,
}

/// A frame whose units were read.
pub(super) struct ReadFrame {
    number: u64,
    /// The membership states of the sender, and of this device when the units were read.
    states: [[u8; 32]; 2],
    /// The units that are not judged yet.
    units: VecDeque<ReadUnit>,
    refused: Vec<(DocumentId, Refusal)>,
}

impl State {
    /// Takes a frame of units; those of one session are read one after another.
    pub(super) fn receive(&mut self, myself: &ActorRef<Message>, link: LinkId, units: Units) {
        let Some(peer) = self.sessions.get_mut(&link) else { return };
        peer.unread.push_back(units);
        if peer.reading.is_none() {
            self.read_next(myself, link);
        }
    }

    /// Has the next frames read.
    fn read_next(&mut self, myself: &ActorRef<Message>, link: LinkId) {
        let Some(peer) = self.sessions.get_mut(&link) else { return };
        let frames = next_frames(&mut peer.unread);
        if frames.is_empty() {
            peer.reading = None;
            return;
        }
        let (session, queue, reader) = (peer.number, peer.queue, self.documents.unit_reader());
        let here = self.documents.state();
        let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
        let task = self.arguments.clock.spawn_in(&mut self.tasks, async move {
            let heads: Vec<_> =
                frames.iter().map(|frame| (frame.number, frame.state, frame.units.len())).collect();
            let mut read = read(&clock, queue, reader, frames).await.into_iter();
            let of_frame = |(number, state, count)| ReadFrame {
                number,
                states: [state, here],
                units: read.by_ref().take(count).collect(),
                refused: Vec::new(),
            };
            let frames = heads.into_iter().map(of_frame).collect();
            let _ = myself.cast(Message::Read(Box::new(ReadFrames { link, session, frames })));
        });
        peer.reading = Some(ReadTask(task));
    }

    /// Takes frames that were read over, and judges them.
    pub(super) fn on_read(
        &mut self,
        myself: &ActorRef<Message>,
        ReadFrames { link, session, frames }: ReadFrames,
    ) -> Result<(), ActorProcessingErr> {
        let Some(peer) = self.sessions.get_mut(&link).filter(|peer| peer.number == session) else {
            return Ok(());
        };
        peer.unjudged.extend(frames);
        self.read_next(myself, link);
        self.judge(myself, link)
    }

    /// Judges the units that were read of a link, as many as one turn has room for.
    pub(super) fn judge(
        &mut self,
        myself: &ActorRef<Message>,
        link: LinkId,
    ) -> Result<(), ActorProcessingErr> {
        let here = self.documents.state();
        let is_settled = !self.documents.is_rejudging();
        let Some(peer) = self.sessions.get_mut(&link).filter(|peer| !peer.unjudged.is_empty()) else {
            return Ok(());
        };
        let (mut outcome, mut judged, mut is_at_fault) = (Outcome::default(), Vec::new(), false);
        let (mut received, mut refused) = (0, 0);
        while let Some(frame) = peer.unjudged.front_mut() {
            let before = frame.units.len();
            self.documents.apply(&mut frame.units, &mut outcome)?;
            received += before - frame.units.len();
            refused += outcome.refused.len();
            // An honest peer with the same roster would have refused these changes too.
            let same = frame.states == [here; 2] && is_settled;
            is_at_fault |= outcome.refused.iter().any(|(_, refusal)| refusal.is_fault(same));
            frame.refused.append(&mut outcome.refused);
            if !frame.units.is_empty() {
                let _ = myself.cast(Message::Judge(link));
                break;
            }
            let ReadFrame { number, refused, .. } = peer.unjudged.pop_front().expect("it is the first");
            judged.push((number, refused));
        }
        self.documents.end_turn(&mut outcome)?;
        let meters = &self.arguments.meters;
        meters.sessions.received_units.add(received);
        meters.documents.accepted_units.add(received - refused);
        meters.documents.refused_units.add(refused);
        judged.iter().for_each(|(_, refused)| self.remember(refused));
        self.submit(myself, outcome, Some(Source { link, judged }), |_| ());
        if is_at_fault {
            self.fault(link);
        }
        Ok(())
    }
}

/// The queues in which the frames of a group are read: one for each user, so that neither more devices nor
/// another link give more turns.
#[derive(Default)]
pub(super) struct ReadQueues(BTreeMap<UserId, WorkQueue>);

impl ReadQueues {
    pub(super) fn of(&mut self, user: UserId) -> WorkQueue {
        *self.0.entry(user).or_insert_with(|| WorkQueue::new(Lane::Reading))
    }
}

/// A task that has frames of one session read; it ends with the session.
pub(super) struct ReadTask(AbortHandle);

impl Drop for ReadTask {
    fn drop(&mut self) {
        self.0.abort();
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

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_frames_read_ends_with_its_session() {
        let (clock, mut tasks) = (Clock::real(), tokio::task::JoinSet::new());
        let task = clock.spawn_in(&mut tasks, std::future::pending());

        drop(ReadTask(task));

        let ended = clock.timeout(std::time::Duration::from_secs(1), tasks.join_next()).await.unwrap();
        assert!(ended.unwrap().unwrap_err().is_cancelled());
    }

    #[test]
    fn all_sessions_of_one_user_take_turns_with_those_of_others_as_one() {
        let mut queues = ReadQueues::default();
        let [ada, ben] = [UserId([1; 32]), UserId([2; 32])];
        assert_eq!(queues.of(ada), queues.of(ada));
        assert_ne!(queues.of(ada), queues.of(ben));
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
