//! What is said about members and invitations, and what came of it.

use super::super::reply::{InviteLine, MemberLine, Reply, role_name};
use super::super::{Failure, FailureKind};
use super::{Replies, who};
use crate::group::MemberOp;
use crate::{Group, Member, Node, OpId, Role};

pub(super) async fn list(node: &Node, group: &Group, replies: &Replies) -> Result<(), Failure> {
    let mut members = group.members();
    // Whose removal may be contested is out, and is still to be seen.
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
    for member in members {
        replies.send(Reply::Member(MemberLine::of(member, node.user_id()))).await?;
    }
    Ok(())
}

pub(super) async fn set_role(
    group: &Group,
    (user, role): (&str, Role),
    as_of: &[OpId],
    anyway: bool,
    replies: &Replies,
) -> Result<(), Failure> {
    let user = who::user(std::slice::from_ref(group), user)?;
    let is_member = group.members().iter().any(|member| member.user == user);
    if role > Role::None && !is_member && as_of.is_empty() {
        let what = format!("{user} is no member of {}; `peerbase group add` admits", group.info().name);
        return Err(Failure::new(FailureKind::NotFound, what));
    }
    let progress = |documents| replies.gone_through(documents);
    let mut change = group.set_role(user, role).as_of(as_of).on_progress(progress);
    if anyway {
        change = change.without_damaged();
    }
    let left_out = change.await?.damaged_left_out;
    // As of then it may have come to less than was said.
    let now = group.members().into_iter().find(|member| member.user == user);
    let name = group.info().name;
    let mut done = match now {
        None => format!("{user} is out of {name}"),
        Some(member) => format!("{user} is {} of {name}", role_name(member.role)),
    };
    if left_out > 0 {
        done += &format!("; {left_out} damaged documents were left out, and what they wrote to them goes");
    }
    replies.done(done).await
}

pub(super) async fn transfer(group: &Group, to: &str, replies: &Replies) -> Result<(), Failure> {
    let to = who::user(std::slice::from_ref(group), to)?;
    group.transfer_ownership(to).await?;
    replies.done(format!("{} is {to}'s now, and this user an admin of it", group.info().name)).await
}

/// `what` is the op, or the user whom it lowers.
pub(super) async fn confirm(group: &Group, what: &str, replies: &Replies) -> Result<(), Failure> {
    let wanted = what.to_lowercase();
    let contestable = group.contestable();
    let is_meant = |id: &str| id == wanted;
    let lowering = contestable
        .iter()
        .find(|lowering| is_meant(&lowering.op.to_string()) || is_meant(&lowering.user.to_string()))
        .ok_or_else(|| {
            let message = format!(
                "{what:?} is no op that may be contested, and nobody who was lowered by one; `peerbase group members` \
                 shows those there are"
            );
            Failure::new(FailureKind::NotFound, message)
        })?;
    group.confirm(lowering.op).await?;
    replies.done(format!("{} stays {}", lowering.user, role_name(lowering.role))).await
}

pub(super) async fn redo(group: &Group, op: OpId, replies: &Replies) -> Result<(), Failure> {
    let again = group.reissue(op).await?;
    replies.done(format!("said again as {again}")).await
}

pub(super) async fn log(group: &Group, replies: &Replies) -> Result<(), Failure> {
    send(group.log().await?, replies).await
}

pub(super) async fn voided(group: &Group, replies: &Replies) -> Result<(), Failure> {
    send(group.voided().await?, replies).await
}

async fn send(ops: Vec<MemberOp>, replies: &Replies) -> Result<(), Failure> {
    for op in ops {
        replies.send(Reply::MemberOp(op.into())).await?;
    }
    Ok(())
}

pub(super) async fn invites(node: &Node, group: &Group, replies: &Replies) -> Result<(), Failure> {
    let now_ms = node.clock().now().as_millis();
    for invite in group.invites().await? {
        replies.send(Reply::Invite(InviteLine::of(invite, now_ms))).await?;
    }
    Ok(())
}

pub(super) async fn close(group: &Group, invite: OpId, replies: &Replies) -> Result<(), Failure> {
    group.close_invite(invite).await?;
    replies.done("the invitation is closed").await
}
