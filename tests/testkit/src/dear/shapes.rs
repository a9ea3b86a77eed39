//! The dear shapes that are known by name: each op kind and column shape alone, at any size.

use schema::ChangeHash;

use super::{Crafter, DELETE, INCREMENT, Id, Key, MAKE_LIST, MAKE_MAP, MAKE_TEXT, Op, PUT};

/// A shape of any size.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Ops of one change, from its chain, the counter of its first op and a size; a unit has several.
    Change(&'static str, fn(usize, u64, u64) -> Vec<Op>),
    /// Changes of one unit, from a size.
    Changes(&'static str, fn(&mut Crafter<'_>, u64)),
}

impl Shape {
    /// Its name.
    pub fn name(&self) -> &'static str {
        let (Self::Change(name, _) | Self::Changes(name, _)) = self;
        name
    }
}

/// All of them.
pub const SHAPES: &[Shape] = &[
    Shape::Change("text, typed", |chain, start, size| {
        sequence(chain, start, size, MAKE_TEXT, |_, op| op.text("x"))
    }),
    Shape::Change("text, each at the begin", |chain, start, size| {
        at_begin(chain, start, size, MAKE_TEXT, |op| op.text("x"))
    }),
    Shape::Change("list of nulls", |chain, start, size| sequence(chain, start, size, MAKE_LIST, |_, op| op)),
    Shape::Change("list of numbers", |chain, start, size| {
        sequence(chain, start, size, MAKE_LIST, |number, op| op.int(signed(number) * 7_919))
    }),
    Shape::Change("list of maps", |chain, start, size| {
        sequence(chain, start, size, MAKE_LIST, |_, op| Op { action: MAKE_MAP, ..op })
    }),
    Shape::Change("list of texts, each at the begin", |chain, start, size| {
        at_begin(chain, start, size, MAKE_LIST, |op| Op { action: MAKE_TEXT, ..op })
    }),
    Shape::Change("maps under fields", |_, _, size| {
        (0..size).map(|number| Op::field(format!("k{number:07}"), MAKE_MAP)).collect()
    }),
    Shape::Change("maps within each other", |chain, start, size| {
        let object = |number| (number > 0).then(|| Id { chain, counter: start + number - 1 });
        (0..size).map(|number| Op::new(object(number), Key::Field("k".into()), MAKE_MAP)).collect()
    }),
    Shape::Change("objects of five fields", structs),
    Shape::Change("puts of one field, none over another", |_, _, size| {
        (0..size).map(|_| Op::field("k", PUT)).collect()
    }),
    Shape::Change("puts of one field, each over the last", |chain, start, size| {
        let last = |number| (number > 0).then(|| Id { chain, counter: start + number - 1 });
        (0..size).map(|number| Op::field("k", PUT).over(last(number))).collect()
    }),
    Shape::Change("puts of many fields", |_, _, size| {
        (0..size).map(|number| Op::field(format!("k{number:07}"), PUT).int(signed(number))).collect()
    }),
    Shape::Change("puts of one field of 64 bytes", |_, _, size| {
        (0..size).map(|_| Op::field("k".repeat(64), PUT)).collect()
    }),
    Shape::Change("puts of one field of 6 000 bytes", |_, _, size| {
        (0..size).map(|_| Op::field("k".repeat(6_000), PUT)).collect()
    }),
    Shape::Change("increments of one counter", |chain, start, size| {
        let counter = Id { chain, counter: start };
        let increment = |_| Op::field("c", INCREMENT).int(1).over([counter]);
        std::iter::once(Op::field("c", PUT).counter()).chain((0..size).map(increment)).collect()
    }),
    Shape::Change("deletes of one element", |chain, start, size| {
        over_one(chain, start, size, |list, element| {
            Op::new(Some(list), Key::Element(element), DELETE).over([element])
        })
    }),
    Shape::Change("puts over one element, none over another", |chain, start, size| {
        over_one(chain, start, size, |list, element| Op::new(Some(list), Key::Element(element), PUT))
    }),
    Shape::Change("deletes of each element", |chain, start, size| {
        over_each(chain, start, size, |list, element| {
            Op::new(Some(list), Key::Element(element), DELETE).over([element])
        })
    }),
    Shape::Change("puts over each element", |chain, start, size| {
        over_each(chain, start, size, |list, element| {
            Op::new(Some(list), Key::Element(element), PUT).int(2).over([element])
        })
    }),
    Shape::Change("one put over all", |chain, start, size| {
        let all = (start..start + size).map(|counter| Id { chain, counter });
        let last = Op::field("k", PUT).over(all);
        (0..size).map(|_| Op::field("k", PUT)).chain([last]).collect()
    }),
    Shape::Change("puts over 1 000 each", |chain, start, size| {
        let all = || (start..start + 1_000).map(|counter| Id { chain, counter });
        let over = |_| Op::field("k", PUT).over(all());
        (0..1_000).map(|_| Op::field("k", PUT)).chain((0..size).map(over)).collect()
    }),
    Shape::Change("puts over scattered elements, twice", scattered_puts),
    Shape::Change("one value", |_, _, size| {
        vec![Op::field("k", PUT).value(7, vec![7; usize::try_from(size).unwrap()])]
    }),
    Shape::Changes("chains of one put", |crafter, size| {
        one_put_each(crafter, size);
    }),
    Shape::Changes("chains of one put, at most 4 096 of them merged", |crafter, size| {
        let mut heads = one_put_each(crafter, size);
        heads.truncate(4_095.min(heads.len() - 1)); // and the last change of its own chain
        crafter.write(heads.len(), &heads, &[]);
    }),
    Shape::Changes("chains of one put, merged at a multiple of 16", |crafter, size| {
        // Automerge caches a clock at each change whose number is a multiple of 16, and then of every
        // ancestor that has none.
        let size = (size.min(4_096) / 16 * 16).saturating_sub(1).max(1);
        let heads = one_put_each(crafter, size);
        crafter.write(heads.len(), &heads, &[]);
    }),
    Shape::Changes("chains without ops", |crafter, size| {
        for chain in 0..number(size) {
            crafter.write(chain, &[], &[]);
        }
    }),
    Shape::Changes("chains, each upon the last", |crafter, size| {
        let mut last: Vec<ChangeHash> = Vec::new();
        for chain in 0..number(size) {
            last = vec![crafter.write(chain, &last, &[Op::field("k", PUT).int(1)])];
        }
    }),
    Shape::Changes("changes of one put over the last", |crafter, size| {
        for start in 1..=size {
            let last = (start > 1).then(|| Id { chain: 0, counter: start - 1 });
            crafter.write(0, &[], &[Op::field("k", PUT).int(1).over(last)]);
        }
    }),
    Shape::Changes("changes without ops", |crafter, size| {
        for _ in 0..size {
            crafter.write(0, &[], &[]);
        }
    }),
    Shape::Changes("changes of ten characters", |crafter, size| {
        let ops = sequence(0, 1, size * 10, MAKE_TEXT, |_, op| op.text("x"));
        for part in ops.chunks(10) {
            crafter.write(0, &[], part);
        }
    }),
    Shape::Changes("300 chains that put one field", |crafter, size| {
        for chain in 0..300 {
            let ops: Vec<_> = (0..size).map(|_| Op::field("k", PUT)).collect();
            crafter.write(chain, &[], &ops);
        }
    }),
    Shape::Changes("merges of as many heads", |crafter, size| {
        let heads = one_put_each(crafter, size);
        let begin = heads.len();
        for merge in 0..8 {
            crafter.write(begin + merge, &heads, &[Op::field("k", PUT)]);
        }
    }),
    Shape::Changes("inserts scattered in a list", |crafter, size| {
        scattered(crafter, size, |list, element| Op::behind(list, Some(element), PUT).text("y"));
    }),
    Shape::Changes("deletes scattered in a list", |crafter, size| {
        scattered(crafter, size, |list, element| {
            Op::new(Some(list), Key::Element(element), DELETE).over([element])
        });
    }),
    Shape::Changes("inserts into scattered lists", |crafter, size| {
        let lists: Vec<_> = (0..size).map(|number| Op::field(format!("k{number:07}"), MAKE_LIST)).collect();
        crafter.write(0, &[], &lists);
        let list = |number| Id { chain: 0, counter: 1 + number * 7_919 % size };
        let inserts: Vec<_> = (0..size / 2).map(|number| Op::behind(list(number), None, PUT)).collect();
        crafter.write(0, &[], &inserts);
    }),
    Shape::Changes("one scattered insert a change", |crafter, size| {
        let text = size * 4;
        let list = Id { chain: 0, counter: 1 };
        crafter.write(0, &[], &sequence(0, 1, text, MAKE_TEXT, |_, op| op.text("x")));
        for number in 0..size {
            let element = Id { chain: 0, counter: 2 + number * 7_919 % text };
            crafter.write(0, &[], &[Op::behind(list, Some(element), PUT).text("y")]);
        }
    }),
    Shape::Changes("chains upon many maps", |crafter, size| {
        let maps: Vec<_> = (0..size * 8).map(|number| Op::field(format!("k{number:07}"), MAKE_MAP)).collect();
        let first = crafter.write(0, &[], &maps);
        for chain in 1..=number(size) {
            crafter.write(chain, &[first], &[Op::field("z", PUT)]);
        }
    }),
];

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

