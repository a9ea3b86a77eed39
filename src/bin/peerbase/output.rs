//! What a command prints: results on standard output, for people or as JSON, and what goes on meanwhile beside it.

use std::io::{self, IsTerminal, Write};

use peerbase::control::Reply;
use serde_json::Value;

use super::text;
use super::trouble::Trouble;

/// Where a command prints.
pub(crate) struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: io::stderr().is_terminal() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches what goes on.
    pub(crate) fn is_watched(&self) -> bool {
        self.terminal && !self.json
    }

    /// One reply: a line of JSON, or its text.
    pub(crate) fn reply(&mut self, reply: &Reply) -> Result<(), Trouble> {
        match reply.document() {
            Some(document) if self.json => self.json(&document),
            Some(_) => self.line(&text::of(reply)),
            None => {
                if let Reply::Progress(what) = reply {
                    self.note(what);
                }
                Ok(())
            }
        }
    }

    /// A line of JSON.
    pub(crate) fn json(&mut self, document: &Value) -> Result<(), Trouble> {
        self.line(&document.to_string())
    }

    /// A line, flushed: whoever reads it learns it now.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Trouble> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        unread(written.and_then(|()| stdout.flush()))
    }

    /// What goes on, for people.
    pub(crate) fn note(&self, what: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", text::safe(what));
        }
    }
}

/// A closed pipe is no failure of the command.
pub(crate) fn unread(written: io::Result<()>) -> Result<(), Trouble> {
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Trouble::Unread),
        Err(error) => Err(Trouble::io("could not write to standard output", &error)),
    }
}
