//! Effects of a new roster outside membership: the events that it causes, and the groups that the node runs.

use schema::gate::{GroupState, GroupView};
use schema::ledger::Contestable;
use schema::{GroupId, UserId};

use crate::node::event::Event;

/// Starts and stops the actors of groups; the node implements it.
pub(crate) trait GroupSupervisor: Send + Sync {
    /// Starts a group unless it runs. Does not wait.
    fn start_group(&self, group: GroupId);
    /// Stops a group. Does not wait.
    fn stop_group(&self, group: GroupId);
}

/// The changes for `user` and for every member from one view of a group to the next.
pub(super) fn roster_events(before: Option<&GroupView>, after: &GroupView, user: UserId) -> Vec<Event> {
    let (group, mut events) = (after.info.id, Vec::new());
    let was_active = before.is_some_and(|view| view.info.state == GroupState::Active);
    if after.info.state == GroupState::Active && !was_active {
        events.push(Event::Joined { group, role: after.info.role });
    }
    let Some(before) = before.filter(|view| view.info.state != GroupState::Pending) else { return events };
    let members = before.roster.members().chain(after.roster.members());
    let mut users: Vec<_> = members.map(|(user, _)| user).collect();
    users.sort_unstable();
    users.dedup();
    for other in users {
        let role = after.roster.role(other);
        let is_own_joining = other == user && !was_active;
        if role != before.roster.role(other) && !is_own_joining {
            events.push(Event::RoleChanged { group, user: other, role });
        }
    }
    for &Contestable { op, author, user, role } in &after.details.contestable {
        if before.details.contestable.iter().all(|known| known.op != op) {
            events.push(Event::Contestable { group, op, author, user, role });
        }
    }
    let voided = after.details.own_void.difference(&before.details.own_void);
    events.extend(voided.map(|op| Event::Voided { group, op: *op }));
    events
}