fn number(size: u64) -> usize {
    usize::try_from(size).unwrap()
}

/// A sequence that its first op makes, and so many ops, each behind the one before.
fn sequence(chain: usize, start: u64, size: u64, make: u64, with: fn(u64, Op) -> Op) -> Vec<Op> {
    let id = |counter| Id { chain, counter };
    let insert = |number| {
        let last = (number > 0).then(|| id(start + number));
        with(number, Op::behind(id(start), last, PUT))
    };
    std::iter::once(Op::field("t", make)).chain((0..size).map(insert)).collect()
}

fn at_begin(chain: usize, start: u64, size: u64, make: u64, with: fn(Op) -> Op) -> Vec<Op> {
    let insert = |_| with(Op::behind(Id { chain, counter: start }, None, PUT));
    std::iter::once(Op::field("t", make)).chain((0..size).map(insert)).collect()
}

/// A list of one element, and ops upon it.
fn over_one(chain: usize, start: u64, size: u64, op: fn(Id, Id) -> Op) -> Vec<Op> {
    let [list, element] = [start, start + 1].map(|counter| Id { chain, counter });
    let mut ops = sequence(chain, start, 1, MAKE_LIST, |_, op| op);
    ops.extend((0..size).map(|_| op(list, element)));
    ops
}

