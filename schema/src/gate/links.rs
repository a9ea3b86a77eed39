//! Links, as far as groups are concerned: which groups are announced, open and closed on each.
//!
//! A group is announced to a device whose user the ledger admits; while this user is removed, only if that
//! device announced it first. While this user is pending it is announced to every device that announced it
//! first, but one that the ledger does not admit gets nothing of the ledger. A group is open once both sides
//! announced it. Of each side the newest announcement counts: closing a group voids those before without a
//! frame.

use std::collections::{BTreeMap, BTreeSet};

use super::delta::LedgerDelta;
use super::effect::{Channel, Effect, Notice, Warning};
use super::group::{Group, Groups};
use super::input::Peer;
use super::rate::{Contests, Counter, FaultScores};
use super::silence::Silence;
use super::{LinkId, Step};
use crate::handshake::LinkRole;
use crate::limits::ANNOUNCED_MAX;
use crate::session::ledger::LedgerSession;
use crate::wire::hello::{self, Hello, HelloGroup};
use crate::wire::link::{ByeReason, LinkFrame};
use crate::{GroupId, OpId, UserId};

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
    /// The tickets that it showed lately.
    pub(super) joins: Counter,
    /// The tickets of ours that it was shown: groups and invitations.
    pub(super) shown: BTreeSet<(GroupId, OpId)>,
    pub(super) open: BTreeMap<GroupId, Open>,
    /// The last [`Effect::SetShared`].
    is_shared: Option<bool>,
}

/// A group that we announced.
pub(super) struct Announced {
    /// `None` once it is closed: the number stays taken.
    pub(super) group: Option<GroupId>,
    hash: [u8; 32],
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
            shown: BTreeSet::new(),
            open: BTreeMap::new(),
            is_shared: None,
        }
    }

    /// Returns true if the peer announced a group.
    fn has_announced(&self, group: GroupId) -> bool {
        let token = hello::token(group, &self.peer.h, self.peer.role.peer());
        self.theirs.iter().any(|theirs| theirs.token == token)
    }
}

