//! The demo: a story on three nodes, and the program itself at a real size. Both check what they promise.

mod place;
mod promises;
mod scale;
mod screen;
mod stage;
mod story;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actors::clock::Clock;
use clap::ValueEnum;

use self::place::Place;
use self::promises::chain;

/// How long nodes may take to close, and tasks that are left to end.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// Why an act could not go on; told with its causes.
type Trouble = Box<dyn Error + Send + Sync>;

/// How the demo is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What is shown
    #[arg(value_enum, default_value_t = Show::Story)]
    show: Show,
    /// Makes the databases in DIR/ada, DIR/ben and DIR/cid and leaves them there; DIR is absent or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Leaves something out that promises rest on, so that one sees them break
    #[arg(long = "break", value_enum, value_name = "WHAT")]
    broken: Option<Broken>,
}

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Broken {
    /// Changes are taken whoever wrote them
    Admission,
}

/// What is shown.
#[derive(Clone, Copy, ValueEnum)]
enum Show {
    /// A garden club: a partition, a merge before your eyes, a healed world
    Story,
    /// 3 376 airports: an import that is killed, started again, and two devices that join
    Scale,
}

/// Runs the demo; fails when a promise was not held.
pub(crate) fn main(options: &Options) -> ExitCode {
    if options.broken.is_some() && matches!(options.show, Show::Scale) {
        eprintln!("error: `--break` is for the story; leave `scale` out");
        return ExitCode::from(2);
    }
    let place = match Place::new(options.keep.as_deref()) {
        Ok(place) => place,
        Err(error) => return failure(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    let (mut stage, held, commands) = runtime.block_on(Box::pin(async {
        match options.show {
            Show::Story => {
                let (stage, held) = story::run(place.path(), options.broken).await;
                (stage, held, story::COMMANDS)
            }
            Show::Scale => {
                let (stage, held) = scale::run(place.path()).await;
                (stage, held, scale::COMMANDS)
            }
        }
    }));
    // Nobody waits for a thread that hangs.
    runtime.shutdown_timeout(CLOSE_MAX);
    stage.screen.paste(&place.commands(&commands));
    ExitCode::from(u8::from(!held))
}

fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("error: {}", chain(error));
    ExitCode::FAILURE
}

/// Why something did not come to its end.
#[derive(Debug)]
enum Unended {
    Late(Duration),
    Interrupted,
}

impl fmt::Display for Unended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(max) => write!(f, "it did not end within {max:?}"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl Error for Unended {}

/// Waits for `future`, but not for ever, and not for a viewer who has seen enough: folders and children are to be
/// cleared away, so a signal ends the telling and not the process.
async fn within<F: Future>(clock: &Clock, max: Duration, future: F) -> Result<F::Output, Unended> {
    tokio::select! {
        biased;
        () = interrupted() => Err(Unended::Interrupted),
        told = clock.timeout(max, future) => told.map_err(|_| Unended::Late(max)),
    }
}

/// Waits for SIGINT or SIGTERM; where there are no signals, for ever.
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
