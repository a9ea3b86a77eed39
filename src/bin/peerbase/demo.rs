//! The demo: stories told on one stage. Each story checks its promises against real state.
//!
//! A new story is a function that returns a [`Story`], in a file beside `garden.rs`, and a variant of
//! [`Show`].

mod airports;
mod garden;
mod stage;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use self::stage::folder::Folder;
use self::stage::{Cast, Screen, Story};

/// The longest wait for nodes to close and for leftover tasks to end.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// The reason that an act ends early.
type ActError = Box<dyn Error + Send + Sync>;

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The story
    #[arg(value_enum, default_value_t = Show::Story)]
    show: Show,
    /// Makes the databases in DIR/ada, DIR/ben and DIR/cid and keeps them; DIR is absent or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Breaks a rule on purpose, to show that the promises resting on it fail; needs the feature `defects`
    #[arg(long = "break", value_enum, value_name = "RULE")]
    defect: Option<Defect>,
}

/// A rule that can be broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Defect {
    /// Every well-formed change is accepted, from any author
    Admission,
}

/// The stories.
#[derive(Clone, Copy, ValueEnum)]
enum Show {
    /// A garden club: a partition, a merge before your eyes, a healed network
    Story,
    /// 3 376 airports: an import that is killed, started again, and two devices that join
    Scale,
}

/// Runs a story; the exit status is 0 when every promise was kept, 1 otherwise.
pub(crate) fn main(options: &Options) -> ExitCode {
    if options.defect.is_some() && matches!(options.show, Show::Scale) {
        eprintln!("error: `--break` works with the story only; leave out `scale`");
        return ExitCode::from(2);
    }
    if options.defect.is_some() && !cfg!(feature = "defects") {
        eprintln!(
            "error: no rule can be broken in this build; `--break` needs one with `--features defects`"
        );
        return ExitCode::from(2);
    }
    match options.show {
        Show::Story => run(garden::story(), options),
        Show::Scale => run(airports::story(), options),
    }
}

fn run<C: Cast>(story: Story<C>, options: &Options) -> ExitCode {
    let folder = match Folder::new(options.keep.as_deref()) {
        Ok(folder) => folder,
        Err(error) => return failure(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    let path: &Path = folder.path();
    let commands = story.commands;
    let all_kept = runtime.block_on(Box::pin(stage::tell(story, path, options.defect)));
    // A thread that hangs is not waited for.
    runtime.shutdown_timeout(CLOSE_MAX);
    Screen::stdout().commands(&folder.commands(&commands));
    ExitCode::from(u8::from(!all_kept))
}

fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("error: {}", stage::promises::chain(error));
    ExitCode::FAILURE
}
