//! Performs the effects of the gate, and answers its reads.

use std::cell::RefCell;
use std::collections::BTreeMap;

use schema::gate::{
    Effect, Flood, GroupView, Input, KnownAddresses, LinkId, Lookup, Notice, REDEEM_TICKETS_EVERY, Warning,
};
use schema::ledger::Contestable;
use schema::{DeviceId, GroupId, codec};

use super::{Message, State};
use crate::node::connection_manager::{Link, RecordedAddresses};
use crate::node::event::Event;
use crate::node::group::Groups;
use crate::node::keys;
use crate::node::store::{SpaceHandle, StoreError};

/// The end of a batch.
pub(super) struct StoredBatch {
    pub(super) number: u64,
    /// An error: it is not durable.
    pub(super) result: Result<(), StoreError>,
}

impl State {
    /// Performs effects in order; the ends of batches come back as messages.
    pub(super) fn perform_all(&mut self, effects: Vec<Effect>) -> Result<(), StoreError> {
        for effect in effects {
            match effect {
                Effect::Store { number, group, records } => self.persist(number, group, records)?,
                Effect::Answer { request, answer } => self.held.answer(request, answer),
                effect => self.perform(effect),
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) {
        let arguments = &self.arguments;
        match effect {
            Effect::CloseCell { link, number } => arguments.cells.close(link, number),
            Effect::OpenCell { link, number, group } => arguments.cells.open(link, number, group),
            // A closed link is reported by its connection.
            Effect::Send { link, frame } => self.with_link(link, |link| {
                let _ = link.send(frame);
            }),
            Effect::SendLedger { channel, frame } => {
                if let Some(channel) = arguments.cells.channel(channel) {
                    channel.send_ledger(frame);
                }
            }
            Effect::CloseLink { link, reason } => self.with_link(link, |link| link.close(reason)),
            Effect::SetShared { link, is_shared } => {
                self.with_link(link, |link| link.set_shares_group(is_shared))
            }
            Effect::OpenSession { channel, group, in_sync } => {
                let (handle, channel) = (arguments.groups.get(group), arguments.cells.channel(channel));
                if let (Some(handle), Some(channel)) = (handle, channel) {
                    handle.open(channel, in_sync);
                }
            }
            Effect::CloseSession { link, group } => {
                arguments.groups.get(group).into_iter().for_each(|handle| handle.close(link));
            }
            Effect::Publish(view) => self.publish(*view),
            Effect::Unpublish(group) => {
                self.handle.publish().remove(&group);
                arguments.connections.standings_changed();
                arguments.connections.set_recorded(group, BTreeMap::new());
                self.handle.roster_changed(group);
            }
            Effect::StartGroup(group) => arguments.supervisor.start_group(group),
            Effect::StopGroup(group) => arguments.supervisor.stop_group(group),
            Effect::ListOffer(info) => drop(self.handle.offers().insert(info.id, info)),
            Effect::UnlistOffer(group) => drop(self.handle.offers().remove(&group)),
            Effect::Remember { address, device } => arguments.connections.remember(&address, device),
            Effect::Forget { address, device } => arguments.connections.forget(&address, device),
            // While the node starts or closes there is nobody to dial.
            Effect::RedialKnown => drop(arguments.connections.network_changed()),
            Effect::Notify(notice) => self.send_event(event(notice)),
            Effect::Resume { link, group } => self.handle.step(Input::Resume { link, group }, None),
            Effect::ArmTickets => self.arm_tickets(),
            Effect::Warn(warning) => {
                if let Warning::OpRefused { .. } = warning {
                    arguments.meters.ledgers.refused_ops.increment();
                }
                tracing::warn!("{warning}");
            }
            Effect::Store { .. } | Effect::Answer { .. } => unreachable!("performed apart"),
        }
    }

    fn arm_tickets(&mut self) {
        let (clock, handle) = (self.arguments.clock.clone(), self.handle.clone());
        self.arguments.clock.spawn_in(&mut self.tickets, async move {
            clock.sleep(clock.jitter(REDEEM_TICKETS_EVERY)).await;
            handle.tell(Message::TicketsDue);
        });
    }

    /// Acts on a link that has not ended.
    fn with_link(&self, link: LinkId, act: impl FnOnce(Link)) {
        self.arguments.cells.link(link).map(act);
    }

    /// Makes a view visible to readers, and its roster to the group's documents.
    fn publish(&self, view: GroupView) {
        let (id, roster) = (view.info.id, view.roster.clone());
        self.arguments.connections.set_recorded(id, recorded(&view.addresses));
        if view.is_wanted {
            let view = std::sync::Arc::new(view);
            let before = self.handle.publish().insert(id, view.clone());
            self.handle.roster_changed(id);
            let user = self.arguments.device.user();
            let notices = view.notices_since(before.as_deref(), user);
            notices.into_iter().for_each(|notice| self.send_event(event(notice)));
        }
        if id == self.arguments.personal {
            self.handle.set_own(roster.clone());
        }
        self.arguments.connections.standings_changed();
        if let Some(handle) = self.arguments.groups.get(id) {
            handle.set_roster(roster);
        }
    }

    fn send_event(&self, event: Event) {
        self.arguments.events.send(event);
    }
}

fn recorded(addresses: &KnownAddresses) -> BTreeMap<DeviceId, RecordedAddresses> {
    let recorded = addresses.iter().map(|(device, known)| {
        (*device, RecordedAddresses { counter: known.counter, addresses: known.addresses.clone() })
    });
    recorded.collect()
}

fn event(notice: Notice) -> Event {
    match notice {
        Notice::Joined { group, role } => Event::Joined { group, role },
        Notice::RoleChanged { group, user, role } => Event::RoleChanged { group, user, role },
        Notice::Contestable { group, lowering: Contestable { op, author, user, role } } => {
            Event::Contestable { group, op, author, user, role }
        }
        Notice::Voided { group, op } => Event::Voided { group, op },
        Notice::Flood { group, flood: Flood { user, records } } => Event::Flood { group, user, records },
        Notice::PeerUp { user, device } => Event::PeerUp { user, device },
        Notice::PeerDown { device, reason } => Event::PeerDown { device, reason },
        Notice::SessionLost { group, device } => Event::SessionLost { group, device },
        Notice::JoinDeclined { group, invite, reason } => Event::JoinDeclined { group, invite, reason },
        Notice::Offered { group, role, by } => Event::Offered { group, role, by },
    }
}

/// The reads of one step. After a failed one the effects of the step are dropped.
pub(super) struct Reads<'r> {
    spaces: &'r BTreeMap<GroupId, SpaceHandle>,
    groups: &'r Groups,
    failure: RefCell<Option<StoreError>>,
}

impl<'r> Reads<'r> {
    pub(super) fn new(spaces: &'r BTreeMap<GroupId, SpaceHandle>, groups: &'r Groups) -> Self {
        Self { spaces, groups, failure: RefCell::new(None) }
    }

    /// # Errors
    /// The first read that failed.
    pub(super) fn result(self) -> Result<(), StoreError> {
        self.failure.into_inner().map_or(Ok(()), Err)
    }

    fn get(&self, group: GroupId, key: &[u8]) -> Option<Vec<u8>> {
        match self.spaces.get(&group)?.get(key) {
            Ok(value) => value,
            // Fetched from a peer again, and replaced.
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => {
                self.failure.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

impl Lookup for Reads<'_> {
    fn root(&self, group: GroupId) -> [u8; 32] {
        self.groups.get(group).map(|handle| handle.root()).unwrap_or_default()
    }

    fn list(&self, group: GroupId, root: &[u8; 32]) -> Option<Vec<[u8; 32]>> {
        codec::decode_stored(&self.get(group, &keys::manifest(root))?).ok()
    }

    fn page(&self, group: GroupId, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.get(group, &keys::page(hash))
    }
}
