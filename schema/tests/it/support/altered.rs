//! Changes of a random document, with single cells of their op columns altered, and an index of all ops that
//! tells which of them make no sense in their document.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{ElementId, Key, ObjectId, OpId as LegacyId};
use automerge::{Change, ObjType, ScalarValue};
use peerbase_schema::ChangeHash;
use testkit::dear::Random;
use testkit::raw::{Raw, sleb, uleb};
use testkit::replica;
use testkit::rows::{Row, encode};

use super::history::PEOPLE;

pub(crate) const MAP: u64 = 0;
pub(crate) const PUT: u64 = 1;
pub(crate) const LIST: u64 = 2;
pub(crate) const DELETE: u64 = 3;
pub(crate) const TEXT: u64 = 4;
pub(crate) const INCREMENT: u64 = 5;

/// The counter and the person of an op.
pub(crate) type Id = (u64, usize);

fn person(actor: &automerge::ActorId) -> usize {
    (0..PEOPLE).position(|person| replica(person).0.as_slice() == actor.to_bytes()).unwrap()
}

fn id(id: &LegacyId) -> Id {
    (id.counter(), person(id.actor()))
}

/// The rows of a change as Automerge decodes them.
pub(crate) fn rows(change: &Change) -> Vec<Row> {
    let row = |op: &automerge::legacy::Op| {
        let object = if let ObjectId::Id(object) = &op.obj { Some(id(object)) } else { None };
        let (key_counter, key_replica, key_text) = match &op.key {
            Key::Map(text) => (None, None, Some(text.as_bytes().to_vec())),
            Key::Seq(ElementId::Head) => (Some(0), None, None),
            Key::Seq(ElementId::Id(element)) => (Some(element.counter()), Some(id(element).1), None),
        };
        let increment = op.to_i64().filter(|_| op.action_index() == INCREMENT).map(ScalarValue::Int);
        let (kind, value) = value(op.primitive_value().or(increment).as_ref());
        Row {
            object_counter: object.map(|id| id.0),
            object_replica: object.map(|id| id.1),
            key_counter,
            key_replica,
            key_text,
            insert: op.insert,
            action: op.action_index(),
            kind,
            value,
            predecessors: op.pred.iter().map(id).map(|(counter, person)| (person, counter)).collect(),
        }
    };
    change.decode().operations.iter().map(row).collect()
}

trait Action {
    fn action_index(&self) -> u64;
}

impl Action for automerge::legacy::Op {
    fn action_index(&self) -> u64 {
        use automerge::legacy::OpType;
        match &self.action {
            OpType::Make(ObjType::Map) => MAP,
            OpType::Make(ObjType::List) => LIST,
            OpType::Make(ObjType::Text) => TEXT,
            OpType::Put(_) => PUT,
            OpType::Delete => DELETE,
            OpType::Increment(_) => INCREMENT,
            other => panic!("{other:?}"),
        }
    }
}

fn value(value: Option<&ScalarValue>) -> (u64, Vec<u8>) {
    match value {
        None | Some(ScalarValue::Null) => (0, Vec::new()),
        Some(ScalarValue::Boolean(false)) => (1, Vec::new()),
        Some(ScalarValue::Boolean(true)) => (2, Vec::new()),
        Some(ScalarValue::Uint(number)) => (3, uleb(*number)),
        Some(ScalarValue::Int(number)) => (4, sleb(*number)),
        Some(ScalarValue::F64(number)) => (5, number.to_le_bytes().to_vec()),
        Some(ScalarValue::Str(text)) => (6, text.as_bytes().to_vec()),
        Some(ScalarValue::Bytes(bytes)) => (7, bytes.clone()),
        Some(ScalarValue::Counter(counter)) => (8, sleb(i64::from(counter))),
        Some(ScalarValue::Timestamp(time)) => (9, sleb(*time)),
        Some(other) => panic!("{other:?}"),
    }
}

/// The change with these rows in the place of its own.
pub(crate) fn with_rows(change: &Change, rows: &[Row]) -> Raw {
    let author = person(change.actor_id());
    let deps = change.deps().iter().map(|dep| ChangeHash(dep.0)).collect();
    let mut raw =
        Raw::empty(replica(u8::try_from(author).unwrap()), change.seq(), change.start_op().get(), deps);
    raw.time = change.timestamp();
    raw.message = change.message().map(|message| message.as_bytes().to_vec()).unwrap_or_default();
    let named: BTreeSet<_> = rows.iter().flat_map(Row::replicas).filter(|named| *named != author).collect();
    let mut others: Vec<_> = named.into_iter().collect();
    others.sort_by_key(|other| replica(u8::try_from(*other).unwrap()));
    raw.others = others.iter().map(|other| replica(u8::try_from(*other).unwrap()).0.to_vec()).collect();
    raw.columns = encode(rows, |of| match of == author {
        true => 0,
        false => 1 + others.iter().position(|other| *other == of).unwrap() as u64,
    });
    raw
}

/// All ops of a document.
#[derive(Default)]
pub(crate) struct Ops(BTreeMap<Id, Row>);

impl Ops {
    pub(crate) fn add(&mut self, change: &Change, rows: &[Row]) {
        let author = person(change.actor_id());
        let ids = change.start_op().get()..;
        self.0.extend(ids.zip(rows).map(|(counter, row)| ((counter, author), row.clone())));
    }

