//! The output of a command: results on standard output, as text or JSON; notes and progress on standard
//! error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerbase::control::Reply;
use peerbase::control::reply::Progress;
use serde_json::Value;

use super::error::CommandError;
use super::text;

/// The pause between two drawings of the bar.
const TICK: Duration = Duration::from_millis(200);

/// The output of a command.
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    /// Counts documents while a cut is computed; drawn on a terminal only.
    documents: ProgressBar,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let style = ProgressStyle::with_template("{spinner} {human_pos} documents read, {elapsed}");
        let documents = ProgressBar::no_length().with_style(style.expect("the template is ours"));
        if json || !terminal {
            documents.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { json, terminal, documents }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns true if progress is drawn: standard error is a terminal, and text was asked for.
    pub(crate) fn is_watched(&self) -> bool {
        self.terminal && !self.json
    }

    /// Prints a reply: a line of JSON, or its text with its notes beside it.
    pub(crate) fn reply(&mut self, reply: &Reply) -> Result<(), CommandError> {
        match reply {
            Reply::Progress(Progress::Documents { read }) => {
                self.documents.enable_steady_tick(TICK);
                self.documents.set_position(*read);
                return Ok(());
            }
            Reply::Progress(progress) => {
                self.note(&text::of_progress(progress));
                return Ok(());
            }
            _ => self.end_progress(),
        }
        text::notes(reply).iter().for_each(|note| self.note(note));
        match reply.document() {
            Some(document) if self.json => self.json(&document),
            _ => self.line(&text::of(reply)),
        }
    }

    /// Removes the bar, if one is drawn.
    pub(crate) fn end_progress(&self) {
        self.documents.finish_and_clear();
    }

    /// Prints a line of JSON.
    pub(crate) fn json(&mut self, document: &Value) -> Result<(), CommandError> {
        self.line(&document.to_string())
    }

    /// Prints a line and flushes it, so that a reader gets it at once.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), CommandError> {
        let mut stdout = io::stdout().lock();
        let printed = stdout.write_all(line.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        written(printed.and_then(|()| stdout.flush()))
    }

    /// Prints a note for people on standard error.
    pub(crate) fn note(&self, note: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", text::safe(note));
        }
    }
}

/// The result of a write to standard output; a closed pipe is no failure of the command.
pub(crate) fn written(result: io::Result<()>) -> Result<(), CommandError> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CommandError::OutputClosed),
        Err(error) => Err(CommandError::io("could not write to standard output", &error)),
    }
}