/// A list, and an op upon each element.
fn over_each(chain: usize, start: u64, size: u64, op: fn(Id, Id) -> Op) -> Vec<Op> {
    let id = |counter| Id { chain, counter };
    let mut ops = sequence(chain, start, size, MAKE_LIST, |_, op| op.int(1));
    ops.extend((0..size).map(|number| op(id(start), id(start + 1 + number))));
    ops
}

fn structs(chain: usize, start: u64, size: u64) -> Vec<Op> {
    let list = Id { chain, counter: start };
    let mut ops = vec![Op::field("l", MAKE_LIST)];
    let mut last = None;
    for number in 0..size {
        let object = Id { chain, counter: start + ops.len() as u64 };
        ops.push(Op::behind(list, last, MAKE_MAP));
        last = Some(object);
        let put = |field: &&str| {
            Op::new(Some(object), Key::Field((*field).into()), PUT).text(&format!("{field}{number}"))
        };
        ops.extend(["age", "city", "mail", "name", "zip"].iter().map(put));
    }
    ops
}

/// A list, and two puts over each element in scattered order, the second over both values.
fn scattered_puts(chain: usize, start: u64, size: u64) -> Vec<Op> {
    let id = |counter| Id { chain, counter };
    let mut ops = sequence(chain, start, size, MAKE_LIST, |number, op| op.text(&format!("{number:09}")));
    for round in 0..2 {
        for number in 0..size {
            let element = id(start + 1 + number * 7_919 % size);
            let first_put = (round == 1).then(|| id(start + 1 + size + number));
            let put =
                Op::new(Some(id(start)), Key::Element(element), PUT).text(&format!("{number:07}{round}"));
            ops.push(put.over([element].into_iter().chain(first_put)));
        }
    }
    ops
}

fn one_put_each(crafter: &mut Crafter<'_>, size: u64) -> Vec<ChangeHash> {
    (0..number(size)).map(|chain| crafter.write(chain, &[], &[Op::field("k", PUT).int(1)])).collect()
}

/// A change that makes a list, and one with an op upon half of its elements, in scattered order.
fn scattered(crafter: &mut Crafter<'_>, size: u64, op: fn(Id, Id) -> Op) {
    let id = |counter| Id { chain: 0, counter };
    crafter.write(0, &[], &sequence(0, 1, size, MAKE_LIST, |_, op| op));
    let element = |number| id(2 + number * 7_919 % size);
    let ops: Vec<_> = (0..size / 2).map(|number| op(id(1), element(number))).collect();
    crafter.write(0, &[], &ops);
}
