//! Commands that wait for peers: joining, waiting for equal rows, dialling.

use std::time::Duration;

use super::super::advice::Advice;
use super::super::reply::{Progress, Reply};
use super::super::{Failure, FailureKind};
use super::Replies;
use crate::{Group, JoinError, Node, SyncError, Synced, Ticket};

/// Joins; with `wait` it also waits for the rows, in what is left of the time.
pub(super) async fn join(
    node: &Node,
    ticket: &str,
    timeout: Duration,
    wait: bool,
    replies: &Replies,
) -> Result<(), Failure> {
    let ticket: Ticket = ticket.parse().map_err(|error| Failure::of(FailureKind::Invalid, &error))?;
    let deadline = node.clock().instant() + timeout;
    replies.progress(Progress::Dialling { addresses: ticket.addresses().to_vec() }).await?;
    let group = match node.join_within(&ticket, timeout).await {
        Ok(group) => group,
        Err(error @ JoinError::Pending { .. }) => {
            return Err(Failure::of(FailureKind::Pending, &error).advise(Advice::Serve));
        }
        Err(error) => return Err(error.into()),
    };
    let info = group.info();
    if wait {
        replies.progress(Progress::Receiving { group: info.name.clone() }).await?;
        synced(&group, deadline.saturating_sub(node.clock().instant())).await?;
    }
    replies.send(Reply::Group(info)).await
}

pub(super) async fn sync(group: &Group, timeout: Duration, replies: &Replies) -> Result<(), Failure> {
    replies.progress(Progress::Syncing { group: group.info().name }).await?;
    replies.send(Reply::Synced(synced(group, timeout).await?)).await
}

async fn synced(group: &Group, timeout: Duration) -> Result<Synced, Failure> {
    group.synced(timeout).await.map_err(|error| {
        let advice = match &error {
            SyncError::NobodyConnected => Advice::Connect,
            SyncError::Silent { .. } => Advice::AskToBeAdmitted,
            SyncError::Materialising { .. } => return Failure::from(error),
            SyncError::Behind { with, .. } => Advice::AwaitDevices { devices: with.clone() },
        };
        Failure::from(error).advise(advice)
    })
}

/// Dials once, and from then on whenever the link is lost. An address where no peer answered is forgotten.
pub(super) async fn connect(
    node: &Node,
    address: String,
    known: bool,
    replies: &Replies,
) -> Result<(), Failure> {
    replies.progress(Progress::Dialling { addresses: vec![address.clone()] }).await?;
    // A ticket may have brought the address.
    let known = known || node.status().await?.dialled.contains(&address);
    match node.connect(&address).await {
        Ok(device) => replies.send(Reply::Connected { device, address }).await,
        Err(error) => {
            let failure = Failure::from(error);
            if known {
                return Err(failure.advise(Advice::IsDialledAgain { address }));
            }
            node.disconnect(&address).await?;
            Err(failure.advise(Advice::IsNotRemembered { address }))
        }
    }
}
