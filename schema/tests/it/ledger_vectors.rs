//! The resolver agrees with the executable model of authority 3.3 (`authority-model/`) on recorded logs.
//!
//! `vectors.py 2026 2000` and `vectors_devices.py 2026 2000`, deflated; `examples/resolve_vectors.rs`
//! compares any seed.

use std::io::Read;

use crate::support::vectors;

fn agree(deflated: &[u8]) {
    let mut lines = String::new();
    flate2::read::GzDecoder::new(deflated).read_to_string(&mut lines).expect("the recorded logs inflate");

    let differences: Vec<String> = lines.lines().filter_map(|line| vectors::compare(line).err()).collect();

    assert_eq!(lines.lines().count(), 2000);
    assert!(differences.is_empty(), "{} differ, the first: {}", differences.len(), differences[0]);
}

#[test]
fn roles_agree_with_the_model() {
    agree(include_bytes!("../data/vectors-2026.jsonl.gz"));
}

#[test]
fn roles_and_devices_agree_with_the_model() {
    agree(include_bytes!("../data/vectors_devices-2026.jsonl.gz"));
}

#[test]
fn a_difference_from_the_model_is_reported() {
    let log = r#"{"founders":["A"],"ops":[{"id":"x","author":"A","target":"B","role":60,"parents":["G"]}],
        "refused":[],"roles":{"A":100,"B":ROLE},"winners":{"A":"G","B":"x"},
        "alive":["G","x"],"counts":["G","x"]}"#;
    assert_eq!(vectors::compare(&log.replace("ROLE", "60")), Ok(()));
    assert!(vectors::compare(&log.replace("ROLE", "40")).is_err_and(|shown| shown.contains("roles")));
}
