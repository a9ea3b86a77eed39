//! Orders what waits for membership (pure): commands of this device first, then the links in fair turns.
//!
//! A peer sends frames as fast as its link carries them, and each costs signature checks and a durable write.
//! Each link has turns of a bounded cost, within which adjacent pushes of one group are joined into one step
//! with one write. A command waits for the commands before it and for one step. Frames of one link keep
//! their order.

use std::collections::{BTreeMap, VecDeque};

use crate::node::connection_manager::LinkId;

/// Cost of one turn of a link, as [`Queued::cost`] counts it: 32 small records.
const TURN_COST: usize = 64 * 1024;

/// Commands in a row, after which a link has a turn.
const COMMANDS_MAX: usize = 16;

/// The part of the queue that a message waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// An answer of the store, before everything.
    Stored,
    /// A command of this device, before all frames.
    Command,
    /// A frame of a link, or its begin or end.
    Link(LinkId),
    /// A timer of sessions, behind all frames that arrived before it: one of them may be the reply whose
    /// absence the timer would report.
    Timer,
}

/// A message that waits.
pub(super) trait Queued: Sized {
    /// The work that it causes; at most [`TURN_COST`] is done for one link before the next link has its turn.
    fn cost(&self) -> usize;

    /// Adds the next message of the same link to this one.
    ///
    /// # Errors
    /// The next message, where the two cannot be handled as one.
    fn join(&mut self, next: Self) -> Result<(), Self>;
}

/// The messages that wait, each in the order of its class.
pub(super) struct Inbox<M> {
    stored: VecDeque<M>,
    commands: VecDeque<M>,
    /// Commands that were handled since the last frame.
    commands_in_a_row: usize,
    links: BTreeMap<LinkId, Lane<M>>,
    /// The links with messages, in the order of their turns.
    turns: VecDeque<LinkId>,
    timers: VecDeque<Waiting<M>>,
    /// The number of the next frame or timer, in order of arrival.
    arrivals: u64,
}

struct Lane<M> {
    messages: VecDeque<Waiting<M>>,
    /// The cost that the link may still cause in this turn.
    credit: usize,
    /// The link goes on with the turn that it has.
    has_turn: bool,
}

struct Waiting<M> {
    arrival: u64,
    message: M,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self {
            stored: VecDeque::new(),
            commands: VecDeque::new(),
            commands_in_a_row: 0,
            links: BTreeMap::new(),
            turns: VecDeque::new(),
            timers: VecDeque::new(),
            arrivals: 0,
        }
    }
}

impl<M: Queued> Inbox<M> {
    /// Adds a message behind all of its class.
    pub(super) fn push(&mut self, class: Class, message: M) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        match class {
            Class::Stored => self.stored.push_back(message),
            Class::Command => self.commands.push_back(message),
            Class::Timer => self.timers.push_back(Waiting { arrival, message }),
            Class::Link(link) => {
                let new = || Lane { messages: VecDeque::new(), credit: 0, has_turn: false };
                let lane = self.links.entry(link).or_insert_with(new);
                if lane.messages.is_empty() {
                    self.turns.push_back(link);
                }
                lane.messages.push_back(Waiting { arrival, message });
            }
        }
    }

    /// Takes the message to be handled next, without those of links and timers unless `takes_links`; `None`
    /// if none waits.
    pub(super) fn next(&mut self, takes_links: bool) -> Option<M> {
        if let Some(stored) = self.stored.pop_front() {
            return Some(stored);
        }
        if takes_links && self.is_timer_due() {
            return self.timers.pop_front().map(|timer| timer.message);
        }
        let is_first = self.commands_in_a_row < COMMANDS_MAX || self.turns.is_empty() || !takes_links;
        if let Some(command) = is_first.then(|| self.commands.pop_front()).flatten() {
            self.commands_in_a_row += 1;
            return Some(command);
        }
        if !takes_links {
            return None;
        }
        self.commands_in_a_row = 0;
        self.next_of_links()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns true if every frame that arrived before the first timer was handled.
    fn is_timer_due(&self) -> bool {
        let Some(timer) = self.timers.front() else { return false };
        let mut oldest = self.links.values().filter_map(|lane| lane.messages.front());
        oldest.all(|frame| frame.arrival > timer.arrival)
    }

    /// Deficit round robin: a link whose next message costs more than its credit keeps the credit for its
    /// next turn.
    fn next_of_links(&mut self) -> Option<M> {
        loop {
            let link = self.turns.pop_front()?;
            let lane = self.links.get_mut(&link).expect("a link with a turn has a lane");
            if !std::mem::replace(&mut lane.has_turn, true) {
                lane.credit += TURN_COST;
            }
            let taken = lane.take();
            let goes_on = lane.can_take();
            match lane.messages.is_empty() {
                true => drop(self.links.remove(&link)),
                false if goes_on => self.turns.push_front(link),
                false => {
                    lane.has_turn = false;
                    self.turns.push_back(link);
                }
            }
            if taken.is_some() {
                return taken;
            }
        }
    }
}

impl<M: Queued> Lane<M> {
    fn can_take(&self) -> bool {
        self.messages.front().is_some_and(|next| next.message.cost() <= self.credit)
    }

