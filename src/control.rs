//! What a command asks of a node and what it is answered, in this process or over the socket of the one that serves.
//!
//! A command becomes a [`Request`], [`execute()`] carries it out, [`Reply`] values come back. Where a node serves in the
//! data folder the request goes through its control socket ([`client`], [`server`]); where none does, the program
//! opens the database and runs the same `execute`. There is no second way to do anything.
//!
//! One connection carries one request. Both sides say a [`Greeting`] first, the client then its request; the server
//! answers with [`Answer`]s until [`Answer::Done`], [`Answer::Failed`] or [`Answer::Stopping`]. A message is four
//! bytes of length, big-endian, and JSON ([`wire`]). A client that hangs up stops its request.

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
    "the program talks to itself over a Unix socket: leave features `cli` and `control` out on this system"
);

/// The version of requests, replies and framing; a server answers clients of its own version alone.
pub const VERSION: u32 = 1;
/// The socket's name in the data folder.
pub const SOCKET: &str = "control.sock";

/// The fields of a row as JSON.
pub type Fields = std::collections::BTreeMap<String, serde_json::Value>;

/// What both sides say first, so that two versions of the program can say that they are two. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`] of who says it.
    pub peerbase_control: u32,
    /// The program's version, for people.
    pub program: String,
}

impl Greeting {
    /// What this program says.
    pub fn ours() -> Self {
        Self { peerbase_control: VERSION, program: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What the server says to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One more reply.
    Reply(Reply),
    /// Nothing yet; the server is alive.
    Alive,
    /// That was all.
    Done,
    /// It was not done, or not all of it.
    Failed(Failure),
    /// The server stops and has not begun; whoever opens the database now may do it.
    Stopping,
}
