//! Which groups are spoken of on which link: announcements, gates and ledger sessions (stepped by `membership`).
//!
//! A group is announced to a device whose user the ledger admits, or that announced it first while it is pending
//! here or its ledger says that our own user is out. It is open once both sides announced it; of each side the newest announcement counts, since closing voids the
//! ones before without a word. A member whom the peer does not know presents its grant.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use schema::handshake::LinkRole;
use schema::limits::{ANNOUNCED_MAX, PRESENT_BYTES_MAX, REDEEMED_IN, REDEEMED_MAX};
use schema::session::ledger::{LedgerEffect, LedgerSession};
use schema::session::{SessionFault, StepError};
use schema::wire::hello::{self, Hello, HelloGroup};
use schema::wire::link::{ByeReason, LinkFrame};
use schema::{DeviceId, GroupId, OpId, Timestamp, UserId};

use super::admit::LedgerDelta;
use super::silence::Silence;
use super::{Arguments, Entries, Entry};
use crate::node::connection_manager::{Link, LinkId};
use crate::node::event::Event;
use crate::node::gate::{Channel, Gate};
use crate::node::scores::Scores;
use crate::node::store::StoreError;

/// The links of the node, as far as groups are concerned.
pub(super) struct Links {
    pub(super) arguments: Arguments,
    pub(super) links: BTreeMap<LinkId, LinkState>,
    /// Users whose devices get no link.
    pub(super) blocked: BTreeSet<UserId>,
    pub(super) silence: Silence,
    /// When somebody who was removed from a group last showed why they think otherwise.
    pub(super) contested: BTreeMap<(GroupId, UserId), Duration>,
    scores: Scores,
}

pub(super) struct LinkState {
    pub(super) link: Link,
    /// What we announced, by our number.
    ours: Vec<Announced>,
    /// What the peer announced, by its number.
    theirs: Vec<HelloGroup>,
    greeted: bool,
    /// How often the peer presented itself.
    pub(super) presented: usize,
    /// How often it was no member by that.
    pub(super) presented_in_vain: usize,
    /// How many groups it presented that are not known here.
    pub(super) offered: usize,
    /// How often the peer showed a ticket lately, and since when.
    redeemed: (usize, Duration),
    /// Which of ours it was shown: for which groups, by which invitations.
    pub(super) asked: BTreeSet<(GroupId, OpId)>,
    open: BTreeMap<GroupId, Open>,
}

struct Announced {
    group: GroupId,
    hash: [u8; 32],
    presented: bool,
    gate: Gate,
}

/// A group that both sides announced.
struct Open {
    channel: Channel,
    session: LedgerSession,
}

/// Who shows a ticket.
pub(super) struct Redeemer {
    pub(super) group: GroupId,
    pub(super) user: UserId,
    pub(super) device: DeviceId,
}

impl Links {
    pub(super) fn new(arguments: Arguments) -> Self {
        let (links, blocked, scores) = (BTreeMap::new(), BTreeSet::new(), Scores::default());
        Self { arguments, links, blocked, silence: Silence::default(), contested: BTreeMap::new(), scores }
    }

    pub(super) fn up(&mut self, link: Link, entries: &Entries) {
        let id = link.id();
        let peer = link.peer();
        if self.blocked.contains(&peer.user) {
            // As to a stranger: not a word of why.
            link.close(ByeReason::NotAuthorized);
            return;
        }
        if self.scores.is_out(peer.device, self.arguments.clock.instant()) {
            link.close(ByeReason::Protocol);
            return;
        }
        let _ = self.arguments.events.send(Event::PeerUp { user: peer.user, device: peer.device });
        let state = LinkState {
            link,
            ours: Vec::new(),
            theirs: Vec::new(),
            greeted: false,
            presented: 0,
            presented_in_vain: 0,
            offered: 0,
            redeemed: (0, Duration::ZERO),
            asked: BTreeSet::new(),
            open: BTreeMap::new(),
        };
        self.links.insert(id, state);
        let groups: Vec<_> = entries.keys().copied().collect();
        self.announce(id, &groups, entries, true);
        for group in groups {
            self.ask(id, group, entries);
        }
    }

