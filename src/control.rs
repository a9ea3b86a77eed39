//! Requests of commands to a node and its replies, in one process or over the socket of a node that serves.
//!
//! A command is a [`Request`]; [`execute()`] carries it out and sends [`Reply`] values. When a node serves in
//! the data folder, the request goes through its control socket ([`client`], [`server`]); otherwise the
//! program opens the database and calls the same `execute`. There is no second way to do anything.
//!
//! One connection carries one request. Both sides first send a [`Greeting`], then the client sends its
//! request; the server sends [`Answer`]s until [`Answer::Done`], [`Answer::Failed`] or [`Answer::Stopping`].
//! A message is four bytes of length, big-endian, then JSON ([`wire`]). A client that hangs up stops its
//! request.

pub mod advice;
pub mod arguments;
pub mod client;
pub mod execute;
pub mod failure;
pub mod reply;
pub mod request;
mod secret;
pub mod server;
pub mod wire;

use serde::{Deserialize, Serialize};

pub use self::execute::execute;
pub use self::failure::{Failure, FailureKind};
pub use self::reply::Reply;
pub use self::request::Request;
pub use self::secret::Secret;

#[cfg(not(unix))]
compile_error!(
    "the control socket is a Unix socket: disable the features `cli` and `control` on this system"
);

/// The version of requests, replies and framing; a server accepts only clients of its own version.
pub const VERSION: u32 = 3;
/// The socket's name in the data folder.
pub const SOCKET: &str = "control.sock";

/// The fields of a row as JSON.
pub type Fields = std::collections::BTreeMap<String, serde_json::Value>;

/// The first message of both sides, by which two versions of the program recognise each other. Its form never
/// changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`] of the sender.
    pub peerbase_control: u32,
    /// The sender's release, for people.
    pub program: String,
}

impl Greeting {
    /// The greeting of this program.
    pub fn ours() -> Self {
        Self { peerbase_control: VERSION, program: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// A message of the server after its greeting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One more reply.
    Reply(Reply),
    /// A sign of life: the request is still being carried out.
    Alive,
    /// The request was carried out; no reply follows.
    Done,
    /// The request was not carried out, or not completely.
    Failed(Failure),
    /// The server stops and has not begun the request; the client may open the database itself.
    Stopping,
}
