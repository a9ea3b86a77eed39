//! The restart policy of supervisors: pauses, and the failures after which a branch is given up (pure).

use std::collections::BTreeMap;
use std::time::Duration;

use schema::Moment;

/// Failures within [`WINDOW`] at which a branch is given up.
pub const FAILURES_MAX: usize = 5;
/// The time for which a failure counts.
pub const WINDOW: Duration = Duration::from_secs(60);
/// The pause before the second restart in a window. It doubles with each further restart, so that a child
/// that fails at once does not spend its budget within microseconds.
const PAUSE: Duration = Duration::from_millis(100);

/// A supervisor's decision about a child that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after a pause.
    Restart {
        /// The pause; zero for the first failure in a window.
        after: Duration,
    },
    /// It has failed [`FAILURES_MAX`] times within [`WINDOW`].
    GiveUp,
}

/// The recent failures of one supervisor's children, by a key that is stable across restarts.
#[derive(Debug)]
pub struct Restarts<K> {
    failures: BTreeMap<K, Vec<Moment>>,
}

impl<K> Default for Restarts<K> {
    fn default() -> Self {
        Self { failures: BTreeMap::new() }
    }
}

impl<K: Ord> Restarts<K> {
    /// Counts a failure of `child`.
    pub fn record(&mut self, child: K, now: Moment) -> Verdict {
        let recent = self.failures.entry(child).or_default();
        recent.retain(|failure| now.since(*failure) < WINDOW);
        recent.push(now);
        match recent.len() {
            1 => Verdict::Restart { after: Duration::ZERO },
            FAILURES_MAX.. => Verdict::GiveUp,
            more => Verdict::Restart { after: PAUSE * (1 << (more - 2)) },
        }
    }

    /// Forgets a child that was stopped on purpose.
    pub fn forget(&mut self, child: &K) {
        self.failures.remove(child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn after(millis: u64) -> Verdict {
        Verdict::Restart { after: Duration::from_millis(millis) }
    }

    #[test]
    fn five_failures_in_a_minute_give_a_child_up() {
        let mut restarts = Restarts::default();
        let verdicts = [0, 10, 20, 30, 59].map(|second| restarts.record("listener", at(second)));
        assert_eq!(verdicts, [after(0), after(100), after(200), after(400), Verdict::GiveUp]);
    }

    #[test]
    fn a_failure_is_forgotten_after_a_minute() {
        let mut restarts = Restarts::default();
        let verdicts = [0, 10, 20, 30, 60, 200].map(|second| restarts.record("listener", at(second)));
        assert_eq!(verdicts, [after(0), after(100), after(200), after(400), after(400), after(0)]);
    }

    #[test]
    fn each_child_is_counted_by_itself() {
        let mut restarts = Restarts::default();
        for second in 0..4 {
            restarts.record("ada", at(second));
        }
        assert_eq!(restarts.record("ben", at(4)), after(0));
        restarts.forget(&"ada");
        assert_eq!(restarts.record("ada", at(4)), after(0));
    }
}
