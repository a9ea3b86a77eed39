//! Change chunks made by hand, so that they can say what no honest Automerge says.

use peerbase_schema::{ChangeHash, ReplicaId};
use sha2::{Digest, Sha256};

pub const INSERT: u32 = 0x34;
pub const ACTION: u32 = 0x42;
pub const VALUE_META: u32 = 0x56;
pub const VALUE: u32 = 0x57;
pub const KEY_REPLICA: u32 = 0x11;
pub const KEY_COUNTER: u32 = 0x13;
pub const KEY_TEXT: u32 = 0x15;
pub const OBJECT_REPLICA: u32 = 0x01;
pub const OBJECT_COUNTER: u32 = 0x02;
pub const PREDECESSORS: u32 = 0x70;
pub const PREDECESSOR_REPLICA: u32 = 0x71;
pub const PREDECESSOR_COUNTER: u32 = 0x73;

/// A change chunk in the making. Columns are written as they stand.
#[derive(Clone, Debug)]
pub struct Raw {
    pub deps: Vec<ChangeHash>,
    pub actor: Vec<u8>,
    pub seq: u64,
    pub start_op: u64,
    pub time: i64,
    pub message: Vec<u8>,
    pub others: Vec<Vec<u8>>,
    pub columns: Vec<(u32, Vec<u8>)>,
    pub extra: Vec<u8>,
}

impl Raw {
    /// A change without an op.
    pub fn empty(replica: ReplicaId, seq: u64, start_op: u64, deps: Vec<ChangeHash>) -> Self {
        let (time, message, others, columns, extra) = (0, Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let actor = replica.0.to_vec();
        Self { deps, actor, seq, start_op, time, message, others, columns, extra }
    }

    /// A change that puts null under the root key `k`, `ops` times.
    pub fn puts(replica: ReplicaId, seq: u64, start_op: u64, deps: Vec<ChangeHash>, ops: i64) -> Self {
        let key = [sleb(ops), uleb(1), b"k".to_vec()].concat();
        let run = |value: u8| [sleb(ops), vec![value]].concat();
        let columns = vec![
            (KEY_TEXT, key),
            (INSERT, uleb(ops.unsigned_abs())),
            (ACTION, run(1)),
            (VALUE_META, run(0)),
            (PREDECESSORS, run(0)),
        ];
        Self { columns, ..Self::empty(replica, seq, start_op, deps) }
    }

    /// Replaces, adds or (with no bytes) removes a column.
    pub fn with(mut self, column: u32, bytes: &[u8]) -> Self {
        self.columns.retain(|(known, _)| *known != column);
        if !bytes.is_empty() {
            self.columns.push((column, bytes.to_vec()));
            self.columns.sort_by_key(|(column, _)| *column);
        }
        self
    }

    pub fn data(&self) -> Vec<u8> {
        let mut data = uleb(self.deps.len() as u64);
        for dep in &self.deps {
            data.extend(dep.0);
        }
        data.extend(prefixed(&self.actor));
        data.extend(uleb(self.seq));
        data.extend(uleb(self.start_op));
        data.extend(sleb(self.time));
        data.extend(prefixed(&self.message));
        data.extend(uleb(self.others.len() as u64));
        for other in &self.others {
            data.extend(prefixed(other));
        }
        data.extend(uleb(self.columns.len() as u64));
        for (column, bytes) in &self.columns {
            data.extend(uleb((*column).into()));
            data.extend(uleb(bytes.len() as u64));
        }
        for (_, bytes) in &self.columns {
            data.extend(bytes);
        }
        data.extend(&self.extra);
        data
    }

    pub fn chunk(&self) -> Vec<u8> {
        chunk(1, &self.data())
    }

    pub fn hash(&self) -> ChangeHash {
        hash(1, &self.data())
    }
}

pub fn chunk(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83];
    chunk.extend(&hash(kind, data).0[..4]);
    chunk.push(kind);
    chunk.extend(uleb(data.len() as u64));
    chunk.extend(data);
    chunk
}

fn hash(kind: u8, data: &[u8]) -> ChangeHash {
    let mut sha = Sha256::new();
    sha.update([kind]);
    sha.update(uleb(data.len() as u64));
    sha.update(data);
    ChangeHash(sha.finalize().into())
}

pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [uleb(bytes.len() as u64), bytes.to_vec()].concat()
}

pub fn uleb(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

pub fn sleb(mut value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let bits = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        let last = (value == 0 && bits & 0x40 == 0) || (value == -1 && bits & 0x40 != 0);
        out.push(if last { bits } else { bits | 0x80 });
        if last {
            return out;
        }
    }
}
