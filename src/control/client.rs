//! The client side of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use super::wire::{self, ControlError};
use super::{Answer, Failure, Greeting, Reply, Request, SOCKET, server};

/// The longest wait for a node's greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence of a node that carries out a request; it sends a sign of life every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(6 * server::ALIVE_EVERY.as_secs());

/// A connection to the node that serves, for one request.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// The next answer to a request.
#[derive(Debug)]
pub enum Next {
    /// One more reply.
    Reply(Reply),
    /// The request was carried out; no reply follows.
    Done,
    /// The request was not carried out, or not completely.
    Failed(Failure),
}

impl Client {
    /// Connects to the node that serves in a folder.
    ///
    /// # Errors
    /// [`ControlError::NoServer`] when no node serves, [`ControlError::Version`] when it is another version,
    /// [`ControlError::HungUp`] when it is stopping.
    pub async fn connect(folder: &Path) -> Result<Self, ControlError> {
        let mut stream = match UnixStream::connect(folder.join(SOCKET)).await {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match error.kind() {
                    // A name that is too long for a socket is invalid input: no node can serve there.
                    io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::NotADirectory => ControlError::NoServer,
                    _ => ControlError::Io(error),
                });
            }
        };
        let greeted = tokio::time::timeout(GREETING_TIMEOUT, async {
            // A server that hung up at once may have sent the reason before: it is read below.
            match wire::write(&mut stream, &Greeting::ours()).await {
                Err(ControlError::HungUp) | Ok(()) => {}
                Err(error) => return Err(error),
            }
            wire::read::<Greeting>(&mut stream).await
        });
        let greeting = greeted.await.map_err(|_| ControlError::Silent)??;
        if greeting.peerbase_control != super::VERSION {
            return Err(ControlError::Version {
                found: greeting.peerbase_control,
                program: greeting.program,
            });
        }
        Ok(Self { stream })
    }

    /// Sends the request. If the node hung up meanwhile, [`Client::next`] returns its last answer.
    ///
    /// # Errors
    /// [`ControlError`]; unless it is [`ControlError::TooLong`], the node may have received the request.
    pub async fn ask(&mut self, request: &Request) -> Result<(), ControlError> {
        let asking = tokio::time::timeout(SILENCE_MAX, wire::write(&mut self.stream, request));
        match asking.await.map_err(|_| ControlError::Silent)? {
            Err(ControlError::HungUp) => Ok(()),
            asked => asked,
        }
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// [`ControlError::Stopping`] when the request was not begun; after any other it may have been carried
    /// out.
    pub async fn next(&mut self) -> Result<Next, ControlError> {
        loop {
            let answer = tokio::time::timeout(SILENCE_MAX, wire::read(&mut self.stream)).await;
            match answer.map_err(|_| ControlError::Silent)?? {
                Answer::Reply(reply) => return Ok(Next::Reply(reply)),
                Answer::Alive => {}
                Answer::Done => return Ok(Next::Done),
                Answer::Failed(failure) => return Ok(Next::Failed(failure)),
                Answer::Stopping => return Err(ControlError::Stopping),
            }
        }
    }
}
