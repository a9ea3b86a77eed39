//! A process of this program: its output line by line, and its end. Dropping it kills it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use actors::clock::Clock;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// The longest run of a command, and the longest wait for its next line.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// The longest excerpt of a command's errors, characters.
const ERRORS_MAX: usize = 300;

/// The error of a process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It was not started.
    #[error("`{command}` did not start")]
    Start {
        /// The command's arguments.
        command: String,
        /// The system's error.
        #[source]
        cause: std::io::Error,
    },
    /// It could not be waited for, or its output not read.
    #[error("`{command}` was lost")]
    Lost {
        /// The command's arguments.
        command: String,
        /// The system's error.
        #[source]
        cause: std::io::Error,
    },
    /// It took too long.
    #[error("`{command}` did not answer within {COMMAND_MAX:?}")]
    Late {
        /// The command's arguments.
        command: String,
    },
    /// It failed or ended too early.
    #[error("`{command}` ended with {status}: {errors}")]
    Ended {
        /// The command's arguments.
        command: String,
        /// The exit status.
        status: ExitStatus,
        /// The last line of its errors.
        errors: String,
    },
    /// It printed an unexpected line.
    #[error("`{command}` printed {line:?}")]
    Unexpected {
        /// The command's arguments.
        command: String,
        /// The line.
        line: String,
    },
}

/// A running process.
pub(crate) struct Process {
    clock: Clock,
    command: String,
    child: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts a command; its errors go to the file `log`.
    pub(crate) fn start(mut command: Command, name: String, log: &Path) -> Result<Self, ProcessError> {
        let failed = |cause| ProcessError::Start { command: name.clone(), cause };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.stderr(File::create(log).map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines();
        Ok(Self { clock: Clock::real(), command: name, child, lines, log: log.to_owned() })
    }

    /// Returns the next line; none once the process has ended.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, ProcessError> {
        let line = self.clock.timeout(COMMAND_MAX, self.lines.next_line()).await;
        let line = line.map_err(|_| ProcessError::Late { command: self.command.clone() })?;
        line.map_err(|cause| ProcessError::Lost { command: self.command.clone(), cause })
    }

    /// Returns the next line as JSON.
    pub(crate) async fn document(&mut self) -> Result<Value, ProcessError> {
        match self.line().await? {
            Some(line) => serde_json::from_str(&line)
                .map_err(|_| ProcessError::Unexpected { command: self.command.clone(), line }),
            None => Err(self.ended().await?),
        }
    }

    /// Reads to the end of the output and returns the last line as JSON. A kill may cut a line short: such a
    /// line and what follows it do not count.
    pub(crate) async fn last_document(&mut self) -> Result<Option<Value>, ProcessError> {
        let mut last = None;
        while let Some(line) = self.line().await? {
            let Ok(document) = serde_json::from_str(&line) else { break };
            last = Some(document);
        }
        Ok(last)
    }

    /// Waits until it has ended.
    pub(crate) async fn end(&mut self) -> Result<ExitStatus, ProcessError> {
        let status = self.clock.timeout(COMMAND_MAX, self.child.wait()).await;
        let status = status.map_err(|_| ProcessError::Late { command: self.command.clone() })?;
        status.map_err(|cause| ProcessError::Lost { command: self.command.clone(), cause })
    }

    /// Waits until it has ended, and returns that as an error.
    pub(crate) async fn ended(&mut self) -> Result<ProcessError, ProcessError> {
        let status = self.end().await?;
        Ok(ProcessError::Ended { command: self.command.clone(), status, errors: self.errors() })
    }

    fn errors(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        last_error(&String::from_utf8_lossy(&log))
    }

    /// Kills it with SIGKILL; it has ended when this returns.
    pub(crate) async fn kill(&mut self) -> Result<(), ProcessError> {
        let killed = self.child.kill().await;
        killed.map_err(|cause| ProcessError::Lost { command: self.command.clone(), cause })
    }

    /// Ends it with SIGTERM, sent by a shell, and waits.
    pub(crate) async fn terminate(&mut self) -> Result<ExitStatus, ProcessError> {
        if let Some(id) = self.child.id() {
            let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id.to_string()]).status().await;
            sent.map_err(|cause| ProcessError::Start { command: "kill -TERM".to_owned(), cause })?;
        }
        self.end().await
    }
}

/// Returns the message of the last failure in a log, else its last line; at most `ERRORS_MAX` characters.
fn last_error(log: &str) -> String {
    let message = |line: &str| {
        let document: Value = serde_json::from_str(line).ok()?;
        document["error"]["message"].as_str().map(str::to_owned)
    };
    let lines = || log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find_map(message).or_else(|| lines().next().map(str::to_owned));
    line.unwrap_or_else(|| "no error printed".to_owned()).chars().take(ERRORS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_in_a_log_is_found() {
        let failure = r#"{"error":{"kind":"busy","message":"no node serves","causes":[]}}"#;
        assert_eq!(last_error(&format!("note\n{failure}\n\nstopping\n")), "no node serves");
        assert_eq!(last_error("note\nstopping\n\n"), "stopping");
        assert_eq!(last_error(""), "no error printed");
        assert_eq!(last_error(&"é".repeat(999)).chars().count(), ERRORS_MAX);
    }
}
