//! Rows of every shape, written on three devices as an input of bytes dictates and merged in every order.
//!
//! `tests/it/merge.rs` and the fuzz target `merge` share it: every merge of valid rows must decode.

use std::collections::BTreeMap;
use std::fmt::Debug;

use actors::edit::{Path, RowEdit};
use actors::node::group::replica::Replica;
use peerbase::Counter;
use peerbase::Text;
use peerbase::table::row;
use schema::value::Value;
use schema::{ReplicaId, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Choices out of bytes; zeros once they are used up.
pub(crate) struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.is_empty()
    }

    fn text(&mut self) -> String {
        (0..self.below(5)).map(|_| ['a', 'é', '😀', '.'][self.below(4)]).collect()
    }

    fn number(&mut self) -> i64 {
        [0, 1, -1, 7, i64::MAX, i64::MIN][self.below(6)]
    }
}

/// A value that choices make, and change a little.
pub(crate) trait Make: Sized {
    fn make(choices: &mut Choices<'_>) -> Self;

    fn change(&mut self, choices: &mut Choices<'_>) {
        *self = Self::make(choices);
    }
}

macro_rules! make {
    ($($type:ty: |$choices:ident| $make:expr;)*) => {$(
        impl Make for $type {
            fn make($choices: &mut Choices<'_>) -> Self {
                $make
            }
        }
    )*};
}

make! {
    bool: |c| c.below(2) == 1;
    u8: |c| [0, 1, 255][c.below(3)];
    i32: |c| [0, -1, i32::MAX][c.below(3)];
    u32: |c| [0, 10, u32::MAX][c.below(3)];
    i64: |c| c.number();
    u64: |c| [0, 1, u64::MAX][c.below(3)];
    f32: |c| [0.0, 0.1, -1.0, f32::INFINITY][c.below(4)];
    f64: |c| [0.0, -0.0, 0.1, f64::MIN_POSITIVE][c.below(4)];
    char: |c| ['a', '😀'][c.below(2)];
    String: |c| c.text();
    (): |_c| ();
    Counter: |c| [0, 5, -3][c.below(3)].into();
}

impl Make for Text {
    fn make(choices: &mut Choices<'_>) -> Self {
        choices.text().into()
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let (position, delete, text) = (choices.below(8), choices.below(3), choices.text());
        self.splice(position, delete, &text);
    }
}

impl<T: Make> Make for Option<T> {
    fn make(choices: &mut Choices<'_>) -> Self {
        (choices.below(2) == 1).then(|| T::make(choices))
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        match self {
            Some(value) if choices.below(3) > 0 => value.change(choices),
            _ => *self = Self::make(choices),
        }
    }
}

impl<T: Make> Make for Vec<T> {
    fn make(choices: &mut Choices<'_>) -> Self {
        (0..choices.below(4)).map(|_| T::make(choices)).collect()
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(self.len() + 1);
        match choices.below(4) {
            0 => self.insert(at, T::make(choices)),
            1 if at < self.len() => drop(self.remove(at)),
            2 if at < self.len() => self[at].change(choices),
            _ => *self = Self::make(choices),
        }
    }
}

impl<K: Make + Ord, V: Make> Make for BTreeMap<K, V> {
    fn make(choices: &mut Choices<'_>) -> Self {
        (0..choices.below(3)).map(|_| (K::make(choices), V::make(choices))).collect()
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let key = K::make(choices);
        match choices.below(3) {
            0 => drop(self.remove(&key)),
            1 => drop(self.insert(key, V::make(choices))),
            _ => {
                if let Some(value) = self.get_mut(&key) {
                    value.change(choices);
                }
            }
        }
    }
}

impl<A: Make, B: Make> Make for (A, B) {
    fn make(choices: &mut Choices<'_>) -> Self {
        (A::make(choices), B::make(choices))
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        match choices.below(2) {
            0 => self.0.change(choices),
            _ => self.1.change(choices),
        }
    }
}

impl<T: Make, const N: usize> Make for [T; N] {
    fn make(choices: &mut Choices<'_>) -> Self {
        std::array::from_fn(|_| T::make(choices))
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(N);
        self[at].change(choices);
    }
}

macro_rules! rows {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$meta])*
        pub(crate) struct $name { $($(#[$field_meta])* $field: $type,)* }

        impl Make for $name {
            fn make(choices: &mut Choices<'_>) -> Self {
                Self { $($field: Make::make(choices),)* }
            }

            fn change(&mut self, choices: &mut Choices<'_>) {
                let fields = [$(stringify!($field)),*];
                let chosen = fields[choices.below(fields.len())];
                $(if chosen == stringify!($field) { self.$field.change(choices); })*
            }
        }
    )*};
}

