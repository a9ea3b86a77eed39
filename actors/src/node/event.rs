//! Events of a node: changes of members, links that open and end, branches that fail.

use std::sync::{Arc, PoisonError, RwLock};

pub use schema::document::Rejudged;
use schema::ledger::Role;
use schema::wire::link::DeclineReason;
use schema::{DeviceId, GroupId, OpId, UserId};
use tokio::sync::broadcast;

use crate::node::group::documents::Unmaterialised;

/// Events that a slow receiver may fall behind.
const EVENTS_MAX: usize = 1_024;

/// The one sender of a node's events. Clones share it, and its receivers end with the node.
#[derive(Clone)]
pub(crate) struct Events {
    /// None once the node has ended.
    sender: Arc<RwLock<Option<broadcast::Sender<Event>>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: Arc::new(RwLock::new(Some(broadcast::Sender::new(EVENTS_MAX)))) }
    }
}

impl Events {
    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = &*self.sender.read().unwrap_or_else(PoisonError::into_inner) {
            // Fails without receivers.
            let _ = sender.send(event);
        }
    }

    /// A receiver of every event from now on; a closed one once the node has ended.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Closes every receiver, after the events that it has not received yet.
    pub(crate) fn end(&self) {
        self.sender.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// An event at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This user became a member.
    Joined {
        /// The group.
        group: GroupId,
        /// This user's role.
        role: Role,
    },
    /// The role of a member changed; `Role::None` means that the member was removed.
    RoleChanged {
        /// The group.
        group: GroupId,
        /// The member, who may be this user.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// A member lowered the role of another of equal strength. The op may be contested until a stronger
    /// member confirms it.
    Contestable {
        /// The group.
        group: GroupId,
        /// The op.
        op: OpId,
        /// The member who signed the op.
        author: UserId,
        /// The member whose role it lowers.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// An op of this user was voided by a stronger op.
    Voided {
        /// The group.
        group: GroupId,
        /// The voided op; it can be re-issued.
        op: OpId,
    },
    /// A user signed more records of a group within an hour than people do. It is told once an hour; an Admin
    /// can remove the user.
    Flood {
        /// The group.
        group: GroupId,
        /// The user.
        user: UserId,
        /// The number of ops, certificates, device revocations and device records.
        records: usize,
    },
    /// The inviter declined this user's ticket, which is deleted.
    JoinDeclined {
        /// The group.
        group: GroupId,
        /// The invitation.
        invite: OpId,
        /// The reason.
        reason: DeclineReason,
    },
    /// Documents of a group were re-judged after a member or a device was admitted, lowered, removed or
    /// revoked. Changes that are no longer accepted are purged from the rows and set aside.
    Rejudged {
        /// The group.
        group: GroupId,
        /// The number of documents that were re-judged, and of those that changed.
        rejudged: Rejudged,
    },
    /// A member presented a group that admits this user unasked.
    Offered {
        /// The group.
        group: GroupId,
        /// This user's role.
        role: Role,
        /// The member who presented it.
        by: UserId,
    },
    /// The newest changes of a row are accepted, and not materialised on this device.
    Unmaterialised {
        /// The group.
        group: GroupId,
        /// The row, with the reason.
        unmaterialised: Unmaterialised,
    },
    /// A link to a device opened.
    PeerUp {
        /// The user of the device.
        user: UserId,
        /// The device.
        device: DeviceId,
    },
    /// A link ended.
    PeerDown {
        /// The device.
        device: DeviceId,
        /// The reason in words.
        reason: String,
    },
    /// The session of a group with a device ended: the link ended, or one side is no longer a member. The
    /// other side is not told the reason.
    SessionLost {
        /// The group.
        group: GroupId,
        /// The device.
        device: DeviceId,
    },
    /// A group failed too often and stays stopped until the node is opened again.
    GroupFailed {
        /// The group.
        group: GroupId,
        /// The last failure in words.
        reason: String,
    },
}
