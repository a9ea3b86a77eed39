//! Views of groups for readers: the roster, and details about members for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::{Effect, KnownAddress, KnownAddresses};
use super::group::Group;
use super::record::ReceivedAt;
use super::tickets::Declined;
use super::{Gate, Step};
use crate::ledger::{Body, Contestable, Ledger, Role, Roster};
use crate::signed::Signed;
use crate::wire::device::{DeviceCert, DeviceRecord};
use crate::{DeviceId, GroupId, OpId, Timestamp, UserId};

/// This user's part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum GroupState {
    /// The user takes part, and the ledger admits them.
    Active,
    /// The user wants in; no ledger here admits them yet.
    Pending,
    /// The ledger says that the user is no longer a member.
    Removed,
    /// Its stored ledger is damaged: the group cannot be used.
    Failed,
    /// A member presented a ledger that admits this user unasked. Nothing of it is stored.
    Offered,
}

/// A group as this device knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupInfo {
    /// The id of the group.
    pub id: GroupId,
    /// Its name; empty while no ledger is here.
    pub name: String,
    /// This user's part in it.
    pub state: GroupState,
    /// This user's role; while pending, by a ledger older than their ticket.
    pub role: Role,
    /// The member who presented it, while it is offered.
    pub offered_by: Option<UserId>,
}

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct MemberDevice {
    /// The member who certified it.
    pub user: UserId,
    /// The id of the device.
    pub device: DeviceId,
    /// Its label; of several certificates the first in order that is not empty.
    pub label: String,
    /// The addresses in its newest record, the best first; none without a record.
    pub addresses: Vec<String>,
}

/// Details about the members of a group, for people: they decide nothing.
#[derive(Clone, Debug, Default)]
pub struct MemberDetails {
    /// The user who gave each member their role; founders have none.
    pub granted_by: BTreeMap<UserId, UserId>,
    /// The time at which this device admitted the op that gave each member their role, by its own clock.
    pub since: BTreeMap<UserId, Timestamp>,
    /// The unrevoked devices of each member, by id.
    pub devices: BTreeMap<UserId, Vec<MemberDevice>>,
    /// The lowerings that may still be contested, by user.
    pub contestable: Vec<Contestable>,
    /// The last answer to this user's ticket, while they are no member.
    pub declined: Option<Declined>,
    /// Ops of this user about others that are void.
    pub own_void: BTreeSet<OpId>,
}

/// Everything that is published of a group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// The group.
    pub info: GroupInfo,
    /// Its members; nobody while it is pending.
    pub roster: Arc<Roster>,
    /// Details about them.
    pub details: Arc<MemberDetails>,
    /// True if readers see it; its documents see the roster in any case.
    pub is_wanted: bool,
    /// The addresses of its other devices, while this user is a member.
    pub addresses: KnownAddresses,
}

impl MemberDetails {
    fn of(ledger: &Ledger, received_at: &ReceivedAt, user: UserId) -> Self {
        let granted_by = |(member, grant): (UserId, OpId)| {
            let grant = ledger.op(grant)?.record();
            matches!(grant.body, Body::SetRole { .. }).then_some((member, grant.author))
        };
        let grants = || ledger.roster().members().map(|(member, entry)| (member, entry.grant()));
        let since = |(member, grant): (UserId, OpId)| Some((member, *received_at.get(&grant)?));
        let own_void = ledger.without_effect().filter(|facts| facts.author == user);
        Self {
            granted_by: grants().filter_map(granted_by).collect(),
            since: grants().filter_map(since).collect(),
            devices: member_devices(ledger),
            contestable: ledger.contestable(),
            declined: None,
            own_void: own_void.map(|facts| facts.id).collect(),
        }
    }
}

impl Group {
    fn view(&self, user: UserId, own: DeviceId) -> GroupView {
        let (id, roster, state) = (self.ledger.group(), self.ledger.roster(), self.state(user));
        let (name, role) = (roster.name().to_owned(), roster.role(user));
        // A ledger that does not count makes nobody a member.
        let (roster, mut details) = match state {
            GroupState::Pending => (Ledger::new(id).roster().clone(), MemberDetails::default()),
            _ => (roster.clone(), MemberDetails::of(&self.ledger, &self.received_at, user)),
        };
        if state != GroupState::Active {
            details.declined = self.tickets.declined;
        }
        GroupView {
            info: GroupInfo { id, name, state, role, offered_by: None },
            roster,
            details: Arc::new(details),
            is_wanted: self.is_wanted,
            addresses: self.known_addresses(state, own),
        }
    }

    /// The addresses that this node may dial: those of other members' devices, while its user is a member.
    fn known_addresses(&self, state: GroupState, own: DeviceId) -> KnownAddresses {
        if !self.is_wanted || state != GroupState::Active {
            return KnownAddresses::new();
        }
        let address = |DeviceRecord { device, counter, addresses, .. }: &DeviceRecord| {
            (*device, KnownAddress { counter: *counter, addresses: addresses.clone() })
        };
        let others = self.ledger.records().map(Signed::record).filter(|record| record.device != own);
        others.map(address).collect()
    }
}

impl GroupView {
    /// The view of a group whose stored ledger is damaged.
    pub fn failed(id: GroupId) -> Self {
        let (name, state, role) = (String::new(), GroupState::Failed, Role::None);
        Self {
            info: GroupInfo { id, name, state, role, offered_by: None },
            roster: Ledger::new(id).roster().clone(),
            details: Arc::default(),
            is_wanted: true,
            addresses: KnownAddresses::new(),
        }
    }
}

impl Gate {
    /// Publishes the newest roster of a group.
    pub(super) fn publish(&self, step: &mut Step, id: GroupId) {
        if let Some(group) = self.groups.get(&id) {
            let view = group.view(step.keys.user(), step.keys.device.device());
            step.outbox.push(Effect::Publish(Box::new(view)));
        }
    }
}

/// The unrevoked devices of each member, by id, in one pass: a group may have thousands.
fn member_devices(ledger: &Ledger) -> BTreeMap<UserId, Vec<MemberDevice>> {
    let roster = ledger.roster();
    let mut devices: BTreeMap<(UserId, DeviceId), MemberDevice> = BTreeMap::new();
    for DeviceCert { user, device, label, .. } in ledger.certified() {
        if !roster.may_read(*user, *device) {
            continue;
        }
        let known = devices.entry((*user, *device)).or_insert_with(|| {
            let addresses = ledger.record(*device).map(|record| record.addresses.clone());
            let (user, device, label) = (*user, *device, String::new());
            MemberDevice { user, device, label, addresses: addresses.unwrap_or_default() }
        });
        prefer_label(&mut known.label, label);
    }
    let mut by_member: BTreeMap<UserId, Vec<MemberDevice>> = BTreeMap::new();
    for device in devices.into_values() {
        by_member.entry(device.user).or_default().push(device);
    }
    by_member
}

/// Of several labels of one device, keeps the first in order that is not empty.
pub(super) fn prefer_label(label: &mut String, other: &str) {
    if label.is_empty() || !other.is_empty() && other < label.as_str() {
        other.clone_into(label);
    }
}
