//! What an op is, for ever: facts fixed at admission from its own causal past alone (authority 3.1).

use std::cmp::Reverse;

use crate::id::{DeviceId, OpId, UserId};
use crate::ledger::op::Role;

/// An op before it is judged: all that the rules of state look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The ops that its author takes into account.
    pub parents: Vec<OpId>,
    /// Who says it.
    pub author: UserId,
    /// The author's device that signed, `None` for the user key.
    pub device: Option<DeviceId>,
    /// What it does.
    pub act: OpAction,
}

/// What an op does to roles and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "act", rename_all = "snake_case")
)]
pub enum OpAction {
    /// Gives `user` a role.
    SetRole {
        /// The target.
        user: UserId,
        /// Its role from now on.
        role: Role,
    },
    /// Shuts out one device of `user`.
    RevokeDevice {
        /// The target.
        user: UserId,
        /// Its device.
        device: DeviceId,
    },
    /// Neither.
    Other,
}

impl OpAction {
    /// The user it is about.
    pub fn target(&self) -> Option<UserId> {
        match *self {
            Self::SetRole { user, .. } | Self::RevokeDevice { user, .. } => Some(user),
            Self::Other => None,
        }
    }
}

/// The one total order down which conflicts flow: the smaller is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strength {
    /// The author's role.
    pub rank: Reverse<Role>,
    /// Depth of the op that gave it: seniority, which cannot be faked downwards.
    pub depth: u32,
    /// That op.
    pub grant: OpId,
    /// The author's place among the founders where the Create gave it, else 0.
    pub founder: usize,
}

/// At equal strength, that is for one author under one grant, a lower class acts on a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The user key shuts out a device of its own.
    OwnDevice,
    /// The author lowers their own role.
    SelfLowering,
    /// Everything else.
    Rest,
}

/// An op with its facts; functions of its past, hence identical on every device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The op.
    pub id: OpId,
    /// Who says it.
    pub author: UserId,
    /// The author's device that signed, `None` for the user key.
    pub device: Option<DeviceId>,
    /// What it does.
    pub act: OpAction,
    /// The target's role before.
    pub old_role: Role,
    /// It lowers somebody who could have lowered its author instead.
    pub contested: bool,
    /// How far from the Create: one more than the deepest parent.
    pub depth: u32,
    /// Rank and seniority of the author.
    pub strength: Strength,
    /// Whom it acts on at equal strength.
    pub class: Class,
}

impl Facts {
    /// The author's role when they said it.
    pub fn rank(&self) -> Role {
        self.strength.rank.0
    }

    /// The op, or Create, that gave the author their role.
    pub fn grant(&self) -> OpId {
        self.strength.grant
    }

    /// The role that it gives, if it gives one.
    pub(crate) fn role(&self) -> Option<Role> {
        match self.act {
            OpAction::SetRole { role, .. } => Some(role),
            _ => None,
        }
    }

    /// The order in which ops are resolved: every clause looks only at what comes before.
    pub(crate) fn order(&self) -> (Strength, Class, u32, OpId) {
        (self.strength, self.class, self.depth, self.id)
    }
}
