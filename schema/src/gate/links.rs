//! Links, as far as groups are concerned: which groups are announced, open and closed on each.
//!
//! [`Access`] decides how much of a group a peer gets, and so whether it is announced. A group is open once
//! both sides announced it. Of each side the newest announcement counts: closing a group voids those before
//! without a frame.

mod update;

use std::collections::{BTreeMap, BTreeSet};

use super::access::Access;
use super::effect::{Channel, Effect, Notice, Warning};
use super::group::{Group, Groups};
use super::input::Peer;
use super::rate::{Contests, Counter, FaultScores};
use super::silence::Silence;
use super::{LinkId, Step};
use crate::limits::ANNOUNCED_MAX;
use crate::session::ledger::LedgerSession;
use crate::wire::hello::{self, Hello, HelloGroup};
use crate::wire::link::{ByeReason, LinkFrame};
use crate::{DeviceId, GroupId, OpId, UserId};

/// The links of the node.
#[derive(Default)]
pub(super) struct Links {
    pub(super) links: BTreeMap<LinkId, LinkState>,
    pub(super) silence: Silence,
    /// The last time at which each removed user showed ops against their removal.
    pub(super) contests: Contests,
    pub(super) faults: FaultScores,
}

/// One link.
pub(super) struct LinkState {
    pub(super) peer: Peer,
    /// Our announcements, by our number.
    pub(super) ours: Vec<Announced>,
    /// The peer's announcements, by its number.
    theirs: Vec<HelloGroup>,
    /// The peer sent a Hello.
    pub(super) has_greeted: bool,
    /// The number of Presents of the peer.
    pub(super) presents: usize,
    /// Those of them by which it was no member.
    pub(super) idle_presents: usize,
    /// The number of its offers.
    pub(super) offers: usize,
    /// The tickets that it redeemed lately.
    pub(super) joins: Counter,
    /// The tickets of ours that were redeemed at it: groups and invitations.
    pub(super) redeemed: BTreeSet<(GroupId, OpId)>,
    pub(super) open: BTreeMap<GroupId, Open>,
    /// The last [`Effect::SetShared`].
    is_shared: Option<bool>,
}

/// A group that we announced.
pub(super) struct Announced {
    /// `None` once it is closed: the number stays taken.
    pub(super) group: Option<GroupId>,
    hash: [u8; 32],
    /// The peer's access when the group was announced, or at the last [`Links::update`] since.
    access: Access,
    pub(super) is_presented: bool,
}

/// A group that both sides announced.
pub(super) struct Open {
    pub(super) channel: Channel,
    pub(super) session: LedgerSession,
}

impl LinkState {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            ours: Vec::new(),
            theirs: Vec::new(),
            has_greeted: false,
            presents: 0,
            idle_presents: 0,
            offers: 0,
            joins: Counter::default(),
            redeemed: BTreeSet::new(),
            open: BTreeMap::new(),
            is_shared: None,
        }
    }

    /// Returns true if the peer announced a group.
    fn has_announced(&self, group: GroupId) -> bool {
        let token = hello::token(group, &self.peer.h, self.peer.role.peer());
        self.theirs.iter().any(|theirs| theirs.token == token)
    }

    /// The peer's access to a group now.
    pub(super) fn access(&self, step: &Step, id: GroupId, group: &Group) -> Access {
        group.access(step.keys.user(), &self.peer, || self.has_announced(id))
    }
}

impl Links {
    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// Returns true if a group's ledger was equal to the peer's on one of the links.
    pub(super) fn are_documents_open(&self, group: GroupId) -> bool {
        let mut open = self.links.values().filter_map(|state| state.open.get(&group));
        open.any(|open| open.session.are_documents_open())
    }

    /// Returns true if what a peer sends of a group's ledger now replies to no Pull of ours.
    pub(super) fn is_pushing(&self, link: LinkId, group: GroupId) -> bool {
        let open = self.links.get(&link).and_then(|state| state.open.get(&group));
        open.is_some_and(|open| !open.session.is_pulling())
    }

