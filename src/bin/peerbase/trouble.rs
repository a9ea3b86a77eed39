//! Why a command ended without doing what was asked, and what it tells the shell.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use peerbase::control::wire::ControlError;
use peerbase::control::{Failure, FailureKind};

use super::config::ConfigError;

/// Exit status for arguments that make no sense together; clap's own.
pub(crate) const USAGE: u8 = 2;

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was not done.
    Failed(Failure),
    /// The arguments make no sense together.
    Usage(String),
    /// Standard output was closed: whoever reads it has read enough.
    Unread,
}

impl Trouble {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(kind, message))
    }

    /// What the system refused.
    pub(crate) fn io(what: impl Into<String>, cause: &io::Error) -> Self {
        let causes = vec![cause.to_string()];
        Self::Failed(Failure { kind: FailureKind::Failed, message: what.into(), causes })
    }

    /// What somebody gave cannot be.
    pub(crate) fn invalid(error: &dyn Error) -> Self {
        Self::Failed(Failure::of(FailureKind::Invalid, error))
    }

    /// Tells people, or with `json` a program.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        let (failure, status) = match self {
            Self::Unread => return ExitCode::SUCCESS,
            Self::Usage(message) => (Failure::new(FailureKind::Invalid, message), USAGE),
            Self::Failed(failure) => (failure, 1),
        };
        let text = if json {
            serde_json::json!({ "error": failure }).to_string()
        } else {
            let causes =
                failure.causes.iter().map(|cause| format!("\n  because {}", super::text::safe(cause)));
            format!("error: {}{}", super::text::safe(&failure.message), causes.collect::<String>())
        };
        // Nobody may read this either.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(status)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ControlError> for Trouble {
    fn from(error: ControlError) -> Self {
        let kind = match error {
            ControlError::TooLong { .. }
            | ControlError::PathTooLong { .. }
            | ControlError::InTheWay { .. } => FailureKind::Invalid,
            ControlError::HungUp | ControlError::Silent | ControlError::NoServer | ControlError::Stopping => {
                FailureKind::Busy
            }
            _ => FailureKind::Failed,
        };
        Self::Failed(Failure::of(kind, &error))
    }
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Self {
        Self::invalid(&error)
    }
}
