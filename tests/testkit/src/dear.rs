//! Changes that are valid and as dear as they may be, crafted op by op; from a seed ([`mixed`]) or of one
//! named shape (`shapes`).
//!
//! Every op refers to what exists in the causal past of its change, so Automerge applies, returns and saves
//! all of them. There are neither marks nor tables, which the reader refuses.

pub(crate) mod columns;
mod mixed;
mod shapes;

use std::collections::BTreeMap;

use schema::change::{ChangeError, ChangeHeader};
use schema::limits::{CHANGE_CHARGE_MAX, UNIT_CHARGE_MAX};
use schema::{ChangeHash, ReplicaId};

use crate::raw::{Raw, sleb};

pub use mixed::{Random, mixed};
pub use shapes::{SHAPES, Shape};

/// Makes a map.
pub const MAKE_MAP: u64 = 0;
/// Sets a value.
pub const PUT: u64 = 1;
/// Makes a list.
pub const MAKE_LIST: u64 = 2;
/// Deletes what its predecessors set.
pub const DELETE: u64 = 3;
/// Makes a text.
pub const MAKE_TEXT: u64 = 4;
/// Adds to a counter.
pub const INCREMENT: u64 = 5;

/// The id of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// Its counter.
    pub counter: u64,
    /// The number of its author's chain.
    pub chain: usize,
}

/// The place in an object that an op concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A field of a map.
    Field(String),
    /// The begin of a list or text.
    Head,
    /// An element of a list or text.
    Element(Id),
}

/// One op.
#[derive(Clone, Debug)]
pub struct Op {
    /// The op that made its object; `None` is the root.
    pub object: Option<Id>,
    /// The place in the object.
    pub key: Key,
    /// True if it inserts behind that place.
    pub insert: bool,
    /// Its kind: [`PUT`] and so on.
    pub action: u64,
    /// Type of the value.
    pub kind: u64,
    /// Bytes of the value.
    pub value: Vec<u8>,
    /// The ops that it replaces.
    pub predecessors: Vec<Id>,
}

impl Op {
    /// An op on `key` of `object`, of value null.
    pub fn new(object: Option<Id>, key: Key, action: u64) -> Self {
        Self { object, key, insert: false, action, kind: 0, value: Vec::new(), predecessors: Vec::new() }
    }

    /// An op on a field of the root.
    pub fn field(name: impl Into<String>, action: u64) -> Self {
        Self::new(None, Key::Field(name.into()), action)
    }

    /// An op that inserts into `object`, behind `last` or at its begin.
    pub fn behind(object: Id, last: Option<Id>, action: u64) -> Self {
        let key = last.map_or(Key::Head, Key::Element);
        Self { insert: true, ..Self::new(Some(object), key, action) }
    }

    /// Sets the value.
    pub fn value(self, kind: u64, value: impl Into<Vec<u8>>) -> Self {
        Self { kind, value: value.into(), ..self }
    }

    /// Sets the value to a text.
    pub fn text(self, text: &str) -> Self {
        self.value(6, text)
    }

    /// Sets the value to an integer.
    pub fn int(self, int: i64) -> Self {
        self.value(4, sleb(int))
    }

    /// Sets the value to a counter that begins at zero.
    pub fn counter(self) -> Self {
        self.value(8, sleb(0))
    }

    /// Sets the predecessors.
    pub fn over(self, predecessors: impl IntoIterator<Item = Id>) -> Self {
        Self { predecessors: predecessors.into_iter().collect(), ..self }
    }
}

/// One crafted change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The number of its author's chain.
    pub chain: usize,
    /// Its place in the chain, from one.
    pub seq: u64,
    /// The number of bytes that it counts as.
    pub charge: u64,
    /// The chunk.
    pub chunk: Vec<u8>,
    /// Its hash.
    pub hash: ChangeHash,
}

/// The charge of some changes together.
pub fn charge(changes: &[Change]) -> u64 {
    changes.iter().map(|change| change.charge).sum()
}

/// The end of one chain.
#[derive(Clone, Debug)]
struct Chain {
    replica: ReplicaId,
    seq: u64,
    last: Option<ChangeHash>,
}

/// The replica id of a chain by its number.
pub type Replicas<'a> = &'a dyn Fn(usize) -> ReplicaId;

/// A document in the making.
pub struct Crafter<'a> {
    replicas: Replicas<'a>,
    chains: Vec<Chain>,
    /// Largest op counter of each change and its past.
    max_ops: BTreeMap<ChangeHash, u64>,
    changes: Vec<Change>,
}

impl<'a> Crafter<'a> {
    /// A document without changes.
    pub fn new(replicas: Replicas<'a>) -> Self {
        Self { replicas, chains: Vec::new(), max_ops: BTreeMap::new(), changes: Vec::new() }
    }

    /// Begins the chains up to this number.
    fn reach(&mut self, chain: usize) {
        for number in self.chains.len()..=chain {
            self.chains.push(Chain { replica: (self.replicas)(number), seq: 0, last: None });
        }
    }

    /// The dependencies of a change of `chain` on `deps`, its previous change among them, and the counter of
    /// its first op.
    fn past(&mut self, chain: usize, deps: &[ChangeHash]) -> (Vec<ChangeHash>, u64) {
        self.reach(chain);
        let mut deps = deps.to_vec();
        deps.extend(self.chains[chain].last);
        deps.sort();
        deps.dedup();
        let start = 1 + deps.iter().map(|dep| self.max_ops[dep]).max().unwrap_or(0);
        (deps, start)
    }

