//! `join`, `sync`, `connect`, `status`, `backup`: the others, and the node as a whole.

use std::path::PathBuf;
use std::time::Duration;

use peerbase::Ticket;
use peerbase::control::Request;

use super::data::Data;
use super::door::{self, Need};
use super::output::Output;
use super::trouble::Trouble;
use super::words::{millis, span, standard_input};

/// What is longer is no ticket, bytes.
const TICKET_BYTES_MAX: u64 = 64 << 10;

#[derive(clap::Args)]
pub(crate) struct Join {
    /// The ticket's text, or - for standard input, which nobody else on this machine can read
    ticket: String,
    /// Also waits until all rows are here
    #[arg(long)]
    wait: bool,
    /// How long to try now; the wish is kept in any case
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    timeout: Duration,
}

#[derive(clap::Args)]
pub(crate) struct Sync {
    /// Which group, unless there is one only
    group: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    timeout: Duration,
}

#[derive(clap::Args)]
pub(crate) struct Connect {
    /// Where a device listens: ws://HOST:PORT
    address: String,
}

#[derive(clap::Args)]
pub(crate) struct Backup {
    /// A folder that does not exist yet, or is empty
    folder: PathBuf,
}

/// Joins a group; the first command of a new device.
pub(crate) async fn join(data: &Data, options: Join, output: &mut Output) -> Result<(), Trouble> {
    // A ticket that is none makes no database.
    let ticket = if options.ticket == "-" { standard_input(TICKET_BYTES_MAX)? } else { options.ticket };
    ticket.parse::<Ticket>().map_err(|error| Trouble::invalid(&error))?;
    let timeout_ms = millis(options.timeout);
    let request = Request::Join { ticket: ticket.into(), timeout_ms, wait: options.wait };
    door::ask(data, Need::AnyLinked, request, output).await
}

pub(crate) async fn sync(data: &Data, options: Sync, output: &mut Output) -> Result<(), Trouble> {
    let request = Request::Sync { group: options.group, timeout_ms: millis(options.timeout) };
    door::ask(data, Need::Linked, request, output).await
}

/// Dials, and remembers an address at which somebody answered.
pub(crate) async fn connect(data: &Data, options: Connect, output: &mut Output) -> Result<(), Trouble> {
    let Connect { address } = options;
    let known = data.config()?.connect.contains(&address);
    let request = Request::Connect { address: address.clone(), known };
    door::ask(data, Need::Existing, request, output).await?;
    // Read again: the dial took its time.
    let mut config = data.config()?;
    if !config.connect.contains(&address) {
        config.connect.push(address);
        config.write(data.folder())?;
    }
    Ok(())
}

pub(crate) async fn status(data: &Data, output: &mut Output) -> Result<(), Trouble> {
    door::ask(data, Need::Existing, Request::Status, output).await
}

pub(crate) async fn backup(data: &Data, options: Backup, output: &mut Output) -> Result<(), Trouble> {
    let folder = std::path::absolute(&options.folder)
        .map_err(|cause| Trouble::io(format!("{:?} is no folder", options.folder), &cause))?;
    door::ask(data, Need::Existing, Request::Backup { folder }, output).await
}
