//! Effects of a new roster outside membership: the events that it causes, and the groups that the node runs.

use schema::ledger::Contestable;
use schema::{GroupId, UserId};

use super::handle::{GroupState, Known};
use crate::node::event::Event;

/// Starts and stops the actors of groups; the node implements it.
pub(crate) trait GroupSupervisor: Send + Sync {
    /// Starts a group unless it runs. Does not wait.
    fn start_group(&self, group: GroupId);
    /// Stops a group. Does not wait.
    fn stop_group(&self, group: GroupId);
}

/// The changes for `user` and for every member from one roster to the next.
pub(super) fn roster_events(
    group: GroupId,
    before: Option<&Known>,
    after: &Known,
    user: UserId,
) -> Vec<Event> {
    let mut events = Vec::new();
    let was_active = before.is_some_and(|(info, ..)| info.state == GroupState::Active);
    if after.0.state == GroupState::Active && !was_active {
        events.push(Event::Joined { group, role: after.0.role });
    }
    let Some((_, before, people)) = before.filter(|(info, ..)| info.state != GroupState::Pending) else {
        return events;
    };
    let mut users: Vec<_> = before.members().chain(after.1.members()).map(|(user, _)| user).collect();
    users.sort_unstable();
    users.dedup();
    for other in users {
        let role = after.1.role(other);
        let is_our_joining = other == user && !was_active;
        if role != before.role(other) && !is_our_joining {
            events.push(Event::RoleChanged { group, user: other, role });
        }
    }
    for &Contestable { op, author, user, role } in &after.2.contestable {
        if people.contestable.iter().all(|known| known.op != op) {
            events.push(Event::Contestable { group, op, author, user, role });
        }
    }
    let voided = after.2.own_void.difference(&people.own_void);
    events.extend(voided.map(|op| Event::Voided { group, op: *op }));
    events
}
