//! The changes of a row, with author, device and time.

use actors::node::group::documents;
use schema::ledger::Roster;
use schema::{ChangeHash, DeviceId, UserId};

/// One change of a row, from [`Table::history`](super::Table::history).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Revision {
    /// The user by whose role it was written; none if the ledger here no longer tells.
    pub author: Option<UserId>,
    /// The device that wrote it.
    pub device: Option<DeviceId>,
    /// The time by the author's clock, milliseconds since the Unix epoch: for people, since a clock may be
    /// wrong.
    pub time_ms: i64,
    /// The row's heads after the change.
    pub heads: Vec<ChangeHash>,
}

impl Revision {
    pub(crate) fn of(revision: documents::Revision, roster: Option<&Roster>) -> Self {
        let documents::Revision { change, author, time_ms } = revision;
        let user = author.and_then(|(device, grant)| roster?.user_of(device, grant));
        let device = author.map(|(device, _)| device);
        Self { author: user, device, time_ms, heads: vec![change] }
    }
}
