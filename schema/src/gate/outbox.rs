//! Effects on their way out, each until everything that it may disclose is durable.
//!
//! The scope of most effects is a group. An effect waits for the batches of its groups that are not durable,
//! for the effects of its groups before it, and for frames before it on its link: a Hello numbers the groups
//! after those before it. A group whose batch is not durable keeps no other waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effect::{Answer, Effect, Notice};
use super::input::LinkId;
use super::record::StoredRecord;
use crate::GroupId;
use crate::wire::link::LinkFrame;

/// The groups whose batches and effects an effect waits for.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// These groups: none for an effect that discloses nothing, and whose order does not count.
    Groups(Vec<GroupId>),
    /// All groups.
    All,
}

impl Scope {
    pub(super) fn group(group: GroupId) -> Self {
        Self::Groups(vec![group])
    }

    fn meets(&self, group: GroupId) -> bool {
        match self {
            Self::Groups(groups) => groups.contains(&group),
            Self::All => true,
        }
    }

    fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Store { group, .. }
            | Effect::OpenCell { group, .. }
            | Effect::OpenSession { group, .. }
            | Effect::CloseSession { group, .. }
            | Effect::Unpublish(group)
            | Effect::StartGroup(group)
            | Effect::StopGroup(group)
            | Effect::UnlistOffer(group)
            | Effect::Resume { group, .. } => Self::group(*group),
            Effect::SendLedger { channel, .. } => Self::group(channel.group),
            Effect::Publish(view) => Self::group(view.info.id),
            Effect::ListOffer(info) => Self::group(info.id),
            Effect::Notify(notice) => Self::of_notice(notice),
            Effect::Send { .. }
            | Effect::CloseLink { .. }
            | Effect::Remember { .. }
            | Effect::Forget { .. }
            | Effect::RedialKnown
            | Effect::Answer { .. } => Self::All,
            Effect::CloseCell { .. } | Effect::SetShared { .. } | Effect::ArmTickets | Effect::Warn(_) => {
                Self::Groups(Vec::new())
            }
        }
    }

    fn of_notice(notice: &Notice) -> Self {
        match notice {
            Notice::Joined { group, .. }
            | Notice::RoleChanged { group, .. }
            | Notice::Contestable { group, .. }
            | Notice::Voided { group, .. }
            | Notice::Flood { group, .. }
            | Notice::JoinDeclined { group, .. }
            | Notice::Offered { group, .. } => Self::group(*group),
            // A session also ends with its link, because of a batch of another group.
            Notice::PeerUp { .. } | Notice::PeerDown { .. } | Notice::SessionLost { .. } => Self::All,
        }
    }
}

/// The link whose frames keep their order with this effect.
fn link_of(effect: &Effect) -> Option<LinkId> {
    match effect {
        Effect::Send { link, .. } | Effect::CloseLink { link, .. } => Some(*link),
        _ => None,
    }
}

/// Effects on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Closing a cell waits for nothing.
    closings: Vec<Effect>,
    queue: VecDeque<Waiting>,
    /// The number of effects so far.
    mark: u64,
    batches: u64,
    /// The batch of each group that is not durable yet.
    storing: BTreeMap<GroupId, Storing>,
    /// Requests that were stepped.
    requests: u64,
}

/// An effect that was not handed out yet.
#[derive(Debug)]
struct Waiting {
    mark: u64,
    scope: Scope,
    effect: Effect,
}

/// A batch that was handed out.
#[derive(Debug)]
struct Storing {
    number: u64,
    mark: u64,
    /// Its lists and pages of manifests: the store may not have them yet.
    manifests: Vec<StoredRecord>,
}

impl Outbox {
    pub(super) fn push(&mut self, effect: Effect) {
        self.push_in(Scope::of(&effect), effect);
    }

    fn push_in(&mut self, scope: Scope, effect: Effect) {
        let Effect::CloseCell { link, number } = effect else {
            self.mark += 1;
            return self.queue.push_back(Waiting { mark: self.mark, scope, effect });
        };
        // A cell that is closed before it was opened stays closed.
        let closed = (link, number);
        self.queue.retain(|waiting| {
            let Effect::OpenCell { link, number, .. } = &waiting.effect else { return true };
            (*link, *number) != closed
        });
        self.closings.push(effect);
    }

    pub(super) fn send(&mut self, link: LinkId, frame: LinkFrame) {
        self.push(Effect::Send { link, frame });
    }

