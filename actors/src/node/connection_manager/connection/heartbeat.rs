//! Detects a silent peer and measures the round trip (pure).

use schema::limits::MISSED_PINGS_MAX;
use std::collections::VecDeque;
use std::time::Duration;

/// Round trips that are remembered.
const SAMPLES_MAX: usize = 10;

/// The outcome of a tick.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// Send a Ping with this nonce.
    Ping(u64),
    /// The peer has missed three pings.
    Silent,
}

/// Counts pings and the frames received since.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    nonce: u64,
    sent: Option<Duration>,
    missed: u32,
    received: u64,
    samples: VecDeque<Duration>,
}

impl Heartbeat {
    /// Called every `PING_EVERY`. `received` grows with everything that arrives: any of it shows that the
    /// peer lives, since a Pong may queue behind much data. While our own reader is `blocked`, silence is not
    /// the peer's fault.
    pub(super) fn tick(&mut self, now: Duration, received: u64, blocked: bool) -> Tick {
        let silent = self.sent.is_some() && received == self.received && !blocked;
        self.missed = if silent { self.missed + 1 } else { 0 };
        self.received = received;
        if self.missed >= MISSED_PINGS_MAX {
            return Tick::Silent;
        }
        self.nonce += 1;
        self.sent = Some(now);
        Tick::Ping(self.nonce)
    }

    /// Measures the round trip of the newest ping; a Pong for an earlier one measures nothing.
    pub(super) fn on_pong(&mut self, now: Duration, nonce: u64) {
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
        let mut heartbeat = Heartbeat::default();
        let ticks = [15, 30, 45, 60].map(|second| heartbeat.tick(at(second), 0, false));
        assert_eq!(ticks, [Tick::Ping(1), Tick::Ping(2), Tick::Ping(3), Tick::Silent]);
    }

    #[test]
    fn any_received_bytes_show_that_the_peer_lives() {
        let mut heartbeat = Heartbeat::default();
        for (second, received) in [(15, 0), (30, 0), (45, 0), (60, 1), (75, 1), (90, 1)] {
            assert!(matches!(heartbeat.tick(at(second), received, false), Tick::Ping(_)), "at {second}");
        }
        assert_eq!(heartbeat.tick(at(105), 1, false), Tick::Silent);
    }

    #[test]
    fn silence_while_our_reader_is_blocked_does_not_count() {
        let mut heartbeat = Heartbeat::default();
        for second in 0..100 {
            assert!(matches!(heartbeat.tick(at(second), 0, true), Tick::Ping(_)));
        }
    }

    #[test]
    fn latency_is_the_median_of_the_last_ten_round_trips() {
        let mut heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.latency(), None);
        for (nonce, millis) in [900, 900, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].into_iter().enumerate() {
            heartbeat.tick(at(0), 0, false);
            heartbeat.on_pong(Duration::from_millis(millis), u64::try_from(nonce).unwrap() + 1);
        }
        assert_eq!(heartbeat.latency(), Some(Duration::from_millis(6)));
    }

    #[test]
    fn a_late_or_invented_pong_measures_nothing() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.tick(at(15), 0, false);
        heartbeat.tick(at(30), 0, false);
        heartbeat.on_pong(at(31), 1);
        heartbeat.on_pong(at(31), 77);
        assert_eq!(heartbeat.latency(), None);
    }
}
