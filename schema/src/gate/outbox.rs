//! Effects on their way out, each until everything that it may disclose is durable.
//!
//! The scope of most effects is one group, or all groups. An effect waits for the batches of its scope that
//! are not durable, and for the effects before it whose scope meets its own. A group whose batch is not
//! durable keeps no other waiting, and the effects of each group keep their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effect::{Answer, Effect, Notice};
use super::input::LinkId;
use super::record::StoredRecord;
use crate::GroupId;
use crate::wire::link::LinkFrame;

/// The groups whose batches and effects an effect waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// None: the effect discloses nothing, and its order does not count.
    None,
    /// One group.
    Group(GroupId),
    /// All groups.
    All,
}

impl Scope {
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
            | Effect::Resume { group, .. } => Self::Group(*group),
            Effect::SendLedger { channel, .. } => Self::Group(channel.group),
            Effect::Publish(view) => Self::Group(view.info.id),
            Effect::ListOffer(info) => Self::Group(info.id),
            Effect::Notify(notice) => Self::of_notice(notice),
            // The order of the frames of one link counts: a Hello numbers the groups after those before it.
            Effect::Send { .. }
            | Effect::CloseLink { .. }
            | Effect::Remember { .. }
            | Effect::Forget { .. }
            | Effect::RedialKnown
            | Effect::Answer { .. } => Self::All,
            Effect::CloseCell { .. } | Effect::SetShared { .. } | Effect::ArmTickets | Effect::Warn(_) => {
                Self::None
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
            | Notice::SessionLost { group, .. }
            | Notice::JoinDeclined { group, .. }
            | Notice::Offered { group, .. } => Self::Group(*group),
            Notice::PeerUp { .. } | Notice::PeerDown { .. } => Self::All,
        }
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
    /// of one group, or of all.
    pub(super) fn is_settled(&self, of: Option<GroupId>, mark: u64) -> bool {
        let meets = |scope: Scope| match scope {
            Scope::Group(group) => of.is_none_or(|of| of == group),
            Scope::None | Scope::All => true,
        };
        let waiting = self.queue.iter().map(|waiting| (waiting.scope, waiting.mark));
        let storing = self.storing.iter().map(|(group, storing)| (Scope::Group(*group), storing.mark));
        waiting.chain(storing).all(|(scope, waits)| waits > mark || !meets(scope))
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
        let (mut is_all_held, mut kept) = (false, VecDeque::new());
        for waiting in std::mem::take(&mut self.queue) {
            let waits = match waiting.scope {
                Scope::None => false,
                _ if is_all_held => true,
                Scope::Group(group) => held.contains(&group),
                Scope::All => !held.is_empty(),
            };
            if waits {
                is_all_held |= waiting.scope == Scope::All;
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
