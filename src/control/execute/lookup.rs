//! Finds the group or the user that a person names: by id, by its first digits, or by name.

use std::collections::BTreeSet;

use super::super::advice::Advice;
use super::super::request::InGroup;
use super::super::{Failure, FailureKind};
use crate::group::MemberDevice;
use crate::{DeviceId, Group, GroupId, GroupInfo, GroupState, Node, UserId};

/// The fewest hex digits that stand for an id.
const PREFIX_DIGITS_MIN: usize = 4;

impl InGroup {
    pub(super) fn find(&self, node: &Node) -> Result<Group, Failure> {
        find_group(node, self.group.as_deref())
    }
}

/// Finds a group by id, exact name or the first digits of its id; without a name, the only group.
pub(super) fn find_group(node: &Node, name: Option<&str>) -> Result<Group, Failure> {
    let Some(name) = name else { return only_group(node) };
    if let Ok(id) = name.parse::<GroupId>() {
        return Ok(node.group(id)?);
    }
    let groups = node.groups();
    // A name that looks like another group's id must not be mistaken for it.
    let mut found: Vec<&GroupInfo> =
        groups.iter().filter(|group| group.name == name || has_prefix(&group.id, name)).collect();
    found.sort_by_key(|group| group.id);
    match found[..] {
        [GroupInfo { id, state: GroupState::Offered, .. }] => {
            Err(Failure::new(FailureKind::NotFound, format!("group {name:?} is offered to you"))
                .advise(Advice::AcceptOffer { group: *id }))
        }
        [only] => Ok(node.group(only.id)?),
        [] => {
            let failure = Failure::new(FailureKind::NotFound, format!("no group {name:?} here"));
            Err(failure.advise(Advice::ListGroups))
        }
        _ => {
            let groups = found.iter().map(|group| group.id).collect();
            let failure = Failure::new(FailureKind::Invalid, format!("{name:?} stands for several groups"));
            Err(failure.advise(Advice::NameGroup { groups }))
        }
    }
}

fn only_group(node: &Node) -> Result<Group, Failure> {
    let groups = node.groups();
    let mut open =
        groups.iter().filter(|group| !matches!(group.state, GroupState::Removed | GroupState::Offered));
    match (open.next(), open.next()) {
        (Some(only), None) => Ok(node.group(only.id)?),
        (Some(_), Some(_)) => {
            let failure = Failure::new(FailureKind::Invalid, "there are several groups");
            Err(failure.advise(Advice::NameGroup { groups: Vec::new() }))
        }
        (None, _) => Err(match groups.iter().find(|group| group.state == GroupState::Removed) {
            Some(GroupInfo { id, name, .. }) => {
                let failure = Failure::new(FailureKind::NotFound, format!("you were removed from {name}"));
                failure.advise(Advice::ReadRemoved { group: *id })
            }
            None => Failure::new(FailureKind::NotFound, "no group here").advise(Advice::CreateOrJoin),
        }),
    }
}

/// Finds a user by id; among the members of `groups` also by the first digits of the id, or by a device's
/// label.
pub(super) fn find_user(groups: &[Group], name: &str) -> Result<UserId, Failure> {
    let members: Vec<_> = groups.iter().flat_map(Group::members).collect();
    let devices = || members.iter().flat_map(|m| m.devices.iter().map(|device| (m.user, device)));
    let is_of_device = |device: DeviceId, user: UserId| {
        let message = format!("{} is a device of a user", device.short());
        Err(Failure::new(FailureKind::Invalid, message).advise(Advice::NameUser { users: vec![user] }))
    };
    if let Ok(id) = name.parse::<UserId>() {
        let is_device = |(_, device): &(UserId, &MemberDevice)| device.device.0 == id.0;
        return match devices().find(is_device) {
            Some((user, device)) if user != id => is_of_device(device.device, user),
            _ => Ok(id),
        };
    }
    let by_id = members.iter().map(|member| member.user).filter(|user| has_prefix(user, name));
    let by_label = devices().filter(|(_, device)| device.label == name).map(|(user, _)| user);
    // A label that looks like another user's id must not be mistaken for it.
    let found: BTreeSet<UserId> = by_id.chain(by_label).collect();
    match (found.first(), found.len()) {
        (Some(only), 1) => Ok(*only),
        (None, _) => match devices().find(|(_, device)| has_prefix(&device.device, name)) {
            Some((user, device)) => is_of_device(device.device, user),
            None => {
                let failure = Failure::new(FailureKind::NotFound, format!("no member {name:?}"));
                Err(failure.advise(Advice::ListMembers))
            }
        },
        _ => {
            let failure = Failure::new(FailureKind::Invalid, format!("{name:?} stands for several users"));
            Err(failure.advise(Advice::NameUser { users: found.into_iter().collect() }))
        }
    }
}

/// Returns true if `digits` are enough hex digits, and an id begins with them.
fn has_prefix(id: &impl ToString, digits: &str) -> bool {
    digits.len() >= PREFIX_DIGITS_MIN
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && id.to_string().starts_with(&digits.to_lowercase())
}
