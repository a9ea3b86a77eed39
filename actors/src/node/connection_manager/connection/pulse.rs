//! Whether the peer of a link still lives, and how far away it is (pure).

use std::collections::VecDeque;
use std::time::Duration;

/// Missed pings that end a link.
const MISSED_MAX: u32 = 3;
/// Round trips that are remembered.
const SAMPLES_MAX: usize = 10;

/// What becomes of a link at a tick.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a Ping with this nonce.
    Ping(u64),
    /// The peer has missed three pings.
    Silent,
}

/// Counts pings and what came back.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    nonce: u64,
    sent: Option<Duration>,
    missed: u32,
    heard: u64,
    samples: VecDeque<Duration>,
}

impl Pulse {
    /// Every `PING_EVERY`. `heard` grows with whatever has come: anything shows life, since a Pong may queue
    /// behind much data. While the link is `held_up` by its own reader, silence is not the peer's.
    pub(super) fn tick(&mut self, now: Duration, heard: u64, held_up: bool) -> Beat {
        let silent = self.sent.is_some() && heard == self.heard && !held_up;
        self.missed = if silent { self.missed + 1 } else { 0 };
        self.heard = heard;
        if self.missed >= MISSED_MAX {
            return Beat::Silent;
        }
        self.nonce += 1;
        self.sent = Some(now);
        Beat::Ping(self.nonce)
    }

    /// A Pong came. One for an earlier ping says nothing about the distance.
    pub(super) fn pong(&mut self, now: Duration, nonce: u64) {
        if nonce != self.nonce {
            return;
        }
        if let Some(sent) = self.sent.take() {
            self.samples.truncate(SAMPLES_MAX - 1);
            self.samples.push_front(now.saturating_sub(sent));
        }
    }

    /// The median of the last ten round trips.
    pub(super) fn latency(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_missed_pings_are_silence() {
        let mut pulse = Pulse::default();
        let beats = [15, 30, 45, 60].map(|second| pulse.tick(at(second), 0, false));
        assert_eq!(beats, [Beat::Ping(1), Beat::Ping(2), Beat::Ping(3), Beat::Silent]);
    }

    #[test]
    fn anything_heard_shows_life() {
        let mut pulse = Pulse::default();
        for (second, heard) in [(15, 0), (30, 0), (45, 0), (60, 1), (75, 1), (90, 1)] {
            assert!(matches!(pulse.tick(at(second), heard, false), Beat::Ping(_)), "at {second}");
        }
        assert_eq!(pulse.tick(at(105), 1, false), Beat::Silent);
    }

    #[test]
    fn silence_while_nobody_reads_is_not_the_peers() {
        let mut pulse = Pulse::default();
        for second in 0..100 {
            assert!(matches!(pulse.tick(at(second), 0, true), Beat::Ping(_)));
        }
    }

    #[test]
    fn latency_is_the_median_of_the_last_ten() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.latency(), None);
        for (nonce, millis) in [900, 900, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].into_iter().enumerate() {
            pulse.tick(at(0), 0, false);
            pulse.pong(Duration::from_millis(millis), u64::try_from(nonce).unwrap() + 1);
        }
        assert_eq!(pulse.latency(), Some(Duration::from_millis(6)));
    }

    #[test]
    fn a_late_or_invented_pong_measures_nothing() {
        let mut pulse = Pulse::default();
        pulse.tick(at(15), 0, false);
        pulse.tick(at(30), 0, false);
        pulse.pong(at(31), 1);
        pulse.pong(at(31), 77);
        assert_eq!(pulse.latency(), None);
    }
}
