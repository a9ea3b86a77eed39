//! The stage on which every story of the demo is told: acts in order, promises with ✓ or ✗, a limit of time.
//!
//! A story has a cast: [`nodes::Nodes`] are three nodes in this process, with cables that can be pulled and a
//! column of rows for each node; [`device::Devices`] are three folders, whose commands are processes that can
//! be killed.

mod cable;
pub(crate) mod checks;
pub(crate) mod device;
pub(crate) mod folder;
pub(crate) mod nodes;
mod process;
pub(crate) mod promises;
mod screen;
pub(crate) mod waits;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use actors::clock::Clock;

use self::promises::{Promises, chain};
pub(crate) use self::screen::{Screen, count, millis, rate, sha256};
use super::{ActError, CLOSE_MAX, Defect};

/// The databases that a story is about: how they are opened, measured and closed.
pub(crate) trait Cast: Sized + 'static {
    /// The part of the cast that each story defines.
    type Setup;
    /// A paragraph below the title that explains the signs on the screen, if there are any.
    const LEGEND: Option<&str>;

    /// Opens the databases in a folder, with a rule broken on purpose or none.
    async fn open(
        setup: Self::Setup,
        clock: &Clock,
        folder: &Path,
        defect: Option<Defect>,
    ) -> Result<Self, ActError>;
    /// Closes the databases and ends every process.
    async fn close(&mut self);
    /// Returns the numbers shown after each act, if the cast has any.
    fn measure(&self) -> Option<Measure>;
}

/// The numbers shown after an act.
#[derive(Default)]
pub(crate) struct Measure {
    /// Rows of each open node.
    pub(crate) rows: Vec<usize>,
    /// Bytes that the cables have carried since the story began.
    pub(crate) bytes: u64,
}

/// A story: a title, a cast and acts.
pub(crate) struct Story<C: Cast> {
    title: &'static str,
    says: &'static [&'static str],
    setup: C::Setup,
    /// The longest time for all acts together.
    max: Duration,
    /// Commands for kept databases: the device's name, and the arguments.
    pub(crate) commands: [(&'static str, &'static str); 3],
    acts: Vec<Act<C>>,
}

struct Act<C: Cast> {
    title: String,
    says: &'static str,
    play: Play<C>,
}

type Play<C> = Box<dyn for<'s> FnOnce(&'s mut Stage<C>) -> Playing<'s>>;
type Playing<'s> = Pin<Box<dyn Future<Output = Result<(), ActError>> + 's>>;

impl<C: Cast> Story<C> {
    /// A story without acts, and the paragraphs below its title.
    pub(crate) fn new(
        title: &'static str,
        says: &'static [&'static str],
        setup: C::Setup,
        max: Duration,
    ) -> Self {
        Self { title, says, setup, max, commands: [("ada", ""), ("ben", ""), ("cid", "")], acts: Vec::new() }
    }

    /// Sets the commands that are shown for kept databases.
    pub(crate) fn commands(mut self, commands: [(&'static str, &'static str); 3]) -> Self {
        self.commands = commands;
        self
    }

    /// Adds an act. An act that returns an error, or is not reached, counts as a broken promise.
    pub(crate) fn act<F>(mut self, title: &str, says: &'static str, play: F) -> Self
    where
        F: AsyncFnOnce(&mut Stage<C>) -> Result<(), ActError> + 'static,
    {
        let title = format!("{}  {title}", self.acts.len() + 1);
        let play: Play<C> = Box::new(move |stage| Box::pin(async move { play(stage).await }));
        self.acts.push(Act { title, says, play });
        self
    }
}

/// The stage as an act has it.
pub(crate) struct Stage<C> {
    pub(crate) clock: Clock,
    pub(crate) screen: Screen,
    /// The databases.
    pub(crate) cast: C,
    promises: Promises,
}

impl<C: Cast> Stage<C> {
    /// Checks a promise and shows it.
    pub(crate) fn promise(&mut self, name: &str, is_kept: bool, detail: impl Into<String>) {
        let promise = self.promises.add(name, is_kept, detail.into());
        self.screen.promise(promise);
    }

    async fn play(&mut self, act: Act<C>) {
        let start = self.clock.instant();
        let before = self.cast.measure().unwrap_or_default().bytes;
        self.screen.act(&act.title, act.says);
        if let Err(error) = (act.play)(self).await {
            self.promise(&act.title, false, chain(&*error));
        }
        let time = self.clock.instant() - start;
        match self.cast.measure() {
            Some(Measure { rows, bytes }) => self.screen.measure(&rows, bytes - before, time),
            None => self.screen.time(time),
        }
    }
}

/// Tells a story in a folder. Returns true if every promise was kept.
pub(crate) async fn tell<C: Cast>(story: Story<C>, folder: &Path, defect: Option<Defect>) -> bool {
    let clock = Clock::real();
    let start = clock.instant();
    let Story { title, says, setup, max, acts, .. } = story;
    let mut screen = Screen::stdout();
    screen.title(title, says.iter().copied().chain(C::LEGEND));
    if defect == Some(Defect::Admission) {
        screen.warning("Admission is broken: every node accepts every well-formed change, from any author.");
    }
    let mut promises = Promises::default();
    let opened = within(&clock, max, Box::pin(C::open(setup, &clock, folder, defect))).await;
    let cast = match opened.unwrap_or_else(|early| Err(early.into())) {
        Ok(cast) => cast,
        Err(error) => {
            promises.add("the databases open", false, chain(&*error));
            screen.verdict(&promises, clock.instant() - start);
            return false;
        }
    };
    let mut stage = Stage { clock: clock.clone(), screen, cast, promises };
    let titles: Vec<String> = acts.iter().map(|act| act.title.clone()).collect();
    let mut played = 0;
    let acts = async {
        for act in acts {
            stage.play(act).await;
            played += 1;
        }
    };
    if let Err(early) = within(&clock, max, Box::pin(acts)).await {
        for title in &titles[played..] {
            stage.promises.add(title, false, early.to_string());
        }
    }
    let told = clock.instant() - start;
    // Every promise is checked by now: a cast that does not close in time is left to the runtime.
    let _ = clock.timeout(CLOSE_MAX, stage.cast.close()).await;
    stage.screen.verdict(&stage.promises, told);
    stage.promises.broken().is_empty()
}

/// The reason that a story ends early.
#[derive(Debug)]
enum EndedEarly {
    Late(Duration),
    Interrupted,
}

impl fmt::Display for EndedEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(max) => write!(f, "it did not end within {max:?}"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl Error for EndedEarly {}

/// Waits for `future` until `max` or a signal: the process goes on after a signal, to remove folders and end
/// children.
async fn within<F: Future>(clock: &Clock, max: Duration, future: F) -> Result<F::Output, EndedEarly> {
    tokio::select! {
        biased;
        () = interrupted() => Err(EndedEarly::Interrupted),
        ended = clock.timeout(max, future) => ended.map_err(|_| EndedEarly::Late(max)),
    }
}

/// Waits for SIGINT or SIGTERM; for ever on a system without signals.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            return;
        }
    }
    std::future::pending().await
}
