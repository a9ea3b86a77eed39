//! Bounds the bytes of session frames whose last part has not arrived, over all links and groups of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schema::UserId;
use schema::wire::link::ByeReason;

use crate::meter::SessionMeters;
use crate::node::connection_manager::Link;

/// The bytes of unfinished session frames. Permits of mailboxes do not bound them, since a frame may be
/// larger than a mailbox. Clones share the bound.
#[derive(Clone)]
pub(crate) struct AssemblyBudget {
    shares: Arc<Mutex<Shares<Link>>>,
    meters: Arc<SessionMeters>,
}

/// The share of one session; dropping it returns its bytes.
pub(super) struct AssemblyShare {
    budget: AssemblyBudget,
    number: u64,
}

/// The shares, each with the link that it belongs to (pure).
struct Shares<L> {
    max: usize,
    made: u64,
    shares: BTreeMap<u64, Share<L>>,
}

struct Share<L> {
    user: UserId,
    link: L,
    bytes: usize,
    /// Its link was ended; the bytes follow.
    is_ending: bool,
}

impl AssemblyBudget {
    /// Allows `max` bytes.
    pub(crate) fn new(max: usize, meters: Arc<SessionMeters>) -> Self {
        let shares = Shares { max, made: 0, shares: BTreeMap::new() };
        Self { shares: Arc::new(Mutex::new(shares)), meters }
    }

    /// The share of a session over `link`.
    pub(super) fn share(&self, link: &Link) -> AssemblyShare {
        let number = self.lock().add(link.peer().user, link.clone());
        AssemblyShare { budget: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Shares<Link>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AssemblyShare {
    /// Sets the bytes of the unfinished frame. Over the budget, links end until the rest is within it, those
    /// of the users with the most bytes first.
    pub(super) fn set(&self, bytes: usize) {
        let mut shares = self.budget.lock();
        let ended = shares.set(self.number, bytes);
        self.budget.meters.assembly_bytes.set(shares.bytes());
        drop(shares);
        for link in ended {
            tracing::warn!(device = %link.peer().device.short(), "too many bytes of unfinished frames");
            link.close(ByeReason::Full);
        }
    }
}

impl Drop for AssemblyShare {
    fn drop(&mut self) {
        let mut shares = self.budget.lock();
        shares.shares.remove(&self.number);
        self.budget.meters.assembly_bytes.set(shares.bytes());
    }
}

impl<L: Clone> Shares<L> {
    fn add(&mut self, user: UserId, link: L) -> u64 {
        self.made += 1;
        self.shares.insert(self.made, Share { user, link, bytes: 0, is_ending: false });
        self.made
    }

    /// Sets the bytes of a share; the links to end.
    fn set(&mut self, number: u64, bytes: usize) -> Vec<L> {
        if let Some(share) = self.shares.get_mut(&number) {
            share.bytes = bytes;
        }
        let mut ended = Vec::new();
        while self.lasting().map(|(_, share)| share.bytes).sum::<usize>() > self.max {
            let of_user = |user: UserId| {
                let theirs = self.lasting().filter(|(_, share)| share.user == user);
                theirs.map(|(_, share)| share.bytes).sum::<usize>()
            };
            let heaviest = self.lasting().max_by_key(|(_, share)| (of_user(share.user), share.bytes));
            let Some(number) = heaviest.map(|(number, _)| *number) else { break };
            let Some(share) = self.shares.get_mut(&number) else { break };
            share.is_ending = true;
            ended.push(share.link.clone());
        }
        ended
    }

    fn lasting(&self) -> impl Iterator<Item = (&u64, &Share<L>)> {
        self.shares.iter().filter(|(_, share)| !share.is_ending)
    }

    fn bytes(&self) -> usize {
        self.shares.values().map(|share| share.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_budget_the_links_of_the_user_with_the_most_bytes_end() {
        let (ada, ben) = (UserId([1; 32]), UserId([2; 32]));
        let mut shares = Shares { max: 100, made: 0, shares: BTreeMap::new() };
        let numbers =
            [(ada, "ada 1"), (ada, "ada 2"), (ben, "ben")].map(|(user, link)| shares.add(user, link));
        assert_eq!(shares.set(numbers[2], 40), [""; 0]);
        assert_eq!(shares.set(numbers[0], 35), [""; 0]);
        assert_eq!(shares.set(numbers[1], 25), [""; 0], "the budget is full");

        assert_eq!(shares.set(numbers[2], 41), ["ada 1"], "of the user with the most bytes, not of who adds");

        assert_eq!(shares.bytes(), 101, "its bytes count until its session ends");
        assert_eq!(shares.set(numbers[2], 75), [""; 0], "they end no other link");
        assert_eq!(shares.set(numbers[2], 76), ["ben"]);
    }
}