impl Links {
    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    pub(super) fn on_up(&mut self, step: &mut Step, link: LinkId, peer: Peer, groups: &Groups) {
        if self.faults.is_barred(peer.device, step.now.instant) {
            step.outbox.push(Effect::CloseLink { link, reason: ByeReason::Protocol });
            return;
        }
        let Peer { user, device, .. } = peer;
        step.outbox.push(Effect::Notify(Notice::PeerUp { user, device }));
        self.links.insert(link, LinkState::new(peer));
        let ids: Vec<_> = groups.keys().copied().collect();
        self.announce(step, link, &ids, groups, true);
        for id in ids {
            self.show_tickets(step, link, id, groups);
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

    pub(super) fn on_hello(&mut self, step: &mut Step, link: LinkId, hello: Hello, groups: &Groups) {
        self.forget_reopened(step, link, &hello);
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.theirs.len() + hello.groups.len() > ANNOUNCED_MAX || state.ours.len() > ANNOUNCED_MAX {
            let announced = state.theirs.len();
            step.outbox.push(Effect::Warn(Warning::TooManyAnnouncements { announced }));
            step.outbox.push(Effect::CloseLink { link, reason: ByeReason::Protocol });
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
        let is_pending = group.is_pending(step.keys.user());
        let may_read = group.ledger.roster().may_read(state.peer.user, state.peer.device);
        if group.is_wanted && !is_pending && may_read && !state.open.contains_key(&id) {
            self.silence.begin(id, state.peer.device, step.now.wall);
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

    /// Announces, opens, presents and shows tickets of a group wherever that was not possible before.
    pub(super) fn announce_and_open(&mut self, step: &mut Step, id: GroupId, groups: &Groups) {
        for link in self.ids() {
            self.announce(step, link, &[id], groups, false);
            self.open(step, link, id, groups);
            self.present(step, link, id, groups);
            self.show_tickets(step, link, id, groups);
        }
    }

    /// Opens the document sessions of a group again, whose documents lost them.
    pub(super) fn reopen_sessions(&mut self, step: &mut Step, id: GroupId, groups: &Groups) {
        self.announce_and_open(step, id, groups);
        let Some(group) = groups.get(&id) else { return };
        let may_read = |peer: &Peer| group.ledger.roster().may_read(peer.user, peer.device);
        let readers = self.links.values().filter(|state| may_read(&state.peer));
        let open = readers.filter_map(|state| state.open.get(&id));
        for open in open.filter(|open| open.session.are_documents_open()) {
            let channel = open.channel;
            step.outbox.push(Effect::OpenSession { channel, group: id, in_sync: false });
        }
    }

    /// Closes a group on every link whose peer the ledger does not admit. Such a peer gets a Bye without a
    /// reason (authority 3.9) if we had announced the group: it may have opened the group on our
    /// announcement, and would wait for us. Other shared groups begin again on a new link.
    pub(super) fn close_unadmitted(&mut self, step: &mut Step, id: GroupId, group: &Group) {
        let (roster, user) = (group.ledger.roster(), step.keys.user());
        let is_ours = !group.has_removed(user);
        for link in self.ids() {
            let Peer { user: other, device, .. } = self.links[&link].peer;
            let may_read = roster.may_read(other, device);
            // A ledger too old to admit anybody still removes.
            let is_removed = roster.grant(other).is_some() && !may_read;
            let may_stay = group.is_pending(user) || is_ours && may_read;
            if is_removed || !may_stay {
                let was_announced = self.close(step, link, id);
                if was_announced && !may_read {
                    let shares_more =
                        !self.links[&link].open.is_empty() && !roster.is_revoked_by_user(other, device);
                    let reason = if shares_more { ByeReason::Renew } else { ByeReason::NotAuthorized };
                    step.outbox.push(Effect::CloseLink { link, reason });
                }
            }
        }
    }

    /// Closes a group that the user has left. No frame says so on a link that lasts, and the peer would wait
    /// for us to catch up: a link on which it was announced ends and is dialled again.
    pub(super) fn close_everywhere(&mut self, step: &mut Step, id: GroupId) {
        for link in self.ids() {
            if self.close(step, link, id) {
                step.outbox.push(Effect::CloseLink { link, reason: ByeReason::Renew });
            }
        }
    }

    /// Ends every link with a user's devices; nothing more is handled of them.
    pub(super) fn disconnect(&mut self, step: &mut Step, user: UserId) {
        let theirs = self.links.iter().filter(|(_, state)| state.peer.user == user);
        for link in theirs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.on_down(step, link, "the user was blocked");
            step.outbox.push(Effect::CloseLink { link, reason: ByeReason::NotAuthorized });
        }
    }

    /// Sends what a ledger gained to every peer but its source.
    pub(super) fn push(&self, step: &mut Step, id: GroupId, delta: &LedgerDelta, source: Option<LinkId>) {
        if delta.is_empty() {
            return;
        }
        let others = self.links.iter().filter(|(link, _)| Some(**link) != source);
        for open in others.filter_map(|(_, state)| state.open.get(&id)) {
            for frame in delta.frames() {
                step.outbox.push(Effect::SendLedger { channel: open.channel, frame });
            }
        }
    }

    /// Scores a peer for ops that no honest device passes on; closes the link of one that sent too many.
    pub(super) fn score(&mut self, step: &mut Step, link: LinkId, faults: usize) {
        let Some(state) = self.links.get(&link) else { return };
        let device = state.peer.device;
        for _ in 0..faults {
            if self.faults.add(device, step.now.instant) {
                step.outbox.push(Effect::Warn(Warning::FaultyDevice { device }));
                step.outbox.push(Effect::CloseLink { link, reason: ByeReason::Protocol });
                return;
            }
        }
    }

    /// Tells the shell for each link if anything is shared over it, where that is news (authority 3.9). While
    /// this user is pending in some group, a link that we dialled may lead to it, and only its peer can tell.
    pub(super) fn update_shared(&mut self, step: &mut Step, groups: &Groups, personal: GroupId) {
        let user = step.keys.user();
        let own = groups.get(&personal).map(|group| group.ledger.roster());
        let mut is_pending = None;
        for (link, state) in &mut self.links {
            let peer = state.peer;
            let is_own =
                peer.user == user && own.is_some_and(|own| !own.is_revoked_by_user(peer.user, peer.device));
            let mut may_lead_to_one = || {
                let any = || groups.values().any(|group| group.is_pending(user));
                peer.role == LinkRole::Initiator && *is_pending.get_or_insert_with(any)
            };
            let is_shared = is_own || !state.open.is_empty() || may_lead_to_one();
            if state.is_shared.replace(is_shared) != Some(is_shared) {
                step.outbox.push(Effect::SetShared { link: *link, is_shared });
            }
        }
    }

    /// Announces those of some groups that may be announced and are not yet; the first Hello is sent even
    /// when empty.
    fn announce(&mut self, step: &mut Step, link: LinkId, ids: &[GroupId], groups: &Groups, is_first: bool) {
        let user = step.keys.user();
        let Some(state) = self.links.get_mut(&link) else { return };
        let (peer, mut hello) = (state.peer, Hello::default());
        for id in ids {
            let Some(group) = groups.get(id).filter(|group| group.is_wanted) else { continue };
            if state.ours.iter().any(|announced| announced.group == Some(*id)) {
                continue;
            }
            let may_read = group.ledger.roster().may_read(peer.user, peer.device);
            let may_announce = match group.has_removed(user) {
                true => may_read && state.has_announced(*id),
                false => may_read || group.is_pending(user) && state.has_announced(*id),
            };
            if !may_announce {
                continue;
            }
            let hash = step.summary(*id, group, &peer.h);
            hello.groups.push(HelloGroup { token: hello::token(*id, &peer.h, peer.role), hash });
            // A peer may send as soon as it has the announcement: the cell is open before.
            let number = to_number(state.ours.len());
            step.outbox.push(Effect::OpenCell { link, number, group: *id });
            state.ours.push(Announced { group: Some(*id), hash, is_presented: false });
        }
        if is_first || !hello.groups.is_empty() {
            step.outbox.send(link, LinkFrame::Hello(hello));
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

        let summary = step.summary(id, group, &h);
        let are_equal = state.theirs[theirs].hash == summary
            && state.ours[ours].hash == summary
            && !group.is_pending(step.keys.user());
        let channel = Channel { link, ours: to_number(ours), theirs: to_number(theirs) };
        let (session, effects) = LedgerSession::open(are_equal, &group.ledger);
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
