//! Watches over the actors of a node: which of them stand still, since when, and with what in hand.
//!
//! An actor handles one message at a time, and later messages wait for it. So an actor that has had one
//! message in hand for five seconds is stuck. Each actor notes the turn of each message; a task reads these
//! notes every second and logs each stall once when it is found and once when it ends. Nobody asks an actor,
//! so actors that answer nothing are seen too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use schema::{DeviceId, GroupId, Moment};

use crate::clock::Clock;
use crate::meter::ActorMeters;

/// The duration of a turn from which on its actor is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);
/// The interval at which the notes of the actors are read.
const READ_EVERY: Duration = Duration::from_secs(1);
/// The delay of a reading from which on the runtime itself stood still.
const LATE_AFTER: Duration = Duration::from_secs(1);

/// An actor that has had one message in hand for five seconds or longer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct StuckActor {
    /// The actor: `node`, `store`, `membership`, `group`, `connection_manager` or `connection`; or `worker`,
    /// for a piece of work beside a group.
    pub actor: String,
    /// The group of a `group` or a `worker`.
    pub group: Option<GroupId>,
    /// The device at the other end of a `connection`.
    pub device: Option<DeviceId>,
    /// Its activity, in words.
    pub doing: String,
    /// The time for which it has been doing that.
    #[cfg_attr(feature = "control", serde(rename = "lasted_ms", with = "crate::json::whole_millis"))]
    pub lasted: Duration,
}

/// The name of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    actor: &'static str,
    group: Option<GroupId>,
    device: Option<DeviceId>,
}

impl Name {
    /// An actor of which a node has one.
    pub(crate) const fn of(actor: &'static str) -> Self {
        Self { actor, group: None, device: None }
    }

    pub(crate) const fn of_group(actor: &'static str, group: GroupId) -> Self {
        Self { actor, group: Some(group), device: None }
    }

    pub(crate) const fn of_device(actor: &'static str, device: DeviceId) -> Self {
        Self { actor, group: None, device: Some(device) }
    }
}

/// The notes of one actor about its turns. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Notes>);

#[derive(Debug)]
struct Notes {
    clock: Clock,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// The number of turns that have begun.
    begun: u64,
    /// The turn that lasts.
    lasting: Option<Span>,
    /// The last turn that ended and was long, until it is read.
    ended: Option<Span>,
}

/// One turn.
#[derive(Clone, Debug)]
struct Span {
    number: u64,
    doing: Cow<'static, str>,
    since: Moment,
    /// None while it lasts.
    until: Option<Moment>,
}

impl Span {
    fn lasted(&self, now: Moment) -> Duration {
        self.until.unwrap_or(now).since(self.since)
    }
}

impl Progress {
    /// Begins a turn, which lasts until it is dropped.
    pub(crate) fn turn(&self, doing: impl Into<Cow<'static, str>>) -> Turn {
        let now = self.0.clock.moment();
        let mut turns = self.0.turns();
        turns.end(now);
        turns.begin(doing.into(), now);
        Turn(self.0.clone())
    }

    /// Messages wait for something else than this actor, until its next turn.
    pub(crate) fn wait(&self, doing: &'static str) {
        let now = self.0.clock.moment();
        let mut turns = self.0.turns();
        if turns.lasting.is_none() {
            turns.begin(doing.into(), now);
        }
    }
}

impl Notes {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn begin(&mut self, doing: Cow<'static, str>, since: Moment) {
        self.begun += 1;
        self.lasting = Some(Span { number: self.begun, doing, since, until: None });
    }

    /// Reads the turn that lasts, and a long one that has ended since this was called before.
    fn take(&mut self) -> Vec<Span> {
        self.ended.take().into_iter().chain(self.lasting.clone()).collect()
    }

    fn end(&mut self, now: Moment) {
        let ended = self.lasting.take().filter(|turn| turn.lasted(now) >= STUCK_AFTER);
        if let Some(turn) = ended {
            self.ended = Some(Span { until: Some(now), ..turn });
        }
    }
}

/// The turn of one message. It ends when it is dropped, also by a panic.
pub(crate) struct Turn(Arc<Notes>);

impl Drop for Turn {
    fn drop(&mut self) {
        let now = self.0.clock.moment();
        self.0.turns().end(now);
    }
}

/// Watches over the actors of one node. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Watchdog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    actors: Mutex<Actors>,
}

#[derive(Debug, Default)]
struct Actors {
    /// The number of actors that were ever registered.
    count: u64,
    registered: BTreeMap<u64, (Name, Weak<Notes>)>,
}

