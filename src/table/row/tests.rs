//! Row types there and back, what a write of one changes, and what of it merges.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

use super::*;
use crate::table::counter::Counter;
use crate::table::text::Text;

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The value of a field of type `T`, read back.
fn field<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) -> Value {
    let row = BTreeMap::from([("f", &value)]);
    let stored = draft(&value).map(|_| write::value(&row).unwrap().0).unwrap();
    let again: BTreeMap<String, T> = read(&stored).unwrap();
    assert_eq!(again["f"], value);
    stored.field("f").unwrap().clone()
}

fn error<T: Serialize + DeserializeOwned>(row: &T) -> (String, RowProblem) {
    let RowError { path, what } = draft(row).unwrap_err();
    (path.to_string(), what)
}

#[test]
fn a_struct_lies_at_the_root_under_its_serde_names() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        sent_at: i64,
        body: Text,
        likes: Counter,
        photo: Vec<u8>,
        reply_to: Option<u32>,
    }
    let row = Message { sent_at: 5, body: "hi".into(), likes: 2.into(), photo: vec![1, 2], reply_to: None };

    let stored = draft(&row).unwrap().value;

    let expected = map([
        ("sentAt", 5.into()),
        ("body", Value::Text("hi".into())),
        ("likes", Value::Counter(2)),
        ("photo", Value::Bytes(vec![1, 2])),
        ("replyTo", Value::Null),
    ]);
    assert_eq!(stored, expected);
    assert_eq!(read::<Message>(&stored), Ok(row));
}

#[test]
fn every_kind_of_field_survives() {
    assert_eq!(field(u64::MAX), Value::Uint(u64::MAX));
    assert_eq!(field(3u64), Value::Int(3));
    assert_eq!(field('é'), "é".into());
    assert_eq!(field(0.1f32), Value::Float(0.1f32.into()));
    assert_eq!(field(f64::INFINITY), f64::INFINITY.into());
    assert_eq!(field(()), Value::Null);
    assert_eq!(field([1u8, 2]), Value::Bytes(vec![1, 2]));
    assert_eq!(field(Vec::<u8>::new()), Value::List(vec![]));
    assert_eq!(field(Vec::<String>::new()), Value::List(vec![]));
    assert_eq!(field(vec![Some(1u8), None]), Value::List(vec![1.into(), Value::Null]));
    assert_eq!(field(vec![Some(1u8)]), Value::List(vec![1.into()]));
    assert_eq!(field(vec![NonZeroU8::MIN]), Value::Bytes(vec![1]));
    assert_eq!(field(HashSet::from([3i32])), Value::List(vec![3.into()]));
    assert_eq!(field(HashMap::from([(-3i8, true)])), map([("-3", true.into())]));
    assert_eq!(field(BTreeMap::from([(true, 'x')])), map([("true", "x".into())]));
    assert_eq!(field(std::net::Ipv4Addr::LOCALHOST), "127.0.0.1".into());
    assert_eq!(field(Ok::<u8, String>(3)), map([("Ok", 3.into())]));

    let nan = draft(&BTreeMap::from([("f".to_owned(), f64::NAN)])).unwrap().value;
    assert!(read::<BTreeMap<String, f64>>(&nan).unwrap()["f"].is_nan());
}

#[test]
fn newtypes_of_bytes_are_bytes() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Level(u8);
    assert_eq!(field(vec![Level(3), Level(4)]), Value::Bytes(vec![3, 4]));
}

#[test]
fn enums_are_tagged_as_serde_tags_them_and_name_maps() {
    #[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
    enum Suit {
        Hearts,
        Joker { of: String },
    }
    assert_eq!(field(Suit::Hearts), "Hearts".into());
    assert_eq!(field(Suit::Joker { of: "all".into() }), map([("Joker", map([("of", "all".into())]))]));
    assert_eq!(field(BTreeMap::from([(Suit::Hearts, 1)])), map([("Hearts", 1.into())]));

    let named_by_content = BTreeMap::from([(Suit::Joker { of: "x".into() }, 1)]);
    assert_eq!(error(&named_by_content).1, RowProblem::Key { kind: "enum with content" });
}

#[test]
fn numbers_that_another_type_wrote_are_read_when_they_fit() {
    let stored = |value| map([("f", value)]);
    assert_eq!(read::<BTreeMap<String, i64>>(&stored(Value::Uint(3))).unwrap()["f"], 3);
    assert_eq!(read::<BTreeMap<String, u64>>(&stored(Value::Int(3))).unwrap()["f"], 3);
    assert_eq!(read::<BTreeMap<String, f64>>(&stored(Value::Int(3))).unwrap()["f"], 3.0);
    assert_eq!(read::<BTreeMap<String, i64>>(&stored(Value::Counter(3))).unwrap()["f"], 3);
    assert_eq!(read::<BTreeMap<String, Text>>(&stored("plain".into())).unwrap()["f"], "plain");
    assert_eq!(read::<BTreeMap<String, String>>(&stored(Value::Text("text".into()))).unwrap()["f"], "text");

    let negative = read::<BTreeMap<String, u64>>(&stored(Value::Int(-1))).unwrap_err();
    assert_eq!(negative.path.to_string(), "f");
    assert!(read::<BTreeMap<String, i64>>(&stored(Value::Uint(u64::MAX))).is_err());
}

