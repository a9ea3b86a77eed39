//! Cables of the machine world: the wired pairs of peers, and the links whose two gates the world steps.

use schema::gate::{Channel, Input, LinkId, Peer};
use schema::handshake::LinkRole;
use schema::id::hash;
use schema::session::{Session, SessionSide};

use super::people::{self, group};
use super::{Open, World};

impl World {
    /// Wires two peers and links them.
    pub fn link(&mut self, one: usize, other: usize) {
        let pair = (one.min(other), one.max(other));
        let are_one = self.peers[one].store.device == self.peers[other].store.device;
        if !are_one && self.wired.insert(pair) {
            self.dial(pair);
        }
    }

    /// Brings a link up between two peers that are wired.
    pub(super) fn dial(&mut self, pair: (usize, usize)) {
        if !self.wired.contains(&pair) || self.cables.contains_key(&pair) {
            return;
        }
        let number = self.tick();
        self.cables.insert(pair, number);
        let h = hash("world-link", &[&number.to_be_bytes()]);
        let (low, high) = pair;
        for (peer, other, role) in [(low, high, LinkRole::Initiator), (high, low, LinkRole::Responder)] {
            let person = self.peers[other].member.person;
            let end = Peer { user: people::user(person), device: people::device(person), h, role };
            self.step_gate(peer, Input::LinkUp { link: LinkId(number), peer: end });
        }
    }

    /// Cuts the cable between two peers and loses the parcels under way.
    pub fn cut(&mut self, one: usize, other: usize) {
        let pair = (one.min(other), one.max(other));
        self.wired.remove(&pair);
        self.hang_up(pair);
    }

    /// Ends the link between two peers.
    pub(super) fn hang_up(&mut self, pair: (usize, usize)) {
        let Some(number) = self.cables.remove(&pair) else { return };
        for (peer, other) in [pair, (pair.1, pair.0)] {
            self.peers[peer].sessions.remove(&other);
            self.peers[peer].early.remove(&other);
            self.step_gate(peer, Input::LinkDown { link: LinkId(number), reason: "cut".into() });
        }
    }

    /// Links every two peers.
    pub fn heal(&mut self) {
        for one in 0..self.peers.len() {
            for other in one + 1..self.peers.len() {
                self.link(one, other);
            }
        }
    }

    /// One peer drops its sessions, as a node does whose group failed, and opens them again on the same
    /// links. Parcels under way to it still arrive.
    pub fn restart(&mut self, peer: usize) {
        self.peers[peer].sessions.clear();
        self.step_gate(peer, Input::GroupStarted(group()));
    }

    /// Opens a session of the documents: performs the gate's effect.
    pub(super) fn open(&mut self, peer: usize, channel: Channel, in_sync: bool) {
        let Some(other) = self.other_end(peer, channel.link) else { return };
        let side = SessionSide { initiator: peer < other, incarnation: self.random.within(0..=u64::MAX) };
        let epoch = self.tick();
        let super::Peer { store, sessions, .. } = &mut self.peers[peer];
        let Ok((session, effects)) = Session::open(self.now, side, in_sync, store);
        sessions.insert(other, Open { epoch, channel, session });
        self.perform(peer, other, effects);
        for frame in self.peers[peer].early.remove(&other).unwrap_or_default() {
            self.step(peer, other, schema::session::Input::Frame(frame));
        }
    }

    /// The peer at the other end of a link.
    pub(super) fn other_end(&self, peer: usize, link: LinkId) -> Option<usize> {
        let of_link = |(_, number): &(&(usize, usize), &u64)| LinkId(**number) == link;
        let ((low, high), _) = self.cables.iter().find(of_link)?;
        Some(if *low == peer { *high } else { *low })
    }

    pub(super) fn is_cabled(&self, one: usize, other: usize) -> bool {
        self.cables.contains_key(&(one.min(other), one.max(other)))
    }

    pub(super) fn epoch(&self, peer: usize, other: usize) -> Option<u64> {
        self.peers[peer].sessions.get(&other).map(|open| open.epoch)
    }
}
