//! The rows of the garden club, and their text in a column.

use std::fmt;

use peerbase::{Counter, Group, ReadError, Table, TableName, Text, WriteError};
use serde::{Deserialize, Serialize};

use crate::command::demo::stage::nodes::{Cell, cells};

pub(crate) const DIARY: TableName<Page> = TableName::new("diary");
pub(crate) const SEEDS: TableName<Seed> = TableName::new("seeds");
pub(crate) const TASKS: TableName<Task> = TableName::new("tasks");

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) what: String,
    pub(crate) who: Option<String>,
    pub(crate) done: bool,
}

/// A kind of seed, in stock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) packets: Counter,
}

/// A page of the diary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) body: Text,
}

/// Returns every row, by table and key.
pub(crate) fn column(group: &Group) -> Result<Vec<Cell>, ReadError> {
    Ok([cells(group, TASKS)?, cells(group, SEEDS)?, cells(group, DIARY)?].into_iter().flatten().collect())
}

/// Writes the rows with which the club begins.
pub(crate) async fn write_first_rows(club: &Group) -> Result<(), WriteError> {
    let (tasks, seeds, diary) = (club.table(TASKS), club.table(SEEDS), club.table(DIARY));
    tasks.put("basil", &task("water the basil", Some("ada"))).await?;
    tasks.put("rope", &task("buy rope", None)).await?;
    tasks.put("shed", &task("paint the shed", Some("cid"))).await?;
    seeds.put("tomato", &Seed { name: "Marmande".to_owned(), packets: 12.into() }).await?;
    diary.put("monday", &Page { body: "peas, row 2".into() }).await?;
    Ok(())
}

/// A task that is not done.
pub(crate) fn task(what: &str, who: Option<&str>) -> Task {
    Task { what: what.to_owned(), who: who.map(str::to_owned), done: false }
}

/// Returns the text of a task; `gone` without one.
pub(crate) fn what(tasks: &Table<Task>, key: &str) -> Result<String, ReadError> {
    Ok(tasks.get(key)?.map_or_else(|| "gone".to_owned(), |task| task.what))
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