impl Watchdog {
    /// A watchdog that has no actor yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, actors: Mutex::default() }))
    }

    /// Registers an actor until its notes are dropped.
    pub(crate) fn register(&self, name: Name) -> Progress {
        let notes = Arc::new(Notes { clock: self.0.clock.clone(), turns: Mutex::default() });
        let mut actors = self.actors();
        actors.count += 1;
        let number = actors.count;
        actors.registered.insert(number, (name, Arc::downgrade(&notes)));
        Progress(notes)
    }

    /// The actors that have had one message in hand for `at_least` so long, in the order of their start.
    pub fn stuck(&self, at_least: Duration) -> Vec<StuckActor> {
        let now = self.0.clock.moment();
        let lasting = self.read(|turns| turns.lasting.iter().cloned().collect());
        let stuck = lasting.into_iter().filter(|reading| reading.turn.lasted(now) >= at_least);
        stuck.map(|reading| reading.stuck(now)).collect()
    }

    /// Reads the notes every second and logs stalls, until it is aborted.
    pub(crate) async fn run(self, meters: Arc<ActorMeters>) {
        let mut watch = Watch::default();
        loop {
            let due = self.0.clock.moment() + READ_EVERY;
            self.0.clock.sleep_until(due.0).await;
            let (now, readings) = (self.0.clock.moment(), self.read(Turns::take));
            watch.step(now, due, readings).iter().for_each(Stall::log);
            meters.stuck.set(watch.stuck.len());
        }
    }

    /// Reads turns of all actors. Actors that have ended are forgotten.
    fn read(&self, read: impl Fn(&mut Turns) -> Vec<Span>) -> Vec<Reading> {
        let mut actors = self.actors();
        actors.registered.retain(|_, (_, notes)| notes.strong_count() > 0);
        let of_actor = |(&actor, (name, notes)): (&u64, &(Name, Weak<Notes>))| {
            let notes = notes.upgrade()?;
            let turns = read(&mut notes.turns());
            Some(turns.into_iter().map(|turn| Reading { actor, name: *name, turn }).collect::<Vec<_>>())
        };
        actors.registered.iter().filter_map(of_actor).flatten().collect()
    }

    fn actors(&self) -> MutexGuard<'_, Actors> {
        self.0.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn of an actor, as it was read.
#[derive(Clone, Debug)]
struct Reading {
    /// The number of the actor.
    actor: u64,
    name: Name,
    turn: Span,
}

impl Reading {
    fn stuck(&self, now: Moment) -> StuckActor {
        let Name { actor, group, device } = self.name;
        let (actor, doing) = (actor.to_owned(), self.turn.doing.clone().into_owned());
        StuckActor { actor, group, device, doing, lasted: self.turn.lasted(now) }
    }
}

/// The stalls that were found and last (pure).
#[derive(Debug, Default)]
struct Watch {
    /// By the number of the actor, and of its turn.
    stuck: BTreeMap<(u64, u64), Reading>,
}

/// An event of a stall.
#[derive(Debug, PartialEq, Eq)]
enum Stall {
    /// It was found.
    Found(StuckActor),
    /// It ended after it was found.
    Ended(StuckActor),
    /// It ended before it was found, because the watchdog stood still too.
    Missed(StuckActor),
    /// The runtime ran no task, or not this one, for so long.
    OfRuntime(Duration),
}

impl Watch {
    /// Compares a reading, which was due at `due`, with the one before.
    fn step(&mut self, now: Moment, due: Moment, readings: Vec<Reading>) -> Vec<Stall> {
        let mut before = std::mem::take(&mut self.stuck);
        let late = now.since(due);
        let mut stalls = Vec::from_iter((late > LATE_AFTER).then_some(Stall::OfRuntime(late)));
        for reading in readings.into_iter().filter(|reading| reading.turn.lasted(now) >= STUCK_AFTER) {
            let key = (reading.actor, reading.turn.number);
            match (before.remove(&key).is_some(), reading.turn.until.is_some()) {
                (false, false) => stalls.push(Stall::Found(reading.stuck(now))),
                (false, true) => stalls.push(Stall::Missed(reading.stuck(now))),
                (true, true) => stalls.push(Stall::Ended(reading.stuck(now))),
                (true, false) => {}
            }
            if reading.turn.until.is_none() {
                self.stuck.insert(key, reading);
            }
        }
        // Their actors have ended too.
        stalls.extend(before.into_values().map(|reading| Stall::Ended(reading.stuck(now))));
        stalls
    }
}

