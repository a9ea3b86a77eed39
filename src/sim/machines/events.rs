//! The events of the machine world: parcels arrive, sessions are stepped, and their effects are performed, in
//! one order.

use std::time::Duration;

use schema::id::hash;
use schema::session::{Effect, Input, StepError, Wanted};
use schema::time::Timestamp;
use schema::wire::session::Units;

use super::store::Outcome;
use super::wire::Parcel;
use super::{Peer, World};

/// Steps after which a world that is still busy is taken for one that never ends.
const STEPS_MAX: u64 = 1_000_000;

pub(super) enum Event {
    Arrive { from: usize, to: usize, cable: u64, parcel: Parcel },
    Wake { peer: usize, other: usize, epoch: u64 },
}

impl World {
    /// Lets `events` events happen, or all that there are.
    pub fn run(&mut self, events: u64) {
        for _ in 0..events {
            if !self.next() {
                return;
            }
        }
    }

    /// Lets everything happen that will.
    ///
    /// # Panics
    /// When it never ends.
    pub fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.next() {
                return;
            }
        }
        panic!("the world is still busy after {STEPS_MAX} steps");
    }

    fn next(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else { return false };
        self.now = at;
        match event {
            Event::Arrive { from, to, cable, parcel } => {
                if self.cables.get(&(from.min(to), from.max(to))) == Some(&cable) {
                    let number = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
                    let (at, ends) = (at.as_millis().to_be_bytes(), [number(from), number(to)]);
                    self.trace = hash("trace", &[&self.trace, &at, &ends, &parcel.bytes()]);
                    self.arrive(from, to, parcel);
                }
            }
            Event::Wake { peer, other, epoch } => {
                if self.epoch(peer, other) == Some(epoch) {
                    self.step(peer, other, Input::Wake);
                }
            }
        }
        true
    }

    fn arrive(&mut self, from: usize, to: usize, parcel: Parcel) {
        match parcel {
            Parcel::Ops(ops) => {
                let member = &mut self.peers[to].member;
                let new = ops.iter().filter(|said| member.take(said)).count();
                if new > 0 {
                    self.membership_moved(to);
                }
            }
            Parcel::Frame(epoch, frame) => {
                if self.epoch(to, from) == Some(epoch) {
                    self.step(to, from, Input::Frame(frame));
                }
            }
            Parcel::Slipped(units) => {
                if self.peers[to].member.admits(self.peers[from].member.person) {
                    let outcome = self.peers[to].store.apply(units);
                    self.moved(to, None, &outcome.moved);
                }
            }
        }
    }

    /// Follows a peer's grown ledger: judges documents again, opens and closes gates, and sends the ops to
    /// every linked peer.
    pub(super) fn membership_moved(&mut self, peer: usize) {
        let Peer { store, member, .. } = &mut self.peers[peer];
        let outcome = store.set_roster(member.ledger.roster().clone(), member.pages.clone());
        for other in 0..self.peers.len() {
            if self.is_cabled(peer, other) {
                self.hand(peer, other);
                self.gate(peer, other);
            }
        }
        self.moved(peer, None, &outcome.moved);
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            self.step(peer, other, Input::Rejudged);
        }
    }

    fn step(&mut self, peer: usize, other: usize, input: Input) {
        let Peer { store, sessions, .. } = &mut self.peers[peer];
        let Some((epoch, session)) = sessions.get_mut(&other) else { return };
        let epoch = *epoch;
        let effects = match session.step(self.now, input, store) {
            Ok(effects) => effects,
            Err(StepError::Fault(fault)) => panic!("honest peers never fault: {fault}"),
        };
        if let Some(at) = session.wake_at() {
            self.schedule(at.max(self.now), Event::Wake { peer, other, epoch });
        }
        self.perform(peer, other, effects);
    }

    pub(super) fn perform(&mut self, peer: usize, other: usize, effects: Vec<Effect>) {
        let Some(epoch) = self.epoch(peer, other) else { return };
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.post(peer, other, Parcel::Frame(epoch, frame)),
                Effect::Apply(units) => self.apply(peer, other, units),
                Effect::Synced | Effect::Refused(_) => {}
            }
        }
    }

    pub(super) fn post(&mut self, from: usize, to: usize, parcel: Parcel) {
        let Some(&cable) = self.cables.get(&(from.min(to), from.max(to))) else { return };
        let latency = Duration::from_millis(self.random.within(1..=80));
        let last = self.arrivals.get(&(from, to)).copied().unwrap_or_default();
        let at = (self.now + latency).max(last);
        self.arrivals.insert((from, to), at);
        self.schedule(at, Event::Arrive { from, to, cable, parcel });
    }

    fn apply(&mut self, peer: usize, other: usize, units: Units) {
        let number = units.number;
        let Outcome { moved, refused } = self.peers[peer].store.apply(units);
        self.moved(peer, Some(other), &moved);
        self.step(peer, other, Input::Applied { number, refused });
    }

    /// Tells every session, but that of the peer which it came from.
    pub(super) fn moved(&mut self, peer: usize, source: Option<usize>, moved: &[Wanted]) {
        if moved.is_empty() {
            return;
        }
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            if Some(other) != source {
                self.step(peer, other, Input::Changed(moved.to_vec()));
            }
        }
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        let count = self.tick();
        self.events.insert((at, count), event);
    }
}
