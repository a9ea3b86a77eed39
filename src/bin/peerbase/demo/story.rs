//! Three devices of a garden club, cut apart and merged before your eyes.

mod acts;
mod cable;
mod lists;
mod world;

use std::path::Path;
use std::time::Duration;

use self::acts::ACTS;
use self::world::World;
use super::promises::chain;
use super::stage::{Act, Stage};
use super::{Broken, CLOSE_MAX, Trouble, within};

/// How long the whole story may take: it takes a few seconds, and a viewer is not kept waiting for a broken one.
const STORY_MAX: Duration = Duration::from_secs(25);

/// What to do with the databases afterwards.
pub(super) const COMMANDS: [(&str, &str); 3] =
    [("ada", "list tasks"), ("ben", "history tasks rope"), ("cid", "serve --listen 127.0.0.1:0")];

/// The story as it is told.
struct Story {
    world: World,
    stage: Stage,
    /// What the cables had carried when the act began.
    bytes: u64,
}

/// Tells the story in a folder, on nodes of which something may be broken; says whether every promise was held.
pub(super) async fn run(folder: &Path, broken: Option<Broken>) -> (Stage, bool) {
    let mut stage = Stage::new(&ACTS);
    stage.screen.title(
        "Peerbase · a garden club on three devices",
        &[
            "ada, ben and cid each keep the whole club in a folder of their own. There is no server. They \
             talk over WebSockets on this machine's loopback; between each two runs a cable, a small TCP relay that \
             can be pulled.",
            "In the columns ≠ marks a row that differs, = one that has changed and is the same on all three; – is no \
             row.",
        ],
    );
    if broken == Some(Broken::Admission) {
        stage.screen.warning(
            "Admission is broken: all three take every change that is well formed, whoever wrote it.",
        );
    }
    let clock = stage.clock.clone();
    let opened = within(&clock, STORY_MAX, Box::pin(World::open(clock.clone(), folder, broken))).await;
    let world = match opened.unwrap_or_else(|late| Err(late.into())) {
        Ok(world) => world,
        Err(error) => {
            stage.stop(&format!("the nodes did not open: {}", chain(&*error)));
            let held = stage.verdict(clock.instant());
            return (stage, held);
        }
    };
    let mut story = Story { world, stage, bytes: 0 };
    if let Err(late) = within(&clock, STORY_MAX, Box::pin(story.tell())).await {
        story.stage.stop(&late.to_string());
    }
    let Story { mut world, mut stage, .. } = story;
    let told = clock.instant();
    // What does not close in time is named by nobody: every promise has been judged.
    let _ = clock.timeout(CLOSE_MAX, world.close_all()).await;
    let held = stage.verdict(told);
    (stage, held)
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
        let end = self.removing().await;
        self.end(end);
    }

    fn begin(&mut self, act: &Act) {
        self.bytes = self.world.bytes();
        self.stage.begin(act);
    }

    /// Shows who reaches whom and what everybody has.
    fn show(&mut self) -> Result<(), Trouble> {
        self.stage.screen.links(&self.world.links());
        self.stage.screen.grid(self.world.grid()?);
        Ok(())
    }

    fn end(&mut self, end: Result<(), Trouble>) {
        let time = self.stage.end(end);
        self.stage.screen.measure(&self.world.rows(), self.world.bytes() - self.bytes, time);
    }
}
