//! The difference between two values as edits, which give the second value when they are applied to the
//! first.

use super::*;
use crate::edit::Part;

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn list<const N: usize>(values: [i64; N]) -> Value {
    Value::List(values.into_iter().map(Value::from).collect())
}

fn between(stored: &Value, new: &Value) -> RowEdit {
    diff(Some(stored), None, new, &BTreeSet::new())
}

fn recorded(record: impl FnOnce(&mut RowEdit)) -> RowEdit {
    let mut edit = RowEdit::default();
    record(&mut edit);
    edit
}

#[test]
fn only_fields_that_differ_are_written() {
    let old = map([("a", 1.into()), ("b", 2.into()), ("c", 3.into())]);
    let new = map([("a", 1.into()), ("b", 5.into())]);

    let expected = recorded(|doc| {
        doc.put("b", 5i64);
        doc.delete("c");
    });
    assert_eq!(between(&old, &new), expected);
    assert!(between(&old, &old).is_empty());
}

#[test]
fn nested_maps_merge_and_registers_are_replaced_whole() {
    let old = map([("a", map([("x", 1.into()), ("y", 2.into())]))]);
    let new = map([("a", map([("x", 1.into()), ("y", 3.into())]))]);

    assert_eq!(between(&old, &new), recorded(|doc| doc.put("a.y", 3i64)));

    let whole = diff(Some(&old), None, &new, &[Path::from("a")].into());
    assert_eq!(whole, recorded(|doc| doc.put("a", map([("x", 1.into()), ("y", 3.into())]))));
}

#[test]
fn what_the_type_does_not_know_stays() {
    let stored = map([
        ("a", 1.into()),
        ("newer", 2.into()),
        ("l", Value::List(vec![map([("x", 1.into()), ("n", 9.into())])])),
    ]);
    let known =
        map([("a", 1.into()), ("default", 0.into()), ("l", Value::List(vec![map([("x", 1.into())])]))]);
    let new = map([("a", 4.into()), ("default", 0.into()), ("l", Value::List(vec![map([("x", 2.into())])]))]);

    let edit = diff(Some(&stored), Some(&known), &new, &BTreeSet::new());

    let expected = recorded(|doc| {
        doc.put("a", 4i64);
        doc.put(Path::from("l").index(0).name("x"), 2i64);
    });
    assert_eq!(edit, expected);
}

#[test]
fn a_set_that_was_read_in_another_order_is_compared_with_the_document() {
    let stored = map([("s", list([1, 2]))]);
    let known = map([("s", list([2, 1]))]);
    let new = map([("s", list([2, 3]))]);
    let mut row = stored.clone();

    diff(Some(&stored), Some(&known), &new, &BTreeSet::new()).apply(&mut row).unwrap();

    assert_eq!(row, new);
}

#[test]
fn lists_keep_both_ends() {
    let old = map([("l", list([1, 2, 3, 4]))]);

    let longer = between(&old, &map([("l", list([1, 2, 9, 3, 4]))]));
    assert_eq!(longer, recorded(|doc| doc.insert("l", 2, 9i64)));
    let shorter = between(&old, &map([("l", list([1, 4]))]));
    assert_eq!(shorter, recorded(|doc| doc.splice("l", 1, 2, vec![])));
    let equal = between(&old, &map([("l", list([1, 7, 3, 4]))]));
    assert_eq!(equal, recorded(|doc| doc.put(Path(vec![Part::Name("l".into()), Part::Index(1)]), 7i64)));
    let repeated = between(&map([("l", list([1, 1, 1]))]), &map([("l", list([1, 1]))]));
    assert_eq!(repeated, recorded(|doc| doc.remove_at("l", 2)));
}

#[test]
fn texts_are_spliced_in_characters_and_counters_incremented() {
    let old = map([("t", Value::Text("añb→c".into())), ("n", Value::Counter(5))]);
    let new = map([("t", Value::Text("añXY→c".into())), ("n", Value::Counter(3))]);

    let expected = recorded(|doc| {
        doc.increment("n", -2);
        doc.splice_text("t", 2, 1, "XY");
    });
    assert_eq!(between(&old, &new), expected);
}

#[test]
fn a_counter_that_no_increment_reaches_is_replaced() {
    let edit = between(&map([("n", Value::Counter(i64::MIN))]), &map([("n", Value::Counter(i64::MAX))]));
    assert_eq!(edit, recorded(|doc| doc.put("n", Value::Counter(i64::MAX))));
}
