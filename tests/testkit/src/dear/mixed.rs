//! Dear documents from a seed: every kind of op and value, several chains side by side, in rounds.
//!
//! The changes of one round do not see each other; each depends on all changes of the round before. Each
//! change draws its own mix of ops, so that some are nearly pure and some have everything.

use std::collections::BTreeSet;

use schema::ChangeHash;
use schema::limits::{CHANGE_CHARGE_MAX, CHARGE_OF_CHAIN, CHARGE_OF_CHANGE, CHARGE_OF_OP, UNIT_CHARGE_MAX};

use super::{Change, Crafter, DELETE, INCREMENT, Id, Key, MAKE_LIST, MAKE_MAP, MAKE_TEXT, Op, PUT, Replicas};

/// Numbers from a seed (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// An op that later ops may name, with the number of the change that it belongs to.
#[derive(Clone, Copy)]
struct Made {
    id: Id,
    change: usize,
}

/// A field of a map or an element of a sequence, and the ops that set it.
struct Slot {
    key: Key,
    made: Made,
    values: Vec<Made>,
    counters: Vec<Made>,
}

struct Object {
    /// `None` is the root.
    made: Option<Made>,
    sequence: bool,
    is_text: bool,
    slots: Vec<Slot>,
}

/// The kinds of op that a change draws from, by weight.
struct Mix {
    weights: [usize; 8],
    total: usize,
    /// Bytes of a field's name and of a value, at most.
    name_bytes: usize,
    value_bytes: usize,
    /// Predecessors of one op, at most.
    predecessors: usize,
    /// One op of so many goes elsewhere than the one before.
    jump: usize,
}

impl Mix {
    fn draw(random: &mut Random) -> Self {
        let mut weights = [0; 8];
        for weight in &mut weights {
            *weight = [0, 0, 1, 4, 40][random.below(5)];
        }
        weights[random.below(4)] += 20; // something that makes what the others need
        Self {
            weights,
            total: weights.iter().sum(),
            name_bytes: [1, 8, 8, 60, 2_000][random.below(5)],
            value_bytes: [1, 1, 10, 100, 4_000][random.below(5)],
            predecessors: [1, 1, 3, 50, 2_000][random.below(5)],
            jump: [1, 2, 10, 1_000][random.below(4)],
        }
    }

    fn kind(&self, random: &mut Random) -> usize {
        let mut at = random.below(self.total);
        let find = |weight: &usize| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        };
        self.weights.iter().position(find).unwrap()
    }
}

/// A document in the making, as its ops see it.
struct Writer<'a> {
    random: Random,
    crafter: Crafter<'a>,
    objects: Vec<Object>,
    /// The first change of this round, and the present one.
    round: usize,
    change: usize,
    chain: usize,
    next: u64,
    /// Object and slot that the op before concerned.
    at: (usize, usize),
}

