//! Offers: groups that admitted this user unasked, listed until accepted or declined, or until the node ends
//! (authority 3.9).
//!
//! A member who admitted this user presents the ops for it. Those of a group that is not known here are
//! judged as any and dropped again: nothing is stored, and a line for people is all that stays.

use std::collections::BTreeMap;

use super::effect::{Effect, Notice};
use super::rate::StrangerRateLimit;
use super::view::{GroupInfo, GroupState};
use super::{Gate, LinkId, Step};
use crate::ledger::{Ledger, Role};
use crate::limits::{OFFERED_MAX, OFFERS_BY_STRANGERS_MAX, OFFERS_MAX, PRESENT_BYTES_MAX};
use crate::signed::Envelope;
use crate::{GroupId, UserId};

/// The listed offers.
#[derive(Default)]
pub(super) struct Offers {
    listed: BTreeMap<GroupId, UserId>,
    strangers: StrangerRateLimit,
}

impl Offers {
    /// The offers that a gate before this one listed.
    pub(super) fn restore(&mut self, offers: Vec<GroupInfo>) {
        self.listed.extend(offers.into_iter().filter_map(|info| Some((info.id, info.offered_by?))));
    }

    /// Removes an offer; true if there was one.
    pub(super) fn remove(&mut self, group: GroupId) -> bool {
        self.listed.remove(&group).is_some()
    }

    /// Removes every offer by a user; their groups.
    pub(super) fn remove_by(&mut self, user: UserId) -> Vec<GroupId> {
        let of_user = self.listed.iter().filter(|(_, by)| **by == user);
        let groups: Vec<_> = of_user.map(|(group, _)| *group).collect();
        self.listed.retain(|_, by| *by != user);
        groups
    }
}

impl Gate {
    /// Judges the ops of a group that is not known here, and lists the group if they admit this user.
    pub(super) fn on_offer(&mut self, step: &mut Step, link: LinkId, id: GroupId, ops: Vec<Envelope>) {
        let user = step.keys.user();
        let Some(state) = self.links.links.get_mut(&link) else { return };
        if self.offers.listed.contains_key(&id) || state.offers == OFFERED_MAX {
            return;
        }
        state.offers += 1;
        let (by, device) = (state.peer.user, state.peer.device);
        let has_member =
            |group: &super::group::Group| group.is_wanted && group.ledger.roster().role(by) != Role::None;
        let shares_a_group = by == user || self.groups.values().any(has_member);
        let bytes: usize = ops.iter().map(|envelope| envelope.payload.len()).sum();
        let max = if shares_a_group { OFFERS_MAX } else { OFFERS_BY_STRANGERS_MAX };
        if self.offers.listed.len() >= max || bytes > PRESENT_BYTES_MAX {
            return;
        }
        if !shares_a_group && !self.offers.strangers.try_acquire(step.now.instant) {
            return;
        }
        let mut ledger = Ledger::new(id);
        if ops.into_iter().any(|envelope| ledger.admit(envelope).is_err()) {
            return;
        }
        let roster = ledger.roster();
        let role = roster.role(user);
        // A group is offered by its members alone.
        let is_by_member = roster.role(by) != Role::None && !roster.is_device_revoked(by, device);
        if role == Role::None || !is_by_member {
            return;
        }
        let (name, state) = (roster.name().to_owned(), GroupState::Offered);
        self.offers.listed.insert(id, by);
        step.outbox.push(Effect::ListOffer(GroupInfo { id, name, state, role, offered_by: Some(by) }));
        step.outbox.push(Effect::Notify(Notice::Offered { group: id, role, by }));
    }
}