rows! {
    struct Spot {
        city: String,
        zip: Option<u32>,
        about: Text,
    }

    struct Everything {
        title: String,
        count: i64,
        large: u64,
        ratio: f64,
        half: f32,
        flag: bool,
        letter: char,
        body: Text,
        likes: Counter,
        photo: Vec<u8>,
        tags: Vec<String>,
        rows: Vec<Vec<i64>>,
        spots: Vec<Spot>,
        by_name: BTreeMap<String, Spot>,
        by_number: BTreeMap<u32, Vec<Shape>>,
        place: Spot,
        maybe: Option<Spot>,
        maybe_text: Option<Text>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<Spot>,
        #[serde(default)]
        newer: i64,
        shape: Shape,
        shapes: Vec<Shape>,
        tagged: Tagged,
        many_tagged: Vec<Tagged>,
        adjacent: Adjacent,
        untagged: Untagged,
        pair: (u8, String),
        fixed: [Spot; 2],
        outcome: Vec<(bool, Counter)>,
        wrapped: Wrapped,
        nothing: (),
    }

    struct Flat {
        title: String,
        #[serde(flatten)]
        place: Spot,
        #[serde(flatten)]
        extra: BTreeMap<String, Untagged>,
    }

    #[serde(deny_unknown_fields)]
    struct Strict {
        a: Tagged,
        b: Option<Shape>,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Empty {}

impl Make for Empty {
    fn make(_: &mut Choices<'_>) -> Self {
        Self {}
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wrapped(Box<(Vec<u8>, Text)>);

impl Make for Wrapped {
    fn make(choices: &mut Choices<'_>) -> Self {
        Self(Box::new(Make::make(choices)))
    }
}

/// Fields of one name and several types: the mixtures that must not happen.
macro_rules! enums {
    ($($(#[$meta:meta])* $name:ident)*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$meta])*
        pub(crate) enum $name {
            Circle { size: u32, about: Text },
            Square { size: String, corner: (u8, String) },
            Many { size: Vec<Spot> },
            None,
        }

        impl Make for $name {
            fn make(c: &mut Choices<'_>) -> Self {
                match c.below(4) {
                    0 => Self::None,
                    1 => Self::Circle { size: Make::make(c), about: Make::make(c) },
                    2 => Self::Square { size: Make::make(c), corner: Make::make(c) },
                    _ => Self::Many { size: Make::make(c) },
                }
            }

            fn change(&mut self, c: &mut Choices<'_>) {
                match self {
                    Self::Circle { size, .. } if c.below(2) == 0 => size.change(c),
                    Self::Circle { about, .. } if c.below(2) == 0 => about.change(c),
                    Self::Square { size, .. } if c.below(2) == 0 => size.change(c),
                    Self::Many { size } if c.below(2) == 0 => size.change(c),
                    _ => *self = Self::make(c),
                }
            }
        }
    )*};
}

enums! {
    Shape
    #[serde(tag = "kind")] Tagged
    #[serde(tag = "kind", content = "content")] Adjacent
    #[serde(untagged)] Untagged
}

/// The methods that the merge tests need of a row type.
pub(crate) trait Playable: Make + Clone + Debug + PartialEq + Serialize + DeserializeOwned {}

impl<T: Make + Clone + Debug + PartialEq + Serialize + DeserializeOwned> Playable for T {}

/// Runs one function with one of the row types.
macro_rules! with_a_type {
    ($choices:ident, $function:ident) => {
        match $choices.below(16) {
            0 => $function::<Tagged>($choices),
            1 => $function::<Untagged>($choices),
            2 => $function::<Adjacent>($choices),
            3 => $function::<Shape>($choices),
            4 => $function::<Option<Spot>>($choices),
            5 => $function::<Vec<Spot>>($choices),
            6 => $function::<BTreeMap<String, Shape>>($choices),
            7 => $function::<(u8, Text)>($choices),
            8 => $function::<Text>($choices),
            9 => $function::<Flat>($choices),
            10 => $function::<Strict>($choices),
            11 => $function::<Empty>($choices),
            12 => $function::<Spot>($choices),
            _ => $function::<Everything>($choices),
        }
    };
}

/// Plays the bytes with one of the row types: writes, removals, edits and merges on three devices.
pub(crate) fn play(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    with_a_type!(choices, game)
}

/// Makes a row of one of the types and reads it back, from its value and from the value's bytes.
pub(crate) fn round_trip(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    with_a_type!(choices, there_and_back)
}

fn there_and_back<T: Playable>(mut choices: Choices<'_>) {
    let row = T::make(&mut choices);

    let value = row::draft(&row).expect("the type is made for rows").value;
    let stored: Value = codec::decode_stored(&codec::encode(&value)).expect("it was just encoded");

    assert_eq!(stored, value);
    assert_eq!(row::read::<T>(&stored).expect("the type reads what it writes"), row);
}

struct Device<T> {
    id: ReplicaId,
    replica: Replica,
    wrote: std::marker::PhantomData<T>,
}

impl<T: Playable> Device<T> {
    fn row(&self) -> Option<T> {
        if self.replica.heads().is_empty() {
            return None;
        }
        let value = self.replica.row().expect("no overflow is written here").value;
        Some(row::read(&value).unwrap_or_else(|error| panic!("{error}\n{value:#?}")))
    }

    fn stored(&self) -> (Option<Value>, bool) {
        let row = self.replica.row().expect("no overflow is written here");
        (Some(row.value).filter(|_| !self.replica.heads().is_empty()), row.removed)
    }

    fn put(&mut self, new: &T) {
        let (stored, removed) = self.stored();
        let edit = row::put(stored.as_ref(), removed, new).expect("the type is made for rows");
        self.replica.commit(self.id, 0, &edit).expect("an edit of the present row fits");

        assert_eq!(self.row().as_ref(), Some(new), "one reads what one wrote: {edit:?}");
        let (stored, removed) = self.stored();
        assert!(!removed);
        let again = row::put(stored.as_ref(), false, new).expect("the type is made for rows");
        assert!(again.is_empty(), "a second put has nothing to do");
    }

    fn edit(&mut self, choices: &mut Choices<'_>) {
        let (Some(stored), false) = self.stored() else { return };
        let mut edit = RowEdit::default();
        for _ in 0..=choices.below(2) {
            record(&stored, &mut edit, choices);
        }
        let Ok(edit) = row::checked::<T>(&stored, edit) else { return };
        self.replica.commit(self.id, 0, &edit).expect("a checked edit fits");
        self.row();
    }

    fn merge(&mut self, other: &Replica) {
        self.replica.apply(&other.changes_since(&self.replica.heads())).expect("admitted changes apply");
        self.row();
    }
}

/// An operation somewhere in the row, whether it makes sense or not.
fn record(stored: &Value, edit: &mut RowEdit, choices: &mut Choices<'_>) {
    let mut path = Path::default();
    let mut value = stored;
    loop {
        let child = match value {
            Value::Map(map) if !map.is_empty() => {
                let (name, child) = map.iter().nth(choices.below(map.len())).expect("below its length");
                path = path.name(name);
                child
            }
            Value::List(list) if !list.is_empty() && choices.below(2) == 0 => {
                let index = choices.below(list.len());
                path = path.index(index);
                &list[index]
            }
            _ => break,
        };
        value = child;
        if choices.below(3) == 0 {
            break;
        }
    }
    let new = match choices.below(4) {
        0 => Value::from("new"),
        1 => Value::from(3),
        2 => value.clone(),
        _ => Value::Null,
    };
    match choices.below(7) {
        0 => edit.put(path, new),
        1 => edit.delete(path),
        2 => edit.splice_text(path, 0, 0, choices.text()),
        3 => edit.increment(path, 1),
        4 => edit.insert(path, 0, new),
        5 => edit.remove_at(path, 0),
        _ => edit.put(path.name("Circle"), new),
    }
}

fn game<T: Playable>(mut choices: Choices<'_>) {
    let device =
        |id| Device { id: ReplicaId([id; 32]), replica: Replica::new(), wrote: std::marker::PhantomData };
    let mut devices: [Device<T>; 3] = [device(1), device(2), device(3)];
    let first = T::make(&mut choices);
    devices[0].put(&first);
    if choices.below(4) > 0 {
        let replica = devices[0].replica.clone();
        devices[1].merge(&replica);
        devices[2].merge(&replica);
    }
    for _ in 0..24 {
        if choices.is_spent() {
            break;
        }
        let at = choices.below(3);
        match choices.below(8) {
            0 => {
                let new = T::make(&mut choices);
                devices[at].put(&new);
            }
            1..=3 => {
                if let Some(mut row) = devices[at].row() {
                    row.change(&mut choices);
                    devices[at].put(&row);
                }
            }
            4 if devices[at].row().is_some() => {
                let id = devices[at].id;
                devices[at].replica.commit(id, 0, &RowEdit::remove()).expect("a removal always fits");
            }
            5 => devices[at].edit(&mut choices),
            _ => {
                let from = devices[choices.below(3)].replica.clone();
                devices[at].merge(&from);
            }
        }
    }
    merge_in_every_order(&devices);
}

fn all_of<T: Playable>(devices: &[Device<T>; 3]) -> Device<T> {
    let mut all: Device<T> =
        Device { id: devices[0].id, replica: Replica::new(), wrote: std::marker::PhantomData };
    devices.iter().for_each(|device| all.merge(&device.replica));
    all
}

/// A revocation may leave any part of the history that is closed under its past: that decodes too.
fn read_the_past<T: Playable>(all: &Device<T>) {
    let history: Vec<_> = all.replica.history().iter().map(|revision| revision.hash).collect();
    for (i, one) in history.iter().enumerate() {
        for other in history.iter().skip(i).step_by(2) {
            let value = all.replica.row_at(&[*one, *other]).expect("both are known").value;
            row::read::<T>(&value).unwrap_or_else(|error| panic!("{error}\n{value:#?}"));
        }
    }
}

fn merge_in_every_order<T: Playable>(devices: &[Device<T>; 3]) {
    let mut rows = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut all: Device<T> =
            Device { id: devices[0].id, replica: Replica::new(), wrote: std::marker::PhantomData };
        for at in order {
            all.merge(&devices[at].replica);
        }
        rows.push(all.replica.row().expect("no overflow is written here"));
    }
    read_the_past(&all_of(devices));
    assert!(rows.windows(2).all(|pair| pair[0] == pair[1]), "every order of merging gives the same row");
}