#[test]
fn errors_name_the_field() {
    #[derive(Serialize, Deserialize)]
    struct Outer {
        list: Vec<BTreeMap<String, i128>>,
    }
    let row = Outer { list: vec![[].into(), [("a.b".to_owned(), 1)].into()] };
    assert_eq!(error(&row), ("list.1.\"a.b\"".to_owned(), RowProblem::WideInteger));

    let stored = map([("list", Value::List(vec![map([]), map([("x", "text".into())])]))]);
    let error = read::<Outer>(&stored).map(|_| ()).unwrap_err();
    assert_eq!(error.path.to_string(), "list.1.x");
    assert_eq!(read::<Outer>(&map([])).map(|_| ()).unwrap_err().to_string(), "(row): missing field `list`");
}

#[test]
fn rows_that_could_not_be_stored_or_read_back_are_refused() {
    #[derive(Serialize, Deserialize)]
    struct Reserved {
        #[serde(rename = "$removed")]
        removed: bool,
    }
    assert_eq!(error(&Reserved { removed: true }), ("$removed".to_owned(), RowProblem::Reserved));

    #[derive(Serialize, Deserialize)]
    struct Forgetful {
        #[serde(skip_serializing)]
        _secret: String,
    }
    assert!(matches!(error(&Forgetful { _secret: String::new() }).1, RowProblem::Serde { .. }));

    #[derive(Serialize, Deserialize)]
    struct Nested(Vec<Nested>);
    let nested = |depth| (1..depth).fold(Nested(vec![]), |inner, _| Nested(vec![inner]));
    assert!(draft(&nested(schema::limits::VALUE_DEPTH_MAX - 1)).is_ok());
    assert_eq!(error(&nested(schema::limits::VALUE_DEPTH_MAX)).1, RowProblem::TooDeep);
    assert_eq!(error(&nested(10_000)).1, RowProblem::TooDeep);
}

#[test]
fn too_deep_content_is_an_error_of_the_field_that_holds_it() {
    let stored = map([("a", Value::TooDeep), ("b", 1.into())]);
    assert_eq!(read::<BTreeMap<String, Vec<i64>>>(&stored).unwrap_err().what, RowProblem::TooDeep);

    #[derive(Deserialize, PartialEq, Debug)]
    struct OnlyB {
        b: i64,
    }
    assert_eq!(read(&stored), Ok(OnlyB { b: 1 }));
}

#[test]
fn rows_that_are_no_struct_lie_under_value() {
    assert_eq!(draft(&7u8).unwrap().value, map([("value", 7.into())]));
    assert_eq!(draft(&Text::from("a")).unwrap().value, map([("value", Value::Text("a".into()))]));
    assert_eq!(read::<Text>(&map([("value", Value::Text("a".into()))])), Ok("a".into()));
    assert_eq!(read::<Option<i64>>(&map([("value", Value::Null)])), Ok(None));
    assert_eq!(
        read::<u8>(&map([("other", 7.into())])).unwrap_err().to_string(),
        "(row): missing field `value`"
    );

    let fields = BTreeMap::from([("value".to_owned(), 7u8)]);
    assert_eq!(draft(&fields).unwrap().value, map([("value", 7.into())]));
    assert_eq!(read::<BTreeMap<String, u8>>(&map([("value", 7.into())])), Ok(fields));
}

