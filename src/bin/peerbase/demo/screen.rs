//! Draws the story for a terminal of 100 columns, and as plainly for a pipe.

use std::io::{Stdout, Write};
use std::time::Duration;

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};

use super::promises::{Promise, Promises};

/// What a line may take, columns.
const WIDTH: usize = 98;
/// What is kept free at the left, columns.
const INDENT: usize = 4;
/// The grid: the name of a list, the key of a row, a node's column, and the space before that.
const TABLE: usize = 6;
const KEY: usize = 8;
const CELL: usize = 25;
const GAP: usize = 2;
const _: () = assert!(INDENT + TABLE + KEY + 3 * (GAP + CELL) < 100, "the grid fits the terminal");
/// The name of a promise.
const NAME: usize = 36;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIFFERS: Style = AnsiColor::Yellow.on_default();

/// Who is open and who reaches whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    /// Of ada, ben and cid.
    pub(super) open: [bool; 3],
    pub(super) ada_ben: bool,
    pub(super) ben_cid: bool,
    pub(super) ada_cid: bool,
}

/// A row as ada, ben and cid have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GridRow {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) cells: [Option<String>; 3],
}

impl GridRow {
    fn differs(&self) -> bool {
        self.cells.iter().any(|cell| *cell != self.cells[0])
    }
}

/// Where the story is told. A viewer who leaves misses the rest; the exit status stays true.
pub(super) struct Screen {
    out: AutoStream<Stdout>,
    /// The grid that was shown last.
    shown: Vec<GridRow>,
}

impl Screen {
    /// Colours only for a terminal that wants them (`NO_COLOR`, `CLICOLOR`, `TERM`).
    pub(super) fn stdout() -> Self {
        Self { out: anstream::stdout(), shown: Vec::new() }
    }

    fn line(&mut self, line: &str) {
        // A viewer who has left.
        let _ = writeln!(self.out, "{line}");
    }

    pub(super) fn title(&mut self, title: &str, says: &str) {
        self.line("");
        self.line(&format!("  {}", paint(BOLD, &format!("Peerbase · {title}"))));
        self.line("");
        for line in wrapped(says, WIDTH - 2) {
            self.line(&format!("  {line}"));
        }
    }

    pub(super) fn act(&mut self, title: &str, says: &str) {
        let rule = "─".repeat((WIDTH - 3).saturating_sub(title.chars().count()));
        self.line("");
        self.line("");
        self.line(&format!("  {} {}", paint(BOLD, title), paint(DIM, &rule)));
        self.line("");
        for line in wrapped(says, WIDTH - INDENT) {
            self.line(&format!("    {line}"));
        }
    }

    pub(super) fn links(&mut self, links: &Links) {
        self.line("");
        for line in drawn(links) {
            self.line(&format!("    {line}"));
        }
        self.line("");
    }

    /// The rows that differ, or have changed since the last grid.
    pub(super) fn grid(&mut self, grid: Vec<GridRow>) {
        for line in grid_lines(&self.shown, &grid) {
            self.line(&line);
        }
        self.line("");
        self.shown = grid;
    }

    pub(super) fn note(&mut self, note: &str) {
        self.line(&format!("    {}", cut(note, WIDTH - INDENT)));
    }

    pub(super) fn promise(&mut self, promise: &Promise) {
        let (mark, style) = if promise.held { ("✓", GOOD) } else { ("✗", BAD) };
        let name = format!("{:<NAME$}", promise.name);
        let mut details = wrapped(&promise.detail, WIDTH - INDENT - 2 - NAME).into_iter();
        let first = details.next().unwrap_or_default();
        self.line(&format!("    {} {name}{}", paint(style, mark), paint(DIM, &first)));
        for more in details {
            self.line(&format!("{:width$}{}", "", paint(DIM, &more), width = INDENT + 2 + NAME));
        }
    }