    pub(super) fn on_up(&mut self, step: &mut Step, link: LinkId, peer: Peer, groups: &Groups) {
        if self.faults.is_barred(peer.device, step.now.instant) {
            step.outbox.push(Effect::CloseLink { link, reason: ByeReason::Protocol });
            return; // it shares nothing
        }
        let Peer { user, device, .. } = peer;
        step.outbox.push(Effect::Notify(Notice::PeerUp { user, device }));
        self.links.insert(link, LinkState::new(peer));
        let ids: Vec<_> = groups.keys().copied().collect();
        self.announce(step, link, &ids, groups, true);
        for id in ids {
            self.redeem_tickets(step, link, id, groups);
        }
    }

    pub(super) fn on_down(&mut self, step: &mut Step, link: LinkId, reason: &str) {
        let Some(state) = self.links.remove(&link) else { return };
        for (number, announced) in state.ours.iter().enumerate() {
            // Frames of an announced group may have reached its documents already.
            let Some(group) = announced.group else { continue };
            step.outbox.push(Effect::CloseCell { link, number: to_number(number) });
            step.outbox.push(Effect::CloseSession { link, group });
        }
        let (device, reason) = (state.peer.device, reason.to_owned());
        for group in state.open.into_keys() {
            step.outbox.push(Effect::Notify(Notice::SessionLost { group, device }));
        }
        step.outbox.push(Effect::Notify(Notice::PeerDown { device, reason }));
    }

    /// Ends a link. Its cells close at once, and nothing more is handled of it, though frames of it may wait.
    pub(super) fn end(&mut self, step: &mut Step, link: LinkId, reason: ByeReason, why: &str) {
        if self.links.contains_key(&link) {
            self.on_down(step, link, why);
            step.outbox.push(Effect::CloseLink { link, reason });
        }
    }

    pub(super) fn on_hello(&mut self, step: &mut Step, link: LinkId, hello: Hello, groups: &Groups) {
        self.forget_reopened(step, link, &hello);
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.theirs.len() + hello.groups.len() > ANNOUNCED_MAX {
            let announced = state.theirs.len();
            step.outbox.push(Effect::Warn(Warning::TooManyAnnouncements { announced }));
            self.end(step, link, ByeReason::Protocol, "the peer announced too many groups");
            return;
        }
        state.theirs.extend(hello.groups);
        state.has_greeted = true;
        let ids: Vec<_> = groups.keys().copied().collect();
        self.announce(step, link, &ids, groups, false);
        for id in ids {
            self.open(step, link, id, groups);
            self.present(step, link, id, groups);
            self.note_silence(step, link, id, groups);
        }
    }

    /// Notes the silence of a member's device whose Hello leaves out a group of ours.
    fn note_silence(&mut self, step: &Step, link: LinkId, id: GroupId, groups: &Groups) {
        let (Some(state), Some(group)) = (self.links.get(&link), groups.get(&id)) else { return };
        if state.access(step, id, group) == Access::Documents && !state.open.contains_key(&id) {
            self.silence.begin(id, state.peer.device, step.now);
        }
    }

