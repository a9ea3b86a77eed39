//! The charge of a change: what applying it costs every device, from its bytes alone, as a number of bytes.
//!
//! Bytes do not bound work: 80 bytes with run-length encoded columns are a million ops. So a change is
//! charged with its length and with what its parts cost Automerge, each measured in the release build against
//! one insert of a character: 2.8 µs and about 450 bytes of memory for a moment. 8 MiB of charge are 250 ms.

use crate::limits::{
    CHARGE_OF_CHAIN, CHARGE_OF_CHANGE, CHARGE_OF_DEPENDENCY, CHARGE_OF_OBJECT, CHARGE_OF_OP,
    CHARGE_OF_PREDECESSOR, CHARGE_OF_REPLICA, DEPENDENCIES_PER_BYTE, KEY_BYTES_PER_BYTE,
};

/// The parts of a change that cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Bytes of the chunk.
    pub(super) bytes: u64,
    /// The change is the first of its chain: Automerge makes room for another replica.
    pub(super) begins_chain: bool,
    /// Other replicas that its ops name.
    pub(super) others: u64,
    pub(super) dependencies: u64,
    pub(super) ops: u64,
    /// Ops that make an object.
    pub(super) objects: u64,
    pub(super) predecessors: u64,
    /// Bytes of all keys, repeated as often as their runs say.
    pub(super) key_bytes: u64,
}

impl Parts {
    /// The charge, bytes. Dependencies cost more than their number, because Automerge walks those that it has
    /// already added for each further one.
    pub(super) fn charge(&self) -> u64 {
        let chains = u64::from(self.begins_chain) * CHARGE_OF_CHAIN + self.others * CHARGE_OF_REPLICA;
        let dependencies = self.dependencies * CHARGE_OF_DEPENDENCY
            + self.dependencies * self.dependencies / DEPENDENCIES_PER_BYTE;
        let ops = self.ops * CHARGE_OF_OP
            + self.objects * CHARGE_OF_OBJECT
            + self.predecessors * CHARGE_OF_PREDECESSOR;
        CHARGE_OF_CHANGE + self.bytes + chains + dependencies + ops + self.key_bytes / KEY_BYTES_PER_BYTE
    }
}