    pub(super) fn measure(&mut self, rows: &[usize], bytes: u64, time: Duration) {
        let rows = match rows {
            [] => "no rows".to_owned(),
            [first, rest @ ..] if rest.iter().all(|rows| rows == first) => format!("{first} rows at each"),
            rows => format!("{} rows", rows.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        };
        self.line("");
        self.line(&paint(DIM, &format!("    {rows} · {} on the wire · {}", size(bytes), millis(time))));
    }

    /// How it ended; the last line says it all.
    pub(super) fn verdict(&mut self, promises: &Promises, time: Duration) {
        let broken = promises.broken();
        self.line("");
        self.line("");
        for promise in &broken {
            self.promise(promise);
        }
        let held = promises.len() - broken.len();
        let verdict = format!("{held} of {} promises held", promises.len());
        let style = if broken.is_empty() { GOOD.bold() } else { BAD };
        self.line(&format!("  {} in {}", paint(style, &verdict), millis(time)));
    }
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `8.3 ms`, `1.24 s`
pub(super) fn millis(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.01 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

fn size(bytes: u64) -> String {
    if bytes < 1_000 {
        format!("{bytes} bytes")
    } else {
        format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100)
    }
}

/// At most `width` columns; what is missing shows as `…`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("begins with one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Two lines: the chain, and the way from ada to cid below it.
fn drawn(links: &Links) -> [String; 2] {
    let name =
        |name: &str, open: bool| if open { paint(BOLD, name) } else { paint(DIM, &"·".repeat(name.len())) };
    let [ada, ben, cid] = links.open;
    let way = |one: bool, other: bool, joined: bool, length: usize| match (one && other, joined) {
        (false, _) => " ".repeat(length),
        (true, true) => "─".repeat(length),
        (true, false) => {
            let side = "─".repeat((length - 1) / 2);
            format!("{side}{}{}", paint(BAD, "╳"), "─".repeat(length - 1 - (length - 1) / 2))
        }
    };
    let chain = format!(
        "{} {} {} {} {}",
        name("ada", ada),
        way(ada, ben, links.ada_ben, 7),
        name("ben", ben),
        way(ben, cid, links.ben_cid, 7),
        name("cid", cid),
    );
    let below =
        if ada && cid { format!(" └{}┘", way(ada, cid, links.ada_cid, 23)) } else { String::new() };
    [chain, below]
}

/// A head, the rows worth showing, and how many are not shown.
fn grid_lines(before: &[GridRow], grid: &[GridRow]) -> Vec<String> {
    let gap = " ".repeat(GAP);
    let head = ["ada", "ben", "cid"].map(|name| format!("{gap}{}", paint(BOLD, &format!("{name:<CELL$}"))));
    let mut lines =
        vec![format!("{:width$}{}", "", head.concat(), width = INDENT + TABLE + KEY).trim_end().to_owned()];
    let mut table = "";
    let mut hidden = 0;
    let gone =
        before.iter().filter(|old| !grid.iter().any(|row| row.table == old.table && row.key == old.key));
    let gone: Vec<GridRow> = gone.map(|old| GridRow { cells: [None, None, None], ..old.clone() }).collect();
    for row in grid.iter().chain(&gone) {
        let differs = row.differs();
        if before.contains(row) && !differs {
            hidden += 1;
            continue;
        }
        let mark = match (differs, before.is_empty()) {
            (true, _) => "≠",
            (false, false) => "=",
            (false, true) => " ",
        };
        let (style, label) =
            (if differs { DIFFERS } else { Style::new() }, if row.table == table { "" } else { row.table });
        let cells = row.cells.each_ref().map(|cell| {
            let text = format!("{:<CELL$}", cut(cell.as_deref().unwrap_or("–"), CELL));
            format!("{gap}{}", paint(style, &text))
        });
        let table_name = paint(DIM, &format!("{label:<TABLE$}"));
        lines.push(format!(
            "  {} {table_name}{:<KEY$}{}",
            paint(style, mark),
            cut(&row.key, KEY),
            cells.concat()
        ));
        table = row.table;
    }
    if hidden > 0 {
        let rows = if hidden == 1 { "row" } else { "rows" };
        lines.push(paint(DIM, &format!("    and {hidden} more {rows}, the same on all three as before")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn row(key: &str, cells: [&str; 3]) -> GridRow {
        let cell = |cell: &str| (!cell.is_empty()).then(|| cell.to_owned());
        GridRow { table: "tasks", key: key.to_owned(), cells: cells.map(cell) }
    }

    #[test]
    fn a_cut_is_drawn_where_it_is() {
        let links = Links { open: [true; 3], ada_ben: false, ben_cid: true, ada_cid: false };
        let drawn = drawn(&links).map(|line| plain(&line));
        assert_eq!(drawn, ["ada ───╳─── ben ─────── cid", " └───────────╳───────────┘"]);
    }

    #[test]
    fn a_closed_node_has_no_ways() {
        let links = Links { open: [true, true, false], ada_ben: true, ben_cid: true, ada_cid: true };
        assert_eq!(drawn(&links).map(|line| plain(&line)), ["ada ─────── ben         ···", ""]);
    }

    #[test]
    fn rows_that_differ_are_marked_and_others_are_counted() {
        let before =
            [row("basil", ["a", "a", "a"]), row("rope", ["b", "b", "b"]), row("shed", ["c", "c", "c"])];
        let now = [row("basil", ["a", "a", "a"]), row("rope", ["b", "", "d"])];
        let lines: Vec<String> = grid_lines(&before, &now).iter().map(|line| plain(line)).collect();
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[1].starts_with("  ≠ tasks rope      b                          –"), "{lines:#?}");
        assert!(lines[2].starts_with("  =       shed      –                          –"), "{lines:#?}");
        assert_eq!(lines[3], "    and 1 more row, the same on all three as before");
        assert!(lines.iter().all(|line| line.chars().count() < 100), "{lines:#?}");
    }

    #[test]
    fn long_lines_are_wrapped_and_long_cells_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!((cut("basil", 5), cut("tomato", 5)), ("basil".to_owned(), "toma…".to_owned()));
    }
}
