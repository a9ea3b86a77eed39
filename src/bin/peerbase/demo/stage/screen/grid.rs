//! The rows of a group, a column for each node.

use clap::builder::styling::Style;

use super::text::{cut, paint};
use super::{BOLD, DIFFERS, DIM, INDENT};

/// The widths of a line's parts, columns: a mark, the table, the key, and for each node a gap and a cell.
const MARK: usize = 2;
const TABLE: usize = 6;
const KEY: usize = 7;
const CELL: usize = 25;
const GAP: usize = 2;
const _: () = assert!(INDENT + MARK + TABLE + KEY + 3 * (GAP + CELL) <= 100, "a row fits the terminal");

/// A row as ada, ben and cid have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GridRow {
    pub(crate) table: &'static str,
    pub(crate) key: String,
    pub(crate) cells: [Option<String>; 3],
}

impl GridRow {
    pub(crate) fn is(&self, table: &str, key: &str) -> bool {
        self.table == table && self.key == key
    }

    fn differs(&self) -> bool {
        self.cells.iter().any(|cell| *cell != self.cells[0])
    }

    fn line(&self, mark: &str, table: &str) -> String {
        let style = if self.differs() { DIFFERS } else { Style::new() };
        let head = format!("{:<KEY$}", cut(&self.key, KEY));
        let line = format!("{} {}{head}", paint(style, mark), paint(DIM, &format!("{table:<TABLE$}")));
        line + &columns(style, self.cells.each_ref().map(|cell| cell.as_deref().unwrap_or("–")))
    }
}

/// Renders cells, each behind a gap, without trailing spaces.
fn columns(style: Style, [ada, ben, cid]: [&str; 3]) -> String {
    let gap = " ".repeat(GAP);
    let cell = |text: &str| paint(style, &cut(text, CELL));
    let room = |text: &str| " ".repeat(CELL - text.chars().count().min(CELL));
    format!("{gap}{}{}{gap}{}{}{gap}{}", cell(ada), room(ada), cell(ben), room(ben), cell(cid))
}

/// Renders a head, the rows that differ or have changed since `before`, and the number of other rows.
pub(crate) fn lines(before: &[GridRow], grid: &[GridRow]) -> Vec<String> {
    let names = columns(BOLD, ["ada", "ben", "cid"]);
    let mut lines = vec![format!("{:width$}{names}", "", width = MARK + TABLE + KEY)];
    let gone = before.iter().filter(|old| !grid.iter().any(|row| row.is(old.table, &old.key)));
    let gone = gone.map(|old| GridRow { cells: [None, None, None], ..old.clone() });
    let mut rows: Vec<GridRow> = grid.iter().cloned().chain(gone).collect();
    rows.sort_by(|one, other| (other.table, &one.key).cmp(&(one.table, &other.key)));

    let (mut table, mut others) = ("", 0);
    for row in rows {
        let mark = match row.differs() {
            true => "≠",
            false if before.contains(&row) => {
                others += 1;
                continue;
            }
            false if before.is_empty() => " ",
            false => "=",
        };
        lines.push(row.line(mark, if row.table == table { "" } else { row.table }));
        table = row.table;
    }
    if others > 0 {
        let rows = if others == 1 { "1 other row is" } else { &format!("{others} other rows are") };
        lines.push(paint(DIM, &format!("  {rows} as before, the same on all three")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, cells: [&str; 3]) -> GridRow {
        let cell = |cell: &str| (!cell.is_empty()).then(|| cell.to_owned());
        GridRow { table: "tasks", key: key.to_owned(), cells: cells.map(cell) }
    }

    fn drawn(before: &[GridRow], grid: &[GridRow]) -> Vec<String> {
        let plain = |line: &String| anstream::adapter::strip_str(line).to_string();
        lines(before, grid).iter().map(plain).collect()
    }

    #[test]
    fn rows_that_differ_are_marked_and_rows_that_stay_are_counted() {
        let before =
            [row("basil", ["a", "a", "a"]), row("rope", ["b", "b", "b"]), row("shed", ["c", "c", "c"])];
        let now = [row("basil", ["a", "a", "a"]), row("rope", ["b", "", "d"]), row("tea", ["e", "e", "e"])];
        let expected = [
            "                 ada                        ben                        cid",
            "≠ tasks rope     b                          –                          d",
            "=       shed     –                          –                          –",
            "=       tea      e                          e                          e",
            "  1 other row is as before, the same on all three",
        ];
        assert_eq!(drawn(&before, &now), expected);
    }

    #[test]
    fn the_first_grid_shows_every_row() {
        let drawn = drawn(&[], &[row("basil", ["a", "a", "a"])]);
        assert_eq!(drawn[1..], ["  tasks basil    a                          a                          a"]);
    }
}