    /// Sends a frame that tells of these groups alone.
    pub(super) fn send_about(&mut self, groups: Vec<GroupId>, link: LinkId, frame: LinkFrame) {
        self.push_in(Scope::Groups(groups), Effect::Send { link, frame });
    }

    /// Notes that a request is stepped: the next answer is to it.
    pub(super) fn begin_request(&mut self) {
        self.requests += 1;
    }

    /// Answers the request that is stepped, once what it did is durable in its scope.
    pub(super) fn answer(&mut self, scope: Scope, answer: Answer) {
        let request = self.requests.checked_sub(1).expect("an answer has a request");
        self.push_in(scope, Effect::Answer { request, answer });
    }

    /// Stores records, in one batch with those of the group that wait to be stored.
    pub(super) fn store(&mut self, group: GroupId, records: Vec<StoredRecord>) {
        if records.is_empty() {
            return;
        }
        let waiting = self.queue.iter_mut().find_map(|waiting| match &mut waiting.effect {
            Effect::Store { group: of, records, .. } if *of == group => Some(records),
            _ => None,
        });
        match waiting {
            Some(waiting) => waiting.extend(records),
            None => {
                self.batches += 1;
                self.push(Effect::Store { number: self.batches, group, records });
            }
        }
    }

    pub(super) fn is_storing(&self) -> bool {
        !self.storing.is_empty()
    }

    /// Notes that a batch is durable; false if it is none that is waited for.
    pub(super) fn stored(&mut self, number: u64) -> bool {
        let stored = self.storing.iter().find(|(_, storing)| storing.number == number);
        let group = stored.map(|(group, _)| *group);
        group.is_some_and(|group| self.storing.remove(&group).is_some())
    }

    /// The number of effects so far.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// Returns true if every effect up to this mark is released, and every batch among them durable: of those
    /// that are about one group alone, or of all.
    pub(super) fn is_settled(&self, of: Option<GroupId>, mark: u64) -> bool {
        let meets = |scope: &Scope| match (scope, of) {
            (_, None) => true,
            (Scope::Groups(groups), Some(of)) => groups.contains(&of),
            (Scope::All, Some(_)) => false,
        };
        let mut waiting = self.queue.iter().filter(|waiting| waiting.mark <= mark);
        let mut storing = self.storing.iter().filter(|(_, storing)| storing.mark <= mark);
        !waiting.any(|waiting| meets(&waiting.scope))
            && !storing.any(|(group, _)| of.is_none_or(|of| of == *group))
    }

    /// Gives up everything that was not performed, closings apart.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.storing.clear();
    }

    /// The effects that may be performed now, in order: closings first.
    pub(super) fn release(&mut self) -> Vec<Effect> {
        let mut released = std::mem::take(&mut self.closings);
        let mut held: BTreeSet<GroupId> = self.storing.keys().copied().collect();
        let (mut held_links, mut kept) = (BTreeSet::new(), VecDeque::new());
        for waiting in std::mem::take(&mut self.queue) {
            let link = link_of(&waiting.effect);
            let waits = held.iter().any(|group| waiting.scope.meets(*group))
                || link.is_some_and(|link| held_links.contains(&link));
            if waits {
                held_links.extend(link);
                if let Scope::Groups(groups) = &waiting.scope {
                    held.extend(groups);
                }
                kept.push_back(waiting);
                continue;
            }
            if let Effect::Store { number, group, records } = &waiting.effect {
                let is_manifest = |record: &&StoredRecord| {
                    matches!(record, StoredRecord::ManifestList { .. } | StoredRecord::ManifestPage { .. })
                };
                let manifests = records.iter().filter(is_manifest).cloned().collect();
                self.storing.insert(*group, Storing { number: *number, mark: waiting.mark, manifests });
                held.insert(*group);
            }
            released.push(waiting.effect);
        }
        self.queue = kept;
        released
    }

    /// Manifests of a group that were decided on and are not durable yet.
    pub(super) fn unstored(&self, group: GroupId) -> impl Iterator<Item = &StoredRecord> {
        let waiting = self.queue.iter().filter_map(move |waiting| match &waiting.effect {
            Effect::Store { group: of, records, .. } if *of == group => Some(records),
            _ => None,
        });
        let storing = self.storing.get(&group).map(|storing| &storing.manifests);
        waiting.chain(storing).flatten()
    }
}
