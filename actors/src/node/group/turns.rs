//! Lets the local writers of one row read and write it one after another, in the order in which they asked (no actor).
//!
//! Without turns, of two who read the same row and then commit one is sent back, and who is sent back again and again
//! depends on chance. What other devices write still moves a row meanwhile: that is rare, and tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Place = (String, String);
type Lock = Arc<tokio::sync::Mutex<()>>;

/// The rows of a group that are being written, with those who wait for them.
#[derive(Clone, Default)]
pub(crate) struct Turns {
    rows: Arc<Mutex<BTreeMap<Place, Lock>>>,
}

/// One writer's turn at one row; it ends when dropped.
pub struct Turn {
    turns: Turns,
    place: Place,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    pub(crate) async fn take(&self, table: &str, key: &str) -> Turn {
        let place = (table.to_owned(), key.to_owned());
        let lock = self.rows().entry(place.clone()).or_default().clone();
        // Made before waiting, so that it tidies up also after who stopped waiting.
        let mut turn = Turn { turns: self.clone(), place, held: None };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Place, Lock>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut rows = self.turns.rows();
        if rows.get(&self.place).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            rows.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[tokio::test(start_paused = true)]
    async fn writers_of_one_row_take_turns_and_leave_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take("tasks", "a").await;
        let _elsewhere = turns.take("tasks", "b").await;

        let impatient = tokio::time::timeout(Duration::from_secs(1), turns.take("tasks", "a")).await;
        assert!(impatient.is_err());
        let second = Clock::simulated(1).spawn({
            let turns = turns.clone();
            async move { drop(turns.take("tasks", "a").await) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());

        drop(first);
        second.await.unwrap();
        assert_eq!(turns.rows().len(), 1);
    }
}
