//! The command line: arguments in, one call, text out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[path = "peerbase"]
mod command {
    pub(crate) mod demo;
}

use command::demo;

/// An embedded, offline-first database for groups of people.
#[derive(Parser)]
#[command(name = "peerbase", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ada, ben and cid: a partition, a merge before your eyes, a healed world.
    ///
    /// Three nodes in a temporary folder, over WebSockets; with `scale`, the program itself with 3 376 rows, killed in
    /// mid-import. Every step says what it promises; the exit status is 0 when every promise was held.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(options) => demo::main(&options),
    }
}
