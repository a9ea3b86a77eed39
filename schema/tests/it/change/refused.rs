//! One altered op after the other that the reader refuses from the bytes alone, beside what Automerge does
//! with it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::Transactable;
use automerge::{Change, ObjType, ROOT, ReadDoc, ScalarValue};
use peerbase_schema::change::{
    ChangeError, ChangeHeader, Fault, ObjectKind, ObjectShape, ObjectUse, Objects,
};
use testkit::raw::{
    INSERT, KEY_COUNTER, OBJECT_COUNTER, PREDECESSOR_COUNTER, PREDECESSORS, VALUE, VALUE_META, uleb,
};
use testkit::rows::Row;
use testkit::{ADA, BEN, CID, replica};

use super::altered::{Outcome, outcomes};
use crate::support::altered::{DELETE, INCREMENT, LIST, MAP, PUT, TEXT, with_rows};
use crate::support::history::document;

const ADAS: usize = ADA as usize;
const BENS: usize = BEN as usize;
/// Ops of Ben: a map with a field `a` and a counter `c`, a list of two, a text.
const MAP_OP: u64 = 1;
const FIELD_A: u64 = 2;
const LIST_OP: u64 = 4;
const FIRST: u64 = 5;
const SECOND: u64 = 6;
/// The first op of Ada's change.
const START: u64 = 10;

/// Ben's change, and one of Ada on it, whose ops are of no account.
fn changes() -> (Change, Change) {
    let mut document = document(BEN);
    let map = document.put_object(ROOT, "map", ObjType::Map).unwrap();
    document.put(&map, "a", 1).unwrap();
    document.put(&map, "c", ScalarValue::counter(0)).unwrap();
    let list = document.put_object(ROOT, "list", ObjType::List).unwrap();
    document.insert(&list, 0, "first").unwrap();
    document.insert(&list, 1, "second").unwrap();
    let text = document.put_object(ROOT, "text", ObjType::Text).unwrap();
    document.splice_text(&text, 0, 0, "hi").unwrap();
    document.commit();
    let bens = document.get_last_local_change().unwrap();
    let mut document = document.fork().with_actor(super::document(ADA).get_actor().clone());
    document.put(ROOT, "adas", 1).unwrap();
    document.commit();
    let adas = document.get_last_local_change().unwrap();
    assert_eq!(adas.start_op().get(), START);
    (bens, adas)
}

/// A put of null under a field of the map.
fn field(name: &str) -> Row {
    Row { key_text: Some(name.into()), action: PUT, ..in_object(MAP_OP) }
}

fn in_object(counter: u64) -> Row {
    Row { object_replica: Some(BENS), object_counter: Some(counter), action: PUT, ..Row::default() }
}

/// A put at the begin of the list.
fn head() -> Row {
    Row { key_counter: Some(0), insert: true, ..in_object(LIST_OP) }
}

/// A put at an element of the list.
fn element(replica: usize, counter: u64) -> Row {
    Row { key_replica: Some(replica), key_counter: Some(counter), ..in_object(LIST_OP) }
}

fn outcome(before: &[Change], chunk: &[u8]) -> Outcome {
    outcomes(before, chunk, &[]).1
}

trait Over {
    fn over(self, predecessors: &[(usize, u64)]) -> Self;
    fn value(self, kind: u64, value: &[u8]) -> Self;
}

impl Over for Row {
    fn over(self, predecessors: &[(usize, u64)]) -> Self {
        Row { predecessors: predecessors.to_vec(), ..self }
    }

    fn value(self, kind: u64, value: &[u8]) -> Self {
        Row { kind, value: value.to_vec(), ..self }
    }
}

/// The reader's fault in a column, and what Automerge does with rows that it would pass.
fn check(name: &str, rows: &[Row], refused: (u32, Fault), expected: &[Outcome]) {
    let (bens, adas) = changes();
    let chunk = with_rows(&adas, rows).chunk();

    let (column, fault) = refused;
    assert_eq!(ChangeHeader::read(&chunk), Err(ChangeError::Column { column, fault }), "{name}");
    let got = outcome(&[bens], &chunk);
    assert!(expected.contains(&got), "{name}: {got:?}");
}

