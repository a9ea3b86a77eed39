//! Inputs of the gate: messages of peers, requests of this user, and answers to effects.

use std::collections::BTreeSet;

use super::change::MembershipChange;
use super::cut::FreshCut;
use super::tickets::Terms;
use super::view::GroupInfo;
use crate::handshake::LinkRole;
use crate::signed::Envelope;
use crate::wire::hello::Hello;
use crate::wire::ledger::LedgerFrame;
use crate::wire::link::{DeclineReason, Join, LinkFrame};
use crate::wire::ticket::Ticket;
use crate::{DeviceId, GroupId, UserId};

/// The number of a link of this node; never used twice while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The device at the other end of a link, proven by the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user whose device it is.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The handshake's hash: the same on both sides, different on every link.
    pub h: [u8; 32],
    /// Our side.
    pub role: LinkRole,
}

/// One event that the gate decides about. It may carry a secret, and so has no `Debug`.
#[derive(Clone)]
pub enum Input {
    /// The first input: the node opens, or its gate failed and this one takes its place.
    Start {
        /// The groups that the user's intents name.
        wanted: Vec<GroupId>,
        /// The users that this user blocked.
        blocked: BTreeSet<UserId>,
        /// Groups that a gate before this one published: a group that the user left meanwhile stops.
        published: BTreeSet<GroupId>,
        /// Offers that a gate before this one listed.
        offers: Vec<GroupInfo>,
        /// The addresses of this device; none while it does not listen.
        addresses: Vec<String>,
    },
    /// The batch of this number is durable; if not, the ledgers in memory ran ahead of the store, and the
    /// gate does nothing from then on.
    Stored {
        /// The number of the [`Effect::Store`](super::Effect::Store).
        number: u64,
        /// True if it is durable.
        is_durable: bool,
    },
    /// Request: create a group. Answered.
    CreateGroup {
        /// 32 random bytes.
        nonce: [u8; 32],
        /// The name.
        name: String,
        /// The user who stands above everybody, this user included.
        recovery: Option<UserId>,
    },
    /// Request: change a membership. Answered.
    Submit {
        /// The group.
        group: GroupId,
        /// The change.
        change: MembershipChange,
        /// The cut, where [`Gate::cut_target`](super::Gate::cut_target) named a target.
        cut: Option<FreshCut>,
    },
    /// Request: open an invitation. Answered.
    Invite {
        /// The group.
        group: GroupId,
        /// The invitation's role, uses and end.
        terms: Terms,
        /// 16 random bytes, from which the key of its tickets is made.
        seed: [u8; 16],
    },
    /// Request: store a ticket and redeem it at every peer until the group admits this user. Answered.
    StoreTicket(Ticket),
    /// Request: revoke a device of this user in every group. Answered.
    RevokeDevice(DeviceId),
    /// The user's intent about a group, as it is stored now.
    Intent {
        /// The group.
        group: GroupId,
        /// True if the user takes part.
        is_wanted: bool,
    },
    /// The user's opinion of another, as it is stored now.
    Contact {
        /// The other user.
        user: UserId,
        /// True if they are blocked.
        is_blocked: bool,
    },
    /// This device has other addresses than before.
    Addresses(Vec<String>),
    /// The documents of a group are ready for sessions, perhaps again.
    GroupStarted(GroupId),
    /// Changes of these devices were accepted.
    Accepted {
        /// The group.
        group: GroupId,
        /// The authors.
        devices: Vec<DeviceId>,
    },
    /// A group's documents refused what no honest device sends.
    PeerFault(DeviceId),
    /// A link passed its handshake.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Its other end.
        peer: Peer,
    },
    /// A link ended.
    LinkDown {
        /// The link.
        link: LinkId,
        /// The reason, for people.
        reason: String,
    },
    /// A peer announces groups.
    Hello {
        /// The link.
        link: LinkId,
        /// The frame.
        hello: Hello,
    },
    /// A peer presents the ops by which it is a member.
    Present {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupId,
        /// The ops, and the manifests that they name.
        presented: Presented,
    },
    /// A peer redeems a ticket.
    Join {
        /// The link.
        link: LinkId,
        /// The frame.
        join: Join,
    },
    /// A peer declines a ticket of this user.
    Declined {
        /// The link.
        link: LinkId,
        /// The group's token on the link.
        token: [u8; 32],
        /// The invitation's token on the link.
        invite: [u8; 32],
        /// The reason.
        reason: DeclineReason,
    },
    /// A frame of a ledger session.
    Ledger {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupId,
        /// The frame.
        frame: LedgerFrame,
    },
    /// A ledger session left pages to be read: answers [`Effect::Resume`](super::Effect::Resume).
    Resume {
        /// The link.
        link: LinkId,
        /// The group.
        group: GroupId,
    },
    /// Redeem the tickets of one group, or of all, at every peer once more.
    RedeemTickets(Option<GroupId>),
    /// The time of [`Gate::wake_at`](super::Gate::wake_at) has come.
    Wake,
}

