//! The failure of a request, as it crosses the socket: kind, message, causes, advice.

use std::error::Error;

use serde::{Deserialize, Serialize};

use super::advice::Advice;
use crate::error::{
    BackupError, ConnectError, ErrorKind, GroupError, JoinError, OpenError, ReadError, SyncError, WriteError,
};

/// The failure of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, for programs.
    pub kind: FailureKind,
    /// The error, for people.
    pub message: String,
    /// The causes, nearest first.
    pub causes: Vec<String>,
    /// A way out of it, if the command knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
}

/// The kind of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The input is invalid: a name, a key, a file, an address.
    Invalid,
    /// The thing that was asked for is not here.
    NotFound,
    /// The rules of the group forbid it.
    NotAllowed,
    /// A peer or process is absent or did not answer: the same request may succeed later.
    Busy,
    /// The intent is stored, and tried again while a node serves.
    Pending,
    /// The node was closed.
    Closed,
    /// Stored data cannot be read.
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
        Self { kind, message: message.into(), causes: Vec::new(), advice: None }
    }

    /// A failure from an error and its causes.
    pub fn of(kind: FailureKind, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self { kind, message: error.to_string(), causes, advice: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(mut self, advice: Advice) -> Self {
        self.advice = Some(advice);
        self
    }

    /// Returns the message and the causes in one line.
    pub fn one_line(&self) -> String {
        self.causes.iter().fold(self.message.clone(), |line, cause| format!("{line}: {cause}"))
    }

    /// The failure when the receiver of the replies is gone.
    pub(crate) fn hung_up() -> Self {
        Self::new(FailureKind::Closed, "the client hung up")
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
