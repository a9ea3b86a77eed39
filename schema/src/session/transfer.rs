//! Units there and back: a window of what is under way, acknowledgements, and what is asked for again.

use super::Session;
use super::port::{Documents, Effect, SessionFault, StepError};
use super::walk::request;
use crate::DocumentId;
use crate::admission::Refusal;
use crate::limits::{UNIT_BYTES_MAX, WINDOW_BYTES};
use crate::time::Timestamp;
use crate::wire::session::{FRAME_DOCUMENTS, SessionFrame, Unit, Units};

/// Changes of one Units frame, bytes: small enough to be fair, large enough to be cheap.
const FRAME_UNITS_BYTES: usize = 512 << 10;
/// What one Units frame may count for: one of the largest units beside others, with its tips and heads.
const UNITS_BYTES_MAX: usize = 2 * UNIT_BYTES_MAX + (1 << 20);
/// What a unit counts for besides.
const UNIT_SURROUNDINGS: usize = 256;
/// How often a document is asked for again before the documents are equal.
const ASKS_MAX: u32 = 3;
/// So many documents: a peer can make up any number.
const ASKED_MAX: usize = 4_096;

impl Session {
    /// The peer sends changes.
    pub(super) fn came(
        &mut self,
        now: Timestamp,
        units: Units,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionFault> {
        if units.number <= self.received {
            return Err(SessionFault::Unexpected { what: "units out of order" });
        }
        if units.units.is_empty() {
            return Err(SessionFault::Unexpected { what: "units of nothing" });
        }
        self.received = units.number;
        // Who sends what there is does not look for more.
        self.hear_on(now);
        self.applying.insert(units.number, bytes(&units.units));
        // An honest peer has at most a window and one unit under way.
        if self.applying.values().sum::<usize>() > WINDOW_BYTES + UNITS_BYTES_MAX {
            return Err(SessionFault::Unexpected { what: "units beyond the window" });
        }
        effects.push(Effect::Apply(units));
        Ok(())
    }

    /// The peer has judged and stored what we sent.
    pub(super) fn acknowledged(
        &mut self,
        now: Timestamp,
        number: u64,
        refused: Vec<(DocumentId, Refusal)>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), SessionFault> {
        if number > self.number {
            return Err(SessionFault::Unexpected { what: "acknowledgement of nothing" });
        }
        while self.in_flight.front().is_some_and(|(sent, _)| *sent <= number) {
            self.in_flight.pop_front();
            self.unacknowledged = now;
            self.hear_on(now);
        }
        if !refused.is_empty() {
            let short = |(document, refusal): (_, Refusal)| (document, refusal.shortened());
            effects.push(Effect::Refused(refused.into_iter().map(short).collect()));
        }
        Ok(())
    }

    /// We have.
    pub(super) fn applied<D: Documents>(
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
    pub(super) fn pump<D: Documents>(
        &mut self,
        now: Timestamp,
        documents: &mut D,
        effects: &mut Vec<Effect>,
    ) -> Result<(), D::Error> {
        while self.ready && !self.outbox.is_empty() {
            let room = WINDOW_BYTES.saturating_sub(self.under_way());
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
}

/// What units count for in a window.
fn bytes(units: &[Unit]) -> usize {
    units.iter().map(|unit| UNIT_SURROUNDINGS + unit.message.len() + 100 * unit.tips.len()).sum()
}
