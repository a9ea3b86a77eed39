//! Changes of groups, on every link: a group opens, closes or gains ops as its ledger and intent change.

use super::Links;
use crate::GroupId;
use crate::gate::access::Access;
use crate::gate::delta::LedgerDelta;
use crate::gate::effect::{Channel, Effect};
use crate::gate::group::{Group, Groups};
use crate::gate::input::Peer;
use crate::gate::{LinkId, Step};
use crate::handshake::LinkRole;
use crate::session::ledger::LedgerSession;
use crate::wire::link::ByeReason;

impl Links {
    /// Announces, opens and presents a group and redeems its tickets wherever that was not possible before.
    pub(in crate::gate) fn announce_and_open(&mut self, step: &mut Step, id: GroupId, groups: &Groups) {
        for link in self.ids() {
            self.announce(step, link, &[id], groups, false);
            self.open(step, link, id, groups);
            self.present(step, link, id, groups);
            self.redeem_tickets(step, link, id, groups);
        }
    }

    /// Announces and opens a group where its peer has access to it now, and sends to peers whose access has
    /// risen what was withheld from them.
    pub(in crate::gate) fn update(&mut self, step: &mut Step, id: GroupId, groups: &Groups) {
        self.announce_and_open(step, id, groups);
        let Some(group) = groups.get(&id) else { return };
        for state in self.links.values_mut() {
            let access = state.access(step, id, group);
            let announced = state.ours.iter_mut().find(|announced| announced.group == Some(id));
            let Some(announced) = announced else { continue };
            let before = std::mem::replace(&mut announced.access, access);
            let Some(open) = state.open.get(&id) else { continue };
            let channel = open.channel;
            let is_lower = before == Access::Documents && access < Access::Documents;
            if is_lower && open.session.are_documents_open() {
                step.outbox.push(Effect::CloseSession { link: channel.link, group: id });
            }
            if before < Access::Ledger && access >= Access::Ledger {
                for frame in LedgerSession::opening(&group.ledger) {
                    step.outbox.push(Effect::SendLedger { channel, frame });
                }
            }
            let has_risen = before < Access::Documents && access == Access::Documents;
            if has_risen && open.session.are_documents_open() {
                step.outbox.push(Effect::OpenSession { channel, group: id, in_sync: false });
            }
        }
    }

    /// Opens the document sessions of a group again, whose documents lost them.
    pub(in crate::gate) fn reopen_sessions(&mut self, step: &mut Step, id: GroupId, groups: &Groups) {
        let Some(group) = groups.get(&id) else { return };
        let lost = self.links.values().filter(|state| state.access(step, id, group) == Access::Documents);
        let lost = lost.filter_map(|state| state.open.get(&id));
        let lost = lost.filter(|open| open.session.are_documents_open());
        let lost: Vec<Channel> = lost.map(|open| open.channel).collect();
        for channel in lost {
            step.outbox.push(Effect::OpenSession { channel, group: id, in_sync: false });
        }
        self.update(step, id, groups);
    }

    /// Closes a group on every link whose peer lost its access. Such a peer gets a Bye without a reason
    /// (authority 3.9) if we had announced the group: it may have opened the group on our announcement, and
    /// would wait for us. Other shared groups begin again on a new link.
    pub(in crate::gate) fn close_unadmitted(&mut self, step: &mut Step, id: GroupId, group: &Group) {
        let roster = group.ledger.roster();
        for link in self.ids() {
            let state = &self.links[&link];
            let Peer { user, device, .. } = state.peer;
            let Some(announced) = state.ours.iter().find(|announced| announced.group == Some(id)) else {
                continue;
            };
            let access = state.access(step, id, group);
            // A ledger too old to admit this user still removes others.
            let is_removed = access < Access::Ledger && access < announced.access;
            if access > Access::None && !is_removed {
                continue;
            }
            self.close(step, link, id);
            if !roster.may_read(user, device) {
                let shares_more =
                    !self.links[&link].open.is_empty() && !roster.is_revoked_by_user(user, device);
                let reason = if shares_more { ByeReason::Renew } else { ByeReason::NotAuthorized };
                self.end(step, link, reason, "the peer is no member of a group any more");
            }
        }
    }

    /// Closes a group that the user has left. No frame says so on a link that lasts, and the peer would wait
    /// for us to catch up: a link on which it was announced ends and is dialled again.
    pub(in crate::gate) fn close_everywhere(&mut self, step: &mut Step, id: GroupId) {
        for link in self.ids() {
            if self.close(step, link, id) {
                self.end(step, link, ByeReason::Renew, "this user left a group");
            }
        }
    }

    /// Sends what a ledger gained to every peer that has access to it, but not to its source.
    pub(in crate::gate) fn push(
        &self,
        step: &mut Step,
        group: &Group,
        delta: &LedgerDelta,
        source: Option<LinkId>,
    ) {
        if delta.is_empty() {
            return;
        }
        let id = group.ledger.group();
        for (link, state) in &self.links {
            let Some(open) = state.open.get(&id).filter(|_| Some(*link) != source) else { continue };
            if state.access(step, id, group) < Access::Ledger {
                continue;
            }
            for frame in delta.frames() {
                step.outbox.push(Effect::SendLedger { channel: open.channel, frame });
            }
        }
    }

    /// Tells the shell for each link if anything is shared over it, where that is news (authority 3.9). While
    /// this user is pending in some group, a link that we dialled may lead to it, and only its peer can tell.
    pub(in crate::gate) fn update_shared(&mut self, step: &mut Step, groups: &Groups, personal: GroupId) {
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
}
