//! Frames of units on their way to the documents: read by workers, judged in the order of their numbers.

use ractor::{ActorProcessingErr, ActorRef};
use schema::session::Documents as _;
use schema::wire::session::Units;

use super::batches::Source;
use super::documents::{ReadUnit, UnitReader};
use super::{Message, State};
use crate::clock::Clock;
use crate::node::connection_manager::LinkId;

/// Units that a worker reads in one slice.
const SLICE_UNITS: usize = 32;

/// A frame whose units were read.
pub(super) struct ReadFrame {
    link: LinkId,
    /// The session that the frame came in, of those that were open on the link.
    session: u64,
    number: u64,
    /// The membership states of the sender, and of this device when the units were read.
    states: [[u8; 32]; 2],
    units: Vec<ReadUnit>,
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

    fn read_next(&mut self, myself: &ActorRef<Message>, link: LinkId) {
        let Some(peer) = self.sessions.get_mut(&link) else { return };
        let next = peer.unread.pop_front();
        peer.is_reading = next.is_some();
        let Some(units) = next else { return };
        let (session, reader) = (peer.number, self.documents.unit_reader());
        let here = self.documents.state();
        let (clock, myself) = (self.arguments.clock.clone(), myself.clone());
        self.arguments.clock.spawn_in(&mut self.tasks, async move {
            let Units { number, state, authors, units } = units;
            let units = read(&clock, reader, authors, units).await;
            let _ = myself.cast(Message::Read(Box::new(ReadFrame {
                link,
                session,
                number,
                states: [state, here],
                units,
            })));
        });
    }

    /// Judges the units of a frame.
    pub(super) fn on_read(
        &mut self,
        myself: &ActorRef<Message>,
        ReadFrame { link, session, number, states, units }: ReadFrame,
    ) -> Result<(), ActorProcessingErr> {
        if self.sessions.get(&link).is_none_or(|peer| peer.number != session) {
            return Ok(());
        }
        self.read_next(myself, link);
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

async fn read(
    clock: &Clock,
    reader: UnitReader,
    authors: Vec<(schema::DeviceId, schema::OpId)>,
    units: Vec<schema::wire::session::Unit>,
) -> Vec<ReadUnit> {
    let authors = std::sync::Arc::new(authors);
    let mut done = Vec::with_capacity(units.len());
    let mut units = units.into_iter();
    loop {
        let slice: Vec<_> = units.by_ref().take(SLICE_UNITS).collect();
        if slice.is_empty() {
            return done;
        }
        let (reader, authors) = (reader.clone(), authors.clone());
        let read = move || slice.into_iter().map(|unit| reader.read(unit, &authors)).collect::<Vec<_>>();
        done.extend(clock.work(read).await);
    }
}