#[test]
fn what_must_be_replaced_whole_is_noticed() {
    #[derive(Serialize, Deserialize)]
    enum Plain {
        Tuple(u8, String),
        Struct { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Internal {
        A { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        A { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    struct Row {
        list: Vec<Plain>,
        fields: BTreeMap<String, (u8, String)>,
        internal: Internal,
        adjacent: Option<Adjacent>,
        untagged: Untagged,
        flag: Option<Box<Row>>,
    }
    let row = |flag| Row {
        list: vec![Plain::Tuple(1, "".into()), Plain::Struct { a: 1 }],
        fields: [("x.y".to_owned(), (1, "".to_owned()))].into(),
        internal: Internal::A { a: 1 },
        adjacent: Some(Adjacent::A { a: 1 }),
        untagged: Untagged::A { a: 1 },
        flag,
    };

    let registers: Vec<_> = draft(&row(None)).unwrap().registers.iter().map(Path::to_string).collect();

    // Paths below a register do no harm: `adjacent.c` lies below `adjacent`.
    assert_eq!(
        registers,
        ["adjacent", "adjacent.c", "fields.\"x.y\"", "internal", "list.0", "list.1", "untagged"]
    );
    let nested = draft(&row(Some(Box::new(row(None))))).unwrap().registers;
    assert!(nested.contains(&Path::from("flag.internal")) && !nested.contains(&Path::from("flag")));
}

#[test]
fn a_put_writes_what_differs_and_leaves_what_the_type_does_not_know() {
    #[derive(Serialize, Deserialize)]
    struct Old {
        a: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<i64>,
        #[serde(default)]
        c: i64,
    }
    let stored = map([("a", 1.into()), ("b", 2.into()), ("newer", 3.into())]);

    let edit = put(Some(&stored), false, &Old { a: 5, b: None, c: 0 }).unwrap();

    let mut expected = RowEdit::default();
    expected.put("a", 5i64);
    expected.delete("b");
    assert_eq!(edit, expected);
    assert!(put(Some(&stored), false, &Old { a: 1, b: Some(2), c: 0 }).unwrap().is_empty());
}

#[test]
fn a_put_over_a_removed_row_leaves_nothing_of_it() {
    let stored = map([("a", 1.into()), ("unknown", 2.into())]);
    let edit = put(Some(&stored), true, &BTreeMap::from([("a".to_owned(), 1i64)])).unwrap();

    let mut after = stored;
    edit.apply(&mut after).unwrap();

    assert_eq!(after, map([("a", 1.into())]));
    assert!(!edit.removed_after(true));
}

#[test]
fn a_field_that_was_renamed_by_an_alias_moves_with_the_first_write() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Row {
        #[serde(alias = "nm")]
        name: String,
    }
    let stored = map([("nm", "ada".into())]);
    assert!(put(Some(&stored), false, &Row { name: "ada".into() }).unwrap().is_empty());

    let mut after = stored.clone();
    put(Some(&stored), false, &Row { name: "ben".into() }).unwrap().apply(&mut after).unwrap();

    assert_eq!(after, map([("name", "ben".into())]));
}

#[test]
fn a_row_that_does_not_decode_is_overwritten() {
    let stored = map([("a", "text".into()), ("b", 1.into())]);
    let mut after = stored.clone();
    put(Some(&stored), false, &BTreeMap::from([("a".to_owned(), 1i64)])).unwrap().apply(&mut after).unwrap();
    assert_eq!(after, map([("a", 1.into())]));
}

#[test]
fn a_recorded_edit_keeps_the_row_one_of_its_type() {
    #[derive(Serialize, Deserialize)]
    struct Row {
        body: String,
        pair: (i64, String),
    }
    let stored = map([("body", "hi".into()), ("pair", Value::List(vec![1.into(), "x".into()]))]);
    let recorded = |record: fn(&mut RowEdit)| {
        let mut edit = RowEdit::default();
        record(&mut edit);
        edit
    };

    let splice = recorded(|doc| doc.splice_text("body", 2, 0, "!"));
    assert_eq!(checked::<Row>(&stored, splice.clone()), Ok(splice));
    assert!(checked::<Row>(&stored, recorded(|doc| doc.delete("body"))).is_err());
    assert!(checked::<Row>(&stored, recorded(|doc| doc.insert("pair", 0, 1i64))).is_err());
    assert!(checked::<Row>(&stored, recorded(|doc| doc.increment("body", 1))).is_err());

    let inside = checked::<Row>(&stored, recorded(|doc| doc.increment("pair.0", 1))).unwrap();
    let whole = recorded(|doc| doc.put("pair", vec![Value::from(2), "x".into()]));
    assert_eq!(inside, whole, "a tuple is replaced whole");
}

#[test]
fn texts_and_counters_are_ordinary_with_other_formats() {
    let json = serde_json::to_string(&(Text::from("a"), Counter::from(3))).unwrap();
    assert_eq!(json, r#"["a",3]"#);
    assert_eq!(serde_json::from_str::<(Text, Counter)>(&json).unwrap(), ("a".into(), 3.into()));
}

#[test]
fn dynamic_json_is_a_row_too() {
    let json: serde_json::Value = serde_json::from_str(r#"{"value": [1, 2.5, {"a": null}]}"#).unwrap();
    let stored = draft(&json).unwrap();
    assert_eq!(stored.registers.first(), Some(&Path::from("value")));
    assert_eq!(read::<serde_json::Value>(&stored.value), Ok(json));

    let fields = map([("a", Value::Bytes(vec![1, 2])), ("b", Value::Text("t".into()))]);
    let seen: serde_json::Value = serde_json::from_str(r#"{"a": [1, 2], "b": "t"}"#).unwrap();
    assert_eq!(read::<serde_json::Value>(&fields), Ok(seen), "rows of other types show as they are");
}