    pub(super) fn down(&mut self, link: LinkId, reason: &str) {
        let Some(state) = self.links.remove(&link) else { return };
        for announced in &state.ours {
            announced.gate.close();
        }
        // Announced is enough for frames to have reached the group.
        for announced in &state.ours {
            self.close_session(announced.group, link);
        }
        let (device, reason) = (state.link.peer().device, reason.to_owned());
        for group in state.open.keys().copied() {
            let _ = self.arguments.events.send(Event::SessionLost { group, device });
        }
        let _ = self.arguments.events.send(Event::PeerDown { device, reason });
    }

    pub(super) fn hello(&mut self, link: LinkId, hello: Hello, entries: &Entries) {
        let groups: Vec<_> = entries.keys().copied().collect();
        self.reopen(link, &hello);
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.theirs.len() + hello.groups.len() > ANNOUNCED_MAX || state.ours.len() > ANNOUNCED_MAX {
            tracing::warn!(announced = state.theirs.len(), "peer announces without end");
            state.link.close(ByeReason::Protocol);
            return;
        }
        state.theirs.extend(hello.groups);
        state.greeted = true;
        self.announce(link, &groups, entries, false);
        for group in groups {
            self.open(link, group, entries);
            self.present(link, group, entries);
            self.note_silence(link, group, entries);
        }
    }

    /// A member's device that says of which groups it speaks, and leaves one out of ours.
    fn note_silence(&mut self, link: LinkId, group: GroupId, entries: &Entries) {
        let (user, now) = (self.user(), self.arguments.clock.now());
        let (Some(state), Some(entry)) = (self.links.get(&link), entries.get(&group)) else { return };
        let peer = state.link.peer();
        let is_in =
            entry.wanted && !entry.is_pending(user) && entry.ledger.roster().may_read(peer.user, peer.device);
        if is_in && !state.open.contains_key(&group) {
            self.silence.begins(group, peer.device, now);
        }
    }

