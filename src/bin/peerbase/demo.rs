//! Three devices of a garden club, cut apart and merged before your eyes.

mod acts;
mod lists;
mod promises;
mod screen;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use actors::clock::Clock;

use self::acts::{ACTS, Act};
use self::promises::{Promises, chain};
use self::screen::Screen;
use self::world::{LATENCY_MS, Trouble, World};

/// How long the whole story may take: it takes a few seconds, and a viewer is not kept waiting for a broken one.
const STORY_MAX: Duration = Duration::from_secs(25);
/// How long nodes may take to close, and tasks that are left to end.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// How the demo is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Draws the network's latencies
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
}

/// The story as it is told.
struct Story {
    world: World,
    screen: Screen,
    promises: Promises,
    act: Begun,
}

/// Which act is on, when it began, and after how many bytes.
#[derive(Default)]
struct Begun {
    promises: &'static [&'static str],
    at: Duration,
    bytes: u64,
}

/// Runs the demo; fails when a promise was not held.
pub(crate) fn main(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let promises = runtime.block_on(Box::pin(run(options.seed)));
    // Nobody waits for a thread that hangs.
    runtime.shutdown_timeout(CLOSE_MAX);
    ExitCode::from(u8::from(!promises.broken().is_empty()))
}

async fn run(seed: u64) -> Promises {
    let clock = Clock::real();
    let mut promises = Promises::default();
    for act in ACTS {
        promises.make(act.promises);
    }
    let all: Vec<&str> = ACTS.iter().flat_map(|act| act.promises).copied().collect();
    let mut screen = Screen::stdout();
    screen.title(
        "Peerbase · a garden club on three devices",
        &[
            &format!(
                "ada, ben and cid each keep the whole club in a folder of their own (sled). There is no server. The \
                 network is this process's memory: {} to {} ms one way, seed {seed}.",
                LATENCY_MS.start,
                LATENCY_MS.end - 1,
            ),
            "In the columns ≠ marks a row that differs, = one that has changed and is the same on all three; – is no \
             row.",
        ],
    );
    let opened = clock.timeout(STORY_MAX, World::open(clock.clone(), seed)).await;
    let world = match opened.unwrap_or_else(|late| Err(late.into())) {
        Ok(world) => world,
        Err(error) => {
            promises.break_unchecked(&all, &format!("the nodes did not open: {}", chain(&*error)));
            screen.verdict(&promises, clock.instant());
            return promises;
        }
    };
    let mut story = Story { world, screen, promises, act: Begun::default() };
    if clock.timeout(STORY_MAX, story.tell()).await.is_err() {
        story.promises.break_unchecked(&all, &format!("the story did not end within {STORY_MAX:?}"));
    }
    let Story { mut world, mut screen, promises, .. } = story;
    let told = clock.instant();
    // What does not close in time is named by nobody: every promise has been judged.
    let _ = clock.timeout(CLOSE_MAX, world.close_all()).await;
    screen.verdict(&promises, told);
    promises
}

impl Story {
    async fn tell(&mut self) {
        let end = self.founding().await;
        self.end(end);
        let end = self.travelling().await;
        self.end(end);
        let end = self.parting().await;
        self.end(end);
        let end = self.healing().await;
        self.end(end);
        let end = self.passing_on().await;
        self.end(end);
        let end = self.sleeping().await;
        self.end(end);
        let end = self.exporting().await;
        self.end(end);
    }

    fn begin(&mut self, act: &Act) {
        let (at, bytes) = (self.world.clock().instant(), self.world.bytes());
        self.act = Begun { promises: act.promises, at, bytes };
        self.screen.act(act.title, act.says);
    }

    /// Shows who reaches whom and what everybody has.
    fn show(&mut self) -> Result<(), Trouble> {
        self.screen.links(&self.world.links());
        self.screen.grid(self.world.grid()?);
        Ok(())
    }

    fn check(&mut self, promise: &'static str, held: bool, detail: impl Into<String>) {
        let promise = self.promises.check(promise, held, detail.into());
        self.screen.promise(promise);
    }

    /// Ends an act: what it promised and did not get to is broken.
    fn end(&mut self, end: Result<(), Trouble>) {
        if let Err(error) = end {
            for promise in self.promises.break_unchecked(self.act.promises, &chain(&*error)) {
                self.screen.promise(&promise);
            }
        }
        let time = self.world.clock().instant() - self.act.at;
        self.screen.measure(&self.world.rows(), self.world.bytes() - self.act.bytes, time);
    }
}
