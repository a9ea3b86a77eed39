//! Everything that a node answers to a request, as it crosses the socket and as `--json` prints it.

mod people;
mod state;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::people::{
    DeviceLine, Invitation, InviteLine, MemberDevice, MemberLine, MemberOpLine, RecoveryLine,
};
pub use self::state::{
    Backup, DeclinedLine, DocumentLine, EndedLine, Explanation, GroupStatus, KeptLine, LinkLine, PeerLine,
    RejudgingLine, Status,
};

use super::Fields;
use crate::{ChangeHash, DeviceId, GroupId, GroupInfo, GroupState, Role, UserId};

/// One reply; most requests have one, some have many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Which user and device this is.
    Identity(Identity),
    /// A group with its state.
    Group(GroupLine),
    /// A member of a group.
    Member(MemberLine),
    /// A device of this user.
    Device(DeviceLine),
    /// This user's recovery key.
    Recovery(RecoveryLine),
    /// An op about a member.
    MemberOp(MemberOpLine),
    /// A ticket.
    Invitation(Invitation),
    /// An invitation, as its group knows it.
    Invite(InviteLine),
    /// A link is up.
    Connected(Connected),
    /// Devices have the same rows.
    Synced(Synced),
    /// A row.
    Row(RowLine),
    /// A table.
    Table(TableLine),
    /// Something happened to a table.
    Change(ChangeLine),
    /// One change of a row.
    Revision(RevisionLine),
    /// Rows are durable.
    Written(Written),
    /// What the node has, whom it is linked with, what is wrong.
    Status(Box<Status>),
    /// Where a row stands with every device.
    Explanation(Box<Explanation>),
    /// A copy of the database.
    Backup(Backup),
    /// It is done and there is nothing to tell.
    Done(Done),
    /// What is going on meanwhile; for people.
    Progress(String),
    /// How many documents are gone through so far, of what somebody wrote who is to write no more; for people.
    GoneThrough(u64),
}

impl Reply {
    /// What `--json` prints: the reply without its kind. None for what is for people alone.
    pub fn document(&self) -> Option<Value> {
        if matches!(self, Self::Progress(_) | Self::GoneThrough(_)) {
            return None;
        }
        let Ok(Value::Object(tagged)) = serde_json::to_value(self) else { return None };
        tagged.into_iter().next().map(|(_, document)| document)
    }
}

/// Which user and device this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

/// A group with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLine {
    /// Which group.
    pub id: GroupId,
    /// Its name; empty while pending.
    pub name: String,
    /// `active`, `pending`, `offered`, `removed` or `failed`.
    pub state: String,
    /// This user's role, in lower case.
    pub role: String,
    /// Who offers it, while it is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_by: Option<UserId>,
}

impl From<GroupInfo> for GroupLine {
    fn from(info: GroupInfo) -> Self {
        let state = match info.state {
            GroupState::Active => "active",
            GroupState::Pending => "pending",
            GroupState::Removed => "removed",
            GroupState::Failed => "failed",
            GroupState::Offered => "offered",
        };
        let GroupInfo { id, name, role, offered_by, .. } = info;
        Self { id, name, state: state.to_owned(), role: role_name(role), offered_by }
    }
}

/// A role as people write it.
pub fn role_name(role: Role) -> String {
    format!("{role:?}").to_lowercase()
}

/// A link is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// With which device.
    pub device: DeviceId,
    /// At which address.
    pub address: String,
}

/// Devices have the same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Of which group.
    pub group: GroupId,
    /// Which devices, at least one.
    pub with: Vec<DeviceId>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowLine {
    /// Of which table.
    pub table: String,
    /// Under which key.
    pub key: String,
    /// Its fields.
    pub row: Fields,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLine {
    /// Its name.
    pub table: String,
    /// How many rows it has.
    pub rows: usize,
}

/// Something happened to a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChangeLine {
    /// A row is new or has changed.
    Put {
        /// Its key.
        key: String,
        /// Its fields.
        row: Fields,
    },
    /// A row has changed and cannot be read.
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
    /// A row was removed.
    Removed {
        /// Its key.
        key: String,
    },
    /// Changes were missed: forget what was seen, all rows follow as `put`.
    Reset,
}

/// One change of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionLine {
    /// Who wrote it, when that is known.
    pub author: Option<UserId>,
    /// On which device, when that is known.
    pub device: Option<DeviceId>,
    /// By that device's clock, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The row's heads after it.
    pub heads: Vec<ChangeHash>,
}

impl From<crate::table::Revision> for RevisionLine {
    fn from(revision: crate::table::Revision) -> Self {
        let crate::table::Revision { author, device, time_ms, heads } = revision;
        Self { author, device, time_ms, heads }
    }
}

/// Rows are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Rows that are new or changed.
    pub written: usize,
    /// Rows that were equal already.
    pub unchanged: usize,
}

/// It is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What, for people.
    pub done: String,
}
