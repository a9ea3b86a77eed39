//! Groups and who is in them.

use std::time::Duration;

use super::super::reply::{GroupLine, Identity, Invitation, Reply, role_name};
use super::super::{Failure, FailureKind};
use super::{Replies, who};
use crate::{Group, GroupId, InviteOptions, Node, Role, UserId};

pub(super) async fn whoami(node: &Node, replies: &Replies) -> Result<(), Failure> {
    replies.send(Reply::Identity(Identity { user: node.user_id(), device: node.device_id() })).await
}

pub(super) async fn groups(node: &Node, replies: &Replies) -> Result<(), Failure> {
    for group in node.groups() {
        replies.send(Reply::Group(group.into())).await?;
    }
    Ok(())
}

pub(super) async fn create(node: &Node, name: &str, replies: &Replies) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::new(FailureKind::Invalid, "a group needs a name"));
    }
    let group = node.create_group(name).await?;
    replies.send(Reply::Group(group.info().into())).await
}

pub(super) async fn add(group: &Group, user: UserId, role: Role, replies: &Replies) -> Result<(), Failure> {
    group.add_member(user, role).await?;
    replies.done(format!("{user} is {} of {}", role_name(role), group.info().name)).await
}

pub(super) async fn request(node: &Node, id: GroupId, replies: &Replies) -> Result<(), Failure> {
    let group = node.request_group(id).await?;
    replies.send(Reply::Group(GroupLine::from(group.info()))).await
}

pub(super) async fn block(node: &Node, user: &str, blocks: bool, replies: &Replies) -> Result<(), Failure> {
    let groups: Vec<Group> = node.groups().iter().filter_map(|group| node.group(group.id).ok()).collect();
    let user = who::user(&groups, user)?;
    if !blocks {
        let was = node.blocked()?.contains(&user);
        node.unblock(user).await?;
        let done = if was { "is blocked no more" } else { "was not blocked" };
        return replies.done(format!("{user} {done}")).await;
    }
    node.block(user).await?;
    replies
        .done(format!(
            "{user} is blocked, on all your devices; in groups that you share they remain, and others pass on what you \
             both write"
        ))
        .await
}

pub(super) async fn leave(group: &Group, replies: &Replies) -> Result<(), Failure> {
    let name = group.info().name;
    group.leave().await?;
    replies
        .done(format!(
            "left {name}, on all your devices; the others list you until an admin removes you, and the rows that are \
             here stay on this disk"
        ))
        .await
}

pub(super) async fn invite(
    group: &Group,
    role: Role,
    uses: u16,
    valid_for_s: u64,
    replies: &Replies,
) -> Result<(), Failure> {
    let options = InviteOptions::new(role).uses(uses).valid_for(Duration::from_secs(valid_for_s));
    let ticket = group.invite_with(options).await?;
    let addresses = ticket.addresses().to_vec();
    let reachable = addresses.iter().any(|address| is_reachable(address));
    let invitation =
        Invitation { ticket: ticket.to_string().into(), group: group.id(), addresses, reachable };
    replies.send(Reply::Invitation(invitation)).await
}

/// Whether another machine may get there: a loopback address leads every machine to itself.
fn is_reachable(address: &str) -> bool {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => !ip.is_loopback() && !ip.is_unspecified(),
        Err(_) => !host.is_empty() && !host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_reachable;

    #[test]
    fn a_loopback_address_is_not_reachable_from_elsewhere() {
        for here in ["ws://127.0.0.1:7654", "ws://[::1]:7654", "ws://localhost:1", "ws://0.0.0.0:1"] {
            assert!(!is_reachable(here), "{here}");
        }
        for there in ["ws://192.168.1.4:7654", "ws://[2001:db8::1]:7654", "ws://ada.example:7654"] {
            assert!(is_reachable(there), "{there}");
        }
    }
}
