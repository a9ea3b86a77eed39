//! The command line: arguments in, one call, text out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peerbase::control::Request;

#[path = "peerbase"]
mod command {
    pub(crate) mod address;
    pub(crate) mod config;
    pub(crate) mod connection;
    pub(crate) mod data;
    pub(crate) mod demo;
    pub(crate) mod error;
    pub(crate) mod export;
    pub(crate) mod import;
    pub(crate) mod init;
    pub(crate) mod output;
    pub(crate) mod request;
    pub(crate) mod serve;
    pub(crate) mod stdin;
    pub(crate) mod text;
}

use command::data::Data;
use command::error::{CommandError, USAGE};
use command::output::Output;
use command::{demo, export, import, init, request, serve};

/// An embedded, offline-first database for groups of people.
///
/// Every command works while `peerbase serve` runs in the same folder, and opens the database itself
/// otherwise.
#[derive(Parser)]
#[command(name = "peerbase", version, arg_required_else_help = true)]
struct Arguments {
    /// The database's folder [default: $PEERBASE_DATA, else ~/.local/share/peerbase]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Prints JSON: one document, or one a line; errors too
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a database with a new identity for this device
    Init(init::Options),
    #[command(flatten)]
    Request(Request),
    /// Reads rows from a CSV or JSON lines file; repeating it writes nothing twice
    Import(import::Options),
    /// Writes all rows as JSON lines, in order
    Export(export::Options),
    /// Keeps the database connected until it is interrupted
    Serve(serve::Options),
    /// Ada, ben and cid: a partition, a merge before your eyes, a healed network.
    ///
    /// Three nodes in a temporary folder, over WebSockets; with `scale`, the program itself with 3 376 rows,
    /// killed during an import. Every act checks its promises; the exit status is 0 when all were kept.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let Arguments { data, json, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return report_usage(&error),
    };
    if let Command::Demo(options) = command {
        return demo::main(&options);
    }
    let mut output = Output::new(json);
    match run(data, command, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}

/// Prints help or a version as text; with `--json` a usage error is printed like any other error.
fn report_usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let message = error.render().to_string();
        return CommandError::Usage(message.trim().trim_start_matches("error: ").to_owned()).report(true);
    }
    // A closed output is no failure.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}

fn run(data: Option<PathBuf>, command: Command, output: &mut Output) -> Result<(), CommandError> {
    let data = Data::find(data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CommandError::io("no threads to run on", &cause))?;
    let done = runtime.block_on(Box::pin(dispatch(&data, command, output)));
    // All nodes are closed by now; a thread that still reads a terminal is not waited for.
    runtime.shutdown_background();
    done
}

async fn dispatch(data: &Data, command: Command, output: &mut Output) -> Result<(), CommandError> {
    match command {
        Command::Init(options) => init::run(data, options, output).await,
        Command::Request(request) => request::run(data, request, output).await,
        Command::Import(options) => import::run(data, options, output).await,
        Command::Export(options) => export::run(data, options, output).await,
        Command::Serve(options) => Box::pin(serve::run(data, options, output)).await,
        // `main` has run it: it has no data folder.
        Command::Demo(_) => Ok(()),
    }
}
