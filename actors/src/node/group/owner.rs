//! The owner of a group: decides its roster, and receives news of it. `membership` is one.

use std::sync::Arc;

use schema::ledger::Roster;
use schema::{DeviceId, GroupId, UserId};

/// The questions and news of a group to its owner. Calls never block.
pub(crate) trait GroupOwner: Send + Sync + 'static {
    /// The newest roster of a group.
    fn roster(&self, group: GroupId) -> Option<Arc<Roster>>;
    /// A group is ready for sessions, perhaps again.
    fn on_started(&self, group: GroupId);
    /// Changes of these devices were accepted.
    fn on_accepted(&self, group: GroupId, devices: Vec<DeviceId>);
    /// A device sent what no honest device sends: it may be barred.
    fn on_peer_fault(&self, device: DeviceId);
    /// The personal group was started: news of its rows may have been lost.
    fn on_personal_started(&self);
    /// The row of an intent became durable.
    fn on_intent(&self, group: GroupId);
    /// The row of a contact became durable.
    fn on_contact(&self, user: UserId);
}
