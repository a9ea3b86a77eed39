//! Changes without ops, which merge heads. Automerge's own name every head, and a change names at most
//! `CHANGE_DEPS_MAX`: more heads than that are merged in steps.

use std::collections::BTreeSet;

use super::bytes::{write_sleb, write_uleb};
use super::{CHANGE, Frame, MAGIC};
use crate::id::{ChangeHash, ReplicaId};
use crate::limits::CHANGE_DEPS_MAX;

/// The place of a change without ops in its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merging {
    /// The chain that it belongs to.
    pub replica: ReplicaId,
    /// Its place in the chain, from one.
    pub seq: u64,
    /// One more than the largest op of its dependencies.
    pub start_op: u64,
    /// The heads that it merges, and the newest change of its own chain, strictly ascending.
    pub deps: Vec<ChangeHash>,
}

impl Merging {
    /// The next change that a replica makes to merge `heads`, until one change may name all that are left.
    /// `newest` is the newest change of its chain, with its place there; `max_op` is the largest op counter
    /// of a change.
    pub fn next(
        replica: ReplicaId,
        newest: Option<(u64, ChangeHash)>,
        heads: &BTreeSet<ChangeHash>,
        max_op: impl Fn(&ChangeHash) -> Option<u64>,
    ) -> Option<Self> {
        let own = newest.map(|(_, change)| change);
        let is_head = own.is_none_or(|own| heads.contains(&own));
        if heads.len() + usize::from(!is_head) <= CHANGE_DEPS_MAX {
            return None;
        }
        let deps: BTreeSet<_> = heads.iter().take(CHANGE_DEPS_MAX - 1).copied().chain(own).collect();
        let start_op = deps.iter().filter_map(max_op).max().unwrap_or(0) + 1;
        let seq = newest.map_or(0, |(seq, _)| seq) + 1;
        Some(Self { replica, seq, start_op, deps: deps.into_iter().collect() })
    }

    /// The chunk, as [`ChangeHeader::read`](super::ChangeHeader::read) reads it.
    ///
    /// `time` is in milliseconds since the Unix epoch, by this device's clock.
    pub fn encode(&self, time: i64) -> Vec<u8> {
        let mut data = Vec::with_capacity(64 + 32 * self.deps.len());
        write_uleb(&mut data, self.deps.len() as u64);
        self.deps.iter().for_each(|dep| data.extend_from_slice(&dep.0));
        write_uleb(&mut data, self.replica.0.len() as u64);
        data.extend_from_slice(&self.replica.0);
        write_uleb(&mut data, self.seq);
        write_uleb(&mut data, self.start_op);
        write_sleb(&mut data, time);
        data.extend_from_slice(&[0; 3]); // no message, no other replica, no column

        let hash = Frame::hash(CHANGE, &data);
        let mut chunk = MAGIC.to_vec();
        chunk.extend_from_slice(&hash.0[..4]);
        chunk.push(CHANGE);
        write_uleb(&mut chunk, data.len() as u64);
        chunk.extend_from_slice(&data);
        chunk
    }
}
