//! The facts of an op: fixed at admission, from its own causal past alone (authority 3.1).

use std::cmp::Reverse;

use crate::id::{DeviceId, OpId, UserId};
use crate::ledger::op::Role;

/// The parts of an op that resolution reads, before the op is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The newest ops that the author takes into account.
    pub parents: Vec<OpId>,
    /// The user in whose name the op is signed.
    pub author: UserId,
    /// The author's device that signed, `None` for the user key.
    pub device: Option<DeviceId>,
    /// The change to roles or devices.
    pub action: OpAction,
}

/// The change that an op makes to roles or devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "action", rename_all = "snake_case")
)]
pub enum OpAction {
    /// Gives `user` a role.
    SetRole {
        /// The target.
        user: UserId,
        /// The target's role from now on.
        role: Role,
    },
    /// Revokes one device of `user`.
    RevokeDevice {
        /// The target.
        user: UserId,
        /// The revoked device.
        device: DeviceId,
    },
    /// Neither.
    Other,
}

impl OpAction {
    /// The user that the op is about.
    pub fn target(&self) -> Option<UserId> {
        match *self {
            Self::SetRole { user, .. } | Self::RevokeDevice { user, .. } => Some(user),
            Self::Other => None,
        }
    }
}

/// The total order that decides conflicts: the smaller value is the stronger op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strength {
    /// The author's role.
    pub rank: Reverse<Role>,
    /// Depth of the author's grant: seniority, which nobody can understate, because parents must exist.
    pub depth: u32,
    /// The author's grant.
    pub grant: OpId,
    /// The author's index among the founders where the grant is the Create, else 0.
    pub founder_index: usize,
}

/// The order among ops of equal strength, that is of one author under one grant: a lower class acts on a
/// higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The user key revokes a device of its own.
    OwnDevice,
    /// The author lowers their own role.
    SelfLowering,
    /// Every other op.
    Rest,
}

/// An op with its facts. They are functions of its past, hence identical on every device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The op.
    pub id: OpId,
    /// The user in whose name the op is signed.
    pub author: UserId,
    /// The author's device that signed, `None` for the user key.
    pub device: Option<DeviceId>,
    /// The change to roles or devices.
    pub action: OpAction,
    /// The target's role before.
    pub old_role: Role,
    /// True if the op lowers a member of the author's own rank who is senior to the author.
    pub contestable: bool,
    /// Distance from the Create: one more than the deepest parent.
    pub depth: u32,
    /// Rank and seniority of the author.
    pub strength: Strength,
    /// Rank among ops of equal strength.
    pub class: Class,
}

impl Facts {
    /// The author's role when the op was signed.
    pub fn rank(&self) -> Role {
        self.strength.rank.0
    }

    /// The op, or Create, that gave the author their role.
    pub fn grant(&self) -> OpId {
        self.strength.grant
    }

    /// The role that the op gives, if it is a SetRole.
    pub(crate) fn role(&self) -> Option<Role> {
        match self.action {
            OpAction::SetRole { role, .. } => Some(role),
            _ => None,
        }
    }

    /// The key by which ops are sorted for resolution: every clause reads only ops with a smaller key.
    pub(crate) fn resolve_order(&self) -> (Strength, Class, u32, OpId) {
        (self.strength, self.class, self.depth, self.id)
    }
}