impl Stall {
    fn log(&self) {
        let (Self::Found(stuck) | Self::Ended(stuck) | Self::Missed(stuck)) = self else {
            let Self::OfRuntime(lasted) = self else { return };
            tracing::warn!(?lasted, "the runtime stood still");
            return;
        };
        let StuckActor { actor, doing, lasted, .. } = stuck;
        let (group, device) = (stuck.group.map(|id| id.short()), stuck.device.map(|id| id.short()));
        match self {
            Self::Found(_) => tracing::warn!(actor, group, device, doing, ?lasted, "an actor stands still"),
            Self::Missed(_) => tracing::warn!(actor, group, device, doing, ?lasted, "an actor stood still"),
            _ => tracing::info!(actor, group, device, doing, ?lasted, "an actor goes on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId([7; 32]);

    fn at(second: u64) -> Moment {
        Moment::default() + Duration::from_secs(second)
    }

    /// A turn of the one group: its number, the second of its begin, and that of its end.
    fn turn((number, doing, since, until): (u64, &'static str, u64, Option<u64>)) -> Reading {
        let turn = Span { number, doing: doing.into(), since: at(since), until: until.map(at) };
        Reading { actor: 1, name: Name::of_group("group", GROUP), turn }
    }

    fn stuck(doing: &str, seconds: u64) -> StuckActor {
        let (actor, doing, lasted) = ("group".to_owned(), doing.to_owned(), Duration::from_secs(seconds));
        StuckActor { actor, group: Some(GROUP), device: None, doing, lasted }
    }

    #[test]
    fn an_actor_with_one_message_in_hand_for_five_seconds_is_stuck_an_idle_or_busy_one_is_not() {
        // The second, the turn that is read, and the stalls that are reported.
        let steps = [
            // It is idle.
            (100, None, vec![]),
            // It is busy: it ends turns.
            (101, Some((1, "write rows", 100, None)), vec![]),
            (104, Some((2, "write rows", 104, None)), vec![]),
            (107, Some((3, "write rows", 104, None)), vec![]),
            // It stands still.
            (108, Some((4, "write rows", 107, None)), vec![]),
            (111, Some((4, "write rows", 107, None)), vec![]),
            (112, Some((4, "write rows", 107, None)), vec![Stall::Found(stuck("write rows", 5))]),
            (113, Some((4, "write rows", 107, None)), vec![]),
            (119, Some((4, "write rows", 107, Some(118))), vec![Stall::Ended(stuck("write rows", 11))]),
            (120, None, vec![]),
            // It ends in the middle of a stall, so that nobody notes the end of its turn.
            (130, Some((5, "close a session", 121, None)), vec![Stall::Found(stuck("close a session", 9))]),
            (131, None, vec![Stall::Ended(stuck("close a session", 10))]),
        ];
        let mut watch = Watch::default();
        for (second, read, expected) in steps {
            let now = at(second);

            let stalls = watch.step(now, now, read.map(turn).into_iter().collect());

            assert_eq!(stalls, expected, "second {second}");
        }
    }

    #[test]
    fn a_reading_that_is_late_reports_the_runtime_and_the_turn_that_held_it() {
        let mut watch = Watch::default();
        assert_eq!(watch.step(at(2), at(1), vec![]), []);

        let stalls = watch.step(at(10), at(3), vec![turn((1, "write rows", 2, Some(9)))]);

        let late = Stall::OfRuntime(Duration::from_secs(7));
        assert_eq!(stalls, [late, Stall::Missed(stuck("write rows", 7))]);
        assert_eq!(watch.step(at(11), at(11), vec![]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_when_it_is_dropped_and_messages_that_wait_are_a_turn_until_the_next() {
        let clock = Clock::simulated(1);
        let watchdog = Watchdog::new(clock.clone());
        let progress = watchdog.register(Name::of_group("group", GROUP));
        let after = async |seconds| {
            clock.sleep(Duration::from_secs(seconds)).await;
            watchdog.stuck(STUCK_AFTER)
        };
        assert_eq!(after(60).await, [], "it is idle");

        let turn = progress.turn("write rows");
        assert_eq!(after(4).await, []);
        assert_eq!(after(1).await, [stuck("write rows", 5)]);
        drop(turn);
        assert_eq!(after(60).await, []);

        progress.wait("wait for the store");
        let waiting = after(3).await;
        progress.wait("wait for the store");
        assert_eq!((waiting, after(3).await), (vec![], vec![stuck("wait for the store", 6)]));
        drop(progress.turn("write rows"));
        assert_eq!(after(60).await, []);

        let _turn = progress.turn("write rows");
        drop(progress);
        assert_eq!(after(6).await.len(), 1, "the turn lasts");
        drop(_turn);
        assert_eq!(after(1).await, []);
        assert!(watchdog.actors().registered.is_empty(), "the actor has ended");
    }
}
