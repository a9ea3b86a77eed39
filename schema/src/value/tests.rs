//! Values encode and decode: every kind, at every depth.

use proptest::prelude::*;

use super::*;
use crate::codec;

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(Value::TooDeep),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        ".{0,8}".prop_map(Value::String),
        ".{0,8}".prop_map(Value::Text),
        any::<i64>().prop_map(Value::Counter),
        any::<i64>().prop_map(Value::Timestamp),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::btree_map(".{0,4}", inner, 0..6).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_decodes_to_what_was_encoded(value in values()) {
        let bytes = codec::encode(&value);
        prop_assert_eq!(codec::decode_stored::<Value>(&bytes), Ok(value));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_decode_to_a_value_that_encodes(
        bytes in proptest::collection::vec(0u8..16, 0..64)
    ) {
        if let Ok(value) = codec::decode_stored::<Value>(&bytes) {
            prop_assert_eq!(codec::decode_stored::<Value>(&codec::encode(&value)), Ok(value));
        }
    }
}

fn nested(containers: usize) -> Value {
    (0..containers).fold(Value::from(7), |inner, i| match i % 2 {
        0 => Value::List(vec![inner]),
        _ => Value::Map([("a".to_owned(), inner)].into()),
    })
}

#[test]
fn a_value_encodes_to_golden_bytes() {
    let row = Value::Map(
        [("a".to_owned(), Value::List(vec![1.into(), Value::Text("é".into()), Value::Null]))].into(),
    );
    assert_eq!(codec::encode(&row), [12, 1, 1, b'a', 11, 3, 3, 2, 7, 2, 0xc3, 0xa9, 0]);
}

#[test]
fn sixty_four_containers_are_kept_and_the_next_reads_as_too_deep() {
    let deep = nested(VALUE_DEPTH_MAX);
    assert_eq!(codec::decode_stored::<Value>(&codec::encode(&deep)), Ok(deep));

    let mut inner = codec::decode_stored::<Value>(&codec::encode(&nested(VALUE_DEPTH_MAX + 1))).unwrap();
    for _ in 0..VALUE_DEPTH_MAX {
        inner = match inner {
            Value::List(mut values) => values.remove(0),
            Value::Map(mut values) => values.remove("a").unwrap(),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(inner, Value::TooDeep);
}

#[test]
fn a_million_nested_lists_are_refused_before_they_fill_the_stack() {
    let hostile: Vec<u8> = std::iter::repeat_n([11, 1], 1_000_000).flatten().collect();
    assert!(matches!(codec::decode_stored::<Value>(&hostile), Err(codec::DecodeError::Malformed { .. })));
}

#[test]
fn a_list_that_claims_more_values_than_it_has_is_refused() {
    let mut claim = vec![11];
    claim.extend(codec::encode(&u64::MAX));
    assert!(codec::decode_stored::<Value>(&claim).is_err());
}

#[test]
fn equality_is_by_bits_for_floats_and_by_number_for_integers() {
    assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
    assert_ne!(Value::Float(0.0), Value::Float(-0.0));
    assert_eq!(Value::Int(3), Value::Uint(3));
    assert_ne!(Value::Int(-1), Value::Uint(u64::MAX));
    assert_eq!(Value::from(3u64), Value::Int(3));
    assert_ne!(Value::String("a".into()), Value::Text("a".into()));
}
