//! The news in a new view of a group, compared with the view that readers had before.

use super::effect::Notice;
use super::view::{GroupState, GroupView};
use crate::UserId;

impl GroupView {
    /// Returns what changed for `user` and for every member since `before`; none is a group that readers did
    /// not see. A first ledger is one piece of news, whatever stands in it.
    pub fn notices_since(&self, before: Option<&Self>, user: UserId) -> Vec<Notice> {
        let (group, mut notices) = (self.info.id, Vec::new());
        let was_active = before.is_some_and(|view| view.info.state == GroupState::Active);
        if self.info.state == GroupState::Active && !was_active {
            notices.push(Notice::Joined { group, role: self.info.role });
        }
        let Some(before) = before.filter(|view| view.info.state != GroupState::Pending) else {
            return notices;
        };
        let members = before.roster.members().chain(self.roster.members());
        let mut users: Vec<_> = members.map(|(user, _)| user).collect();
        users.sort_unstable();
        users.dedup();
        for other in users {
            let role = self.roster.role(other);
            let is_own_joining = other == user && !was_active;
            if role != before.roster.role(other) && !is_own_joining {
                notices.push(Notice::RoleChanged { group, user: other, role });
            }
        }
        for &lowering in &self.details.contestable {
            if before.details.contestable.iter().all(|known| known.op != lowering.op) {
                notices.push(Notice::Contestable { group, lowering });
            }
        }
        let voided = self.details.own_void.difference(&before.details.own_void);
        notices.extend(voided.map(|op| Notice::Voided { group, op: *op }));
        notices
    }
}
