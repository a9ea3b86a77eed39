//! Permits that bound every mailbox fed from outside.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what one producer may have waiting: bytes in a mailbox, or heads at a door. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
    max: usize,
}

/// A share of a bound; dropping it frees the share.
#[derive(Debug)]
#[must_use = "dropping a permit frees its share"]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// Admits `max` at once.
    pub fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max }
    }

    /// Waits for room, first come, first served. Whoever asks for more than there will ever be gets all there is.
    ///
    /// A reader that waits here stops reading, the stream's window closes, and the peer slows down.
    pub async fn admit(&self, share: usize) -> Permit {
        let share = u32::try_from(share.min(self.max)).expect("a bound fits into 32 bits");
        let permit = self.permits.clone().acquire_many_owned(share).await;
        Permit { _permit: permit.expect("an admission is never closed") }
    }

    /// What is free at the moment.
    pub fn free(&self) -> usize {
        self.permits.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[tokio::test(start_paused = true)]
    async fn a_dropped_permit_makes_room() {
        let clock = Clock::simulated(1);
        let admission = Admission::new(10);
        let first = admission.admit(7).await;
        assert!(clock.timeout(Duration::from_secs(1), admission.admit(4)).await.is_err());

        drop(first);

        let _second = admission.admit(4).await;
        assert_eq!(admission.free(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_all_is_all() {
        let admission = Admission::new(10);
        let _all = admission.admit(11).await;
        assert_eq!(admission.free(), 0);
    }
}
