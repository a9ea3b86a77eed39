//! Commands about groups, members and invitations.

use std::time::Duration;

use super::super::advice::Advice;
use super::super::reply::{Done, Progress, Reply};
use super::super::request::{GroupRequest, RoleOptions};
use super::super::{Failure, FailureKind};
use super::Replies;
use super::lookup::{find_group, find_user};
use crate::group::Receipt;
use crate::{ErrorKind, Group, GroupError, InviteOptions, Member, Node, Role};

pub(super) async fn execute(node: &Node, request: GroupRequest, replies: &Replies) -> Result<(), Failure> {
    let find = |group: Option<String>| find_group(node, group.as_deref());
    match request {
        GroupRequest::Create { name } if name.is_empty() => {
            Err(Failure::new(FailureKind::Invalid, "a group needs a name"))
        }
        GroupRequest::Create { name } => {
            replies.send(Reply::Group(node.create_group(&name).await?.info())).await
        }
        GroupRequest::List => replies.send_all(node.groups().into_iter().map(Reply::Group)).await,
        GroupRequest::Members { group } => members(node, &find(group)?, replies).await,
        GroupRequest::Invite { group, role, uses, expires } => {
            invite(&find(group)?, role, uses, expires, replies).await
        }
        GroupRequest::Add { group, user, role } => {
            let group = find(group)?;
            let op = group.add_member(user, role).await?;
            let (id, name) = (group.id(), group.info().name);
            replies.done(Done::RoleSet { group: id, name, user, role, op, damaged_left_out: 0 }).await
        }
        GroupRequest::Role { user, role, group, options } => {
            set_role(&group.find(node)?, &user, role, options, replies).await
        }
        GroupRequest::Remove { user, group, options } => {
            set_role(&group.find(node)?, &user, Role::None, options, replies).await
        }
        GroupRequest::Transfer { user, group } => {
            let group = group.find(node)?;
            let to = find_user(std::slice::from_ref(&group), &user)?;
            group.transfer_ownership(to).await?;
            replies.done(Done::Transferred { group: group.id(), name: group.info().name, to }).await
        }
        GroupRequest::Confirm { what, group } => confirm(&group.find(node)?, &what, replies).await,
        GroupRequest::Log { group } => {
            replies.send_all(find(group)?.log().await?.into_iter().map(Reply::MemberOp)).await
        }
        GroupRequest::Voided { group } => {
            replies.send_all(find(group)?.voided().await?.into_iter().map(Reply::MemberOp)).await
        }
        GroupRequest::Reissue { op, group } => {
            let op = group.find(node)?.reissue(op).await?;
            replies.done(Done::Reissued { op }).await
        }
        GroupRequest::Invites { group } => {
            replies.send_all(find(group)?.invites().await?.into_iter().map(Reply::Invitation)).await
        }
        GroupRequest::Close { invite, group } => {
            group.find(node)?.close_invite(invite).await?;
            replies.done(Done::InvitationClosed { invite }).await
        }
        GroupRequest::Request { id } => {
            replies.send(Reply::Group(node.request_group(id).await?.info())).await
        }
        GroupRequest::Leave { group } => {
            let group = find(Some(group))?;
            let name = group.info().name;
            group.leave().await?;
            replies.done(Done::Left { group: group.id(), name }).await
        }
    }
}

async fn members(node: &Node, group: &Group, replies: &Replies) -> Result<(), Failure> {
    let mut members = group.members();
    // A removed user whose removal may be contested is no member any more, and still to be seen.
    for lowering in group.contestable().into_iter().filter(|lowering| lowering.role == Role::None) {
        members.push(Member {
            user: lowering.user,
            role: lowering.role,
            granted_by: Some(lowering.author),
            since: None,
            devices: Vec::new(),
            contestable: Some(lowering),
        });
    }
    let me = node.user_id();
    let reply = |member: Member| Reply::Member { is_me: member.user == me, member };
    replies.send_all(members.into_iter().map(reply)).await
}

async fn set_role(
    group: &Group,
    user: &str,
    role: Role,
    RoleOptions { as_of, without_damaged, without_unmaterialised }: RoleOptions,
    replies: &Replies,
) -> Result<(), Failure> {
    let user = find_user(std::slice::from_ref(group), user)?;
    let progress = |read| replies.try_progress(Progress::Documents { read });
    let mut change = group.set_role(user, role).as_of(&as_of).on_progress(progress);
    if without_damaged {
        change = change.without_damaged();
    }
    if without_unmaterialised {
        change = change.without_unmaterialised();
    }
    let changed = change.await.map_err(|error| match error {
        GroupError::NotMember { user, .. } => Failure::from(error).advise(Advice::AddMember { user }),
        _ if error.kind() == ErrorKind::Damaged => Failure::from(error).advise(Advice::LeaveOutDamaged),
        _ => error.into(),
    })?;
    // With `as_of` the user may have another role than the op gives.
    let role =
        group.members().iter().find(|member| member.user == user).map_or(Role::None, |member| member.role);
    let (id, name) = (group.id(), group.info().name);
    let Receipt { op, damaged_left_out, .. } = changed;
    replies.done(Done::RoleSet { group: id, name, user, role, op, damaged_left_out }).await
}

/// Confirms a lowering, named by its op or by the user whose role it lowers.
async fn confirm(group: &Group, what: &str, replies: &Replies) -> Result<(), Failure> {
    let wanted = what.to_lowercase();
    let is_named = |id: String| id == wanted;
    let contestable = group.contestable();
    let lowering = contestable
        .iter()
        .find(|lowering| is_named(lowering.op.to_string()) || is_named(lowering.user.to_string()))
        .ok_or_else(|| {
            let message =
                format!("{what:?} is neither an op that may be contested nor a user whose role one lowers");
            Failure::new(FailureKind::NotFound, message).advise(Advice::ListContestable)
        })?;
    group.confirm(lowering.op).await?;
    replies.done(Done::Confirmed { op: lowering.op, user: lowering.user, role: lowering.role }).await
}

async fn invite(
    group: &Group,
    role: Role,
    uses: u16,
    expires: Duration,
    replies: &Replies,
) -> Result<(), Failure> {
    let ticket = group.invite_with(InviteOptions::new(role).uses(uses).valid_for(expires)).await?;
    let addresses = ticket.addresses().to_vec();
    let reachable = addresses.iter().any(|address| is_reachable(address));
    let ticket = ticket.to_string().into();
    replies.send(Reply::Ticket { ticket, group: group.id(), addresses, reachable }).await
}

/// Returns true if another machine may reach the address; a loopback address leads every machine to itself.
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