    /// Takes the first message, and with it those behind it that can be handled as one with it, as far as the
    /// credit goes.
    fn take(&mut self) -> Option<M> {
        let mut taken: Option<M> = None;
        while self.can_take() {
            let Waiting { arrival, message } = self.messages.pop_front()?;
            let cost = message.cost();
            match &mut taken {
                None => taken = Some(message),
                Some(first) => {
                    if let Err(message) = first.join(message) {
                        self.messages.push_front(Waiting { arrival, message });
                        break;
                    }
                }
            }
            self.credit -= cost;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::{collection, option};

    use super::*;

    /// A command, timer or frame by its number; frames of one kind can be joined.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Fake {
        numbers: Vec<usize>,
        cost: usize,
        kind: Option<u8>,
    }

    impl Queued for Fake {
        fn cost(&self) -> usize {
            self.cost
        }

        fn join(&mut self, next: Self) -> Result<(), Self> {
            if self.kind.is_none() || self.kind != next.kind {
                return Err(next);
            }
            self.numbers.extend(next.numbers);
            Ok(())
        }
    }

    const ADA: Class = Class::Link(LinkId(1));
    const BEN: Class = Class::Link(LinkId(2));

    fn fake(number: usize, cost: usize) -> Fake {
        Fake { numbers: vec![number], cost, kind: None }
    }

    fn numbers(inbox: &mut Inbox<Fake>) -> Vec<Vec<usize>> {
        std::iter::from_fn(|| inbox.next(true)).map(|next| next.numbers).collect()
    }

    #[test]
    fn a_command_overtakes_frames() {
        let mut inbox = Inbox::default();
        (0..100).for_each(|number| inbox.push(ADA, fake(number, TURN_COST)));
        assert_eq!(inbox.next(true), Some(fake(0, TURN_COST)));

        inbox.push(Class::Command, fake(1_000, 1));

        assert_eq!(inbox.next(true), Some(fake(1_000, 1)));
        assert_eq!(inbox.next(true), Some(fake(1, TURN_COST)));
    }

    #[test]
    fn while_links_pause_commands_and_the_store_go_on() {
        let mut inbox = Inbox::default();
        let classes = [ADA, Class::Timer, Class::Command, Class::Stored];
        (0..).zip(classes).for_each(|(number, class)| inbox.push(class, fake(number, 1)));

        let order: Vec<_> = std::iter::from_fn(|| inbox.next(false)).map(|next| next.numbers).collect();

        assert_eq!(order, [[3], [2]]);
        assert_eq!(numbers(&mut inbox), [[0], [1]]);
    }

    #[test]
    fn after_sixteen_commands_in_a_row_a_link_has_its_turn() {
        let mut inbox = Inbox::default();
        inbox.push(ADA, fake(1_000, 1));
        (0..20).for_each(|number| inbox.push(Class::Command, fake(number, 1)));

        let order = numbers(&mut inbox);

        assert_eq!(order[COMMANDS_MAX], [1_000]);
        assert_eq!(order.len(), 21);
    }

    #[test]
    fn two_links_share_by_cost_whatever_the_size_of_their_frames() {
        let mut inbox = Inbox::default();
        (0..4_000).for_each(|number| inbox.push(ADA, fake(number, TURN_COST / 32)));
        (0..40).for_each(|number| inbox.push(BEN, fake(number, 3 * TURN_COST)));

        let (mut of_ada, mut of_ben) = (0, 0);
        while of_ben < 30 * TURN_COST {
            let next = inbox.next(true).unwrap();
            let sum = if next.cost < TURN_COST { &mut of_ada } else { &mut of_ben };
            *sum += next.cost;
            assert!(of_ada.abs_diff(of_ben) <= 4 * TURN_COST, "{of_ada} and {of_ben}");
        }
    }

    #[test]
    fn frames_of_one_kind_are_handled_as_one_within_a_turn() {
        let mut inbox = Inbox::default();
        let push = |number, kind| Fake { kind: Some(kind), ..fake(number, TURN_COST / 4) };
        for (number, kind) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2)] {
            inbox.push(ADA, push(number, kind));
        }

        assert_eq!(numbers(&mut inbox), [vec![0, 1], vec![2, 3], vec![4, 5, 6]]);
    }

    #[test]
    fn a_timer_waits_for_the_frames_that_arrived_before_it() {
        let mut inbox = Inbox::default();
        inbox.push(ADA, fake(0, 1));
        inbox.push(BEN, fake(1, 1));
        inbox.push(Class::Timer, fake(2, 1));
        inbox.push(ADA, fake(3, 1));
        inbox.push(Class::Command, fake(4, 1));

        assert_eq!(numbers(&mut inbox), [[4], [0], [3], [1], [2]]);
    }

    proptest! {
        #[test]
        fn frames_of_one_link_keep_their_order_and_none_is_lost(
            arrivals in collection::vec((0..4_u64, 1..3 * TURN_COST, option::of(0..2_u8)), 0..200),
            takes in 0..50_usize,
        ) {
            let mut inbox = Inbox::default();
            let mut handled = Vec::new();
            for (number, (link, cost, kind)) in arrivals.iter().enumerate() {
                let message = Fake { numbers: vec![number], cost: *cost, kind: *kind };
                inbox.push(Class::Link(LinkId(*link)), message);
                if number % 50 < takes {
                    handled.extend(inbox.next(true));
                }
            }
            handled.extend(std::iter::from_fn(|| inbox.next(true)));

            for link in 0..4 {
                let of_link = |number: &usize| arrivals[*number].0 == link;
                let sent = (0..arrivals.len()).filter(of_link);
                let got = handled.iter().flat_map(|message| message.numbers.iter().copied()).filter(of_link);
                prop_assert_eq!(sent.collect::<Vec<_>>(), got.collect::<Vec<_>>());
            }
        }
    }
}
