//! Arbitrary inputs never panic the gate; nothing leaves before it is durable; a closed cell stays closed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::gate_steps::run(bytes));