    /// Forgets the sessions of open groups that the peer announces again: it had closed them, and dropped
    /// what we sent since.
    fn forget_reopened(&mut self, step: &mut Step, link: LinkId, hello: &Hello) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (h, role) = (&state.peer.h, state.peer.role.peer());
        let is_again = |group: &&GroupId| {
            let token = hello::token(**group, h, role);
            hello.groups.iter().any(|announced| announced.token == token)
        };
        let reopened: Vec<_> = state.open.keys().filter(is_again).copied().collect();
        for group in reopened {
            state.open.remove(&group);
            step.outbox.push(Effect::CloseSession { link, group });
        }
    }

    /// Ends every link with a user's devices; nothing more is handled of them.
    pub(super) fn disconnect(&mut self, step: &mut Step, user: UserId) {
        let theirs = self.links.iter().filter(|(_, state)| state.peer.user == user);
        for link in theirs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(step, link, ByeReason::NotAuthorized, "the user was blocked");
        }
    }

    /// Scores a peer for ops that no honest device passes on.
    pub(super) fn score(&mut self, step: &mut Step, link: LinkId, faults: usize) {
        let Some(device) = self.links.get(&link).map(|state| state.peer.device) else { return };
        (0..faults).for_each(|_| self.on_peer_fault(step, device));
    }

    /// Scores a device for one fault; ends the links with one that commits too many.
    pub(super) fn on_peer_fault(&mut self, step: &mut Step, device: DeviceId) {
        if self.faults.is_barred(device, step.now.instant) || !self.faults.add(device, step.now.instant) {
            return;
        }
        step.outbox.push(Effect::Warn(Warning::FaultyDevice { device }));
        let theirs = self.links.iter().filter(|(_, state)| state.peer.device == device);
        for link in theirs.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.end(step, link, ByeReason::Protocol, "the device is barred");
        }
    }

    /// Announces those of some groups that may be announced and are not yet; the first Hello is sent even
    /// when empty.
    fn announce(&mut self, step: &mut Step, link: LinkId, ids: &[GroupId], groups: &Groups, is_first: bool) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (peer, mut hello, mut announced) = (state.peer, Hello::default(), Vec::new());
        for id in ids {
            let Some(group) = groups.get(id) else { continue };
            let access = state.access(step, *id, group);
            let is_announced = || state.ours.iter().any(|announced| announced.group == Some(*id));
            if access == Access::None || is_announced() {
                continue;
            }
            if state.ours.len() == ANNOUNCED_MAX {
                // Numbers of closed groups are free again on a new link.
                if state.ours.iter().any(|announced| announced.group.is_none()) {
                    return self.end(step, link, ByeReason::Renew, "the numbers of groups are used up");
                }
                break;
            }
            let hash = step.summary(group, access, &peer.h);
            hello.groups.push(HelloGroup { token: hello::token(*id, &peer.h, peer.role), hash });
            // A peer may send as soon as it has the announcement: the cell is open before.
            let number = to_number(state.ours.len());
            step.outbox.push(Effect::OpenCell { link, number, group: *id });
            state.ours.push(Announced { group: Some(*id), hash, access, is_presented: false });
            announced.push(*id);
        }
        if is_first || !hello.groups.is_empty() {
            step.outbox.send_about(announced, link, LinkFrame::Hello(hello));
        }
    }

    /// Opens a group on a link when both sides have announced it.
    fn open(&mut self, step: &mut Step, link: LinkId, id: GroupId, groups: &Groups) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.open.contains_key(&id) {
            return;
        }
        let Some(group) = groups.get(&id) else { return };
        let Some(ours) = state.ours.iter().position(|announced| announced.group == Some(id)) else { return };
        let Peer { h, role, device, .. } = state.peer;
        let token = hello::token(id, &h, role.peer());
        let Some(theirs) = state.theirs.iter().rposition(|theirs| theirs.token == token) else { return };

        let access = state.access(step, id, group);
        let summary = step.summary(group, access, &h);
        let are_equal = state.theirs[theirs].hash == summary
            && state.ours[ours].hash == summary
            && access == Access::Documents;
        state.ours[ours].access = access;
        let channel = Channel { link, group: id, ours: to_number(ours), theirs: to_number(theirs) };
        let (session, effects) = LedgerSession::open(are_equal, &group.visible_ledger(access));
        self.silence.end(id, device);
        state.open.insert(id, Open { channel, session });
        effects.into_iter().for_each(|effect| self.perform(step, link, id, effect, groups));
    }

    /// Closes a group on a link: its cell, its sessions, and our announcement of it. Returns true if it was
    /// announced.
    pub(super) fn close(&mut self, step: &mut Step, link: LinkId, id: GroupId) -> bool {
        let Some(state) = self.links.get_mut(&link) else { return false };
        let mut was_announced = false;
        for (number, announced) in state.ours.iter_mut().enumerate() {
            if announced.group.take_if(|group| *group == id).is_some() {
                was_announced = true;
                step.outbox.push(Effect::CloseCell { link, number: to_number(number) });
            }
        }
        if state.open.remove(&id).is_some() {
            let device = state.peer.device;
            step.outbox.push(Effect::Notify(Notice::SessionLost { group: id, device }));
        }
        step.outbox.push(Effect::CloseSession { link, group: id });
        was_announced
    }

    /// Closes every cell: the gate has failed.
    pub(super) fn close_cells(&self, step: &mut Step) {
        for (link, state) in &self.links {
            for number in 0..state.ours.len() {
                step.outbox.push(Effect::CloseCell { link: *link, number: to_number(number) });
            }
        }
    }
}

/// At most [`ANNOUNCED_MAX`] and a few are counted.
fn to_number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
