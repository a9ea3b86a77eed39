//! The event loop of the machine world: it delivers parcels, steps gates and sessions, and performs their
//! effects.

use std::collections::VecDeque;
use std::time::Duration;

use schema::gate::{self, Answer, LinkId};
use schema::id::hash;
use schema::limits::EARLY_PARTS_MAX;
use schema::session::{Effect, Input, StepError, Wanted};
use schema::time::Moment;
use schema::wire::session::Units;

use super::people::group;
use super::store::Outcome;
use super::wire::Parcel;
use super::{Peer, World};

/// Steps after which [`World::settle`] gives up.
const STEPS_MAX: u64 = 1_000_000;
/// The delay before a link that ended is dialled again.
const DIAL_AFTER: Duration = Duration::from_millis(200);

pub(super) enum Event {
    Arrive { from: usize, to: usize, cable: u64, parcel: Parcel },
    Wake { peer: usize, other: usize, epoch: u64 },
    Dial((usize, usize)),
}

impl World {
    /// Handles up to `events` events.
    pub fn run(&mut self, events: u64) {
        for _ in 0..events {
            if !self.next() {
                return;
            }
        }
    }

    /// Handles events until none is left.
    ///
    /// # Panics
    /// Panics if the world is still busy after `STEPS_MAX` steps.
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
                    let (at, ends) = (at.0.as_millis().to_be_bytes(), [number(from), number(to)]);
                    self.trace = hash("trace", &[&self.trace, &at, &ends, &parcel.bytes()]);
                    self.arrive(from, to, LinkId(cable), parcel);
                }
            }
            Event::Wake { peer, other, epoch } => {
                if self.epoch(peer, other) == Some(epoch) {
                    self.step(peer, other, Input::Wake);
                }
            }
            Event::Dial(pair) => self.dial(pair),
        }
        true
    }

    fn arrive(&mut self, from: usize, to: usize, link: LinkId, parcel: Parcel) {
        match parcel {
            Parcel::Link(frame) => {
                let input = gate::Input::of_frame(link, frame);
                let input = input.unwrap_or_else(|frame| unreachable!("a gate sends no {}", frame.kind()));
                self.step_gate(to, input);
            }
            Parcel::Ledger(number, frame) => {
                if self.peers[to].member.cells.contains(&(link, number)) {
                    self.step_gate(to, gate::Input::Ledger { link, group: group(), frame });
                }
            }
            Parcel::Frame(number, frame) => {
                if !self.peers[to].member.cells.contains(&(link, number)) {
                    return;
                }
                if self.epoch(to, from).is_some() {
                    self.step(to, from, Input::Frame(frame));
                } else {
                    let early = self.peers[to].early.entry(from).or_default();
                    if early.len() < EARLY_PARTS_MAX {
                        early.push(frame);
                    }
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

    /// Steps the gate of a peer and performs its effects. Returns the answer to a request.
    pub(super) fn step_gate(&mut self, peer: usize, input: gate::Input) -> Option<Answer> {
        let (mut answer, mut inputs) = (None, VecDeque::from([input]));
        while let Some(input) = inputs.pop_front() {
            let Peer { store, member, .. } = &mut self.peers[peer];
            let root = store.digest.root();
            for effect in member.step(self.now, root, input) {
                match effect {
                    gate::Effect::Resume { link, group } => {
                        inputs.push_back(gate::Input::Resume { link, group });
                    }
                    // Every batch is stored by now.
                    gate::Effect::Answer { answer: to_request, .. } => answer = Some(to_request),
                    effect => self.perform_gate(peer, effect),
                }
            }
        }
        answer
    }

    fn perform_gate(&mut self, peer: usize, effect: gate::Effect) {
        match effect {
            gate::Effect::Send { link, frame } => {
                if let Some(other) = self.other_end(peer, link) {
                    self.post(peer, other, Parcel::Link(frame));
                }
            }
            gate::Effect::SendLedger { channel, frame } => {
                let is_open = self.peers[peer].member.cells.contains(&(channel.link, channel.ours));
                if let Some(other) = self.other_end(peer, channel.link).filter(|_| is_open) {
                    self.post(peer, other, Parcel::Ledger(channel.theirs, frame));
                }
            }
            gate::Effect::CloseLink { link, .. } => {
                if let Some(other) = self.other_end(peer, link) {
                    let pair = (peer.min(other), peer.max(other));
                    self.hang_up(pair);
                    let at = self.now + DIAL_AFTER;
                    self.schedule(at, Event::Dial(pair));
                }
            }
            gate::Effect::OpenSession { channel, group: of, in_sync } => {
                if of == group() {
                    self.open(peer, channel, in_sync);
                }
            }
            gate::Effect::CloseSession { link, group: of } => {
                if let Some(other) = self.other_end(peer, link).filter(|_| of == group()) {
                    self.peers[peer].sessions.remove(&other);
                    self.peers[peer].early.remove(&other);
                }
            }
            gate::Effect::Publish(view) => {
                if view.info.id == group() {
                    self.roster_changed(peer, view.roster);
                }
            }
            gate::Effect::CloseCell { .. } | gate::Effect::Store { .. } | gate::Effect::OpenCell { .. } => {
                unreachable!("`Member::step` performs it");
            }
            gate::Effect::Resume { .. } | gate::Effect::Answer { .. } => {
                unreachable!("`step_gate` performs it");
            }
            // A world has one group, no application and no address book.
            gate::Effect::SetShared { .. }
            | gate::Effect::Unpublish(_)
            | gate::Effect::StartGroup(_)
            | gate::Effect::StopGroup(_)
            | gate::Effect::ListOffer(_)
            | gate::Effect::UnlistOffer(_)
            | gate::Effect::Remember { .. }
            | gate::Effect::Forget { .. }
            | gate::Effect::RedialKnown
            | gate::Effect::Notify(_)
            | gate::Effect::ArmTickets
            | gate::Effect::Warn(_) => {}
        }
    }

    /// Judges the documents of a peer by another roster and passes that to its sessions.
    fn roster_changed(&mut self, peer: usize, roster: std::sync::Arc<schema::ledger::Roster>) {
        let Peer { store, member, .. } = &mut self.peers[peer];
        if std::sync::Arc::ptr_eq(&store.roster, &roster) {
            return;
        }
        let outcome = store.set_roster(roster, member.pages.clone());
        self.moved(peer, None, &outcome.moved);
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            self.step(peer, other, Input::Rejudged);
        }
    }

    pub(super) fn step(&mut self, peer: usize, other: usize, input: Input) {
        let Peer { store, sessions, .. } = &mut self.peers[peer];
        let Some(open) = sessions.get_mut(&other) else { return };
        let epoch = open.epoch;
        let effects = match open.session.step(self.now, input, store) {
            Ok(effects) => effects,
            Err(StepError::Fault(fault)) => panic!("peer {peer} faults peer {other}: {fault}"),
        };
        if let Some(at) = open.session.wake_at() {
            self.schedule(at.max(self.now), Event::Wake { peer, other, epoch });
        }
        self.perform(peer, other, effects);
    }

    pub(super) fn perform(&mut self, peer: usize, other: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(frame) => {
                    let channel = self.peers[peer].sessions.get(&other).map(|open| open.channel);
                    let cells = &self.peers[peer].member.cells;
                    let open = channel.filter(|channel| cells.contains(&(channel.link, channel.ours)));
                    if let Some(channel) = open {
                        self.post(peer, other, Parcel::Frame(channel.theirs, frame));
                    }
                }
                Effect::Apply(units) => self.apply(peer, other, units),
                Effect::Continue => self.step(peer, other, Input::Continue),
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

    /// Passes changed documents to every session but that with their source.
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

    fn schedule(&mut self, at: Moment, event: Event) {
        let count = self.tick();
        self.events.insert((at, count), event);
    }
}
