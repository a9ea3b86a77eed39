//! This user's own: devices and recovery key.

use super::super::Failure;
use super::super::reply::{RecoveryLine, Reply};
use super::Replies;
use crate::{DeviceId, Node};

pub(super) async fn list(node: &Node, replies: &Replies) -> Result<(), Failure> {
    for device in node.devices().await? {
        replies.send(Reply::Device(device.into())).await?;
    }
    Ok(())
}

pub(super) async fn revoke(node: &Node, device: DeviceId, replies: &Replies) -> Result<(), Failure> {
    node.revoke_device(device).await?;
    replies
        .done(format!(
            "device {device} is out, in all groups and for ever, wherever this is heard of; what it has it keeps"
        ))
        .await
}

pub(super) async fn recovery(node: &Node, replies: &Replies) -> Result<(), Failure> {
    let user = node.recovery()?;
    replies.send(Reply::Recovery(RecoveryLine { user, words: None })).await
}

pub(super) async fn make_recovery(node: &Node, replace: bool, replies: &Replies) -> Result<(), Failure> {
    let words = if replace { node.replace_recovery().await } else { node.make_recovery().await }?;
    let (user, text) = (Some(words.user()), words.to_string().into());
    replies.send(Reply::Recovery(RecoveryLine { user, words: Some(text) })).await
}
