//! Row locks: the local writers of one row read and write it one after another, in the order in which they
//! asked (no actor).
//!
//! Without them, of two writers that read the same row and then commit one is refused, and chance decides
//! which one is refused again and again. Changes of other devices still move a row meanwhile: that is rare,
//! and tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// The table and the key of a row.
type Row = (String, String);
type Lock = Arc<tokio::sync::Mutex<()>>;

/// The rows of a group that are being written, each with the writers that wait for it.
#[derive(Clone, Default)]
pub(crate) struct RowLocks {
    rows: Arc<Mutex<BTreeMap<Row, Lock>>>,
}

/// One writer's exclusive right to one row; it ends when dropped.
pub struct RowLock {
    locks: RowLocks,
    row: Row,
    held: Option<OwnedMutexGuard<()>>,
}

impl RowLocks {
    /// Waits until the row is free, and locks it.
    pub(crate) async fn acquire(&self, table: &str, key: &str) -> RowLock {
        let row = (table.to_owned(), key.to_owned());
        let lock = self.rows().entry(row.clone()).or_default().clone();
        // Made before waiting, so that it cleans up also after a writer that stopped waiting.
        let mut row_lock = RowLock { locks: self.clone(), row, held: None };
        row_lock.held = Some(lock.lock_owned().await);
        row_lock
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Row, Lock>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RowLock {
    fn drop(&mut self) {
        self.held = None;
        let mut rows = self.locks.rows();
        if rows.get(&self.row).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            rows.remove(&self.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[tokio::test(start_paused = true)]
    async fn writers_of_one_row_wait_for_each_other_and_leave_nothing_behind() {
        let locks = RowLocks::default();
        let first = locks.acquire("tasks", "a").await;
        let _elsewhere = locks.acquire("tasks", "b").await;

        let impatient = tokio::time::timeout(Duration::from_secs(1), locks.acquire("tasks", "a")).await;
        assert!(impatient.is_err());
        let second = Clock::simulated(1).spawn({
            let locks = locks.clone();
            async move { drop(locks.acquire("tasks", "a").await) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());

        drop(first);
        second.await.unwrap();
        assert_eq!(locks.rows().len(), 1);
    }
}
