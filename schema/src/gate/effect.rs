//! Effects of the gate: what its shell performs, in order.

use std::collections::BTreeMap;

use super::flood::Flood;
use super::input::LinkId;
use super::record::StoredRecord;
use super::view::{GroupInfo, GroupView};
use crate::ledger::{Contestable, Refusal, Role, SideRefusal};
use crate::wire::ledger::LedgerFrame;
use crate::wire::link::{ByeReason, DeclineReason, LinkFrame};
use crate::{DeviceId, GroupId, OpId, UserId};

/// One act of the shell. The gate hands out effects in the order in which they are to be performed.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Close a gate cell, for good: no frame of its group passes on that link any more.
    CloseCell {
        /// The link.
        link: LinkId,
        /// Our number for the group.
        number: u32,
    },
    /// Make records durable as one batch, then step [`Input::Stored`](super::Input::Stored). The gate
    /// withholds later effects of this group, and of all groups, until then.
    Store {
        /// The number of the batch; each is larger than the one before.
        number: u64,
        /// The group in whose space they belong.
        group: GroupId,
        /// The records, in order.
        records: Vec<StoredRecord>,
    },
    /// Open a gate cell: frames that arrive under our number belong to the group from now on.
    OpenCell {
        /// The link.
        link: LinkId,
        /// Our number for the group.
        number: u32,
        /// The group.
        group: GroupId,
    },
    /// Send a frame on a link.
    Send {
        /// The link.
        link: LinkId,
        /// The frame.
        frame: LinkFrame,
    },
    /// Send a frame of a ledger session, if its gate cell is open.
    SendLedger {
        /// The channel of the group.
        channel: Channel,
        /// The frame.
        frame: LedgerFrame,
    },
    /// End a link.
    CloseLink {
        /// The link.
        link: LinkId,
        /// The reason, for the peer.
        reason: ByeReason,
    },
    /// Note if anything is shared over a link; one without anything ends after a while.
    SetShared {
        /// The link.
        link: LinkId,
        /// True if both ends share a group: one is open on the link, or may soon be.
        is_shared: bool,
    },
    /// Open the session of a group's documents: the ledgers agree.
    OpenSession {
        /// The channel of the group.
        channel: Channel,
        /// The group.
        group: GroupId,
        /// The documents are equal.
        in_sync: bool,
    },
    /// Close the session of a group's documents.
    CloseSession {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupId,
    },
    /// Publish a group: to readers if it is wanted, and to its documents.
    Publish(Box<GroupView>),
    /// Remove a group from what readers see: the user takes part no longer.
    Unpublish(GroupId),
    /// Start the documents of a group.
    StartGroup(GroupId),
    /// Stop the documents of a group.
    StopGroup(GroupId),
    /// List an offer, for the user to accept or decline.
    ListOffer(GroupInfo),
    /// Remove an offer from the list.
    UnlistOffer(GroupId),
    /// Dial an inviter, now and whenever there is no link.
    Remember {
        /// The address.
        address: String,
        /// The device that must answer there.
        device: DeviceId,
    },
    /// Dial an inviter no longer.
    Forget {
        /// The address.
        address: String,
        /// The device.
        device: DeviceId,
    },
    /// Dial every known address once more: a device that shared nothing may share a group now.
    RedialKnown,
    /// Tell applications what happened.
    Notify(Notice),
    /// Step [`Input::Resume`](super::Input::Resume) after the inputs that wait already.
    Resume {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupId,
    },
    /// Step [`Input::RedeemTickets`](super::Input::RedeemTickets) after about
    /// [`REDEEM_TICKETS_EVERY`](super::REDEEM_TICKETS_EVERY).
    ArmTickets,
    /// Log a warning.
    Warn(Warning),
    /// Answer a request.
    Answer {
        /// The number of the request: the first is 0, and each has one more than the one stepped before.
        request: u64,
        /// The answer.
        answer: Answer,
    },
}

impl Effect {
    /// Returns true if the effect lets something of a ledger out, to a peer, a reader or an application, also
    /// by opening, ending or listing something.
    pub fn is_disclosure(&self) -> bool {
        matches!(
            self,
            Self::OpenCell { .. }
                | Self::Send { .. }
                | Self::CloseLink { .. }
                | Self::SendLedger { .. }
                | Self::OpenSession { .. }
                | Self::Publish(_)
                | Self::Unpublish(_)
                | Self::ListOffer(_)
                | Self::Notify(_)
                | Self::Answer { .. }
        )
    }
}

