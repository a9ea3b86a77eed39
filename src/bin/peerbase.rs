//! The command line: arguments in, one call, text out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[path = "peerbase"]
mod command {
    pub(crate) mod config;
    pub(crate) mod data;
    pub(crate) mod demo;
    pub(crate) mod devices;
    pub(crate) mod door;
    pub(crate) mod import;
    pub(crate) mod network;
    pub(crate) mod output;
    pub(crate) mod people;
    pub(crate) mod rows;
    pub(crate) mod serve;
    pub(crate) mod text;
    pub(crate) mod trouble;
    pub(crate) mod words;
}

use command::data::Data;
use command::output::Output;
use command::trouble::{self, Trouble};
use command::{demo, devices, import, network, people, rows, serve};

/// An embedded, offline-first database for groups of people.
///
/// Every command works while `peerbase serve` runs in the same folder, and opens the database itself when nothing runs.
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
    /// Makes a database: this device's identity
    Init(people::Init),
    /// Shows which user and device this is
    Whoami,
    /// Groups and who is in them
    #[command(subcommand)]
    Group(people::Group),
    /// Shows the devices of this user: id, whether it is this one or was revoked, label
    Devices,
    /// Takes a device of this user back
    #[command(subcommand)]
    Device(devices::Device),
    /// The recovery key: 24 words that take groups back from a thief
    #[command(subcommand)]
    Recovery(devices::Recovery),
    /// Has no more to do with a user: no device of theirs gets a link
    Block(people::User),
    /// Has to do with a user again
    Unblock(people::User),
    /// Joins a group with a ticket
    Join(network::Join),
    /// Waits until all connected devices of a group have the same rows
    Sync(network::Sync),
    /// Keeps the database connected until it is interrupted
    Serve(serve::Options),
    /// Dials an address now, and whenever a node serves here
    Connect(network::Connect),
    /// Writes a row; fields that it had and that are not given go
    Put(rows::Put),
    /// Removes a row; it stays in the history
    Remove(rows::Place),
    /// Prints a row as JSON
    Get(rows::Place),
    /// Prints all rows of a table, or the tables
    List(rows::List),
    /// Prints what happens to a table until it is interrupted
    Watch(rows::Watch),
    /// Shows who changed a row, and when
    History(rows::Place),
    /// Reads rows from a CSV or JSON lines file; may be repeated
    Import(import::Options),
    /// Writes all rows as JSON lines, in order
    Export(rows::Export),
    /// Copies the database into a new folder
    Backup(network::Backup),
    /// Shows groups, rows, links and what is wrong
    Status,
    /// Shows where a row stands with every device
    Explain(rows::Place),
    /// Ada, ben and cid: a partition, a merge before your eyes, a healed world.
    ///
    /// Three nodes in a temporary folder, over WebSockets; with `scale`, the program itself with 3 376 rows, killed in
    /// mid-import. Every step says what it promises; the exit status is 0 when every promise was held.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let Arguments { data, json, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    if let Command::Demo(options) = command {
        return demo::main(&options);
    }
    let mut output = Output::new(json);
    match run(data, command, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => trouble.report(json),
    }
}

/// Help and versions are for people; of arguments that make no sense programs are told like of anything else.
fn misused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let message = error.render().to_string();
        return Trouble::Usage(message.trim().trim_start_matches("error: ").to_owned()).report(true);
    }
    // Nobody may read it.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { trouble::USAGE } else { 0 })
}

fn run(data: Option<PathBuf>, command: Command, output: &mut Output) -> Result<(), Trouble> {
    let data = Data::find(data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Trouble::io("no threads to run on", &cause))?;
    let done = runtime.block_on(Box::pin(dispatch(&data, command, output)));
    // What was to be closed is closed; nobody waits for a thread that reads a terminal.
    runtime.shutdown_background();
    done
}

async fn dispatch(data: &Data, command: Command, output: &mut Output) -> Result<(), Trouble> {
    match command {
        Command::Init(options) => people::init(data, options, output).await,
        Command::Whoami => people::whoami(data, output).await,
        Command::Group(command) => people::group(data, command, output).await,
        Command::Devices => devices::list(data, output).await,
        Command::Device(command) => devices::device(data, command, output).await,
        Command::Recovery(command) => devices::recovery(data, command, output).await,
        Command::Block(people::User { user }) => people::block(data, user, output).await,
        Command::Unblock(people::User { user }) => people::unblock(data, user, output).await,
        Command::Join(options) => network::join(data, options, output).await,
        Command::Sync(options) => network::sync(data, options, output).await,
        Command::Serve(options) => Box::pin(serve::run(data, options, output)).await,
        Command::Connect(options) => network::connect(data, options, output).await,
        Command::Put(options) => rows::put(data, options, output).await,
        Command::Remove(place) => rows::remove(data, place, output).await,
        Command::Get(place) => rows::get(data, place, output).await,
        Command::List(options) => rows::list(data, options, output).await,
        Command::Watch(options) => rows::watch(data, options, output).await,
        Command::History(place) => rows::history(data, place, output).await,
        Command::Import(options) => import::run(data, options, output).await,
        Command::Export(options) => rows::export(data, options, output).await,
        Command::Backup(options) => network::backup(data, options, output).await,
        Command::Status => network::status(data, output).await,
        Command::Explain(place) => rows::explain(data, place, output).await,
        // It has no data folder, and was begun before.
        Command::Demo(options) => {
            demo::main(&options);
            Ok(())
        }
    }
}
