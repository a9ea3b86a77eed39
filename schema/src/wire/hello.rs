//! The Hello frame: announces groups without naming them.
//!
//! A group is announced by a token, which only a device that knows the group's id can compute. The token
//! depends on the link and on the sender's side of it, so that it can neither be recognised on another link
//! nor replayed (authority 3.9).

use bincode::{Decode, Encode};

use crate::handshake::LinkRole;
use crate::id::hash;
use crate::{GroupId, OpId};

/// Announces groups. A later Hello on the same link adds to the earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Hello {
    /// The announced groups. The position of a group among all that the sender has announced on this link is
    /// the channel under which the receiver addresses it.
    pub groups: Vec<HelloGroup>,
}

/// One announced group (authority 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct HelloGroup {
    /// The [`token`] of the group for the sender's side of this link.
    pub token: [u8; 32],
    /// The sender's [`summary`] of the group: equal on both sides exactly when they are in sync.
    pub hash: [u8; 32],
}

/// Returns `H("token", group ‖ link ‖ role byte)`: the name of a group as the side with `role` announces it
/// on one link.
pub fn token(group: GroupId, link: &[u8; 32], role: LinkRole) -> [u8; 32] {
    hash("token", &[&group.0, link, &[role.byte()]])
}

/// Returns `H("token", invite ‖ link ‖ "invite")`: the name of an invitation on one link.
pub fn invite_token(invite: OpId, link: &[u8; 32]) -> [u8; 32] {
    hash("token", &[&invite.0, link, b"invite"])
}

/// Returns `H("summary", ledger ‖ state ‖ root ‖ link)`: equal on both sides exactly when the ledgers with
/// their certificates, the resolved state and the documents are equal.
pub fn summary(ledger: &[u8; 32], state: &[u8; 32], root: &[u8; 32], link: &[u8; 32]) -> [u8; 32] {
    hash("summary", &[ledger, state, root, link])
}
