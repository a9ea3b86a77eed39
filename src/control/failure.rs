//! Why a request was not carried out, as it crosses the socket: kind, message, causes.

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::error::{
    BackupError, ConnectError, ErrorKind, GroupError, JoinError, OpenError, ReadError, SyncError, WriteError,
};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of trouble it is.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// Why, the nearest cause first.
    pub causes: Vec<String>,
}

/// What kind of trouble a [`Failure`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// What was given cannot be: a name, a key, a file, an address.
    Invalid,
    /// What was asked for is not here.
    NotFound,
    /// The rules of the group say no.
    NotAllowed,
    /// Somebody did not answer or is not there: the same request may succeed later.
    Busy,
    /// The wish is kept and is tried again while a node serves.
    Pending,
    /// The node was closed.
    Closed,
    /// What is stored cannot be read.
    Damaged,
    /// The disk, the machine or the program failed.
    Failed,
}

impl From<ErrorKind> for FailureKind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::NotAllowed => Self::NotAllowed,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Closed => Self::Closed,
            ErrorKind::Damaged => Self::Damaged,
            ErrorKind::Failed => Self::Failed,
        }
    }
}

impl Failure {
    /// A failure without a cause.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new() }
    }

    /// An error and what caused it.
    pub fn of(kind: FailureKind, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self { kind, message: error.to_string(), causes }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn advise(mut self, what: &str) -> Self {
        self.message = format!("{}; {what}", self.message);
        self
    }

    /// Nobody waits for the replies any more.
    pub(crate) fn hung_up() -> Self {
        Self::new(FailureKind::Closed, "nobody waits for the answer")
    }
}

macro_rules! failures {
    ($($error:ty => $kind:expr;)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let kind: fn(&$error) -> FailureKind = $kind;
                Self::of(kind(&error), &error)
            }
        }
    )*};
}

failures! {
    OpenError => |error| error.kind().into();
    ReadError => |error| error.kind().into();
    WriteError => |error| error.kind().into();
    GroupError => |error| error.kind().into();
    SyncError => |_| FailureKind::Busy;
    ConnectError => |error| error.kind().into();
    JoinError => |error| error.kind().into();
    BackupError => |error| error.kind().into();
}
