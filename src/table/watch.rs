//! Follows a table: a stream of changes, or a reset with all rows for a reader that lags behind.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actors::node::group::RowNews;
use actors::node::group::documents::RowEvent;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::{Row, Table};

/// A change of a table.
#[derive(Clone, Debug)]
pub enum RowChange<T> {
    /// A row is new or has changed.
    Put(Row<T>),
    /// A row was removed.
    Removed {
        /// The row's key.
        key: String,
    },
    /// The reader lagged behind: all rows as they are now, in key order, without those that do not decode.
    Reset(Vec<(String, T)>),
}

/// A stream of changes of one table, from [`Table::watch`]. It ends when the node is closed.
///
/// A change arrives once it is on the disk, local and remote ones in the order of their commits. A reader
/// that falls far behind gets one [`RowChange::Reset`].
///
/// ```
/// # use peerbase::{Node, RowChange, TableName};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let group = Node::in_memory().await?.create_group("Garden club").await?;
/// # let notes = group.table(TableName::<String>::new("notes"));
/// let mut changes = notes.watch();
/// notes.put("a", &"basil".to_owned()).await?;
///
/// match changes.next().await {
///     Some(RowChange::Put(row)) => assert_eq!(row.value()?, "basil"),
///     Some(RowChange::Removed { key }) => println!("{key} is gone"),
///     Some(RowChange::Reset(rows)) => println!("start over with {} rows", rows.len()),
///     None => println!("the node was closed"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Watch<T> {
    table: Table<T>,
    events: BroadcastStream<Arc<RowNews>>,
    queue: VecDeque<RowChange<T>>,
}

impl<T: Serialize + DeserializeOwned> Watch<T> {
    pub(crate) fn new(table: Table<T>, events: broadcast::Receiver<Arc<RowNews>>) -> Self {
        Self { table, events: BroadcastStream::new(events), queue: VecDeque::new() }
    }

    /// Waits for the next change; `None` when the node is closed.
    pub async fn next(&mut self) -> Option<RowChange<T>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn queue_changes(&mut self, events: &[RowEvent]) {
        let name = &self.table.name;
        for event in events.iter().filter(|event| *event.table == **name) {
            self.queue.push_back(if event.row.removed {
                RowChange::Removed { key: event.key.clone() }
            } else {
                RowChange::Put(Row::new(name.clone(), event.key.clone(), (*event.row).clone()))
            });
        }
    }
}

impl<T> Unpin for Watch<T> {}

impl<T: Serialize + DeserializeOwned> Stream for Watch<T> {
    type Item = RowChange<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RowChange<T>>> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Poll::Ready(Some(change));
            }
            let news = match ready!(Pin::new(&mut self.events).poll_next(context)) {
                Some(Ok(news)) => news,
                Some(Err(BroadcastStreamRecvError::Lagged(_))) => Arc::new(RowNews::Reset),
                None => return Poll::Ready(None),
            };
            match &*news {
                RowNews::Rows(events) => self.queue_changes(events),
                RowNews::Reset => {
                    // Queued changes are older than the reset, and may be as many again.
                    self.events = BroadcastStream::new(self.table.group.rows());
                    match self.table.list() {
                        Ok(rows) => return Poll::Ready(Some(RowChange::Reset(rows))),
                        // The store is closed or failed: the stream ends.
                        Err(_) => return Poll::Ready(None),
                    }
                }
            }
        }
    }
}
