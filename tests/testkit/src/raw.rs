//! Change chunks in Automerge's binary format, assembled column by column, so that a test can write chunks
//! that Automerge itself never writes.

use schema::{ChangeHash, ReplicaId};
use sha2::{Digest, Sha256};

/// Column: true if the op inserts into a sequence (boolean runs).
pub const INSERT: u32 = 0x34;
/// Column: the kind of op (run-length, unsigned).
pub const ACTION: u32 = 0x42;
/// Column: type and length of the op's value (run-length, unsigned).
pub const VALUE_META: u32 = 0x56;
/// Column: the bytes of all values, one after another.
pub const VALUE: u32 = 0x57;
/// Column: replica of the op id that the key names (run-length, index).
pub const KEY_REPLICA: u32 = 0x11;
/// Column: counter of the op id that the key names (delta).
pub const KEY_COUNTER: u32 = 0x13;
/// Column: the key as text (run-length).
pub const KEY_TEXT: u32 = 0x15;
/// Column: replica of the object's op id (run-length, index).
pub const OBJECT_REPLICA: u32 = 0x01;
/// Column: counter of the object's op id (run-length, unsigned).
pub const OBJECT_COUNTER: u32 = 0x02;
/// Column: how many predecessors each op has (run-length, unsigned).
pub const PREDECESSORS: u32 = 0x70;
/// Column: replica of each predecessor (run-length, index).
pub const PREDECESSOR_REPLICA: u32 = 0x71;
/// Column: counter of each predecessor (delta).
pub const PREDECESSOR_COUNTER: u32 = 0x73;

/// The fields of a change chunk, written without any check.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The changes that this one depends on.
    pub deps: Vec<ChangeHash>,
    /// The replica id of the author; any length.
    pub actor: Vec<u8>,
    /// The number of this change among its author's, from 1.
    pub seq: u64,
    /// The counter of the first op.
    pub start_op: u64,
    /// Milliseconds since 1970.
    pub time: i64,
    /// The commit message.
    pub message: Vec<u8>,
    /// Replica ids of other authors that columns refer to by index.
    pub others: Vec<Vec<u8>>,
    /// Column ids with their encoded bytes, in the order in which they are written.
    pub columns: Vec<(u32, Vec<u8>)>,
    /// Bytes behind the last column.
    pub extra: Vec<u8>,
}

impl Raw {
    /// A change without ops.
    pub fn empty(replica: ReplicaId, seq: u64, start_op: u64, deps: Vec<ChangeHash>) -> Self {
        let (time, message, others, columns, extra) = (0, Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let actor = replica.0.to_vec();
        Self { deps, actor, seq, start_op, time, message, others, columns, extra }
    }

    /// A change of `ops` ops, each of which puts null under the root key `k`.
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

    /// A change of one op that inserts at the begin of the object that an op of `of` made.
    pub fn inserts_into(self, of: ReplicaId, counter: u64) -> Self {
        let others = if of.0.as_slice() == self.actor { Vec::new() } else { vec![of.0.to_vec()] };
        let place = u8::try_from(others.len()).unwrap();
        Self { others, ..self }
            .with(OBJECT_REPLICA, &[0x7f, place])
            .with(OBJECT_COUNTER, &[vec![0x7f], uleb(counter)].concat())
            .with(KEY_COUNTER, &[0x7f, 0])
            .with(KEY_TEXT, &[])
            .with(INSERT, &[0, 1])
            .with(ACTION, &[0x7f, 1])
            .with(VALUE_META, &[0x7f, 0])
            .with(PREDECESSORS, &[0x7f, 0])
    }

    /// The same behind an op of the replica that made the object.
    pub fn behind(self, counter: u64) -> Self {
        let place = u8::try_from(self.others.len()).unwrap();
        self.with(KEY_REPLICA, &[0x7f, place])
            .with(KEY_COUNTER, &[vec![0x7f], sleb(counter.cast_signed())].concat())
    }

    /// Two ops, of which the second puts under `b` and replaces the first, which puts under `a`: the reader
    /// passes it, and Automerge returns another change.
    pub fn replaces_another_field(replica: ReplicaId) -> Self {
        Self::puts(replica, 1, 1, Vec::new(), 2)
            .with(KEY_TEXT, &[0x7e, 1, b'a', 1, b'b'])
            .with(PREDECESSORS, &[0x7e, 0, 1])
            .with(PREDECESSOR_REPLICA, &[0x7f, 0])
            .with(PREDECESSOR_COUNTER, &[0x7f, 1])
    }

    /// Replaces or adds a column; removes it if `bytes` is empty.
    pub fn with(mut self, column: u32, bytes: &[u8]) -> Self {
        self.columns.retain(|(known, _)| *known != column);
        if !bytes.is_empty() {
            self.columns.push((column, bytes.to_vec()));
            self.columns.sort_by_key(|(column, _)| *column);
        }
        self
    }

    /// The chunk's data: everything behind its header.
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

    /// The whole chunk, its header and checksum included.
    pub fn chunk(&self) -> Vec<u8> {
        chunk(1, &self.data())
    }

    /// The hash by which other changes depend on this one.
    pub fn hash(&self) -> ChangeHash {
        hash(1, &self.data())
    }
}

/// A chunk of `kind` (0 document, 1 change, 2 compressed change) with a correct checksum.
pub fn chunk(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83];
    chunk.extend(&hash(kind, data).0[..4]);
    chunk.push(kind);
    chunk.extend(uleb(data.len() as u64));
    chunk.extend(data);
    chunk
}

/// The data of a chunk: all behind its header.
pub fn data(chunk: &[u8]) -> &[u8] {
    let length = chunk[9..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    &chunk[9 + length..]
}

fn hash(kind: u8, data: &[u8]) -> ChangeHash {
    let mut sha = Sha256::new();
    sha.update([kind]);
    sha.update(uleb(data.len() as u64));
    sha.update(data);
    ChangeHash(sha.finalize().into())
}

/// `bytes` behind their length.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [uleb(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A number in unsigned LEB128.
pub fn uleb(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// A number in signed LEB128.
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