    /// The counter that the first op of the next change of `chain` on `deps` has.
    pub fn start(&mut self, chain: usize, deps: &[ChangeHash]) -> u64 {
        self.past(chain, deps).1
    }

    /// Encodes a change; nothing is kept.
    fn craft(&mut self, chain: usize, deps: &[ChangeHash], ops: &[Op]) -> (Raw, u64) {
        let (deps, start) = self.past(chain, deps);
        let named = ops.iter().flat_map(|op| {
            let element = if let Key::Element(id) = &op.key { Some(*id) } else { None };
            op.object.into_iter().chain(element).chain(op.predecessors.iter().copied())
        });
        let mut used = named.map(|id| id.chain).filter(|named| *named != chain).collect::<Vec<_>>();
        used.sort_unstable();
        used.dedup();
        self.reach(used.last().copied().unwrap_or(0));
        used.sort_by_key(|used| self.chains[*used].replica);
        let Chain { replica, seq, .. } = &self.chains[chain];
        let mut raw = Raw::empty(*replica, seq + 1, start, deps);
        raw.others = used.iter().map(|used| self.chains[*used].replica.0.to_vec()).collect();
        raw.columns = columns::encode(ops, |of| match of == chain {
            true => 0,
            false => 1 + used.iter().position(|used| *used == of).unwrap() as u64,
        });
        (raw, start + ops.len() as u64 - 1)
    }

    /// The charge that a change would have.
    pub fn charge(&mut self, chain: usize, deps: &[ChangeHash], ops: &[Op]) -> u64 {
        read(&self.craft(chain, deps, ops).0.chunk())
    }

    /// Adds a change of `chain` that depends on `deps` and on its previous change.
    pub fn write(&mut self, chain: usize, deps: &[ChangeHash], ops: &[Op]) -> ChangeHash {
        let (raw, max_op) = self.craft(chain, deps, ops);
        let chunk = raw.chunk();
        let hash = raw.hash();
        let change = Change { chain, seq: raw.seq, charge: read(&chunk), chunk, hash };
        self.max_ops.insert(hash, max_op);
        let chain = &mut self.chains[chain];
        (chain.seq, chain.last) = (raw.seq, Some(hash));
        self.changes.push(change);
        hash
    }

    /// Sorts predecessors as Automerge does: by counter, then by replica id.
    pub fn sort(&self, ids: &mut [Id]) {
        ids.sort_by_key(|id| (id.counter, self.chains[id.chain].replica));
    }

    /// All changes so far.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}

/// The charge of a chunk; the largest number if it is too long, whatever it counts as.
///
/// # Panics
/// If the reader refuses the chunk for another reason.
fn read(chunk: &[u8]) -> u64 {
    match ChangeHeader::read(chunk) {
        Ok(header) => header.charge,
        Err(ChangeError::TooCostly { got, .. }) => got,
        Err(ChangeError::TooLong { .. } | ChangeError::TooMany { .. }) => u64::MAX,
        Err(error) => panic!("a crafted change is not read: {error}"),
    }
}

/// The largest size whose charge is within `max`, to about a hundredth.
pub(crate) fn fit(max: u64, mut charge: impl FnMut(u64) -> u64) -> u64 {
    let (mut fits, mut exceeds, mut size) = (0, u64::MAX, 64_u64);
    for _ in 0..14 {
        let charge = charge(size);
        if charge <= max {
            fits = size;
            if charge >= max / 100 * 99 {
                break;
            }
        } else {
            exceeds = size;
        }
        let aim = u128::from(size) * u128::from(max / 1_000 * 996) / u128::from(charge.max(1));
        size = u64::try_from(aim).unwrap();
        if size <= fits || size >= exceeds {
            size = fits.midpoint(exceeds.min(2 * fits + 2));
        }
        if size == fits {
            break;
        }
    }
    fits
}

/// One unit of a named shape, at the bound of a unit and with no change above the bound of a change.
pub fn unit(shape: &Shape, replicas: Replicas<'_>) -> Vec<Change> {
    match shape {
        Shape::Change(_, ops) => {
            let mut crafter = Crafter::new(replicas);
            let mut left = UNIT_CHARGE_MAX;
            for chain in 0..4 {
                let start = crafter.start(chain, &[]);
                let max = left.min(CHANGE_CHARGE_MAX);
                let size = fit(max, |size| crafter.charge(chain, &[], &ops(chain, start, size)));
                if size == 0 {
                    break;
                }
                crafter.write(chain, &[], &ops(chain, start, size));
                left -= crafter.changes[chain].charge;
            }
            crafter.into_changes()
        }
        Shape::Changes(_, changes) => {
            let make = |size| {
                let mut crafter = Crafter::new(replicas);
                changes(&mut crafter, size);
                crafter.into_changes()
            };
            let size = fit(UNIT_CHARGE_MAX, |size| {
                let changes = make(size);
                let dearest = changes.iter().map(|change| change.charge).max();
                if dearest > Some(CHANGE_CHARGE_MAX) { u64::MAX } else { charge(&changes) }
            });
            make(size)
        }
    }
}
