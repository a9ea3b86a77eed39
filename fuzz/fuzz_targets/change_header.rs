//! Reading never panics; what it accepts `Change::from_bytes` accepts and reads alike, in time bounded by the
//! ops it was told.
#![no_main]

use automerge::Change;
use libfuzzer_sys::fuzz_target;
use schema::change::{ChangeHeader, read_document, split};
use testkit::raw;

// The first byte is the chunk's type, the rest its data: the fuzzer need not guess checksums.
fuzz_target!(|input: &[u8]| {
    let Some((&kind, data)) = input.split_first() else { return };
    let chunk = raw::chunk(kind, data);
    let _ = read_document(&chunk);
    let Ok(header) = ChangeHeader::read(&chunk) else { return };
    assert!(split(&chunk).all(|read| read.is_ok_and(|(read, bytes)| read == header && bytes == chunk)));
    if header.ops <= 10_000 {
        let change = Change::from_bytes(chunk).expect("our reader took it");
        assert_eq!(header.ops, change.len() as u64);
        assert_eq!(header.deps.len(), change.deps().len());
    }
});
