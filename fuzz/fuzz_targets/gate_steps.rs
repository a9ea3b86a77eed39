//! Arbitrary inputs never panic the gate; nothing leaves before it is durable; a closed cell stays closed.

#![no_main]

#[path = "../../schema/tests/gate/kit.rs"]
mod kit;
#[path = "../../schema/tests/gate/steps.rs"]
mod steps;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| steps::run(bytes));
