//! Intents and contacts: the groups in which this user takes part, and the users that they blocked.
//!
//! Both are rows of the personal group; the shell reads them. Blocking is a private matter: it is told to
//! nobody, and takes only away. A device of a blocked user is disconnected after its handshake, with the same
//! Bye as a stranger.

use super::effect::Effect;
use super::group::Group;
use super::input::Peer;
use super::{Gate, LinkId, Step};
use crate::wire::link::ByeReason;
use crate::{GroupId, UserId};

impl Gate {
    pub(super) fn on_intent(&mut self, step: &mut Step, id: GroupId, is_wanted: bool) {
        if id == self.personal {
            return;
        }
        if self.damaged.contains(&id) {
            self.publish_damaged(step, id, is_wanted);
            return;
        }
        if !is_wanted && !self.groups.contains_key(&id) {
            step.outbox.push(Effect::Unpublish(id));
            return;
        }
        let group = self.groups.entry(id).or_insert_with(|| Group::unknown(id));
        if std::mem::replace(&mut group.is_wanted, is_wanted) == is_wanted {
            return;
        }
        if is_wanted {
            if self.offers.remove(id) {
                step.outbox.push(Effect::UnlistOffer(id));
            }
            self.publish(step, id);
            step.outbox.push(Effect::StartGroup(id));
            step.outbox.push(Effect::RedialKnown);
            self.links.announce_and_open(step, id, &self.groups);
            self.update_inviters(step);
            self.arm_tickets(step);
        } else {
            self.links.close_everywhere(step, id);
            step.outbox.push(Effect::Unpublish(id));
            step.outbox.push(Effect::StopGroup(id));
            self.drop_tickets(step, id);
        }
    }

    pub(super) fn on_contact(&mut self, step: &mut Step, user: UserId, is_blocked: bool) {
        if user == step.keys.user() {
            return; // a user's own devices are no strangers
        }
        if is_blocked && self.blocked.insert(user) {
            self.links.disconnect(step, user);
            for id in self.offers.remove_by(user) {
                step.outbox.push(Effect::UnlistOffer(id));
            }
        } else if !is_blocked && self.blocked.remove(&user) {
            step.outbox.push(Effect::RedialKnown);
        }
    }

    pub(super) fn on_link_up(&mut self, step: &mut Step, link: LinkId, peer: Peer) {
        if self.blocked.contains(&peer.user) {
            step.outbox.push(Effect::CloseLink { link, reason: ByeReason::NotAuthorized });
        } else {
            self.links.on_up(step, link, peer, &self.groups);
        }
    }

    /// The users who are blocked.
    pub fn blocked(&self) -> impl Iterator<Item = UserId> {
        self.blocked.iter().copied()
    }

    /// The groups in which the user takes part.
    pub fn wanted_groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.iter().filter(|(_, group)| group.is_wanted).map(|(id, _)| *id)
    }
}
