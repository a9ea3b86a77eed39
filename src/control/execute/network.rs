//! Links, joining, waiting for others; what the node is like as a whole.

use std::path::Path;
use std::time::Duration;

use super::super::reply::{Connected, Reply, Synced};
use super::super::{Failure, FailureKind};
use super::Replies;
use crate::{Group, JoinError, Node, SyncError, Ticket};

/// Joins; with `wait` also catches up, in what is left of the time.
pub(super) async fn join(
    node: &Node,
    ticket: &str,
    timeout_ms: u64,
    wait: bool,
    replies: &Replies,
) -> Result<(), Failure> {
    let ticket: Ticket = ticket.parse().map_err(|error| Failure::of(FailureKind::Invalid, &error))?;
    let deadline = node.clock().instant() + Duration::from_millis(timeout_ms);
    replies.progress(format!("dialling {}", places(ticket.addresses()))).await?;
    let group = match node.join_within(&ticket, Duration::from_millis(timeout_ms)).await {
        Ok(group) => group,
        Err(error @ JoinError::Pending { .. }) => {
            let kept = "the wish is kept: it is tried again while `peerbase serve` runs";
            return Err(Failure::of(FailureKind::Pending, &error).advise(kept));
        }
        Err(error) => return Err(error.into()),
    };
    let info = group.info();
    if wait {
        replies.progress(format!("joined {}; catching up", info.name)).await?;
        let left = deadline.saturating_sub(node.clock().instant());
        synced(&group, left).await?;
    }
    replies.send(Reply::Group(info.into())).await
}

fn places(addresses: &[String]) -> String {
    if addresses.is_empty() { "nobody: the ticket names no address".to_owned() } else { addresses.join(", ") }
}

pub(super) async fn sync(group: &Group, timeout_ms: u64, replies: &Replies) -> Result<(), Failure> {
    replies.progress(format!("waiting for the devices of {}", group.info().name)).await?;
    let synced = synced(group, Duration::from_millis(timeout_ms)).await?;
    replies.send(Reply::Synced(synced)).await
}

async fn synced(group: &Group, timeout: Duration) -> Result<Synced, Failure> {
    match group.synced(timeout).await {
        Ok(synced) => Ok(Synced { group: group.id(), with: synced.with }),
        Err(error @ SyncError::NobodyConnected) => Err(Failure::from(error)
            .advise("`peerbase connect ADDRESS` dials a device, `peerbase status` says who was not reached")),
        Err(error @ SyncError::Silent { .. }) => Err(Failure::from(error)
            .advise("an admin of the group lets a user in again with `peerbase group add USER`")),
        Err(SyncError::Behind { with, connected }) => {
            let devices: Vec<String> = with.iter().map(ToString::to_string).collect();
            let error = SyncError::Behind { with, connected };
            Err(Failure::from(error).advise(&format!("not yet equal: {}", devices.join(", "))))
        }
    }
}

/// Dials once, and from then on whenever the link is lost; an address that led to nobody is forgotten again.
pub(super) async fn connect(
    node: &Node,
    address: String,
    known: bool,
    replies: &Replies,
) -> Result<(), Failure> {
    replies.progress(format!("dialling {address}")).await?;
    // It may be somebody's way in: a ticket's.
    let known = known || node.status().await?.dialled.contains(&address);
    match node.connect(&address).await {
        Ok(device) => replies.send(Reply::Connected(Connected { device, address })).await,
        Err(error) => {
            let failure = Failure::from(error);
            if known {
                return Err(failure.advise(&format!("{address} is dialled again while a node serves")));
            }
            node.disconnect(&address).await?;
            Err(failure.advise(&format!("{address} is not remembered")))
        }
    }
}

pub(super) async fn status(node: &Node, replies: &Replies) -> Result<(), Failure> {
    replies.send(Reply::Status(Box::new(node.status().await?.into()))).await
}

pub(super) async fn backup(node: &Node, folder: &Path, replies: &Replies) -> Result<(), Failure> {
    replies.progress(format!("copying into {}", folder.display())).await?;
    replies.send(Reply::Backup(node.backup(folder).await?.into())).await
}
