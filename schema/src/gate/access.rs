//! Access: the part of a group that a peer gets on its link. Every frame and every session of a group follows
//! from it.

use std::borrow::Cow;

use super::group::Group;
use super::input::Peer;
use super::view::GroupState;
use crate::UserId;
use crate::ledger::Ledger;

/// The part of a group that this node gives to a peer; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Nothing, not even the announcement.
    None,
    /// The announcement, to a peer that announced the group first while this user is pending: it may hold the
    /// ledger that admits both. It gets the frames of a device without a ledger.
    Announce,
    /// The ledger, which admits the peer. This user is pending: rows wait for a ledger that counts.
    Ledger,
    /// The ledger and the documents.
    Documents,
}

impl Group {
    /// The access of a peer on a link. A group that removed this user is announced only to a peer that
    /// announced it first: that peer has not seen the removal, or has admitted the user again.
    pub(super) fn access(&self, user: UserId, peer: &Peer, has_announced: impl Fn() -> bool) -> Access {
        let may_read = self.ledger.roster().may_read(peer.user, peer.device);
        match (may_read, self.state(user)) {
            _ if !self.is_wanted => Access::None,
            (false, GroupState::Pending) if has_announced() => Access::Announce,
            (false, _) => Access::None,
            (true, GroupState::Pending) => Access::Ledger,
            (true, GroupState::Removed) if !has_announced() => Access::None,
            (true, _) => Access::Documents,
        }
    }

    /// The ledger that a peer sees: an empty one below [`Access::Ledger`].
    pub(super) fn visible_ledger(&self, access: Access) -> Cow<'_, Ledger> {
        match access >= Access::Ledger {
            true => Cow::Borrowed(&self.ledger),
            false => Cow::Owned(Ledger::new(self.ledger.group())),
        }
    }
}
