//! The connection of a command to a node: the control socket of a node that serves, or the database opened
//! here.

use std::pin::pin;

use peerbase::Node;
use peerbase::control::client::{Client, Next};
use peerbase::control::wire::{ControlError, REPLIES_MAX};
use peerbase::control::{self, FailureKind, Reply, Request};
use tokio::sync::mpsc;

use super::data::{Data, Retry, dial};
use super::error::CommandError;
use super::output::Output;

/// The database that a request needs when no node serves and the command opens it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    /// An existing one.
    Existing,
    /// An existing one, with links to peers.
    Linked,
    /// Any; a missing one is made.
    Any,
    /// Any, with links to peers.
    AnyLinked,
}

/// A command's connection to a node. A database that it opened stays open until [`Connection::close`].
pub(crate) struct Connection<'d> {
    data: &'d Data,
    database: Database,
    own: Option<Node>,
}

/// Sends one request and prints its replies.
pub(crate) async fn ask(
    data: &Data,
    database: Database,
    request: Request,
    output: &mut Output,
) -> Result<(), CommandError> {
    let done = ask_with(data, database, request, |reply| output.reply(&reply)).await;
    output.end_progress();
    done
}

/// Sends one request and calls `on_reply` with each reply.
pub(crate) async fn ask_with(
    data: &Data,
    database: Database,
    request: Request,
    on_reply: impl FnMut(Reply) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut connection = Connection::new(data, database);
    let done = connection.ask(request, on_reply).await;
    connection.close().await;
    done
}

impl<'d> Connection<'d> {
    pub(crate) fn new(data: &'d Data, database: Database) -> Self {
        Self { data, database, own: None }
    }

    /// Sends a request and calls `on_reply` with each reply.
    pub(crate) async fn ask(
        &mut self,
        request: Request,
        mut on_reply: impl FnMut(Reply) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let retry = Retry::new();
        loop {
            if let Some(node) = &self.own {
                return ask_own(node, request, &mut on_reply).await;
            }
            let Some(client) = self.connect(&retry).await? else { continue };
            match ask_serving(client, &request, &mut on_reply).await {
                Err(ServingError::NotBegun) if retry.wait().await => {}
                Err(ServingError::NotBegun) => return Err(self.data.locked()),
                Err(ServingError::Command(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Connects to the node that serves. None when no node serves: then `self.own` is the database, opened
    /// here.
    async fn connect(&mut self, retry: &Retry) -> Result<Option<Client>, CommandError> {
        loop {
            match Client::connect(self.data.folder()).await {
                Ok(client) => return Ok(Some(client)),
                // No node serves, or it is stopping: the database is free, or will be soon.
                Err(ControlError::NoServer | ControlError::HungUp) => {}
                Err(error) => return Err(error.into()),
            }
            let makes = matches!(self.database, Database::Any | Database::AnyLinked);
            if !makes && !self.data.has_database() {
                return Err(self.data.missing());
            }
            let config = self.data.config()?;
            if let Some(node) = self.data.open(&config).await? {
                if matches!(self.database, Database::Linked | Database::AnyLinked) {
                    dial(&node, &config.connect);
                }
                self.own = Some(node);
                return Ok(None);
            }
            if !retry.wait().await {
                return Err(self.data.locked());
            }
        }
    }

    /// Closes the database if it was opened here.
    pub(crate) async fn close(self) {
        if let Some(node) = self.own {
            node.close().await;
        }
    }
}

async fn ask_own(
    node: &Node,
    request: Request,
    on_reply: &mut impl FnMut(Reply) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let mut work = pin!(control::execute(node, request, sender));
    let done = loop {
        tokio::select! {
            biased;
            Some(reply) = replies.recv() => on_reply(reply)?,
            done = &mut work => break done,
        }
    };
    while let Ok(reply) = replies.try_recv() {
        on_reply(reply)?;
    }
    Ok(done?)
}

enum ServingError {
    /// The server stops, and has not begun the request.
    NotBegun,
    Command(CommandError),
}

async fn ask_serving(
    mut client: Client,
    request: &Request,
    on_reply: &mut impl FnMut(Reply) -> Result<(), CommandError>,
) -> Result<(), ServingError> {
    client.ask(request).await.map_err(lost)?;
    loop {
        match client.next().await {
            Ok(Next::Reply(reply)) => on_reply(reply).map_err(ServingError::Command)?,
            Ok(Next::Done) => return Ok(()),
            Ok(Next::Failed(failure)) => return Err(ServingError::Command(failure.into())),
            Err(ControlError::Stopping) => return Err(ServingError::NotBegun),
            Err(error) => return Err(lost(error)),
        }
    }
}

/// The error of a connection that ended early: the request may have been carried out.
fn lost(error: ControlError) -> ServingError {
    ServingError::Command(match error {
        ControlError::HungUp => CommandError::new(
            FailureKind::Busy,
            "the node that serves ended before it answered; the command may or may not have been carried out",
        ),
        error => error.into(),
    })
}
