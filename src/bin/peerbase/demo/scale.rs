//! The program at a real size: real processes, real rows, a kill in mid-import.

mod acts;
mod child;
mod device;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use self::acts::ACTS;
use self::device::Device;
use super::promises::chain;
use super::stage::Stage;
use super::{CLOSE_MAX, Trouble, within};

/// The rows that are imported; where they come from is said beside the file.
const AIRPORTS: &[u8] = include_bytes!("airports.csv");
/// What the file is called where it is imported from.
const FILE: &str = "airports.csv";
/// How many they are.
const ROWS: usize = 3_376;
/// How long all of it may take; it takes some ten seconds, and a broken one is not watched for ever.
const SCALE_MAX: Duration = Duration::from_secs(55 - CLOSE_MAX.as_secs());

/// What to do with the databases afterwards.
pub(super) const COMMANDS: [(&str, &str); 3] =
    [("ada", "get airports SEA"), ("ben", "history airports SEA"), ("cid", "serve --listen 127.0.0.1:0")];

/// The devices as they are put through it.
struct Scale {
    stage: Stage,
    ada: Device,
    ben: Device,
    cid: Device,
    /// How many rows the killed server had acknowledged.
    acknowledged: usize,
    /// Goes away with the file that is imported, and with what commands said beside their output.
    _scratch: TempDir,
}

/// Puts the program through it in a folder; says whether every promise was held.
pub(super) async fn run(folder: &Path) -> (Stage, bool) {
    let mut stage = Stage::new(&ACTS);
    let clock = stage.clock.clone();
    stage.screen.title(
        "Peerbase · an airfield guide on three devices",
        &["3 376 real airports, and real processes: every step is this program's own command line, as people type it, \
           on databases in folders of their own. `serve` keeps a device connected; other commands go through it."],
    );
    let mut scale = match Scale::prepare(folder) {
        Ok(devices) => Scale::new(stage, devices),
        Err(error) => {
            stage.stop(&chain(&*error));
            let held = stage.verdict(clock.instant());
            return (stage, held);
        }
    };
    if let Err(end) = within(&clock, SCALE_MAX, Box::pin(scale.tell())).await {
        scale.stage.stop(&end.to_string());
    }
    let told = clock.instant();
    // Dropping a device kills what it runs; here their ends are awaited too.
    let ended = clock.timeout(CLOSE_MAX, async {
        for device in [&mut scale.ada, &mut scale.ben, &mut scale.cid] {
            let _ = device.kill().await;
        }
    });
    let _ = ended.await;
    let held = scale.stage.verdict(told);
    (scale.stage, held)
}

impl Scale {
    /// Three devices and a folder with the file that is imported.
    fn prepare(folder: &Path) -> Result<([Device; 3], TempDir), Trouble> {
        let program = std::env::current_exe()?;
        // Commands run elsewhere, beside the file.
        let folder = std::path::absolute(folder)?;
        let scratch = tempfile::Builder::new().prefix("peerbase-demo-scratch-").tempdir()?;
        std::fs::write(scratch.path().join(FILE), AIRPORTS)?;
        let device = |name| Device::new(&program, name, &folder, scratch.path());
        Ok((["ada", "ben", "cid"].map(device), scratch))
    }

    fn new(stage: Stage, ([ada, ben, cid], scratch): ([Device; 3], TempDir)) -> Self {
        Self { stage, ada, ben, cid, acknowledged: 0, _scratch: scratch }
    }

    async fn tell(&mut self) {
        let end = self.killing().await;
        self.end(end);
        let end = self.repeating().await;
        self.end(end);
        let end = self.joining().await;
        self.end(end);
        let end = self.editing().await;
        self.end(end);
        let end = self.exporting().await;
        self.end(end);
    }

    fn end(&mut self, end: Result<(), Trouble>) {
        let time = self.stage.end(end);
        self.stage.screen.time(time);
    }
}
