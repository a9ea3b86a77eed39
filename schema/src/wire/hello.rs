//! What two devices tell each other first: which groups they share, without naming one.
//!
//! A token can be computed only by who knows the group's id; it changes with every link and with the side that
//! sends it, so that it can be neither recognised nor replayed (AUTHORITY 3.9).

use bincode::{Decode, Encode};

use crate::handshake::LinkRole;
use crate::id::hash;
use crate::{GroupId, OpId};

/// Groups to talk about, none of them named. May be sent again; then it appends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Their position among all that the sender has listed on this link is their channel.
    pub groups: Vec<HelloGroup>,
}

/// One group in a Hello (authority 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HelloGroup {
    /// `H("token", group ‖ h ‖ role byte)`: says nothing to those who do not know the group.
    pub token: [u8; 32],
    /// The sender's state of the group under `h`: equal on both sides means in sync.
    pub hash: [u8; 32],
}

/// The name of a group on one link, as the side with `role` announces it.
pub fn token(group: GroupId, link: &[u8; 32], role: LinkRole) -> [u8; 32] {
    hash("token", &[&group.0, link, &[role.byte()]])
}

/// The name of an invitation on one link: says nothing to those who do not know its id.
pub fn invite_token(invite: OpId, link: &[u8; 32]) -> [u8; 32] {
    hash("token", &[&invite.0, link, b"invite"])
}

/// Equal on both sides exactly when ledger, certificates, state and documents are.
pub fn summary(ledger: &[u8; 32], state: &[u8; 32], root: &[u8; 32], link: &[u8; 32]) -> [u8; 32] {
    hash("summary", &[ledger, state, root, link])
}
