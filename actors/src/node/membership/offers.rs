//! Groups that others have let this user into unasked: known by name until the user asks, or the node ends
//! (AUTHORITY 3.9; stepped by `membership`).
//!
//! Whoever meets somebody whom they admitted presents the ops that say so. Of a group that nobody wants here they are
//! judged as any, and forgotten: no disk is written, and all that stays is a line for people.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::ledger::{Ledger, Role};
use schema::limits::{
    OFFERED_MAX, OFFERS_BY_STRANGERS_MAX, OFFERS_MAX, PRESENT_BYTES_MAX, STRANGERS_AT_ONCE, STRANGERS_EVERY,
};
use schema::signed::Envelope;
use schema::{GroupId, UserId};

use super::{GroupInfo, GroupState, State};
use crate::node::connection_manager::LinkId;
use crate::node::event::Event;

pub(super) type Offers = BTreeMap<GroupId, GroupInfo>;

/// How much is left for strangers: a token bucket, of which this is when it will be full again.
#[derive(Default)]
pub(super) struct StrangerRateLimit(Duration);

impl StrangerRateLimit {
    /// Whether one more stranger is heard.
    fn try_acquire(&mut self, now: Duration) -> bool {
        let full_at = self.0.max(now) + STRANGERS_EVERY;
        let is_left = full_at - now <= STRANGERS_EVERY * STRANGERS_AT_ONCE;
        if is_left {
            self.0 = full_at;
        }
        is_left
    }
}

impl State {
    /// Whoever is blocked offers nothing.
    pub(super) fn forget_offers(&self, by: UserId) {
        self.handle.offers().retain(|_, info| info.offered_by != Some(by));
    }

    /// A peer presents a group that is not known here.
    pub(super) fn offered(&mut self, link: LinkId, group: GroupId, ops: Vec<Envelope>) {
        let user = self.user();
        let known = self.handle.offers().len();
        let Some(state) = self.links.links.get_mut(&link) else { return };
        if self.handle.offers().contains_key(&group) || state.offered == OFFERED_MAX {
            return;
        }
        state.offered += 1;
        let (by, device) = (state.link.peer().user, state.link.peer().device);
        let is_met = by == user
            || self
                .entries
                .values()
                .any(|entry| entry.wanted && entry.ledger.roster().role(by) != Role::None);
        let bytes: usize = ops.iter().map(|envelope| envelope.payload.len()).sum();
        if known >= (if is_met { OFFERS_MAX } else { OFFERS_BY_STRANGERS_MAX }) || bytes > PRESENT_BYTES_MAX {
            return;
        }
        if !is_met && !self.strangers.try_acquire(self.arguments.clock.instant()) {
            tracing::debug!(group = %group.short(), "strangers offer more groups than are looked at");
            return;
        }
        let mut ledger = Ledger::new(group);
        for envelope in ops {
            if let Err(refusal) = ledger.admit(envelope) {
                tracing::debug!(group = %group.short(), %refusal, "a group is offered by an op that is refused");
                return;
            }
        }
        let roster = ledger.roster();
        let role = roster.role(user);
        // Nobody offers what they have no part in.
        let is_theirs = roster.role(by) != Role::None && !roster.is_device_revoked(by, device);
        if role == Role::None || !is_theirs {
            return;
        }
        let name = roster.name().to_owned();
        let (state, offered_by) = (GroupState::Offered, Some(by));
        self.handle.offers().insert(group, GroupInfo { id: group, name, state, role, offered_by });
        // Nobody may be listening.
        let _ = self.arguments.events.send(Event::Offered { group, role, by });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_heard_a_few_at_once_and_then_one_a_second() {
        let (mut strangers, start) = (StrangerRateLimit::default(), Duration::from_secs(100));
        let heard =
            |strangers: &mut StrangerRateLimit, at| (0..100).filter(|_| strangers.try_acquire(at)).count();

        assert_eq!(heard(&mut strangers, start), 8);
        assert_eq!(heard(&mut strangers, start + Duration::from_millis(900)), 0);
        assert_eq!(heard(&mut strangers, start + Duration::from_secs(3)), 3);
        assert_eq!(heard(&mut strangers, start + Duration::from_secs(3_600)), 8);
    }
}
