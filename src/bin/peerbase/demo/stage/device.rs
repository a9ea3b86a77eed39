//! The cast of a story about the program: three folders, commands on them, and servers, each a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use actors::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::process::{Process, ProcessError};
use super::{Cast, Measure};
use crate::command::demo::{ActError, Defect};

/// Three devices.
pub(crate) struct Devices {
    pub(crate) ada: Device,
    pub(crate) ben: Device,
    pub(crate) cid: Device,
    /// The working directory of commands, with their logs; removed at the end.
    _scratch: TempDir,
}

/// A file in the working directory of commands.
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
}

impl Cast for Devices {
    type Setup = File;
    const LEGEND: Option<&str> = None;

    async fn open(file: File, _: &Clock, folder: &Path, _: Option<Defect>) -> Result<Self, ActError> {
        let program = std::env::current_exe()?;
        // Commands have another working directory.
        let folder = std::path::absolute(folder)?;
        let scratch = tempfile::Builder::new().prefix("peerbase-demo-scratch-").tempdir()?;
        std::fs::write(scratch.path().join(file.name), file.bytes)?;
        let [ada, ben, cid] =
            ["ada", "ben", "cid"].map(|name| Device::new(&program, name, &folder, scratch.path()));
        Ok(Self { ada, ben, cid, _scratch: scratch })
    }

    async fn close(&mut self) {
        for device in self.all_mut() {
            let _ = device.kill().await;
        }
    }

    fn measure(&self) -> Option<Measure> {
        None
    }
}

impl Devices {
    pub(crate) fn all(&self) -> [&Device; 3] {
        [&self.ada, &self.ben, &self.cid]
    }

    fn all_mut(&mut self) -> [&mut Device; 3] {
        [&mut self.ada, &mut self.ben, &mut self.cid]
    }

    /// Stops each server with SIGTERM and returns their exit statuses as text.
    pub(crate) async fn stop(&mut self) -> Result<Vec<String>, ProcessError> {
        let mut ends = Vec::new();
        for device in self.all_mut() {
            let code = device.stop().await?.and_then(|status| status.code());
            ends.push(code.map_or_else(|| "a signal".to_owned(), |code| code.to_string()));
        }
        Ok(ends)
    }
}

/// A folder with a database, and perhaps a server.
pub(crate) struct Device {
    program: PathBuf,
    pub(crate) name: &'static str,
    folder: PathBuf,
    scratch: PathBuf,
    server: Option<Process>,
}

impl Device {
    fn new(program: &Path, name: &'static str, folder: &Path, scratch: &Path) -> Self {
        Self {
            program: program.to_owned(),
            name,
            folder: folder.join(name),
            scratch: scratch.to_owned(),
            server: None,
        }
    }

    /// Starts a command on this device's database.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Process, ProcessError> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.scratch).arg("--data").arg(&self.folder).arg("--json").args(arguments);
        let verb = arguments.first().copied().unwrap_or_default();
        let log = self.scratch.join(format!("{}-{verb}.log", self.name));
        Process::start(command, format!("{} {}", self.name, abridged(arguments)), &log)
    }

    /// Runs a command and returns the lines that it printed; an exit status other than 0 is an error.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Vec<String>, ProcessError> {
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

    /// Runs a command and returns its lines as JSON.
    pub(crate) async fn run_json(&self, arguments: &[&str]) -> Result<Vec<Value>, ProcessError> {
        let lines = self.run(arguments).await?;
        lines.iter().map(|line| self.parse(arguments, line)).collect()
    }

    fn parse(&self, arguments: &[&str], line: &str) -> Result<Value, ProcessError> {
        serde_json::from_str(line).map_err(|_| ProcessError::Unexpected {
            command: format!("{} {}", self.name, abridged(arguments)),
            line: line.chars().take(100).collect(),
        })
    }

    /// Returns the fields of a row.
    pub(crate) async fn row(&self, table: &str, key: &str) -> Result<Value, ProcessError> {
        let arguments = ["get", table, key];
        self.parse(&arguments, &self.run(&arguments).await?.concat())
    }

    /// Writes a row.
    pub(crate) async fn put(&self, table: &str, key: &str, row: &Value) -> Result<(), ProcessError> {
        self.run(&["put", table, key, &row.to_string()]).await.map(drop)
    }

    /// Returns every row of a table as JSON lines.
    pub(crate) async fn export(&self, table: &str) -> Result<String, ProcessError> {
        Ok(self.run(&["export", table]).await?.join("\n") + "\n")
    }

    /// Returns the keys of all rows of a table.
    pub(crate) async fn keys(&self, table: &str) -> Result<Vec<String>, ProcessError> {
        let rows = self.run_json(&["list", table]).await?;
        Ok(rows.iter().filter_map(|row| row["key"].as_str().map(str::to_owned)).collect())
    }

    /// Starts the server; it listens when this returns.
    pub(crate) async fn serve(&mut self) -> Result<(), ProcessError> {
        let mut server = self.start(&["serve", "--listen", "127.0.0.1:0"])?;
        let line = server.document().await?;
        if !line["listening"].is_string() {
            let command = format!("{} serve", self.name);
            return Err(ProcessError::Unexpected { command, line: line.to_string() });
        }
        self.server = Some(server);
        Ok(())
    }

    /// Kills the server with SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<(), ProcessError> {
        match &mut self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Stops the server with SIGTERM and returns its exit status.
    async fn stop(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        match &mut self.server.take() {
            Some(server) => server.terminate().await.map(Some),
            None => Ok(None),
        }
    }
}

/// Renders arguments for errors, without long ones: a ticket is a secret.
fn abridged(arguments: &[&str]) -> String {
    let short = |word: &&str| if word.len() > 40 { "…".to_owned() } else { (*word).to_owned() };
    arguments.iter().map(short).collect::<Vec<_>>().join(" ")
}
