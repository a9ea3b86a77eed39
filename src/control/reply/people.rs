//! Members, what was said about them, and invitations.

use serde::{Deserialize, Serialize};

use super::super::Secret;
use super::role_name;
use crate::group::{InviteStatus, Member, MemberOp, OpAction, OpStatus};
use crate::{DeviceId, GroupId, OpId, Timestamp, UserId};

/// A member of a group, or somebody whose removal may be contested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    /// Who.
    pub user: UserId,
    /// With which role, in lower case.
    pub role: String,
    /// Whether it is this user.
    pub me: bool,
    /// Who gave it to them; nobody, where the group was founded with it.
    pub granted_by: Option<UserId>,
    /// When this device took in the op that gave it, by its own clock, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Their devices, as far as they are known.
    pub devices: Vec<MemberDevice>,
    /// The op that lowered them, while it may be contested.
    pub contestable: Option<OpId>,
}

impl MemberLine {
    pub(in crate::control) fn of(member: Member, me: UserId) -> Self {
        let Member { user, role, granted_by, since, devices, contestable } = member;
        let devices = devices
            .into_iter()
            .map(|crate::group::MemberDevice { device, label, .. }| MemberDevice { device, label });
        Self {
            user,
            role: role_name(role),
            me: user == me,
            granted_by,
            since_ms: since.map(Timestamp::as_millis),
            devices: devices.collect(),
            contestable: contestable.map(|lowering| lowering.op),
        }
    }
}

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDevice {
    /// Which.
    pub device: DeviceId,
    /// What its user calls it, perhaps nothing.
    pub label: String,
}

/// A device of this user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLine {
    /// Which.
    pub device: DeviceId,
    /// What people call it, perhaps nothing.
    pub label: String,
    /// It was taken back.
    pub revoked: bool,
    /// Whether it is this device.
    pub this: bool,
}

impl From<crate::node::Device> for DeviceLine {
    fn from(device: crate::node::Device) -> Self {
        let crate::node::Device { id, label, is_revoked, is_this } = device;
        Self { device: id, label, revoked: is_revoked, this: is_this }
    }
}

/// This user's recovery key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryLine {
    /// The recovery user; none where no key was made.
    pub user: Option<UserId>,
    /// The words of a key that was just made. Nobody can show them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Secret>,
}

/// An op about a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberOpLine {
    /// The op.
    pub op: OpId,
    /// Who said it.
    pub author: UserId,
    /// About whom.
    pub user: Option<UserId>,
    /// The role that it gives, in lower case; `none` removes.
    pub role: Option<String>,
    /// The device that it shuts out.
    pub device: Option<DeviceId>,
    /// `counts`, `superseded` or `void`.
    pub standing: String,
}

impl From<MemberOp> for MemberOpLine {
    fn from(MemberOp { op, author, act, standing }: MemberOp) -> Self {
        let (role, device) = match act {
            OpAction::SetRole { role, .. } => (Some(role_name(role)), None),
            OpAction::RevokeDevice { device, .. } => (None, Some(device)),
            OpAction::Other => (None, None),
        };
        let standing = match standing {
            OpStatus::Counts => "counts",
            OpStatus::Superseded => "superseded",
            OpStatus::Void => "void",
        };
        Self { op, author, user: act.target(), role, device, standing: standing.to_owned() }
    }
}

/// A ticket and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Its text.
    pub ticket: Secret,
    /// To which group.
    pub group: GroupId,
    /// Where the joiner will dial.
    pub addresses: Vec<String>,
    /// Whether one of them can be reached from another machine.
    pub reachable: bool,
}

/// An invitation, as its group knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteLine {
    /// The op that opened it.
    pub invite: OpId,
    /// Who opened it.
    pub author: UserId,
    /// What it grants, in lower case.
    pub role: String,
    /// How many it was to let in.
    pub uses: u16,
    /// How many it let in; more than `uses` where Admins' devices were apart.
    pub used: usize,
    /// When Admins' devices stop accepting it, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// `open`, `expired` by this device's clock, `closed` or `used_up`.
    pub standing: String,
}

impl InviteLine {
    pub(in crate::control) fn of(invite: crate::group::Invitation, now_ms: u64) -> Self {
        let crate::group::Invitation { id, author, role, uses, used, expires, standing } = invite;
        let expires_ms = expires.as_millis();
        let standing = match standing {
            InviteStatus::Open { .. } if now_ms > expires_ms => "expired",
            InviteStatus::Open { .. } => "open",
            InviteStatus::Closed => "closed",
            InviteStatus::UsedUp => "used_up",
        };
        let (role, standing) = (role_name(role), standing.to_owned());
        Self { invite: id, author, role, uses, used, expires_ms, standing }
    }
}
