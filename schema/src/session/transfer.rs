//! The transfer of units: a window of bytes in flight, acknowledgements, and requests that are repeated.

use super::Session;
use super::port::{Documents, Effect, SessionFault, StepError};
use super::walk::send_requests;
use crate::DocumentId;
use crate::document::Refusal;
use crate::limits::{
    FRAME_DOCUMENTS, REQUEST_RETRIES_MAX, RETRIED_DOCUMENTS_MAX, UNITS_BYTES_MAX, WINDOW_BYTES,
};
use crate::time::Moment;
use crate::wire::session::{SessionFrame, Unit, Units};

/// Changes of one Units frame, bytes: small enough to be fair to other groups, large enough to be cheap.
const FRAME_UNITS_BYTES: usize = 512 << 10;
/// The charge of a unit beside its message and tips, bytes.
const UNIT_SURROUNDINGS: usize = 256;

impl Session {
    /// The peer sends changes.
    pub(super) fn on_units(
        &mut self,
        now: Moment,
        units: Units,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionFault> {
        if units.number <= self.received {
            return Err(SessionFault::Unexpected { what: "units out of order" });
        }
        if units.units.is_empty() {
            return Err(SessionFault::Unexpected { what: "empty units frame" });
        }
        self.received = units.number;
        // A peer that sends units does not search further, so its reply to a page comes later.
        self.extend_reply_time(now);
        self.applying.insert(units.number, bytes(&units.units));
        // A correct peer has at most a window and one unit in flight.
        if self.applying.values().sum::<usize>() > WINDOW_BYTES + UNITS_BYTES_MAX {
            return Err(SessionFault::Unexpected { what: "units beyond the window" });
        }
        effects.push(Effect::Apply(units));
        Ok(())
    }

    /// The peer has judged and stored our units up to `number`.
    pub(super) fn on_ack(
        &mut self,
        now: Moment,
        number: u64,
        refused: Vec<(DocumentId, Refusal)>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionFault> {
        if number > self.number {
            return Err(SessionFault::Unexpected { what: "acknowledgement of units that were not sent" });
        }
        while self.in_flight.front().is_some_and(|(sent, _)| *sent <= number) {
            self.in_flight.pop_front();
            self.ack_owed_since = now;
            self.extend_reply_time(now);
        }
        if !refused.is_empty() {
            let shorten = |(document, refusal): (_, Refusal)| (document, refusal.shortened());
            effects.push(Effect::Refused(refused.into_iter().map(shorten).collect()));
        }
        Ok(())
    }

    /// The shell has judged and stored the peer's units of this number.
    pub(super) fn on_applied<D: Documents>(
        &mut self,
        number: u64,
        refused: Vec<(DocumentId, Refusal)>,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StepError<D::Error>> {
        if self.applying.remove(&number).is_none() {
            return Ok(());
        }
        let mut requests = Vec::new();
        for (document, refusal) in &refused {
            let is_new = !self.retries.contains_key(document);
            if !refusal.is_pending() || (is_new && self.retries.len() == RETRIED_DOCUMENTS_MAX) {
                continue;
            }
            let retries = self.retries.entry(*document).or_default();
            if *retries < REQUEST_RETRIES_MAX {
                *retries += 1;
                let marks = documents.marks_for_peer(*document).map_err(StepError::Local)?;
                requests.push((*document, marks));
            }
        }
        effects.push(Effect::Send(SessionFrame::Ack { number, refused }));
        send_requests(requests, effects);
        Ok(())
    }

    /// Sends units from the outbox until the window is full.
    pub(super) fn fill_window<D: Documents>(
        &mut self,
        now: Moment,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        while self.ready && !self.outbox.is_empty() && !self.is_to_continue {
            let room = WINDOW_BYTES.saturating_sub(self.in_flight_bytes());
            if room == 0 {
                break;
            }
            let wanted = self.outbox.pop(FRAME_DOCUMENTS);
            let supply = documents.supply(wanted, room.min(FRAME_UNITS_BYTES))?;
            let is_blocked = !supply.later.is_empty();
            self.outbox.unpop(supply.later);
            if supply.is_partial {
                self.is_to_continue = true;
                effects.push(Effect::Continue);
            }
            if supply.units.is_empty() {
                // No more can be sent before changes become durable.
                if is_blocked {
                    break;
                }
                continue;
            }
            if self.in_flight.is_empty() {
                self.ack_owed_since = now;
            }
            self.number += 1;
            self.in_flight.push_back((self.number, bytes(&supply.units)));
            let (number, state) = (self.number, documents.state());
            let units = Units { number, state, authors: supply.authors, units: supply.units };
            effects.push(Effect::Send(SessionFrame::Units(units)));
            if self.is_to_continue {
                break;
            }
        }
        Ok(())
    }
}

/// The charge of units in a window, bytes.
fn bytes(units: &[Unit]) -> usize {
    units.iter().map(|unit| UNIT_SURROUNDINGS + unit.message.len() + 100 * unit.tips.len()).sum()
}
