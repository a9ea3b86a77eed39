//! The links of the machine world: cables, ops that are sent over them, sessions.

use schema::session::{Session, SessionSide};

use super::people::Member;
use super::wire::Parcel;
use super::{Peer, World};

impl World {
    /// Links two peers unless they are.
    pub fn link(&mut self, one: usize, other: usize) {
        let (low, high) = (one.min(other), one.max(other));
        let are_one = self.peers[low].store.device == self.peers[high].store.device;
        if are_one || self.cables.contains_key(&(low, high)) {
            return;
        }
        let number = self.tick();
        self.cables.insert((low, high), number);
        for (peer, other) in [(low, high), (high, low)] {
            self.peers[peer].handed.insert(other, Member::first());
            self.hand(peer, other);
        }
        self.gate(low, high);
    }

    /// Cuts the link between two peers; what is under way is lost.
    pub fn cut(&mut self, one: usize, other: usize) {
        if self.cables.remove(&(one.min(other), one.max(other))).is_some() {
            self.peers[one].sessions.remove(&other);
            self.peers[other].sessions.remove(&one);
        }
    }

    /// Links everybody with everybody.
    pub fn heal(&mut self) {
        for one in 0..self.peers.len() {
            for other in one + 1..self.peers.len() {
                self.link(one, other);
            }
        }
    }

    /// One peer forgets its sessions, as a group that failed does, and opens them again on the same links;
    /// what was under way to it still arrives.
    pub fn restart(&mut self, peer: usize) {
        for other in self.peers[peer].sessions.keys().copied().collect::<Vec<_>>() {
            let Some((epoch, _)) = self.peers[peer].sessions.remove(&other) else { continue };
            self.open(peer, other, epoch);
        }
    }

    /// Hands on the ops that the other was not handed on this link, if it is a member.
    pub(super) fn hand(&mut self, peer: usize, other: usize) {
        let person = self.peers[other].member.person;
        let Peer { member, handed, .. } = &mut self.peers[peer];
        let before = handed.get(&other).copied().unwrap_or(Member::first());
        if before < member.ledger.len() && member.admits(person) {
            handed.insert(other, member.ledger.len());
            let ops = member.beyond(before);
            self.post(peer, other, Parcel::Ops(ops));
        }
    }

    /// Opens sessions where both admit each other, and closes the others.
    pub(super) fn gate(&mut self, one: usize, other: usize) {
        let admits = |peer: usize, of: usize| {
            self.peers[peer].member.admits(self.peers[of].member.person) || self.is_malicious(peer)
        };
        let is_open = admits(one, other) && admits(other, one);
        match (is_open, self.epoch(one, other)) {
            (true, None) => {
                let epoch = self.tick();
                self.open(one.min(other), one.max(other), epoch);
                self.open(one.max(other), one.min(other), epoch);
            }
            (false, Some(_)) => {
                self.peers[one].sessions.remove(&other);
                self.peers[other].sessions.remove(&one);
            }
            _ => {}
        }
    }

    fn open(&mut self, peer: usize, other: usize, epoch: u64) {
        let is_initiator = (peer < other) == epoch.is_multiple_of(2);
        let side = SessionSide { initiator: is_initiator, incarnation: self.random.within(0..=u64::MAX) };
        let Peer { store, sessions, .. } = &mut self.peers[peer];
        let Ok((session, effects)) = Session::open(self.now, side, false, store);
        sessions.insert(other, (epoch, session));
        self.perform(peer, other, effects);
    }

    pub(super) fn is_cabled(&self, one: usize, other: usize) -> bool {
        self.cables.contains_key(&(one.min(other), one.max(other)))
    }

    pub(super) fn epoch(&self, peer: usize, other: usize) -> Option<u64> {
        self.peers[peer].sessions.get(&other).map(|(epoch, _)| *epoch)
    }
}
