//! Who changed a row, on which device, when.

use actors::node::group::documents;
use schema::ledger::Roster;
use schema::{ChangeHash, DeviceId, UserId};

/// One change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Who wrote it; `None`: the device is not known (any more).
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
        let author = revision.device.and_then(|device| roster?.device_user(device));
        let documents::Revision { change, device, time_ms } = revision;
        Self { author, device, time_ms, heads: vec![change] }
    }
}
