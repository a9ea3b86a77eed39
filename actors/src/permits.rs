//! Permits that bound every mailbox fed from outside.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on what one producer may have waiting: bytes in a mailbox, or half-open handshakes. Clones share
/// the bound.
#[derive(Clone, Debug)]
pub struct Permits {
    semaphore: Arc<Semaphore>,
    max: usize,
}

/// A share of a bound; dropping it returns the share.
#[derive(Debug)]
#[must_use = "dropping a permit returns its share"]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Permits {
    /// A bound of `max`.
    pub fn new(max: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(max)), max }
    }

    /// Waits for a share, first come, first served. A share above the bound is cut down to all of it.
    ///
    /// This is the back-pressure of a link: a reader that waits here stops reading, the stream's window
    /// closes, and the peer slows down.
    pub async fn acquire(&self, share: usize) -> Permit {
        let share = u32::try_from(share.min(self.max)).expect("a bound fits into 32 bits");
        let permit = self.semaphore.clone().acquire_many_owned(share).await;
        Permit { _permit: permit.expect("the semaphore is never closed") }
    }

    /// The part of the bound that nobody holds at the moment.
    pub fn available(&self) -> usize {
        self.semaphore.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[tokio::test(start_paused = true)]
    async fn dropping_a_permit_makes_its_share_available_again() {
        let clock = Clock::simulated(1);
        let permits = Permits::new(10);
        let first = permits.acquire(7).await;
        assert!(clock.timeout(Duration::from_secs(1), permits.acquire(4)).await.is_err());

        drop(first);

        let _second = permits.acquire(4).await;
        assert_eq!(permits.available(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_for_more_than_the_bound_acquires_all_of_it() {
        let permits = Permits::new(10);
        let _all = permits.acquire(11).await;
        assert_eq!(permits.available(), 0);
    }
}
