//! Asks the node that serves in a data folder.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use super::wire::{self, ControlError};
use super::{Answer, Failure, Greeting, Reply, Request, SOCKET, server};

/// How long a node may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may say nothing at all while it carries out a request; it says that it is alive every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(6 * server::ALIVE_EVERY.as_secs());

/// A connection to the node that serves, for one request.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// What a node answered.
#[derive(Debug)]
pub enum Said {
    /// One more reply.
    Reply(Reply),
    /// That was all.
    Done,
    /// It was not done, or not all of it.
    Failed(Failure),
}

impl Client {
    /// Finds the node that serves in a folder.
    ///
    /// # Errors
    /// [`ControlError::NoServer`] when there is none, [`ControlError::Version`] when it is another version,
    /// [`ControlError::HungUp`] when it is just stopping: nothing was asked yet.
    pub async fn connect(folder: &Path) -> Result<Self, ControlError> {
        let mut stream = match UnixStream::connect(folder.join(SOCKET)).await {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match error.kind() {
                    // A name that is too long for a socket is invalid input, and nobody can serve there.
                    io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::NotADirectory => ControlError::NoServer,
                    _ => ControlError::Io(error),
                });
            }
        };
        let greeted = tokio::time::timeout(GREETING_TIMEOUT, async {
            // Who hangs up at once may have said why: so what was not heard is no error yet.
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

    /// Says what is wanted. Of a node that hung up meanwhile [`Client::next`] tells what it said last.
    ///
    /// # Errors
    /// [`ControlError`]; unless it is [`ControlError::TooLong`] it may have been heard.
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
    /// [`ControlError::Stopping`] when nothing was begun; after any other the request may have been carried out.
    pub async fn next(&mut self) -> Result<Said, ControlError> {
        loop {
            let answer = tokio::time::timeout(SILENCE_MAX, wire::read(&mut self.stream)).await;
            match answer.map_err(|_| ControlError::Silent)?? {
                Answer::Reply(reply) => return Ok(Said::Reply(reply)),
                Answer::Alive => {}
                Answer::Done => return Ok(Said::Done),
                Answer::Failed(failure) => return Ok(Said::Failed(failure)),
                Answer::Stopping => return Err(ControlError::Stopping),
            }
        }
    }
}