const NOT_PARSED: &[Outcome] = &[Outcome::NotParsed];
/// Automerge panics, or applies it and then has another change; a debug build may notice earlier.
const SPOILS: &[Outcome] = &[Outcome::ApplyPanics, Outcome::ComesBackOtherwise, Outcome::DoesNotLoad];
/// Automerge has no trouble with it, and no honest device writes it.
const FINE: &[Outcome] = &[Outcome::Fine];

#[test]
fn honest_ops_of_each_form_pass_and_are_fine() {
    let (bens, adas) = changes();
    let rows = [
        field("b"),
        field("a").over(&[(BENS, FIELD_A)]),
        field("").value(6, b""),
        Row { action: DELETE, ..field("b") }.over(&[(ADAS, START)]),
        Row { action: INCREMENT, ..field("c") }.value(4, &[1]).over(&[(BENS, 3)]),
        head(),
        Row { insert: true, ..element(ADAS, START + 5) },
        element(BENS, FIRST).over(&[(BENS, FIRST)]),
        Row { action: DELETE, ..element(BENS, SECOND) }.over(&[(BENS, SECOND)]),
        Row { object_replica: None, object_counter: None, action: MAP, ..field("z") },
    ];
    let chunk = with_rows(&adas, &rows).chunk();

    let header = ChangeHeader::read(&chunk).unwrap();

    assert_eq!((header.ops, header.references.len()), (10, 1));
    assert_eq!(outcome(&[bens], &chunk), Outcome::Fine);
}

#[test]
fn nulls_of_a_pair_stand_together() {
    let without_counter = Row { object_counter: None, ..field("b") };
    let without_replica = Row { object_replica: None, ..field("b") };
    let rows = [without_counter, without_replica];
    check("halves of an object", &rows, (OBJECT_COUNTER, Fault::Unpaired), NOT_PARSED);

    let replica_of_text = Row { key_replica: Some(BENS), ..field("b") };
    let counter_alone = Row { key_replica: None, ..element(BENS, FIRST) };
    let rows = [replica_of_text, counter_alone];
    check("halves of an element", &rows, (KEY_COUNTER, Fault::Key), NOT_PARSED);
}

#[test]
fn a_key_has_one_form() {
    let both = Row { key_text: Some("b".into()), ..head() };
    let neither = in_object(LIST_OP);
    check("text and counter", &[both, neither], (KEY_COUNTER, Fault::Key), NOT_PARSED);

    let head_of_ben = Row { key_replica: Some(BENS), ..head() };
    check("head with a replica", &[head_of_ben], (KEY_COUNTER, Fault::Key), SPOILS);
    let put = Row { insert: false, ..head() };
    check("put at the head", &[put], (INSERT, Fault::Insert), SPOILS);
}

/// An element of the root stands between two values of one field.
#[test]
fn the_root_has_no_elements() {
    let root = |row: Row| Row { object_replica: None, object_counter: None, ..row };
    let rows = [root(field("k")), root(head()), root(field("k")).over(&[(ADAS, START)])];
    check("head of the root", &rows, (KEY_COUNTER, Fault::Key), SPOILS);
    let element = root(element(BENS, FIRST)).over(&[(BENS, FIRST)]);
    check("element of the root", &[element], (KEY_COUNTER, Fault::Key), SPOILS);
}

#[test]
fn values_are_canonical_and_fit_their_ops() {
    let leb = (VALUE, Fault::Leb128);
    let put = |kind: u64, value: &[u8]| [field("b").value(kind, value)];
    for kind in [3, 4, 8, 9] {
        check("a long zero", &put(kind, &[0x80, 0]), leb, NOT_PARSED);
        check("bytes behind a number", &put(kind, &[1, 1]), leb, NOT_PARSED);
        let beyond = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        check("more than 64 bits", &put(kind, &beyond), leb, NOT_PARSED);
        let endless = check_column(&put(kind, &[0x80]));
        assert_eq!(endless, Err(ChangeError::Column { column: VALUE, fault: Fault::Truncated }));
    }
    let utf8 = (VALUE, Fault::Utf8);
    check("text", &put(6, &[b'x', 0xff]), utf8, NOT_PARSED);
    let half = |half: usize| field("b").value(6, &"é".as_bytes()[half..=half]);
    check("halves of a letter", &[half(0), half(1)], utf8, NOT_PARSED);

    let increment = |kind: u64, value: &[u8]| {
        [Row { action: INCREMENT, ..field("c") }.value(kind, value).over(&[(BENS, 3)])]
    };
    for (kind, value) in [(0, &[][..]), (2, &[]), (5, &[0; 8]), (6, b"1"), (8, &[1]), (9, &[1]), (10, &[1])] {
        check("increment", &increment(kind, value), (VALUE_META, Fault::Value), NOT_PARSED);
    }
    assert!(check_column(&increment(3, &uleb(u64::MAX))).is_ok());
    let delete = Row { action: DELETE, ..field("a") }.over(&[(BENS, FIELD_A)]);
    check("delete", &[delete.clone().value(6, b"x")], (VALUE_META, Fault::Value), SPOILS);
    check("delete", &[delete.value(1, b"")], (VALUE_META, Fault::Value), SPOILS);
}

