//! Tells acts and keeps the account of what they promise.

use std::time::Duration;

use actors::clock::Clock;

use super::Trouble;
use super::promises::{Promises, chain};
use super::screen::Screen;

/// An act: what happens, in a sentence, and what it promises.
pub(super) struct Act {
    pub(super) title: &'static str,
    pub(super) says: &'static str,
    pub(super) promises: &'static [&'static str],
}

/// Where acts are told, one after another.
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) screen: Screen,
    promises: Promises,
    /// What the act that is on promises, and when it began.
    act: (&'static [&'static str], Duration),
}

impl Stage {
    /// Everything that the acts promise counts from now on.
    pub(super) fn new(acts: &[&Act]) -> Self {
        let mut promises = Promises::default();
        for act in acts {
            promises.make(act.promises);
        }
        Self { clock: Clock::real(), screen: Screen::stdout(), promises, act: (&[], Duration::ZERO) }
    }

    pub(super) fn begin(&mut self, act: &Act) {
        self.act = (act.promises, self.clock.instant());
        self.screen.act(act.title, act.says);
    }

    pub(super) fn check(&mut self, promise: &'static str, held: bool, detail: impl Into<String>) {
        let promise = self.promises.check(promise, held, detail.into());
        self.screen.promise(promise);
    }

    /// Ends an act: what it promised and did not get to is broken. Gives how long it took.
    pub(super) fn end(&mut self, end: Result<(), Trouble>) -> Duration {
        if let Err(error) = end {
            for promise in self.promises.break_unchecked(self.act.0, &chain(&*error)) {
                self.screen.promise(&promise);
            }
        }
        self.clock.instant() - self.act.1
    }

    /// Nothing more is told: what was not judged is broken.
    pub(super) fn stop(&mut self, why: &str) {
        self.promises.break_all_unchecked(why);
    }

    /// The last line; gives whether every promise was held.
    pub(super) fn verdict(&mut self, told: Duration) -> bool {
        self.screen.verdict(&self.promises, told);
        self.promises.broken().is_empty()
    }
}
