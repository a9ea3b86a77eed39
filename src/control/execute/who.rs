//! Whom a person means: by an id, by its first digits, or by what a device of theirs is called.

use std::collections::BTreeSet;

use super::super::{Failure, FailureKind};
use super::PREFIX_DIGITS_MIN;
use crate::{DeviceId, Group, UserId};

/// The user among the members of these groups; a whole id may be anybody's.
pub(super) fn user(groups: &[Group], wanted: &str) -> Result<UserId, Failure> {
    let members: Vec<_> = groups.iter().flat_map(Group::members).collect();
    let devices = || members.iter().flat_map(|m| m.devices.iter().map(|device| (m.user, device)));
    let is_of_device = |device: DeviceId, user: UserId| {
        Err(Failure::new(FailureKind::Invalid, format!("{} is a device of user {user}", device.short())))
    };
    if let Ok(id) = wanted.parse::<UserId>() {
        let is_device = |(_, device): &(UserId, &crate::group::MemberDevice)| device.device.0 == id.0;
        return match devices().find(is_device) {
            Some((user, device)) if user != id => is_of_device(device.device, user),
            _ => Ok(id),
        };
    }
    let prefix = wanted.to_lowercase();
    let is_prefix =
        wanted.len() >= PREFIX_DIGITS_MIN && wanted.bytes().all(|digit| digit.is_ascii_hexdigit());
    let begins = |id: String| is_prefix && id.starts_with(&prefix);
    let by_id = members.iter().map(|member| member.user).filter(|user| begins(user.to_string()));
    let by_label = devices().filter(|(_, device)| device.label == wanted).map(|(user, _)| user);
    // A label that looks like somebody else's id must not be taken for it.
    let found: BTreeSet<UserId> = by_id.chain(by_label).collect();
    match (found.first(), found.len()) {
        (Some(only), 1) => Ok(*only),
        (None, _) => match devices().find(|(_, device)| begins(device.device.to_string())) {
            Some((user, device)) => is_of_device(device.device, user),
            None => Err(Failure::new(
                FailureKind::NotFound,
                format!(
                    "no member {wanted:?}; `peerbase group members` shows ids and what devices are called"
                ),
            )),
        },
        _ => {
            let which = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(Failure::new(FailureKind::Invalid, format!("{wanted:?} may mean any of the users {which}")))
        }
    }
}
