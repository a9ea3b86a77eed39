//! A device: a folder, commands on it, and the server that keeps it connected.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::Value;
use tokio::process::Command;

use super::child::{Child, ChildError};

/// One of the three.
pub(super) struct Device {
    program: PathBuf,
    pub(super) name: &'static str,
    folder: PathBuf,
    scratch: PathBuf,
    server: Option<Child>,
}

impl Device {
    pub(super) fn new(program: &Path, name: &'static str, folder: &Path, scratch: &Path) -> Self {
        Self {
            program: program.to_owned(),
            name,
            folder: folder.join(name),
            scratch: scratch.to_owned(),
            server: None,
        }
    }

    /// Starts a command on this device's database.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Child, ChildError> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.scratch).arg("--data").arg(&self.folder).arg("--json").args(arguments);
        let verb = arguments.first().copied().unwrap_or_default();
        let log = self.scratch.join(format!("{}-{verb}.log", self.name));
        Child::start(command, format!("{} {}", self.name, told(arguments)), &log)
    }

    /// Runs a command to its end, which is to be a good one; gives the lines that it printed.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Vec<String>, ChildError> {
        let mut child = self.start(arguments)?;
        let mut lines = Vec::new();
        while let Some(line) = child.line().await? {
            lines.push(line);
        }
        match child.end().await? {
            status if status.success() => Ok(lines),
            _ => Err(child.ended().await?),
        }
    }

    /// As [`Self::run`], where every line is JSON.
    pub(super) async fn ask(&self, arguments: &[&str]) -> Result<Vec<Value>, ChildError> {
        let strange = |line: &String| ChildError::Strange {
            command: format!("{} {}", self.name, told(arguments)),
            said: line.chars().take(100).collect(),
        };
        let lines = self.run(arguments).await?;
        lines.iter().map(|line| serde_json::from_str(line).map_err(|_| strange(line))).collect()
    }

    /// The keys of all rows of a table.
    pub(super) async fn keys(&self, table: &str) -> Result<Vec<String>, ChildError> {
        let rows = self.ask(&["list", table]).await?;
        Ok(rows.iter().filter_map(|row| row["key"].as_str().map(str::to_owned)).collect())
    }

    /// Starts the server; it listens when this returns.
    pub(super) async fn serve(&mut self) -> Result<(), ChildError> {
        let mut server = self.start(&["serve", "--listen", "127.0.0.1:0"])?;
        let said = server.document().await?;
        if !said["listening"].is_string() {
            let command = format!("{} serve", self.name);
            return Err(ChildError::Strange { command, said: said.to_string() });
        }
        self.server = Some(server);
        Ok(())
    }

    /// Kills the server where it stands.
    pub(super) async fn kill(&mut self) -> Result<(), ChildError> {
        match &mut self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Asks the server to stop, and waits until it has.
    pub(super) async fn stop(&mut self) -> Result<Option<ExitStatus>, ChildError> {
        match &mut self.server.take() {
            Some(server) => server.terminate().await.map(Some),
            None => Ok(None),
        }
    }
}

/// The arguments as a trouble names them: a ticket is a secret, and long.
fn told(arguments: &[&str]) -> String {
    let short = |word: &&str| if word.len() > 40 { "…".to_owned() } else { (*word).to_owned() };
    arguments.iter().map(short).collect::<Vec<_>>().join(" ")
}
