use proptest::prelude::*;

use super::*;

fn contains(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>), key: &Vec<u8>) -> bool {
    (bounds.0.as_ref(), bounds.1.as_ref()).contains(key)
}

proptest! {
    #[test]
    fn store_keys_sort_and_parse_as_their_parts(
        a in ("[\u{1}ab$]{1,3}", "[\u{0}\u{1}ab\u{ff}]{1,4}"),
        b in ("[\u{1}ab$]{1,3}", "[\u{0}\u{1}ab\u{ff}]{1,4}"),
    ) {
        let (key_a, key_b) = (row_key(&a.0, &a.1), row_key(&b.0, &b.1));
        prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        prop_assert_eq!(parse_row_key(&key_a), Some(a));
    }

    #[test]
    fn a_table_and_a_range_hold_their_rows_and_no_others(
        table in "[ab]{1,2}", other in "[ab]{1,2}",
        key in "[\u{0}ab]{1,3}", low in "[\u{0}ab]{1,3}", high in "[\u{0}ab]{1,3}",
    ) {
        let stored = row_key(&other, &key);
        let (key, low, high) = (key.as_str(), low.as_str(), high.as_str());
        let here = table == other;
        prop_assert_eq!(contains(&table_bounds(&table), &stored), here);
        prop_assert_eq!(contains(&key_bounds(&table, &(low..)), &stored), here && key >= low);
        prop_assert_eq!(contains(&key_bounds(&table, &(..=high)), &stored), here && key <= high);
        if low < high {
            prop_assert_eq!(contains(&key_bounds(&table, &(low..high)), &stored), here && (low..high).contains(&key));
        }
    }

    #[test]
    fn any_bytes_parse_to_at_most_the_key_that_they_are(bytes in proptest::collection::vec(0u8..4, 0..12)) {
        let bytes = [&[TAG][..], &bytes].concat();
        if let Some((table, key)) = parse_row_key(&bytes) {
            prop_assert_eq!(row_key(&table, &key), bytes);
        }
    }
}

#[test]
fn the_bytes_of_a_key_and_a_record_have_not_moved() {
    assert_eq!(row_key("t", "a\0b"), *b"rt\0\0a\0\xffb\0\0");

    let row = Row { value: Value::Map([("a".to_owned(), 1.into())].into()), removed: true, too_deep: false };
    let stored = StoredRow { row, heads: vec![ChangeHash([7; 32])] };
    let expected = [&[1, 1][..], &[7; 32], &[12, 1, 1, b'a', 3, 2]].concat();
    assert_eq!(stored.encode(), expected);
    assert_eq!(StoredRow::decode(&expected), Ok(stored));
}

#[test]
fn a_record_with_unknown_flags_or_no_map_is_damaged() {
    assert!(
        StoredRow::decode(&codec::encode(&(4u8, Vec::<ChangeHash>::new(), Value::Map([].into())))).is_err()
    );
    assert!(StoredRow::decode(&codec::encode(&(0u8, Vec::<ChangeHash>::new(), Value::Null))).is_err());
    assert!(
        StoredRow::decode(&codec::encode(&(0u8, Vec::<ChangeHash>::new(), Value::Map([].into())))).is_ok()
    );
}

#[test]
fn names_have_bounds() {
    assert_eq!(check_table("messages"), Ok(()));
    assert_eq!(check_table("$groups"), Err(NameError::Reserved));
    assert_eq!(check_any_table("$groups"), Ok(()));
    assert_eq!(check_table(""), Err(NameError::Empty { what: "table name" }));
    assert_eq!(check_table("a\0"), Err(NameError::Nul));
    let long = "é".repeat(257);
    assert_eq!(check_key(&long), Err(NameError::TooLong { what: "row key", got: 514, max: 512 }));
    assert_eq!(check_key("a\0b"), Ok(()));
    assert!(check_key(&long[2..]).is_ok());
}
