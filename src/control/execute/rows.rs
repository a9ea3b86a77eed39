//! Tables and rows.

use super::super::reply::{ChangeLine, Reply, RevisionLine, RowLine, TableLine, Written};
use super::super::{Failure, FailureKind, Fields};
use super::Replies;
use crate::table::{Row, Table};
use crate::{Group, Node, ReadError, RowChange};

pub(super) async fn put(
    group: &Group,
    table: &str,
    rows: Vec<(String, Fields)>,
    replies: &Replies,
) -> Result<(), Failure> {
    let done = named(group, table)?.put_many(&rows).await?;
    replies.send(Reply::Written(Written { written: done.written, unchanged: done.unchanged })).await
}

pub(super) async fn remove(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    match named(group, table)?.remove(key).await? {
        true => replies.send(Reply::Written(Written { written: 1, unchanged: 0 })).await,
        false => Err(no_row(table, key)),
    }
}

pub(super) async fn get(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    match named(group, table)?.get(key)? {
        Some(row) => replies.send(Reply::Row(line(table, key, row))).await,
        None => Err(no_row(table, key)),
    }
}

fn no_row(table: &str, key: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no row {key:?} in {table:?}"))
}

pub(super) async fn tables(node: &Node, group: &Group, replies: &Replies) -> Result<(), Failure> {
    for (table, rows) in counted(node, group).await? {
        replies.send(Reply::Table(TableLine { table, rows })).await?;
    }
    Ok(())
}

/// All rows in order of table and key. Fails at the first that cannot be read: a list that lacks some would be a lie.
pub(super) async fn rows(
    node: &Node,
    group: &Group,
    table: Option<String>,
    replies: &Replies,
) -> Result<(), Failure> {
    let tables = match table {
        Some(table) => vec![table],
        None => counted(node, group).await?.into_iter().map(|(table, _)| table).collect(),
    };
    for table in tables {
        let rows = named(group, &table)?;
        let replies = replies.clone();
        let reading = node.clock().offload(move || {
            rows.iter().try_for_each(|row| {
                let row = row?;
                replies.send_blocking(Reply::Row(line(&table, row.key(), row.value()?)))
            })
        });
        reading.await?;
    }
    Ok(())
}

pub(super) async fn watch(group: &Group, table: &str, replies: &Replies) -> Result<(), Failure> {
    let mut changes = named(group, table)?.watch();
    replies.progress(format!("watching {table:?}")).await?;
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = replies.0.closed() => return Err(Failure::hung_up()),
        };
        match change {
            Some(RowChange::Put(row)) => replies.send(Reply::Change(changed(&row))).await?,
            Some(RowChange::Removed { key }) => {
                replies.send(Reply::Change(ChangeLine::Removed { key })).await?;
            }
            Some(RowChange::Reset(rows)) => {
                replies.send(Reply::Change(ChangeLine::Reset)).await?;
                for (key, row) in rows {
                    replies.send(Reply::Change(ChangeLine::Put { key, row })).await?;
                }
            }
            None => return Err(Failure::new(FailureKind::Closed, "the database was closed")),
        }
    }
}

fn changed(row: &Row<Fields>) -> ChangeLine {
    let key = row.key().to_owned();
    match row.value() {
        Ok(row) => ChangeLine::Put { key, row },
        Err(error) => {
            let failure = Failure::from(error);
            let why = [vec![failure.message], failure.causes].concat().join(": ");
            ChangeLine::Unreadable { key, why }
        }
    }
}

pub(super) async fn history(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    let revisions = named(group, table)?.history(key).await?;
    if revisions.is_empty() {
        if group.explain(table, key).await?.kept.is_some() {
            let what = format!(
                "row {key:?} of {table:?} fell with a removal and is kept aside for a while; `peerbase explain` says why"
            );
            return Err(Failure::new(FailureKind::NotFound, what));
        }
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("no row {key:?} in {table:?}, nor was there"),
        ));
    }
    for revision in revisions {
        replies.send(Reply::Revision(RevisionLine::from(revision))).await?;
    }
    Ok(())
}

/// Counting reads every row.
async fn counted(node: &Node, group: &Group) -> Result<Vec<(String, usize)>, ReadError> {
    let group = group.clone();
    node.clock().offload(move || group.tables()).await
}

fn named(group: &Group, table: &str) -> Result<Table<Fields>, ReadError> {
    group.table_named(table)
}

fn line(table: &str, key: &str, row: Fields) -> RowLine {
    RowLine { table: table.to_owned(), key: key.to_owned(), row }
}

/// Where a row stands with every device, and why.
pub(super) async fn explain(group: &Group, table: &str, key: &str, replies: &Replies) -> Result<(), Failure> {
    let explanation = group.explain(table, key).await?;
    replies.send(Reply::Explanation(Box::new(explanation.into()))).await
}
