//! A process of this program: its lines as they come, its end; killed when it is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use actors::clock::Clock;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// How long a command may take, and how long one that runs on may say nothing when it is to say something.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// What is told of what a command said, characters.
const SAID_MAX: usize = 300;

/// Why a process did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChildError {
    /// It was not started.
    #[error("`{command}` did not start")]
    Start {
        /// Its arguments.
        command: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// It was not waited for, or not heard.
    #[error("`{command}` was lost")]
    Lost {
        /// Its arguments.
        command: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// It took too long.
    #[error("`{command}` did not answer within {COMMAND_MAX:?}")]
    Late {
        /// Its arguments.
        command: String,
    },
    /// It failed, or ended before it was to.
    #[error("`{command}` ended with {status}: {said}")]
    Ended {
        /// Its arguments.
        command: String,
        /// How.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// It said something else than was to be expected.
    #[error("`{command}` said {said:?}")]
    Strange {
        /// Its arguments.
        command: String,
        /// What.
        said: String,
    },
}

/// A process that runs.
pub(super) struct Child {
    clock: Clock,
    command: String,
    child: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Child {
    /// Starts a command; what it says beside its output goes to a file.
    pub(super) fn start(mut command: Command, name: String, log: &Path) -> Result<Self, ChildError> {
        let failed = |cause| ChildError::Start { command: name.clone(), cause };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.stderr(File::create(log).map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines();
        Ok(Self { clock: Clock::real(), command: name, child, lines, log: log.to_owned() })
    }

    /// The next line; none once it has ended.
    pub(super) async fn line(&mut self) -> Result<Option<String>, ChildError> {
        let line = self.clock.timeout(COMMAND_MAX, self.lines.next_line()).await;
        let line = line.map_err(|_| ChildError::Late { command: self.command.clone() })?;
        line.map_err(|cause| ChildError::Lost { command: self.command.clone(), cause })
    }

    /// The next line, which is to be JSON and to come.
    pub(super) async fn document(&mut self) -> Result<Value, ChildError> {
        match self.line().await? {
            Some(line) => serde_json::from_str(&line)
                .map_err(|_| ChildError::Strange { command: self.command.clone(), said: line }),
            None => Err(self.ended().await?),
        }
    }

    /// Waits for its end.
    pub(super) async fn end(&mut self) -> Result<ExitStatus, ChildError> {
        let status = self.clock.timeout(COMMAND_MAX, self.child.wait()).await;
        let status = status.map_err(|_| ChildError::Late { command: self.command.clone() })?;
        status.map_err(|cause| ChildError::Lost { command: self.command.clone(), cause })
    }

    /// Its end as a failure.
    pub(super) async fn ended(&mut self) -> Result<ChildError, ChildError> {
        let status = self.end().await?;
        Ok(ChildError::Ended { command: self.command.clone(), status, said: self.said() })
    }

    /// What it said beside its output, the last of it.
    pub(super) fn said(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        last_words(&String::from_utf8_lossy(&said))
    }

    /// SIGKILL: it does nothing more; gone when this returns.
    pub(super) async fn kill(&mut self) -> Result<(), ChildError> {
        let killed = self.child.kill().await;
        killed.map_err(|cause| ChildError::Lost { command: self.command.clone(), cause })
    }

    /// SIGTERM, by way of the shell: it is asked to end.
    pub(super) async fn terminate(&mut self) -> Result<ExitStatus, ChildError> {
        if let Some(id) = self.child.id() {
            let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id.to_string()]).status().await;
            asked.map_err(|cause| ChildError::Start { command: "kill -TERM".to_owned(), cause })?;
        }
        self.end().await
    }
}

/// What went wrong, in one line and not too long: the message of a failure, or else the last line.
fn last_words(said: &str) -> String {
    let message = |line: &str| {
        let document: Value = serde_json::from_str(line).ok()?;
        document["error"]["message"].as_str().map(str::to_owned)
    };
    let lines = || said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find_map(message).or_else(|| lines().next().map(str::to_owned));
    line.unwrap_or_else(|| "nothing said".to_owned()).chars().take(SAID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_command_said_its_failure_counts() {
        let failure = r#"{"error":{"kind":"busy","message":"nobody serves","causes":[]}}"#;
        assert_eq!(last_words(&format!("note\n{failure}\n\nstopping\n")), "nobody serves");
        assert_eq!(last_words("note\nstopping\n\n"), "stopping");
        assert_eq!(last_words(""), "nothing said");
        assert_eq!(last_words(&"é".repeat(999)).chars().count(), SAID_MAX);
    }
}
