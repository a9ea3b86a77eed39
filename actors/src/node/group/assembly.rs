//! Bounds the bytes of session frames until they are judged, over all links and groups of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schema::UserId;
use schema::gate::LinkId;
use schema::wire::link::ByeReason;

use crate::meter::SessionMeters;
use crate::node::connection_manager::Link;

/// The bytes of session frames that are unfinished, or not judged yet. Permits of mailboxes do not bound
/// them, since a frame may be larger than a mailbox. Clones share the bound.
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

/// The shares of all sessions (pure). What ends is a link, with all its sessions.
struct Shares<L> {
    max: usize,
    made: u64,
    shares: BTreeMap<u64, Share<L>>,
    /// The sum of all shares.
    bytes: usize,
    /// The sum of those whose links last.
    lasting: usize,
}

struct Share<L> {
    user: UserId,
    id: LinkId,
    link: L,
    bytes: usize,
    /// Its link was ended; the bytes follow.
    is_ending: bool,
}

impl AssemblyBudget {
    /// Allows `max` bytes.
    pub(crate) fn new(max: usize, meters: Arc<SessionMeters>) -> Self {
        let shares = Shares::new(max);
        Self { shares: Arc::new(Mutex::new(shares)), meters }
    }

    /// The share of a session over `link`.
    pub(super) fn share(&self, link: &Link) -> AssemblyShare {
        let number = self.lock().add(link.peer().user, link.id(), link.clone());
        AssemblyShare { budget: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Shares<Link>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AssemblyShare {
    /// Returns true if half of the budget is used up: who has a frame that is not judged yet waits with the
    /// next one.
    pub(super) fn is_short(&self) -> bool {
        self.budget.lock().is_short()
    }

    /// Sets the bytes of the session's frames. Over the budget, links end until the rest is within it, those
    /// of the users with the most bytes first.
    pub(super) fn set(&self, bytes: usize) {
        let mut shares = self.budget.lock();
        let ended = shares.set(self.number, bytes);
        self.budget.meters.assembly_bytes.set(shares.bytes);
        drop(shares);
        for link in ended {
            tracing::warn!(device = %link.peer().device.short(), "too many bytes of frames");
            link.close(ByeReason::Full);
        }
    }
}

impl Drop for AssemblyShare {
    fn drop(&mut self) {
        let mut shares = self.budget.lock();
        shares.remove(self.number);
        self.budget.meters.assembly_bytes.set(shares.bytes);
    }
}

impl<L: Clone> Shares<L> {
    fn new(max: usize) -> Self {
        Self { max, made: 0, shares: BTreeMap::new(), bytes: 0, lasting: 0 }
    }

    fn add(&mut self, user: UserId, id: LinkId, link: L) -> u64 {
        self.made += 1;
        self.shares.insert(self.made, Share { user, id, link, bytes: 0, is_ending: false });
        self.made
    }

    /// Sets the bytes of a share; the links to end.
    fn set(&mut self, number: u64, bytes: usize) -> Vec<L> {
        if let Some(share) = self.shares.get_mut(&number) {
            let before = std::mem::replace(&mut share.bytes, bytes);
            self.bytes = self.bytes - before + bytes;
            if !share.is_ending {
                self.lasting = self.lasting - before + bytes;
            }
        }
        let mut ended = Vec::new();
        while self.lasting > self.max {
            let heaviest = self.lasting_shares().max_by_key(|share| {
                let of_link = self.sum(|other| other.id == share.id);
                (self.sum(|other| other.user == share.user), of_link)
            });
            let Some((id, link)) = heaviest.map(|share| (share.id, share.link.clone())) else { break };
            for share in self.shares.values_mut().filter(|share| share.id == id && !share.is_ending) {
                share.is_ending = true;
                self.lasting -= share.bytes;
            }
            ended.push(link);
        }
        ended
    }

    fn is_short(&self) -> bool {
        self.bytes > self.max / 2
    }

    fn remove(&mut self, number: u64) {
        self.set(number, 0);
        self.shares.remove(&number);
    }

    fn sum(&self, which: impl Fn(&Share<L>) -> bool) -> usize {
        self.lasting_shares().filter(|share| which(share)).map(|share| share.bytes).sum()
    }

    fn lasting_shares(&self) -> impl Iterator<Item = &Share<L>> {
        self.shares.values().filter(|share| !share.is_ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: UserId = UserId([1; 32]);
    const BEN: UserId = UserId([2; 32]);

    #[test]
    fn over_the_budget_the_links_of_the_user_with_the_most_bytes_end() {
        let mut shares = Shares::new(100);
        let links = [(ADA, 1, "ada 1"), (ADA, 2, "ada 2"), (BEN, 3, "ben")];
        let numbers = links.map(|(user, id, link)| shares.add(user, LinkId(id), link));
        assert_eq!(shares.set(numbers[2], 40), [""; 0]);
        assert!(!shares.is_short());
        assert_eq!(shares.set(numbers[0], 35), [""; 0]);
        assert!(shares.is_short(), "who has a frame that is not judged waits with the next one");
        assert_eq!(shares.set(numbers[1], 25), [""; 0], "the budget is full");

        assert_eq!(shares.set(numbers[2], 41), ["ada 1"], "of the user with the most bytes, not of who adds");

        assert_eq!(shares.bytes, 101, "its bytes count until its session ends");
        assert_eq!(shares.set(numbers[2], 75), [""; 0], "they end no other link");
        assert_eq!(shares.set(numbers[2], 76), ["ben"]);
    }

    #[test]
    fn a_link_ends_once_with_all_its_sessions() {
        let mut shares = Shares::new(60);
        let groups = [(); 4].map(|()| shares.add(ADA, LinkId(1), "ada"));
        let of_ben = [(); 2].map(|()| shares.add(BEN, LinkId(2), "ben"));
        groups.iter().for_each(|number| assert_eq!(shares.set(*number, 9), [""; 0]));

        assert_eq!(shares.set(of_ben[0], 24), [""; 0]);
        assert_eq!(shares.set(of_ben[1], 1), ["ada"]);
        assert_eq!(shares.set(of_ben[1], 30), [""; 0], "all of Ada's bytes are going");

        groups.into_iter().for_each(|number| shares.remove(number));
        assert_eq!((shares.bytes, shares.lasting), (54, 54));
    }
}
