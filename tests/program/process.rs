//! Runs real `peerbase` processes and kills them when the test ends, also if it panics. Every wait has a
//! deadline.
#![allow(clippy::disallowed_methods, reason = "deadlines are in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bounds each command, also on a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// A data folder, deleted when the test ends.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// The output and the exit status of a command.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Home {
    /// A folder without a database.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a database.
    pub(crate) fn new() -> Self {
        let home = Self::empty();
        home.run(&["init"]).ok();
        home
    }

    /// A folder with a database and a group.
    pub(crate) fn with_group(name: &str) -> Self {
        let home = Self::new();
        home.run(&["group", "create", name]).ok();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerbase"));
        command.arg("--data").arg(self.path()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Process::start(self.command(arguments)).end()
    }

    /// Runs a command that reads `input`.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut process = Process::start_fed(self.command(arguments));
        // A command that refuses early does not read it all.
        let _ = process.input().write_all(input);
        process.end_input();
        process.end()
    }

    /// Starts a node on any port of the loopback; returns it with the address to dial.
    pub(crate) fn serve(&self, more: &[&str]) -> (Process, String) {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], more].concat();
        let process = Process::start(self.command(&arguments));
        let line = process.line();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        (process, address)
    }

    /// All rows, as `export` writes them.
    pub(crate) fn export(&self) -> String {
        self.run(&["export"]).ok()
    }
}

impl Output {
    /// Asserts success and returns standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status.code(), Some(0), "{}{}", self.out, self.error);
        self.out
    }

    /// Asserts failure with `status` and returns standard error.
    #[track_caller]
    pub(crate) fn failed(self, status: i32) -> String {
        assert_eq!(self.status.code(), Some(status), "{}{}", self.out, self.error);
        self.error
    }

    /// Asserts success and parses standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Asserts success and parses every line of standard output as JSON.
    #[track_caller]
    pub(crate) fn json_lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A child process, killed on drop. No wait for it exceeds [`DEADLINE`].
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    out: Receiver<String>,
    error: Receiver<String>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let error = lines(child.stderr.take().unwrap());
        Self { input: child.stdin.take(), child, out, error }
    }

    /// Starts a process that reads what is written to [`Process::input`].
    pub(crate) fn start_fed(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        Self::start(command)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        self.input.as_mut().unwrap()
    }

    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for the next line of standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.out.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(error) => {
                panic!("no line ({error}): {}", self.error.try_iter().collect::<Vec<_>>().join("\n"))
            }
        }
    }

    /// Waits for the next log line that contains `what`.
    #[track_caller]
    pub(crate) fn logged(&self, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(begun.elapsed());
            let line =
                self.error.recv_timeout(left).unwrap_or_else(|error| panic!("no {what} in the log: {error}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Discards the log lines received so far.
    pub(crate) fn skip_log(&self) {
        self.error.try_iter().for_each(drop);
    }

    /// Returns the next line of standard output if one has arrived.
    pub(crate) fn try_line(&self) -> Option<String> {
        self.out.try_recv().ok()
    }

    /// Waits until the process exits.
    #[track_caller]
    pub(crate) fn end(mut self) -> Output {
        self.end_input();
        let status = self.ended();
        let all = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect::<String>();
        Output { status, out: all(&self.out), error: all(&self.error) }
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Kills it with SIGKILL, so that it cannot clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits until the process exits.
    #[track_caller]
    pub(crate) fn stop(self) -> Output {
        self.signal("TERM");
        self.end()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines on a separate thread, so that the pipe never fills.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|got| got > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end_matches('\n').to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// Waits in real time until `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(PAUSE);
    }
}