impl Writer<'_> {
    fn sees(&self, made: Made) -> bool {
        made.change < self.round || made.change == self.change
    }

    /// An object that this change sees.
    fn object(&mut self, mix: &Mix) -> usize {
        if !self.random.one_in(mix.jump) {
            return self.at.0;
        }
        let drawn = self.random.below(self.objects.len());
        match self.objects[drawn].made {
            Some(made) if !self.sees(made) => 0,
            _ => drawn,
        }
    }

    /// A slot of an object that this change sees, mostly the one before.
    fn slot(&mut self, object: usize, mix: &Mix) -> Option<usize> {
        let slots = self.objects[object].slots.len();
        if slots == 0 {
            return None;
        }
        let stay = object == self.at.0 && self.at.1 < slots && !self.random.one_in(mix.jump);
        let drawn = if stay { self.at.1 } else { self.random.below(slots) };
        self.sees(self.objects[object].slots[drawn].made).then_some(drawn)
    }

    fn value(&mut self, op: Op, mix: &Mix) -> Op {
        match self.random.below(9) {
            0 => op,
            1 => op.value(1, []),
            2 => op.value(2, []),
            3 => op.value(3, crate::raw::uleb(self.random.next() >> 20)),
            4 => op.int(-7 * i64::try_from(self.random.below(1 << 30)).unwrap()),
            5 => op.value(5, (self.random.below(1_000) as f64).to_le_bytes()),
            6 => op.value(9, crate::raw::sleb(1_700_000_000_000)),
            7 => {
                let bytes = vec![7; 1 + self.random.below(mix.value_bytes)];
                op.value(7, bytes)
            }
            _ => {
                let text = "x".repeat(1 + self.random.below(mix.value_bytes));
                op.text(&text)
            }
        }
    }

    /// The newest of `made` that this change sees, as many as the mix allows.
    fn over(&mut self, made: &[Made], mix: &Mix) -> Vec<Id> {
        let most = 1 + self.random.below(mix.predecessors);
        let mut ids: Vec<_> =
            made.iter().rev().filter(|made| self.sees(**made)).take(most).map(|made| made.id).collect();
        self.crafter.sort(&mut ids);
        ids
    }

    /// A new place in an object: a field, or behind an element.
    fn place(&mut self, object: usize, mix: &Mix, action: u64) -> Op {
        let id = self.objects[object].made.map(|made| made.id);
        if self.objects[object].sequence {
            let last = self.slot(object, mix).map(|slot| self.objects[object].slots[slot].made.id);
            return Op { action, ..Op::behind(id.unwrap(), last, PUT) };
        }
        let width = 1 + self.random.below(mix.name_bytes);
        let name = format!("{:0width$x}", self.random.below(1 << 20));
        Op::new(id, Key::Field(name), action)
    }

    /// One op, and what it adds to the state.
    fn op(&mut self, mix: &Mix) -> Op {
        let made = Made { id: Id { counter: self.next, chain: self.chain }, change: self.change };
        self.next += 1;
        let object = self.object(mix);
        let kind = mix.kind(&mut self.random);
        // The elements of a text are never set.
        let is_change = kind == 5 || kind > 5 && !self.objects[object].is_text;
        let slot = if is_change { self.slot(object, mix) } else { None };
        if let Some(slot) = slot {
            let Slot { key, values, counters, .. } = &mut self.objects[object].slots[slot];
            let (key, values, counters) = (key.clone(), std::mem::take(values), std::mem::take(counters));
            let op = Op::new(self.objects[object].made.map(|made| made.id), key, PUT);
            let over = self.over(&values, mix);
            let of_counters = self.over(&counters, mix);
            let op = match kind {
                5 if !over.is_empty() => Op { action: DELETE, ..op }.over(over),
                6 if !of_counters.is_empty() => Op { action: INCREMENT, ..op }.int(1).over(of_counters),
                6 => op.counter().over(over),
                _ => self.value(op, mix).over(over),
            };
            let slot_of = &mut self.objects[object].slots[slot];
            (slot_of.values, slot_of.counters) = (values, counters);
            if op.action == PUT {
                slot_of.values.push(made);
                if op.kind == 8 {
                    slot_of.counters.push(made);
                }
            }
            self.at = (object, slot);
            return op;
        }
        let action = match kind {
            0 => MAKE_MAP,
            1 => MAKE_LIST,
            2 => MAKE_TEXT,
            _ => PUT,
        };
        let mut op = self.place(object, mix, action);
        let counter = action == PUT && self.random.one_in(20);
        if counter {
            op = op.counter();
        } else if action == PUT {
            op = self.value(op, mix);
        }
        let key = if op.insert { Key::Element(made.id) } else { op.key.clone() };
        let counters = if counter { vec![made] } else { Vec::new() };
        self.objects[object].slots.push(Slot { key, made, values: vec![made], counters });
        self.at = (object, self.objects[object].slots.len() - 1);
        if action != PUT {
            let (sequence, is_text) = (action != MAKE_MAP, action == MAKE_TEXT);
            self.objects.push(Object { made: Some(made), sequence, is_text, slots: Vec::new() });
            if self.random.one_in(2) {
                self.at = (self.objects.len() - 1, 0);
            }
        }
        op
    }

    /// Draws ops while the charge is below `budget`; fewer than one hundredth is left then.
    fn ops(&mut self, deps: &[ChangeHash], budget: u64) -> Option<Vec<Op>> {
        let mix = Mix::draw(&mut self.random);
        self.at = (0, 0);
        self.next = self.crafter.start(self.chain, deps);
        let (mut ops, mut fitting, mut known) = (Vec::<Op>::new(), 0, CHARGE_OF_CHANGE + CHARGE_OF_CHAIN);
        let (mut exact, mut bytes_per_op) = (self.crafter.charge(self.chain, deps, &ops), 30_u64);
        while exact < budget / 100 * 98 && exact < budget {
            fitting = ops.len();
            let base = known;
            let room = (budget - exact) / 100 * 99;
            let mut added = 0;
            while added == 0 || known - base + added * bytes_per_op < room {
                let op = self.op(&mix);
                known += estimate(&op);
                added += 1;
                ops.push(op);
                if added > 4 * room / CHARGE_OF_OP {
                    break;
                }
            }
            let before = exact;
            exact = self.crafter.charge(self.chain, deps, &ops);
            if exact > budget {
                break;
            }
            let encoded = exact.saturating_sub(before).saturating_sub(known - base);
            bytes_per_op = 1 + encoded * 11 / 10 / added;
            if budget.saturating_sub(exact) < 2_000 {
                break;
            }
        }
        if exact <= budget {
            return Some(ops);
        }
        ops.truncate(fitting);
        let start = self.crafter.start(self.chain, deps);
        self.forget(start + fitting as u64);
        (!ops.is_empty()).then_some(ops)
    }

    /// Drops the ops of this change from `counter` on.
    fn forget(&mut self, counter: u64) {
        let change = self.change;
        let stays = |made: &Made| made.change != change || made.id.counter < counter;
        self.objects.retain(|object| object.made.as_ref().is_none_or(stays));
        for object in &mut self.objects {
            object.slots.retain(|slot| stays(&slot.made));
            for slot in &mut object.slots {
                slot.values.retain(stays);
                slot.counters.retain(stays);
            }
        }
    }
}

