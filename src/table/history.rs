//! Who changed a row, on which device, when.

use actors::node::group::documents;
use schema::ledger::Roster;
use schema::{ChangeHash, DeviceId, UserId};

/// One change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Revision {
    /// Who wrote it: whose role it was written by, whoever else claims the device; `None`: that is not known (any more).
    pub author: Option<UserId>,
    /// On which device.
    pub device: Option<DeviceId>,
    /// The author's clock, milliseconds since the Unix epoch: shown, never trusted.
    pub time_ms: i64,
    /// The row's heads after it.
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
