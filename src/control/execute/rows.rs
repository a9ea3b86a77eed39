//! Commands about tables and rows.

use super::super::advice::Advice;
use super::super::reply::{self, Change, Progress, Reply};
use super::super::{Failure, FailureKind, Fields};
use super::Replies;
use crate::table::{PAGE_ROWS, PutMany, Row};
use crate::{Group, Node, ReadError, RowChange};

/// Reads a row that a person wrote.
pub(super) fn parse(row: &str) -> Result<Fields, Failure> {
    serde_json::from_str(row).map_err(|error| {
        let causes = vec![error.to_string()];
        Failure { causes, ..Failure::new(FailureKind::Invalid, "the row is no JSON object") }
    })
}

pub(super) async fn put(
    group: &Group,
    table: &str,
    rows: Vec<(String, Fields)>,
    replies: &Replies,
) -> Result<(), Failure> {
    let written = group.table_named(table)?.put_many(&rows).await?;
    replies.send(Reply::Written(written)).await
}

pub(super) async fn remove(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    match group.table_named::<Fields>(table)?.remove(key).await? {
        true => replies.send(Reply::Written(PutMany { written: 1, unchanged: 0 })).await,
        false => Err(no_row(table, key)),
    }
}

pub(super) async fn get(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    match group.table_named(table)?.get(key)? {
        Some(row) => replies.send(Reply::Fields(row)).await,
        None => Err(no_row(table, key)),
    }
}

fn no_row(table: &str, key: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no row {key:?} in {table:?}"))
}

pub(super) async fn tables(node: &Node, group: &Group, replies: &Replies) -> Result<(), Failure> {
    let counts = counts(node, group).await?;
    replies.send_all(counts.into_iter().map(|(table, rows)| Reply::Table { table, rows })).await
}

/// Sends all rows in order of table and key. Fails at the first that cannot be read: a list without it would
/// be wrong.
pub(super) async fn rows(
    node: &Node,
    group: &Group,
    table: Option<String>,
    replies: &Replies,
) -> Result<(), Failure> {
    let tables = match table {
        Some(table) => vec![table],
        None => counts(node, group).await?.into_iter().map(|(table, _)| table).collect(),
    };
    for table in tables {
        let mut rows = group.table_named::<Fields>(&table)?.iter();
        loop {
            let of_table = table.clone();
            let read = move |row: Result<Row<Fields>, ReadError>| {
                let row = row?;
                let (table, key, row) = (of_table.clone(), row.key().to_owned(), row.value()?);
                Ok::<_, ReadError>(Reply::Row(reply::Row { table, key, row }))
            };
            // Replies are sent here, not there: a simulated clock's only thread must not block on a reader.
            let page: Vec<_>;
            (rows, page) = node
                .clock()
                .offload(move || {
                    let page = rows.by_ref().take(PAGE_ROWS).map(read).collect();
                    (rows, page)
                })
                .await;
            if page.is_empty() {
                break;
            }
            for row in page {
                replies.send(row?).await?;
            }
        }
    }
    Ok(())
}

/// Counts the rows of each table, which reads every row.
async fn counts(node: &Node, group: &Group) -> Result<Vec<(String, usize)>, ReadError> {
    let group = group.clone();
    node.clock().offload(move || group.tables()).await
}

pub(super) async fn watch(group: &Group, table: &str, replies: &Replies) -> Result<(), Failure> {
    let mut changes = group.table_named::<Fields>(table)?.watch();
    replies.progress(Progress::Watching { table: table.to_owned() }).await?;
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = replies.0.closed() => return Err(Failure::hung_up()),
        };
        match change {
            Some(RowChange::Put(row)) => replies.send(Reply::Change(put_change(&row))).await?,
            Some(RowChange::Removed { key }) => replies.send(Reply::Change(Change::Removed { key })).await?,
            Some(RowChange::Reset(rows)) => {
                replies.send(Reply::Change(Change::Reset)).await?;
                let puts = rows.into_iter().map(|(key, row)| Reply::Change(Change::Put { key, row }));
                replies.send_all(puts).await?;
            }
            None => return Err(Failure::new(FailureKind::Closed, "the database was closed")),
        }
    }
}

fn put_change(row: &Row<Fields>) -> Change {
    let key = row.key().to_owned();
    match row.value() {
        Ok(row) => Change::Put { key, row },
        Err(error) => Change::Unreadable { key, error: error.into() },
    }
}

pub(super) async fn history(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    let revisions = group.table_named::<Fields>(table)?.history(key).await?;
    if !revisions.is_empty() {
        return replies.send_all(revisions.into_iter().map(Reply::Revision)).await;
    }
    if group.explain(table, key).await?.set_aside.is_none() {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("no row {key:?} in {table:?}, now or before"),
        ));
    }
    let message = format!("row {key:?} of {table:?} is set aside, since its author was removed");
    let advice = Advice::Explain { table: table.to_owned(), key: key.to_owned() };
    Err(Failure::new(FailureKind::NotFound, message).advise(advice))
}
