//! Commands about this user: devices, the recovery key, blocked users.

use super::super::Failure;
use super::super::reply::{Done, Reply};
use super::super::request::{DeviceRequest, RecoveryRequest};
use super::Replies;
use super::lookup::find_user;
use crate::{Group, Node, UserId};

pub(super) async fn device(node: &Node, request: DeviceRequest, replies: &Replies) -> Result<(), Failure> {
    let DeviceRequest::Revoke { device } = request;
    node.revoke_device(device).await?;
    replies.done(Done::DeviceRevoked { device }).await
}

pub(super) async fn recovery(
    node: &Node,
    request: RecoveryRequest,
    replies: &Replies,
) -> Result<(), Failure> {
    let words = match request {
        RecoveryRequest::Show => {
            return replies.send(Reply::RecoveryKey { user: node.recovery()?, words: None }).await;
        }
        RecoveryRequest::Make => node.make_recovery().await?,
        RecoveryRequest::Replace => node.replace_recovery().await?,
    };
    let (user, words) = (Some(words.user()), Some(words.to_string().into()));
    replies.send(Reply::RecoveryKey { user, words }).await
}

pub(super) async fn block(node: &Node, user: &str, replies: &Replies) -> Result<(), Failure> {
    let user = find(node, user)?;
    node.block(user).await?;
    replies.done(Done::Blocked { user }).await
}

pub(super) async fn unblock(node: &Node, user: &str, replies: &Replies) -> Result<(), Failure> {
    let user = find(node, user)?;
    let was_blocked = node.blocked()?.contains(&user);
    node.unblock(user).await?;
    replies.done(Done::Unblocked { user, was_blocked }).await
}

/// Finds a user, among the members of all groups where `name` is no whole id.
fn find(node: &Node, name: &str) -> Result<UserId, Failure> {
    let groups: Vec<Group> = node.groups().iter().filter_map(|group| node.group(group.id).ok()).collect();
    find_user(&groups, name)
}