    /// A peer that announces an open group again had closed it: what we said since has gone nowhere.
    fn reopen(&mut self, link: LinkId, hello: &Hello) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (h, role) = (state.link.h(), state.link.role().peer());
        let again = |group: &&GroupId| {
            let token = hello::token(**group, h, role);
            hello.groups.iter().any(|announced| announced.token == token)
        };
        let reopened: Vec<_> = state.open.keys().filter(again).copied().collect();
        state.open.retain(|group, _| !reopened.contains(group));
        for group in reopened {
            self.close_session(group, link);
        }
    }

    /// A peer sent ops that no honest device would pass on.
    pub(super) fn score(&mut self, link: LinkId, invalid: usize) {
        let Some(state) = self.links.get(&link) else { return };
        let (device, now) = (state.link.peer().device, self.arguments.clock.instant());
        for _ in 0..invalid {
            if self.scores.fault(device, now) {
                tracing::warn!(device = %device.short(), "a device that sends invalid ops is let go");
                state.link.close(ByeReason::Protocol);
                return;
            }
        }
    }

    /// Who shows a ticket, and for which group; not without end.
    pub(super) fn redeemer(&mut self, link: LinkId, token: &[u8; 32], entries: &Entries) -> Option<Redeemer> {
        let now = self.arguments.clock.instant();
        let state = self.links.get_mut(&link)?;
        if now.saturating_sub(state.redeemed.1) >= REDEEMED_IN {
            state.redeemed = (0, now);
        }
        state.redeemed.0 += 1;
        if state.redeemed.0 > REDEEMED_MAX {
            return None;
        }
        let is_it =
            |group: &GroupId| hello::token(*group, state.link.h(), state.link.role().peer()) == *token;
        let (group, _) = entries.iter().find(|(group, entry)| entry.wanted && is_it(group))?;
        let peer = state.link.peer();
        let is_revoked_by_user =
            |entry: &Entry| entry.ledger.roster().is_revoked_by_user(peer.user, peer.device);
        if entries.values().any(is_revoked_by_user) {
            return None;
        }
        Some(Redeemer { group: *group, user: peer.user, device: peer.device })
    }

    pub(super) fn user(&self) -> UserId {
        self.arguments.device.user()
    }

    /// A group may now be announced, opened or presented where it was not before.
    pub(super) fn consider(&mut self, group: GroupId, entries: &Entries) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.announce(link, &[group], entries, false);
            self.open(link, group, entries);
            self.present(link, group, entries);
            self.ask(link, group, entries);
        }
    }

    /// The group's actor lost its sessions: open them again.
    pub(super) fn restart(&mut self, group: GroupId, entries: &Entries) {
        self.consider(group, entries);
        let Some(handle) = self.arguments.groups.get(group) else { return };
        for open in self.links.values_mut().filter_map(|state| state.open.get_mut(&group)) {
            if open.session.are_documents_open() {
                handle.open(open.channel.clone(), false);
            }
        }
    }

    /// Closes the gate of everyone whom the ledger no longer admits. Who had the group open hears a farewell without a
    /// reason (authority 3.9), or would go on waiting for us: what else is shared begins anew on another link.
    pub(super) fn close_gates(&mut self, group: GroupId, entry: &Entry) {
        let roster = entry.ledger.roster();
        let we_are_in = !entry.is_out(self.user());
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let peer = self.links[&link].link.peer().clone();
            let admitted = we_are_in && roster.may_read(peer.user, peer.device);
            // A ledger that is too old to count is still good enough to shut somebody out.
            let removed = roster.grant(peer.user).is_some() && !roster.may_read(peer.user, peer.device);
            if removed || !admitted && !entry.is_pending(self.user()) {
                let was_open = self.links[&link].open.contains_key(&group);
                self.close(link, group);
                if removed && was_open {
                    let state = &self.links[&link];
                    let shares_more =
                        !state.open.is_empty() && !roster.is_revoked_by_user(peer.user, peer.device);
                    state.link.close(if shares_more { ByeReason::Renew } else { ByeReason::NotAuthorized });
                }
            }
        }
    }

    /// The user wants out. A peer cannot be told so on a link that goes on, and would wait for us to catch up: what had
    /// the group open is ended, and begins anew without it.
    pub(super) fn close_all(&mut self, group: GroupId) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let was_open = self.links[&link].open.contains_key(&group);
            self.close(link, group);
            if was_open {
                self.links[&link].link.close(ByeReason::Renew);
            }
        }
    }

    /// Sends what our ledger gained to everyone but its source.
    pub(super) fn push(&mut self, group: GroupId, gained: &LedgerDelta, source: Option<LinkId>) {
        for (link, state) in &self.links {
            if Some(*link) == source || gained.is_empty() {
                continue;
            }
            if let Some(open) = state.open.get(&group) {
                let LedgerDelta { ops, certificates, revocations, records } = gained.clone();
                for frame in LedgerSession::push(ops, certificates, revocations, records) {
                    open.channel.send_ledger(frame);
                }
            }
        }
    }

    /// Steps a ledger session; a peer at fault is let go.
    pub(super) fn step(
        &mut self,
        link: LinkId,
        group: GroupId,
        entries: &Entries,
        step: impl FnOnce(
            &mut LedgerSession,
            Timestamp,
            &Entry,
        ) -> Result<Vec<LedgerEffect>, StepError<StoreError>>,
    ) -> Result<Vec<LedgerEffect>, StoreError> {
        let open = self.links.get_mut(&link).and_then(|state| state.open.get_mut(&group));
        let (Some(open), Some(entry)) = (open, entries.get(&group)) else { return Ok(Vec::new()) };
        match step(&mut open.session, self.arguments.moment(), entry) {
            Ok(effects) => Ok(effects),
            Err(StepError::Local(error)) => Err(error),
            Err(StepError::Fault(fault)) => {
                self.fault(link, group, &fault);
                Ok(Vec::new())
            }
        }
    }

    /// Whether pages of a group are fetched over some link.
    pub(super) fn is_fetching(&self, group: GroupId) -> bool {
        let mut open = self.links.values().filter_map(|state| state.open.get(&group));
        open.any(|open| open.session.is_fetching())
    }

    /// When somebody will have owed a page for too long.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let open = self.links.values().flat_map(|state| state.open.values());
        open.filter_map(|open| open.session.wake_at()).min()
    }

    /// Lets those go who have.
    pub(super) fn wake(&mut self) {
        let now = self.arguments.moment();
        let stalled = self.links.iter().flat_map(|(link, state)| {
            let stalled = |(group, open): (&GroupId, &Open)| {
                Some((*link, *group, open.session.handle_wake(now).err()?))
            };
            state.open.iter().filter_map(stalled)
        });
        for (link, group, fault) in stalled.collect::<Vec<_>>() {
            self.fault(link, group, &fault);
        }
    }

    fn fault(&mut self, link: LinkId, group: GroupId, fault: &SessionFault) {
        let Some(state) = self.links.get(&link) else { return };
        let cause = fault.source();
        tracing::warn!(group = %group.short(), %fault, cause, "ledger session ends");
        state.link.close(ByeReason::Protocol);
        self.close(link, group);
    }

    /// Sends; opens the document session once both ledgers agree.
    pub(super) fn perform(&self, link: LinkId, group: GroupId, effect: LedgerEffect, entries: &Entries) {
        let Some(open) = self.links.get(&link).and_then(|state| state.open.get(&group)) else { return };
        match effect {
            LedgerEffect::Send(frame) => open.channel.send_ledger(frame),
            LedgerEffect::OpenDocuments { in_sync } => {
                // Rows wait for a ledger that is the group's; who has come in opens again.
                let is_pending = entries.get(&group).is_none_or(|entry| entry.is_pending(self.user()));
                if let Some(handle) = self.arguments.groups.get(group).filter(|_| !is_pending) {
                    handle.open(open.channel.clone(), in_sync);
                }
            }
            _ => unreachable!("the rest is not for links"),
        }
    }

    /// Tells each link whether anything is shared over it: who shares nothing is let go (authority 3.9). Where we asked
    /// to join a group, it is for those whom we dialled to say that they know nothing of it.
    pub(super) fn acquaint(&self, entries: &Entries) {
        let personal = entries.get(&self.arguments.personal).map(|entry| entry.ledger.roster());
        let mut pending = None;
        for state in self.links.values() {
            let peer = state.link.peer();
            let is_revoked_by_user =
                personal.is_none_or(|roster| roster.is_revoked_by_user(peer.user, peer.device));
            let is_ours = peer.user == self.user() && !is_revoked_by_user;
            let mut is_asked = || {
                let any = || entries.values().any(|entry| entry.is_pending(self.user()));
                state.link.role() == LinkRole::Initiator && *pending.get_or_insert_with(any)
            };
            state.link.set_shares_group(is_ours || !state.open.is_empty() || is_asked());
        }
    }

    /// Announces the groups that may be and are not yet; the first Hello goes out even when empty.
    fn announce(&mut self, link: LinkId, groups: &[GroupId], entries: &Entries, first: bool) {
        let user = self.user();
        let Some(state) = self.links.get_mut(&link) else { return };
        let (peer, h, role) = (state.link.peer().clone(), *state.link.h(), state.link.role());
        let mut hello = Hello::default();
        for group in groups {
            let Some(entry) = entries.get(group).filter(|entry| entry.wanted) else { continue };
            if state.ours.iter().any(|announced| announced.group == *group) {
                continue;
            }
            let is_out = entry.is_out(user);
            let admitted = !is_out && entry.ledger.roster().may_read(peer.user, peer.device);
            let recognised = || {
                let token = hello::token(*group, &h, role.peer());
                state.theirs.iter().any(|theirs| theirs.token == token)
            };
            let asked_for = || (is_out || entry.is_pending(user)) && recognised();
            if !admitted && !asked_for() {
                continue;
            }
            let hash = self.arguments.summary(*group, entry, &h);
            hello.groups.push(HelloGroup { token: hello::token(*group, &h, role), hash });
            // Whoever reads the announcement may answer at once: the way in is there before.
            let (number, gate) = (u32::try_from(state.ours.len()).unwrap_or(u32::MAX), Gate::opened());
            self.arguments.routes.put(link, number, *group, gate.clone());
            state.ours.push(Announced { group: *group, hash, presented: false, gate });
        }
        if first || !hello.groups.is_empty() {
            // A closed link is told of by its connection.
            let _ = state.link.send(LinkFrame::Hello(hello));
        }
    }

    /// Opens a group on a link when both sides have announced it.
    fn open(&mut self, link: LinkId, group: GroupId, entries: &Entries) {
        let user = self.user();
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.open.contains_key(&group) {
            return;
        }
        let Some(entry) = entries.get(&group) else { return };
        let Some(ours) = state.ours.iter().position(|announced| announced.group == group) else { return };
        let (h, role) = (*state.link.h(), state.link.role());
        let token = hello::token(group, &h, role.peer());
        let Some(theirs) = state.theirs.iter().rposition(|theirs| theirs.token == token) else { return };

        let summary = self.arguments.summary(group, entry, &h);
        let in_sync = state.theirs[theirs].hash == summary
            && state.ours[ours].hash == summary
            && !entry.is_pending(user);
        let gate = state.ours[ours].gate.clone();
        let number = u32::try_from(theirs).unwrap_or(u32::MAX);
        let channel = Channel { link: state.link.clone(), gate, number };
        let (session, effects) = LedgerSession::open(in_sync, &entry.ledger);
        self.silence.ends(group, state.link.peer().device);
        state.open.insert(group, Open { channel, session });
        effects.into_iter().for_each(|effect| self.perform(link, group, effect, entries));
    }

    /// Shows a peer, who does not know us as a member, why we are one.
    fn present(&mut self, link: LinkId, group: GroupId, entries: &Entries) {
        let user = self.user();
        let Some(state) = self.links.get_mut(&link).filter(|state| state.greeted) else { return };
        if state.open.contains_key(&group) {
            return;
        }
        let Some(entry) = entries.get(&group) else { return };
        let Some(announced) = state.ours.iter_mut().find(|announced| announced.group == group) else {
            return;
        };
        if entry.is_pending(user) || entry.is_out(user) || std::mem::replace(&mut announced.presented, true) {
            return;
        }
        let mut bytes = 0;
        let within = |envelope: &&schema::signed::Envelope| {
            bytes += envelope.payload.len() + 80;
            bytes < PRESENT_BYTES_MAX
        };
        let ops: Vec<_> = entry.ledger.envelopes().take_while(within).cloned().collect();
        let manifests = entry.manifests_to_present(ops.len());
        let _ = state.link.send(LinkFrame::Present { group, ops, manifests });
    }

    fn close(&mut self, link: LinkId, group: GroupId) {
        let Some(state) = self.links.get_mut(&link) else { return };
        // The number stays taken; a later announcement gets a new one.
        for announced in state.ours.iter_mut().filter(|announced| announced.group == group) {
            announced.gate.close();
            announced.group = GroupId([0; 32]);
        }
        if state.open.remove(&group).is_some() {
            let device = state.link.peer().device;
            let _ = self.arguments.events.send(Event::SessionLost { group, device });
        }
        self.close_session(group, link);
    }

    fn close_session(&self, group: GroupId, link: LinkId) {
        if let Some(handle) = self.arguments.groups.get(group) {
            handle.close(link);
        }
    }
}

impl Arguments {
    /// Now, on a clock that is never put back: what is owed is measured by it.
    pub(super) fn moment(&self) -> Timestamp {
        Timestamp::default() + self.clock.instant()
    }

    fn summary(&self, group: GroupId, entry: &Entry, h: &[u8; 32]) -> [u8; 32] {
        let root = self.groups.get(group).map(|handle| handle.root()).unwrap_or_default();
        hello::summary(&entry.ledger.hash(), &entry.ledger.roster().state_digest(), &root, h)
    }
}
