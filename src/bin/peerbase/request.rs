//! Runs a command that is one request: it completes the request, sends it and prints the replies.

use peerbase::Ticket;
use peerbase::control::Request;
use peerbase::control::request::GroupRequest;
use peerbase::control::wire::ROW_BYTES_MAX;

use super::connection::{self, Database};
use super::data::Data;
use super::error::CommandError;
use super::output::Output;
use super::stdin;

/// The longest ticket on standard input, bytes; a real one is far shorter.
const TICKET_BYTES_MAX: u64 = 64 << 10;

/// An argument that stands for standard input.
const STDIN: &str = "-";

pub(crate) async fn run(data: &Data, mut request: Request, output: &mut Output) -> Result<(), CommandError> {
    complete(data, &mut request)?;
    let connect = match &request {
        Request::Connect { address, .. } => Some(address.clone()),
        _ => None,
    };
    connection::ask(data, database(&request), request, output).await?;
    match connect {
        Some(address) => remember(data, address),
        None => Ok(()),
    }
}

/// Fills in what is not among the arguments: text on standard input, and what the configuration says.
fn complete(data: &Data, request: &mut Request) -> Result<(), CommandError> {
    match request {
        Request::Join { ticket, .. } => {
            if ticket.text() == STDIN {
                *ticket = stdin::read(TICKET_BYTES_MAX)?.into();
            }
            // Parsed here, so that a misspelt ticket makes no database.
            ticket.text().parse::<Ticket>().map_err(|error| CommandError::of(&error))?;
        }
        Request::Put { row, .. } if row == STDIN => *row = stdin::read(ROW_BYTES_MAX as u64)?,
        Request::Connect { address, known } => *known = data.config()?.connect.contains(address),
        _ => {}
    }
    Ok(())
}

/// Returns the database that a request needs when no node serves.
fn database(request: &Request) -> Database {
    match request {
        Request::Join { .. } => Database::AnyLinked,
        Request::Group(GroupRequest::Create { .. } | GroupRequest::Request { .. }) => Database::Any,
        Request::Group(
            GroupRequest::List
            | GroupRequest::Members { .. }
            | GroupRequest::Invite { .. }
            | GroupRequest::Add { .. }
            | GroupRequest::Role { .. }
            | GroupRequest::Remove { .. }
            | GroupRequest::Transfer { .. }
            | GroupRequest::Confirm { .. }
            | GroupRequest::Log { .. }
            | GroupRequest::Voided { .. }
            | GroupRequest::Reissue { .. }
            | GroupRequest::Invites { .. }
            | GroupRequest::Close { .. }
            | GroupRequest::Leave { .. },
        ) => Database::Existing,
        Request::Sync { .. } | Request::Watch { .. } => Database::Linked,
        Request::Whoami
        | Request::Devices
        | Request::Device(_)
        | Request::Recovery(_)
        | Request::Block { .. }
        | Request::Unblock { .. }
        | Request::Connect { .. }
        | Request::Put { .. }
        | Request::Remove(_)
        | Request::Get(_)
        | Request::List { .. }
        | Request::History(_)
        | Request::Explain(_)
        | Request::Backup { .. }
        | Request::Status
        | Request::PutMany { .. }
        | Request::Rows { .. } => Database::Existing,
    }
}

/// Writes an address where a peer answered into the configuration.
fn remember(data: &Data, address: String) -> Result<(), CommandError> {
    // Read again: dialling took time.
    let mut config = data.config()?;
    if !config.connect.contains(&address) {
        config.connect.push(address);
        config.write(data.folder())?;
    }
    Ok(())
}
