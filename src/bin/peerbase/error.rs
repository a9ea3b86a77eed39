//! The error of a command: its text or JSON, and its exit status.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use peerbase::control::wire::ControlError;
use peerbase::control::{Failure, FailureKind};

use super::config::ConfigError;
use super::text::advice;

/// The exit status of a usage error; clap uses the same.
pub(crate) const USAGE: u8 = 2;

/// The error of a command.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The command was not carried out.
    Failed(Failure),
    /// The arguments contradict each other, or one is missing.
    Usage(String),
    /// The reader closed standard output; this is no failure of the command.
    OutputClosed,
}

impl CommandError {
    /// A failure without causes.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(kind, message))
    }

    /// An error of the system.
    pub(crate) fn io(what: impl Into<String>, cause: &io::Error) -> Self {
        let causes = vec![cause.to_string()];
        Self::Failed(Failure { causes, ..Failure::new(FailureKind::Failed, what) })
    }

    /// Invalid input.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// Invalid input, with the error and its causes.
    pub(crate) fn of(error: &dyn Error) -> Self {
        Self::Failed(Failure::of(FailureKind::Invalid, error))
    }

    /// Prints the error as text, or with `json` as a document.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        let (failure, status) = match self {
            Self::OutputClosed => return ExitCode::SUCCESS,
            Self::Usage(message) => (Failure::new(FailureKind::Invalid, message), USAGE),
            Self::Failed(failure) => (failure, 1),
        };
        let text = if json {
            serde_json::json!({ "error": failure }).to_string()
        } else {
            let causes =
                failure.causes.iter().map(|cause| format!("\n  because {}", super::text::safe(cause)));
            let advice = failure.advice.as_ref().map(|advice| format!("; {}", advice::of(advice)));
            let message = failure.message.clone() + &advice.unwrap_or_default();
            format!("error: {}{}", super::text::safe(&message), causes.collect::<String>())
        };
        // Standard error may be closed too.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(status)
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ControlError> for CommandError {
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

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::of(&error)
    }
}
