//! Following a table: every change once it is durable, or a reset with the full answer; never silence.

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

/// What happened to a table.
#[derive(Clone, Debug)]
pub enum RowChange<T> {
    /// A row is new or has changed.
    Put(Row<T>),
    /// A row was removed.
    Removed {
        /// Its key.
        key: String,
    },
    /// The reader fell behind: here is everything, in key order. Rows that do not decode are left out.
    Reset(Vec<(String, T)>),
}

/// A stream of changes of one table. It ends when the node is closed.
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

    fn take(&mut self, events: &[RowEvent]) {
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
                RowNews::Rows(events) => self.take(events),
                RowNews::Reset => {
                    // What is still queued is older than the answer, and may be as much again.
                    self.events = BroadcastStream::new(self.table.group.rows());
                    match self.table.list() {
                        Ok(rows) => return Poll::Ready(Some(RowChange::Reset(rows))),
                        // The store is closed or failed: there is nothing left to follow.
                        Err(_) => return Poll::Ready(None),
                    }
                }
            }
        }
    }
}
