//! Prints a story on a terminal of 100 columns, or without colours to a pipe.

mod grid;
mod links;
mod text;

use std::io::{Stdout, Write};
use std::time::Duration;

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};

pub(crate) use self::grid::GridRow;
pub(crate) use self::links::Links;
pub(crate) use self::text::{count, millis, rate, sha256};
use self::text::{cut, paint, size, wrapped};
use super::promises::{Promise, Promises};

/// The width of a line, columns.
const WIDTH: usize = 98;
/// The left margin of an act, columns.
const INDENT: usize = 4;
/// The width of a promise's name, columns.
const NAME: usize = 37;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIFFERS: Style = AnsiColor::Yellow.on_default();

/// The output of a story.
pub(crate) struct Screen {
    out: AutoStream<Stdout>,
    /// The grid shown last.
    shown: Vec<GridRow>,
}

impl Screen {
    /// Colours only for a terminal that wants them (`NO_COLOR`, `CLICOLOR`, `TERM`).
    pub(crate) fn stdout() -> Self {
        Self { out: anstream::stdout(), shown: Vec::new() }
    }

    pub(crate) fn title<'a>(&mut self, title: &str, paragraphs: impl IntoIterator<Item = &'a str>) {
        self.line("");
        self.line(&format!("  {}", paint(BOLD, title)));
        for paragraph in paragraphs {
            self.line("");
            self.paragraph(2, paragraph);
        }
    }

    /// Prints a warning above the first act.
    pub(crate) fn warning(&mut self, text: &str) {
        self.line("");
        for line in wrapped(text, WIDTH - 2) {
            self.line(&format!("  {}", paint(BAD, &line)));
        }
    }

    pub(crate) fn act(&mut self, title: &str, says: &str) {
        let rule = "─".repeat((WIDTH - 3).saturating_sub(title.chars().count()));
        self.line("");
        self.line("");
        self.line(&format!("  {} {}", paint(BOLD, title), paint(DIM, &rule)));
        self.line("");
        self.paragraph(INDENT, says);
        self.line("");
    }

    pub(crate) fn links(&mut self, links: &Links) {
        self.block(links.lines());
    }

    /// Prints the rows that differ between nodes, or have changed since the last grid.
    pub(crate) fn grid(&mut self, grid: Vec<GridRow>) {
        self.block(grid::lines(&self.shown, &grid));
        self.shown = grid;
    }

    pub(crate) fn notes(&mut self, notes: &[String]) {
        self.block(notes.iter().map(|note| cut(note, WIDTH - INDENT)).collect());
    }

    /// Prints a line about what just happened.
    pub(crate) fn step(&mut self, step: &str) {
        for (at, line) in wrapped(step, WIDTH - INDENT - 2).iter().enumerate() {
            self.line(&paint(DIM, &format!("    {} {line}", if at == 0 { "·" } else { " " })));
        }
    }

    /// Prints the time that an act took.
    pub(crate) fn time(&mut self, time: Duration) {
        self.line("");
        self.line(&paint(DIM, &format!("    {}", millis(time))));
    }

    pub(crate) fn promise(&mut self, promise: &Promise) {
        let (mark, style) = if promise.is_kept { ("✓", GOOD) } else { ("✗", BAD) };
        let left = INDENT + 2 + NAME;
        let mut details = wrapped(&promise.detail, WIDTH - left).into_iter();
        let first = details.next().unwrap_or_default();
        self.line(&format!("    {} {:<NAME$}{}", paint(style, mark), promise.name, paint(DIM, &first)));
        for more in details {
            self.line(&format!("{:left$}{}", "", paint(DIM, &more)));
        }
    }

    pub(crate) fn measure(&mut self, rows: &[usize], bytes: u64, time: Duration) {
        let rows = match rows {
            [] => "no rows".to_owned(),
            [first, rest @ ..] if rest.iter().all(|rows| rows == first) => format!("{first} rows at each"),
            rows => format!("{} rows", rows.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        };
        self.line("");
        self.line(&paint(DIM, &format!("    {rows} · {} on the wire · {}", size(bytes), millis(time))));
    }

    /// Prints the broken promises again, and the result as the last line.
    pub(crate) fn verdict(&mut self, promises: &Promises, time: Duration) {
        let broken = promises.broken();
        self.line("");
        self.line("");
        for promise in &broken {
            self.promise(promise);
        }
        let kept = promises.len() - broken.len();
        let verdict = format!("{kept} of {} promises kept", promises.len());
        let style = if broken.is_empty() { GOOD.bold() } else { BAD };
        self.line(&format!("  {} in {}", paint(style, &verdict), millis(time)));
    }

    /// Prints commands to be pasted into a shell; they are never cut.
    pub(crate) fn commands(&mut self, commands: &[String]) {
        if commands.is_empty() {
            return;
        }
        self.line("");
        self.line("  The databases are kept. To continue with them:");
        self.line("");
        for command in commands {
            self.line(&format!("  {command}"));
        }
    }

    fn paragraph(&mut self, indent: usize, text: &str) {
        for line in wrapped(text, WIDTH - indent) {
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    fn block(&mut self, lines: Vec<String>) {
        for line in lines {
            self.line(&format!("    {line}"));
        }
        self.line("");
    }

    /// Prints a line. A closed pipe is ignored: the exit status is still right.
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}