fn check_column(rows: &[Row]) -> Result<ChangeHeader, ChangeError> {
    ChangeHeader::read(&with_rows(&changes().1, rows).chunk())
}

#[test]
fn predecessors_ascend_and_fit_their_ops() {
    let counted = (PREDECESSORS, Fault::Predecessors);
    let order = (PREDECESSOR_COUNTER, Fault::OutOfOrder);
    check("insert", &[head().over(&[(BENS, FIRST)])], counted, SPOILS);
    check("delete", &[Row { action: DELETE, ..field("a") }], counted, SPOILS);

    let over = |first: u64, second: u64| {
        [field("z"), field("z"), field("z").over(&[(ADAS, START + first), (ADAS, START + second)])]
    };
    assert!(check_column(&over(0, 1)).is_ok());
    check("descending", &over(1, 0), order, SPOILS);
    check("twice", &over(1, 1), order, FINE);
    // One counter, the greater replica first.
    let (low, high) = if replica(ADA) < replica(BEN) { (ADAS, BENS) } else { (BENS, ADAS) };
    let over = |first: usize, second: usize| [field("a").over(&[(first, FIELD_A), (second, FIELD_A)])];
    assert!(check_column(&over(low, high)).is_ok());
    let refused = ChangeError::Column { column: order.0, fault: order.1 };
    assert_eq!(check_column(&over(high, low)), Err(refused));
}

#[test]
fn deletions_and_fields_insert_nothing() {
    let insert = |row: Row| Row { insert: true, ..row };
    let delete = Row { action: DELETE, ..element(BENS, FIRST) }.over(&[(BENS, FIRST)]);
    check("delete", &[insert(delete)], (INSERT, Fault::Insert), SPOILS);
    let replaced = [insert(field("b")), field("b").over(&[(ADAS, START)])];
    check("field", &replaced, (INSERT, Fault::Insert), SPOILS);
}

#[test]
fn what_an_op_names_is_earlier() {
    let later = |column: u32| (column, Fault::NotEarlier);
    let itself = field("z").over(&[(ADAS, START)]);
    check("predecessor: itself", &[itself], later(PREDECESSOR_COUNTER), SPOILS);
    let rows = [field("z").over(&[(ADAS, START + 1)]), field("z")];
    check("predecessor: a later one", &rows, later(PREDECESSOR_COUNTER), SPOILS);
    let insert = |counter: u64| Row { insert: true, ..element(ADAS, counter) };
    check("element: itself", &[insert(START)], later(KEY_COUNTER), SPOILS);
    check("element: a later one", &[insert(START + 1), head()], later(KEY_COUNTER), SPOILS);
    check("element: put", &[element(ADAS, START)], later(KEY_COUNTER), SPOILS);

    let into = |counter: u64| Row { object_replica: Some(ADAS), object_counter: Some(counter), ..field("x") };
    let map = |row: Row| Row { action: MAP, ..row };
    check("object: itself", &[map(into(START))], later(OBJECT_COUNTER), FINE);
    check("object: a later one", &[into(START + 1), map(field("m"))], later(OBJECT_COUNTER), FINE);
    let circle = [map(into(START + 1)), map(into(START))];
    check("objects in a circle", &circle, later(OBJECT_COUNTER), FINE);

    // Every op of the past has a smaller counter (C5), also those of other replicas.
    let of_ben = field("z").over(&[(BENS, START)]);
    check("predecessor of Ben", &[of_ben], later(PREDECESSOR_COUNTER), SPOILS);
}

