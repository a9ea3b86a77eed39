//! The accepted changes of one document, reduced to the facts that the checks need.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::ChangeHeader;
use crate::id::{ChangeHash, ReplicaId};

/// Accepted changes, chains and heads of one document. About 76 bytes a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    changes: BTreeMap<ChangeHash, Accepted>,
    replicas: BTreeMap<ReplicaId, u32>,
    chains: Vec<Chain>,
    heads: BTreeSet<ChangeHash>,
    max_op: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    /// Position in `chains`.
    chain: u32,
    max_op: u32,
    seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Chain {
    replica: ReplicaId,
    length: u64,
    newest: ChangeHash,
}

impl Index {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change that [`vet`](super::vet) accepted, or that our store has, after its dependencies.
    pub fn accept(&mut self, header: &ChangeHeader) {
        let next = u32::try_from(self.chains.len()).expect("fewer replicas than op counters");
        let chain = *self.replicas.entry(header.replica).or_insert(next);
        let end = Chain { replica: header.replica, length: header.seq, newest: header.hash };
        if chain == next {
            self.chains.push(end);
        } else {
            self.chains[chain as usize] = end;
        }
        let max_op = u32::try_from(header.max_op()).expect("the reader bounds counters by OP_COUNTER_MAX");
        self.changes.insert(header.hash, Accepted { chain, max_op, seq: header.seq });
        for dep in &header.deps {
            self.heads.remove(dep);
        }
        self.heads.insert(header.hash);
        self.max_op = self.max_op.max(header.max_op());
    }

    /// Returns true if the change is accepted.
    pub fn contains(&self, change: &ChangeHash) -> bool {
        self.changes.contains_key(change)
    }

    /// The accepted changes that no other depends on.
    pub fn heads(&self) -> &BTreeSet<ChangeHash> {
        &self.heads
    }

    /// The number of accepted changes of a replica.
    pub fn length(&self, replica: &ReplicaId) -> u64 {
        self.chain(replica).map_or(0, |chain| chain.length)
    }

    /// The newest accepted change of a replica, with its place in the chain.
    pub fn end(&self, replica: &ReplicaId) -> Option<(u64, ChangeHash)> {
        self.chain(replica).map(|chain| (chain.length, chain.newest))
    }

    /// The newest accepted change of a replica.
    pub fn newest(&self, replica: &ReplicaId) -> Option<ChangeHash> {
        self.chain(replica).map(|chain| chain.newest)
    }

    /// All replicas, ascending, each with the length of its chain and its newest change.
    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaId, u64, ChangeHash)> {
        self.replicas.iter().map(|(replica, &chain)| {
            let chain = &self.chains[chain as usize];
            (*replica, chain.length, chain.newest)
        })
    }

    /// The position of a replica in the order in which replicas were first accepted.
    pub fn position(&self, replica: &ReplicaId) -> Option<usize> {
        self.replicas.get(replica).map(|&chain| chain as usize)
    }

    /// All replicas, in the order in which they were first accepted, each with the length of its chain and
    /// its newest change.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = (ReplicaId, u64, ChangeHash)> {
        self.chains.iter().map(|chain| (chain.replica, chain.length, chain.newest))
    }

    /// The first op counter of a change that depends on all heads.
    pub fn next_start_op(&self) -> u64 {
        self.max_op + 1
    }

    /// The number of accepted changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns true if no change is accepted.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The largest op counter of an accepted change.
    pub fn max_op(&self, change: &ChangeHash) -> Option<u64> {
        self.changes.get(change).map(|accepted| accepted.max_op.into())
    }

    /// The replica and the sequence number of an accepted change.
    pub fn place(&self, change: &ChangeHash) -> Option<(ReplicaId, u64)> {
        let accepted = self.changes.get(change)?;
        Some((self.chains[accepted.chain as usize].replica, accepted.seq))
    }

    fn chain(&self, replica: &ReplicaId) -> Option<&Chain> {
        self.replicas.get(replica).map(|&chain| &self.chains[chain as usize])
    }
}