impl Input {
    /// Returns true for a request, which has an answer.
    pub(super) fn is_request(&self) -> bool {
        matches!(
            self,
            Self::CreateGroup { .. }
                | Self::Submit { .. }
                | Self::Invite { .. }
                | Self::StoreTicket(_)
                | Self::RevokeDevice(_)
        )
    }

    /// The link whose frame, begin or end it is.
    pub fn link(&self) -> Option<LinkId> {
        match self {
            Self::LinkUp { link, .. }
            | Self::LinkDown { link, .. }
            | Self::Hello { link, .. }
            | Self::Present { link, .. }
            | Self::Join { link, .. }
            | Self::Declined { link, .. }
            | Self::Ledger { link, .. }
            | Self::Resume { link, .. } => Some(*link),
            _ => None,
        }
    }

    /// The group of a frame of a ledger session.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Self::Ledger { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// Appends the records of the next push of the same group on the same link: one step, and one batch, for
    /// both.
    ///
    /// # Errors
    /// The next input, if it is no such push, or if this one ends the reply to a Pull.
    #[expect(clippy::result_large_err, reason = "the caller gets back the input that it passed")]
    pub fn join_push(&mut self, next: Self) -> Result<(), Self> {
        use LedgerFrame::Push;
        match (self, next) {
            (
                Self::Ledger { link, group, frame: Push { ops, certificates, revocations, records, last } },
                Self::Ledger {
                    link: of,
                    group: within,
                    frame: Push { ops: o, certificates: c, revocations: v, records: r, last: l },
                },
            ) if !*last && (*link, *group) == (of, within) => {
                ops.extend(o);
                certificates.extend(c);
                revocations.extend(v);
                records.extend(r);
                *last = l;
                Ok(())
            }
            (_, next) => Err(next),
        }
    }

    /// The input for a frame that arrived on a link; gives back a frame that is not the gate's: the link
    /// handles it, or it belongs to a group.
    ///
    /// # Errors
    /// The frame.
    #[expect(clippy::result_large_err, reason = "the caller gets back the frame that it passed")]
    pub fn of_frame(link: LinkId, frame: LinkFrame) -> Result<Self, LinkFrame> {
        Ok(match frame {
            LinkFrame::Hello(hello) => Self::Hello { link, hello },
            LinkFrame::Present { group, ops, manifests } => {
                Self::Present { link, group, presented: Presented { ops, manifests } }
            }
            LinkFrame::Join(join) => Self::Join { link, join },
            LinkFrame::Declined { token, invite, reason } => Self::Declined { link, token, invite, reason },
            LinkFrame::Auth(_)
            | LinkFrame::Group { .. }
            | LinkFrame::Ping { .. }
            | LinkFrame::Pong { .. }
            | LinkFrame::Bye { .. } => return Err(frame),
        })
    }
}

/// The ops that a peer presents.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// The ops, in causal order.
    pub ops: Vec<Envelope>,
    /// The pages of manifests that they name.
    pub manifests: Vec<Vec<Vec<u8>>>,
}