/// The charge of an op without its encoded columns.
fn estimate(op: &Op) -> u64 {
    let name = if let Key::Field(name) = &op.key { name.len() as u64 } else { 0 };
    let object = if matches!(op.action, MAKE_MAP | MAKE_LIST | MAKE_TEXT) { 48 } else { 0 };
    CHARGE_OF_OP + object + 12 * op.predecessors.len() as u64 + name / 5 + op.value.len() as u64
}

/// A document from a seed, as so many units, each just below the bound of a unit.
pub fn mixed(seed: u64, units: usize, replicas: Replicas<'_>) -> Vec<Vec<Change>> {
    let root = Object { made: None, sequence: false, is_text: false, slots: Vec::new() };
    let mut writer = Writer {
        random: Random(seed),
        crafter: Crafter::new(replicas),
        objects: vec![root],
        round: 0,
        change: 0,
        chain: 0,
        next: 1,
        at: (0, 0),
    };
    let width = [1, 1, 2, 10, 100, 1_000][writer.random.below(6)];
    let (mut done, mut begin, mut charge) = (Vec::new(), 0, 0);
    let (mut heads, mut round, mut wrote) = (Vec::new(), Vec::new(), BTreeSet::new());
    while done.len() < units {
        // A chain writes once a round: it sees its own previous change.
        writer.chain = writer.random.below(2 * width);
        if !wrote.insert(writer.chain) {
            continue;
        }
        writer.change = writer.crafter.changes.len();
        let left = UNIT_CHARGE_MAX - charge;
        let of_heads = 400 * heads.len() as u64;
        let share = 8_000 + of_heads + CHANGE_CHARGE_MAX / (1 + writer.random.below(2 * width) as u64);
        let ops = writer.ops(&heads, left.min(share).min(CHANGE_CHARGE_MAX));
        let full = ops.is_none() || left < 40_000;
        if let Some(ops) = ops {
            let hash = writer.crafter.write(writer.chain, &heads, &ops);
            round.push(hash);
            charge += writer.crafter.changes[writer.change].charge;
        }
        if round.len() >= width {
            (heads, writer.round) = (std::mem::take(&mut round), writer.crafter.changes.len());
            wrote.clear();
        }
        if full {
            let unit = writer.crafter.changes[begin..].to_vec();
            if unit.is_empty() {
                break;
            }
            (begin, charge) = (writer.crafter.changes.len(), 0);
            done.push(unit);
        }
    }
    done
}