    /// The key of an op, as other ops of the same place name it.
    fn key(id: Id, row: &Row) -> (Option<Id>, Option<&[u8]>) {
        let element = if row.insert { Some(id) } else { row.key_counter.zip(row.key_replica) };
        (element, row.key_text.as_deref())
    }

    /// The reasons for which an op makes no sense in this document, which bytes alone do not tell.
    pub(crate) fn faults(&self, change: &Change, rows: &[Row]) -> BTreeSet<&'static str> {
        let author = person(change.actor_id());
        let ids = change.start_op().get()..;
        let mut faults = BTreeSet::new();
        for (counter, row) in ids.zip(rows) {
            self.check((counter, author), row, &mut |fault| {
                faults.insert(fault);
            });
        }
        faults
    }

    fn check(&self, id: Id, row: &Row, fault: &mut dyn FnMut(&'static str)) {
        let object = row.object_counter.zip(row.object_replica);
        let kind = match object.map(|object| self.0.get(&object)) {
            None => MAP,
            Some(None) => return fault("object: no such op"),
            Some(Some(made)) => made.action,
        };
        match (kind, &row.key_text) {
            (MAP, Some(_)) | (LIST | TEXT, None) => {}
            (MAP, None) => fault("an element of a map"),
            (LIST | TEXT, Some(_)) => fault("a field of a list or text"),
            _ => return fault("object: an op that makes none"),
        }
        if let Some(element) = row.key_counter.zip(row.key_replica) {
            match self.0.get(&element) {
                None => fault("element: no such op"),
                Some(named) if !named.insert => fault("element: an op that inserts none"),
                Some(named) if named.object_counter.zip(named.object_replica) != object => {
                    fault("element: of another object");
                }
                Some(_) => {}
            }
        }
        for (replica, counter) in &row.predecessors {
            let named_id = (*counter, *replica);
            match self.0.get(&named_id) {
                None => fault("predecessor: no such op"),
                Some(named) if named.action == DELETE => fault("predecessor: a deletion"),
                Some(named) if named.object_counter.zip(named.object_replica) != object => {
                    fault("predecessor: in another object");
                }
                Some(named) if Self::key(named_id, named) != Self::key(id, row) => {
                    fault("predecessor: of another key");
                }
                Some(_) => {}
            }
        }
    }

    fn random(&self, random: &mut Random) -> (Id, &Row) {
        let (id, row) = self.0.iter().nth(random.below(self.0.len())).unwrap();
        (*id, row)
    }
}

/// Alters one cell, or a few that belong together.
pub(crate) fn alter(rows: &mut Vec<Row>, ops: &Ops, random: &mut Random) {
    let at = random.below(rows.len());
    let (id, other) = ops.random(random);
    let mut row = rows[at].clone();
    let near = |counter: u64, random: &mut Random| (counter + random.below(5) as u64).saturating_sub(2);
    match random.below(24) {
        0 => row.insert = !row.insert,
        1 => row.action = random.below(6) as u64,
        2 => (row.kind, row.value) = (other.kind, other.value.clone()),
        3 => row.kind = random.below(16) as u64,
        4 => row.value = (0..random.below(4)).map(|_| u8::try_from(random.below(256)).unwrap()).collect(),
        5 => (row.object_counter, row.object_replica) = (other.object_counter, other.object_replica),
        6 => (row.object_counter, row.object_replica) = (Some(id.0), Some(id.1)),
        7 => row.object_counter = row.object_counter.map(|counter| near(counter, random)),
        8 => (row.object_counter, row.object_replica) = (None, None),
        9 => {
            (row.key_counter, row.key_replica) = (other.key_counter, other.key_replica);
            row.key_text = other.key_text.clone();
        }
        10 => (row.key_counter, row.key_replica, row.key_text) = (Some(id.0), Some(id.1), None),
        11 => row.key_counter = row.key_counter.map(|counter| near(counter, random)),
        12 => (row.key_counter, row.key_replica) = (Some(0), None),
        13 => row.key_text = Some(["", "alpha", "x"][random.below(3)].into()),
        14 => match random.below(5) {
            0 => row.object_replica = None,
            1 => row.object_counter = None,
            2 => row.key_replica = None,
            3 => row.key_counter = None,
            _ => row.key_text = None,
        },
        15 => row.predecessors.push((id.1, id.0)),
        16 => row.predecessors = other.predecessors.clone(),
        17 => row.predecessors = vec![(id.1, id.0)],
        18 => row.predecessors.clear(),
        19 => row.predecessors.reverse(),
        20 => {
            // Another op of the same place, with it as predecessor.
            row = other.clone();
            if let (true, counter, replica) = (row.insert, id.0, id.1) {
                (row.insert, row.key_counter, row.key_replica) = (false, Some(counter), Some(replica));
            }
            row.predecessors = vec![(id.1, id.0)];
            row.action = [PUT, DELETE, INCREMENT, MAP][random.below(4)];
            (row.kind, row.value) = if row.action == DELETE { (0, Vec::new()) } else { (4, vec![1]) };
        }
        21 => row = other.clone(),
        22 => {
            let with = random.below(rows.len());
            rows.swap(at, with);
            return;
        }
        _ => {
            rows.insert(at, other.clone());
            return;
        }
    }
    rows[at] = row;
}