/// One group on one link: both sides' numbers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The link.
    pub link: LinkId,
    /// The group.
    pub group: GroupId,
    /// Our number, which names the gate cell.
    pub ours: u32,
    /// The peer's number, which frames to it carry.
    pub theirs: u32,
}

/// News for applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This user became a member.
    Joined {
        /// The group.
        group: GroupId,
        /// This user's role.
        role: Role,
    },
    /// The role of a user changed.
    RoleChanged {
        /// The group.
        group: GroupId,
        /// The user, who may be this one.
        user: UserId,
        /// The new role; none after a removal.
        role: Role,
    },
    /// An op that lowers a role may be contested.
    Contestable {
        /// The group.
        group: GroupId,
        /// The op, its author and its target.
        lowering: Contestable,
    },
    /// An op of this user was voided.
    Voided {
        /// The group.
        group: GroupId,
        /// The op.
        op: OpId,
    },
    /// A user signed more records of a group than people do.
    Flood {
        /// The group.
        group: GroupId,
        /// The user, and the number of records.
        flood: Flood,
    },
    /// A link to a device is up.
    PeerUp {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
    },
    /// A link ended.
    PeerDown {
        /// The device.
        device: DeviceId,
        /// The reason, for people.
        reason: String,
    },
    /// A group is open on a link no longer.
    SessionLost {
        /// The group.
        group: GroupId,
        /// The device.
        device: DeviceId,
    },
    /// The inviter declined a stored ticket, which is deleted.
    JoinDeclined {
        /// The group.
        group: GroupId,
        /// The invitation.
        invite: OpId,
        /// The reason.
        reason: DeclineReason,
    },
    /// A member presented a group that admits this user unasked.
    Offered {
        /// The group.
        group: GroupId,
        /// This user's role in it.
        role: Role,
        /// The member.
        by: UserId,
    },
}

/// A warning for the log of an operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Warning {
    /// A membership op was refused.
    #[error("op of group {} refused: {refusal}", .group.short())]
    OpRefused {
        /// The group.
        group: GroupId,
        /// The rule.
        refusal: Refusal,
    },
    /// A certificate, revocation or device record was refused.
    #[error("certificate, revocation or record refused: {0}")]
    RecordRefused(SideRefusal),
    /// A device sent too many invalid ops or changes.
    #[error("device {} sent invalid ops or changes and is barred", .device.short())]
    FaultyDevice {
        /// The device.
        device: DeviceId,
    },
    /// A peer announced more groups than it may.
    #[error("peer announced {announced} groups and more")]
    TooManyAnnouncements {
        /// The groups that it had announced before.
        announced: usize,
    },
    /// A ledger session ended because of its peer.
    #[error("ledger session of group {} ended: {fault}", .group.short())]
    LedgerSession {
        /// The group.
        group: GroupId,
        /// The fault and its cause.
        fault: String,
    },
    /// A peer redeemed a ticket with a proof that does not hold.
    #[error("user {} redeemed a ticket of group {} with a wrong proof", .user.short(), .group.short())]
    WrongProof {
        /// The group.
        group: GroupId,
        /// The user.
        user: UserId,
    },
    /// A ticket was good, and its holder could not be admitted.
    #[error("ticket of group {} not redeemed: {refusal}", .group.short())]
    NotRedeemed {
        /// The group.
        group: GroupId,
        /// The reason.
        refusal: super::ChangeRefusal,
    },
}

/// The answer to a request. Everything that it reports is durable.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Input::CreateGroup`](super::Input::CreateGroup): the new group.
    Created(Result<GroupId, super::ChangeRefusal>),
    /// To [`Input::Submit`](super::Input::Submit): the op.
    Submitted(Result<OpId, super::ChangeRefusal>),
    /// To [`Input::Invite`](super::Input::Invite): the OpenInvite.
    Invited(Result<OpId, super::ChangeRefusal>),
    /// To [`Input::StoreTicket`](super::Input::StoreTicket): true if the group admitted this user already.
    TicketStored(Result<bool, super::ChangeRefusal>),
    /// To [`Input::RevokeDevice`](super::Input::RevokeDevice): the groups in which this user may cut what it
    /// wrote.
    Revoked(Result<Vec<GroupId>, super::ChangeRefusal>),
}

/// Addresses of a group's devices, by device, as their own records give them.
pub type KnownAddresses = BTreeMap<DeviceId, KnownAddress>;

/// The addresses that a device signed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAddress {
    /// The counter of its record.
    pub counter: u64,
    /// The addresses, the best first.
    pub addresses: Vec<String>,
}
