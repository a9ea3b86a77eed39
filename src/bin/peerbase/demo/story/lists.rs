//! The garden club's lists: what a row is, how it reads in a column, how it is exported.

use std::fmt;

use peerbase::{Counter, Group, ReadError, Table, TableName, Text, WriteError};
use serde::{Deserialize, Serialize};

const DIARY: TableName<Page> = TableName::new("diary");
const SEEDS: TableName<Seed> = TableName::new("seeds");
const TASKS: TableName<Task> = TableName::new("tasks");

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) what: String,
    pub(super) who: Option<String>,
    pub(super) done: bool,
}

/// A kind of seed, in stock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seed {
    pub(super) name: String,
    pub(super) packets: Counter,
}

/// A page that everybody writes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Page {
    pub(super) body: Text,
}

/// The lists as one node has them.
pub(super) struct Lists {
    pub(super) group: Group,
    pub(super) diary: Table<Page>,
    pub(super) seeds: Table<Seed>,
    pub(super) tasks: Table<Task>,
}

/// A row as a column shows it.
pub(super) struct Shown {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) cell: String,
}

impl Lists {
    pub(super) fn of(group: Group) -> Self {
        Self { diary: group.table(DIARY), seeds: group.table(SEEDS), tasks: group.table(TASKS), group }
    }

    /// What the club begins with.
    pub(super) async fn fill(&self) -> Result<(), WriteError> {
        self.tasks.put("basil", &task("water the basil", Some("ada"))).await?;
        self.tasks.put("rope", &task("buy rope", None)).await?;
        self.tasks.put("shed", &task("paint the shed", Some("cid"))).await?;
        self.seeds.put("tomato", &Seed { name: "Marmande".to_owned(), packets: 12.into() }).await?;
        self.diary.put("monday", &Page { body: "peas, row 2".into() }).await
    }

    /// Every row, by table and key.
    pub(super) fn shown(&self) -> Result<Vec<Shown>, ReadError> {
        let mut rows = Vec::new();
        show(TASKS.name(), &self.tasks, &mut rows)?;
        show(SEEDS.name(), &self.seeds, &mut rows)?;
        show(DIARY.name(), &self.diary, &mut rows)?;
        Ok(rows)
    }

    /// Every row of every table as canonical JSON: one row a line, in order of table and key, names sorted, no spaces.
    pub(super) fn export(&self) -> Result<String, ReadError> {
        let mut lines = String::new();
        export(&self.diary, &mut lines)?;
        export(&self.seeds, &mut lines)?;
        export(&self.tasks, &mut lines)?;
        Ok(lines)
    }

    /// How many rows do not read as what they should be.
    pub(super) fn unreadable(&self) -> Result<usize, ReadError> {
        Ok(self.diary.unreadable()?.len() + self.seeds.unreadable()?.len() + self.tasks.unreadable()?.len())
    }
}

/// A task that is not done.
pub(super) fn task(what: &str, who: Option<&str>) -> Task {
    Task { what: what.to_owned(), who: who.map(str::to_owned), done: false }
}

fn show<T>(name: &'static str, table: &Table<T>, rows: &mut Vec<Shown>) -> Result<(), ReadError>
where
    T: Serialize + for<'de> Deserialize<'de> + fmt::Display,
{
    for row in table.iter() {
        let row = row?;
        rows.push(Shown { table: name, key: row.key().to_owned(), cell: row.value()?.to_string() });
    }
    Ok(())
}

fn export<T>(table: &Table<T>, lines: &mut String) -> Result<(), ReadError>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    for row in table.iter() {
        let row = row?;
        let line = serde_json::json!({ "table": table.name(), "key": row.key(), "row": row.value()? });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    Ok(())
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", if self.done { 'x' } else { ' ' }, self.what)?;
        self.who.as_ref().map_or(Ok(()), |who| write!(f, " · {who}"))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.name, self.packets)
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.body)
    }
}