#[test]
fn an_object_of_the_same_change_is_one_and_of_the_right_kind() {
    let wrong = (OBJECT_COUNTER, Fault::Object);
    let into = |row: Row| Row { object_replica: Some(ADAS), object_counter: Some(START), ..row };
    let make = |action: u64| Row { action, ..field("o") };
    check("a value", &[field("o"), into(field("x"))], wrong, SPOILS);
    check("a field of a list", &[make(LIST), into(field("x"))], wrong, SPOILS);
    check("a field of a text", &[make(TEXT), into(field("x"))], wrong, SPOILS);
    check("an element of a map", &[make(MAP), into(head())], wrong, FINE);
    for (made, row) in [(MAP, field("x")), (LIST, head()), (TEXT, head())] {
        assert!(check_column(&[make(made), into(row)]).is_ok());
    }
}

#[test]
fn an_element_of_the_same_change_is_one_of_its_object() {
    let wrong = (KEY_COUNTER, Fault::Element);
    let insert = |counter: u64| Row { insert: true, ..element(ADAS, counter) };
    let list = Row { action: LIST, ..field("l") };
    let other = |row: Row| Row { object_replica: Some(ADAS), object_counter: Some(START), ..row };
    check("behind a field", &[field("x"), insert(START)], wrong, SPOILS);
    check("put at a field", &[field("x"), element(ADAS, START)], wrong, SPOILS);
    let put = element(BENS, FIRST);
    check("behind a put", &[put.clone(), insert(START)], wrong, SPOILS);
    check("put at a put", &[put, element(ADAS, START)], wrong, SPOILS);
    let rows = [list, other(head()), insert(START + 1)];
    check("behind an element of another list", &rows, wrong, SPOILS);

    let typed = |count: u64| (0..count).map(|at| if at == 0 { head() } else { insert(START + at - 1) });
    let each = |rows: &mut Vec<Row>, from: u64, step: i64, count: u64| {
        let counters = (0..count).map(|at| from.checked_add_signed(step * at.cast_signed()).unwrap());
        rows.extend(counters.map(|counter| element(ADAS, counter)));
    };
    for (from, step) in [(START, 1), (START + 8, -1), (START, 2), (START + 4, 0)] {
        let mut rows: Vec<_> = typed(9).collect();
        each(&mut rows, from, step, if step == 2 { 5 } else { 9 });
        assert!(check_column(&rows).is_ok(), "{from} {step}");
        rows[4] = other(rows[4].clone());
        rows[4].object_counter = Some(LIST_OP + 3);
        rows[4].object_replica = Some(BENS);
        rows[4].key_counter = Some(0);
        rows[4].key_replica = None;
        rows[5].key_counter = Some(START + 3);
        let refused = ChangeError::Column { column: wrong.0, fault: wrong.1 };
        assert_eq!(check_column(&rows), Err(refused), "{from} {step}");
    }
}

/// Hence objects of other changes are asked for before a change is applied.
#[test]
fn an_element_of_a_map_spoils_the_next_honest_change() {
    let (bens, adas) = changes();
    let hostile = with_rows(&adas, &[Row { object_counter: Some(MAP_OP), ..head() }]).chunk();
    assert!(ChangeHeader::read(&hostile).is_ok(), "it does not tell what Ben made");
    let bens_map = (replica(BEN), MAP_OP);
    let taken = ObjectUse { object: bens_map, shape: ObjectShape::Sequence };
    assert_eq!(Objects::read(&hostile).unwrap().uses(), [taken]);
    assert_eq!(Objects::read(bens.raw_bytes()).unwrap().made(bens_map), Some(ObjectKind::Map));

    let at_once = outcome(std::slice::from_ref(&bens), &hostile);
    if cfg!(debug_assertions) && at_once == Outcome::ApplyPanics {
        return; // a debug build of Automerge notices at once
    }
    assert_eq!(at_once, Outcome::Fine);
    let hostile = Change::from_bytes(hostile).unwrap();
    let mut document = document(CID);
    document.apply_changes([bens.clone(), hostile.clone()]).unwrap();
    let (_, map) = document.get(ROOT, "map").unwrap().unwrap();
    document.put(&map, "c", "over the last field").unwrap();
    document.commit();
    let honest = catch_unwind(AssertUnwindSafe(|| document.get_last_local_change().unwrap()));

    let fails = |honest: Change| outcome(&[bens, hostile], honest.raw_bytes()) != Outcome::Fine;
    assert!(honest.is_err() || honest.is_ok_and(fails));
}
