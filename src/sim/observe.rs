//! Observations of a node, by which the simulator tells whether a network has settled and converged.

use std::collections::BTreeMap;

use actors::node::group::rows::RowRecord;
use actors::node::membership::GroupState;
use schema::GroupId;

use super::{Net, Peer};
use crate::Node;

impl Node {
    pub(super) fn states(&self) -> BTreeMap<GroupId, GroupState> {
        self.groups().into_iter().map(|info| (info.id, info.state)).collect()
    }

    pub(super) fn admits(&self, group: GroupId, other: &Self) -> bool {
        let roster = self.handle().membership().roster(group);
        roster.is_some_and(|roster| roster.may_read(other.user_id(), other.device_id()))
    }

    /// Returns true if the other was a member, or a device of one, and no longer is.
    pub(super) fn has_removed(&self, group: GroupId, other: &Self) -> bool {
        let roster = self.handle().membership().roster(group);
        roster.is_some_and(|roster| {
            roster.grant(other.user_id()).is_some() && !roster.may_read(other.user_id(), other.device_id())
        })
    }

    pub(super) fn is_synced_with(&self, group: GroupId, other: &Self) -> bool {
        let Some(handle) = self.handle().group(group) else { return false };
        let peers = handle.peers();
        let peers = peers.borrow();
        peers.iter().any(|peer| peer.device == other.device_id() && peer.synced)
    }

    /// Returns the digests of the ledger's state and of the documents.
    pub(super) fn digests(&self, group: GroupId) -> [[u8; 32]; 2] {
        let state = self.handle().membership().roster(group).map(|roster| roster.state_digest());
        let root = self.handle().group(group).map(|handle| handle.root());
        [state.unwrap_or_default(), root.unwrap_or_default()]
    }

    /// Formats every row of every table.
    pub(super) fn rows(&self, group: GroupId) -> Vec<String> {
        let Some(handle) = self.handle().group(group) else { return Vec::new() };
        let rows = handle.space().read(|view| {
            let entry = |entry: Result<(Vec<u8>, Vec<u8>), _>| match entry {
                Ok((key, value)) => {
                    let row = RowRecord::decode(&value);
                    format!("{}: {row:?}", key.escape_ascii())
                }
                Err(error) => format!("{error}"),
            };
            view.prefix(b"r").map(entry).collect()
        });
        rows.unwrap_or_default()
    }

    pub(super) fn name_of(&self, net: &Net) -> String {
        let is_this = |peer: &&Peer| peer.up().is_some_and(|node| node.device_id() == self.device_id());
        net.peers
            .values()
            .find(is_this)
            .map_or_else(|| self.device_id().short(), |peer| peer.name().to_owned())
    }
}
