//! No merge of valid rows, however they were written, yields one that does not decode; what is written is
//! read.

#![no_main]

#[path = "../../tests/it/support/merging.rs"]
mod merging;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    merging::round_trip(bytes);
    merging::play(bytes);
});
