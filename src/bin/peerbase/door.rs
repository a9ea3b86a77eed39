//! The one way from a command to a node: through the socket of the one that serves, or by opening the database.

use std::pin::pin;

use peerbase::Node;
use peerbase::control::client::{Client, Said};
use peerbase::control::wire::ControlError;
use peerbase::control::{self, FailureKind, Reply, Request};
use tokio::sync::mpsc;

use super::data::{Data, Patience, dial};
use super::output::Output;
use super::trouble::Trouble;

/// Replies that wait for a slow terminal.
const REPLIES_MAX: usize = 64;

/// What a command needs of a database that it has to open itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// One that is there.
    Existing,
    /// One that is there, and links to others.
    Linked,
    /// Any; where there is none, one is made.
    Any,
    /// Any, and links to others.
    AnyLinked,
}

/// A command's way to a node. A database that it opened stays open until [`Door::close`].
pub(crate) struct Door<'d> {
    data: &'d Data,
    need: Need,
    own: Option<Node>,
}

/// Asks one thing and prints what comes.
pub(crate) async fn ask(
    data: &Data,
    need: Need,
    request: Request,
    output: &mut Output,
) -> Result<(), Trouble> {
    ask_with(data, need, request, |reply| output.reply(&reply)).await
}

/// Asks one thing.
pub(crate) async fn ask_with(
    data: &Data,
    need: Need,
    request: Request,
    take: impl FnMut(Reply) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut door = Door::new(data, need);
    let done = door.ask(request, take).await;
    door.close().await;
    done
}

impl<'d> Door<'d> {
    pub(crate) fn new(data: &'d Data, need: Need) -> Self {
        Self { data, need, own: None }
    }

    /// Has a request carried out; `take` gets its replies as they come.
    pub(crate) async fn ask(
        &mut self,
        request: Request,
        mut take: impl FnMut(Reply) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let patience = Patience::new();
        loop {
            if let Some(node) = &self.own {
                return ask_own(node, request, &mut take).await;
            }
            let Some(client) = self.reach(&patience).await? else { continue };
            match ask_serving(client, &request, &mut take).await {
                Err(Asked::NotBegun) if patience.wait().await => {}
                Err(Asked::NotBegun) => return Err(self.data.locked()),
                Err(Asked::Trouble(trouble)) => return Err(trouble),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The node that serves; none: the database is open, and is this command's own.
    async fn reach(&mut self, patience: &Patience) -> Result<Option<Client>, Trouble> {
        loop {
            match Client::connect(self.data.folder()).await {
                Ok(client) => return Ok(Some(client)),
                // There is none, or it is just stopping: then the database is free, or will be.
                Err(ControlError::NoServer | ControlError::HungUp) => {}
                Err(error) => return Err(error.into()),
            }
            let makes = matches!(self.need, Need::Any | Need::AnyLinked);
            if !makes && !self.data.has_database() {
                return Err(self.data.missing());
            }
            let config = self.data.config()?;
            if let Some(node) = self.data.open(&config).await? {
                if matches!(self.need, Need::Linked | Need::AnyLinked) {
                    dial(&node, &config.connect);
                }
                self.own = Some(node);
                return Ok(None);
            }
            if !patience.wait().await {
                return Err(self.data.locked());
            }
        }
    }

    /// Closes what was opened.
    pub(crate) async fn close(self) {
        if let Some(node) = self.own {
            node.close().await;
        }
    }
}

async fn ask_own(
    node: &Node,
    request: Request,
    take: &mut impl FnMut(Reply) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let mut work = pin!(control::execute(node, request, sender));
    let done = loop {
        tokio::select! {
            biased;
            Some(reply) = replies.recv() => take(reply)?,
            done = &mut work => break done,
        }
    };
    while let Ok(reply) = replies.try_recv() {
        take(reply)?;
    }
    Ok(done?)
}

enum Asked {
    /// The server stops; it was not begun.
    NotBegun,
    Trouble(Trouble),
}

async fn ask_serving(
    mut client: Client,
    request: &Request,
    take: &mut impl FnMut(Reply) -> Result<(), Trouble>,
) -> Result<(), Asked> {
    client.ask(request).await.map_err(lost)?;
    loop {
        match client.next().await {
            Ok(Said::Reply(reply)) => take(reply).map_err(Asked::Trouble)?,
            Ok(Said::Done) => return Ok(()),
            Ok(Said::Failed(failure)) => return Err(Asked::Trouble(failure.into())),
            Err(ControlError::Stopping) => return Err(Asked::NotBegun),
            Err(error) => return Err(lost(error)),
        }
    }
}

/// The connection ended in the middle: nobody knows how far it went.
fn lost(error: ControlError) -> Asked {
    Asked::Trouble(match error {
        ControlError::HungUp => Trouble::new(
            FailureKind::Busy,
            "the node that serves ended before it answered; what was asked may or may not have been done",
        ),
        error => error.into(),
    })
}
