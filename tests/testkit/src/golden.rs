//! Golden bytes: the encoding of a value, written in hex.
//!
//! `|` and blanks separate fields and have no meaning; `07*32` is the byte 07 repeated 32 times. A golden
//! test that fails is a change of the format: `docs/format.md` tells how to make one.

use std::fmt::Debug;

use bincode::{Decode, Encode};
use data_encoding::HEXLOWER;
use schema::codec;

/// The bytes of a golden text.
pub fn bytes(golden: &str) -> Vec<u8> {
    let mut hex = String::new();
    for word in golden.split([' ', '|']) {
        match word.split_once('*') {
            Some((byte, count)) => hex.push_str(&byte.repeat(count.parse().unwrap())),
            None => hex.push_str(word),
        }
    }
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// Checks the encoding of each value, and that it decodes to the value. Returns the encodings.
pub fn check<T: Encode + Decode<()> + Debug + PartialEq>(rows: Vec<(&str, T, &str)>) -> Vec<Vec<u8>> {
    let encodings = rows.into_iter().map(|(name, value, golden)| {
        let bytes = bytes(golden);
        check_bytes(name, &codec::encode(&value), golden);
        assert_eq!(codec::decode_stored::<T>(&bytes), Ok(value), "{name}");
        bytes
    });
    encodings.collect()
}

/// Checks bytes that are not encoded by `codec`.
pub fn check_bytes(name: &str, got: &[u8], golden: &str) {
    assert_eq!(HEXLOWER.encode(got), HEXLOWER.encode(&bytes(golden)), "{name}");
}
