//! Reading never panics; what it accepts `Change::from_bytes` reads alike, in time bounded by the ops it was told.
#![no_main]

use automerge::Change;
use libfuzzer_sys::fuzz_target;
use schema::change::{ChangeError, ChangeHeader, read_document};

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (is_document, data) = input;
    if is_document {
        let _ = read_document(&frame(0, &data));
        return;
    }
    let chunk = frame(1, &data);
    let Ok(header) = ChangeHeader::read(&chunk) else { return };
    if header.ops <= 10_000
        && let Ok(change) = Change::from_bytes(chunk)
    {
        assert_eq!(header.ops, change.len() as u64);
        assert_eq!(header.deps.len(), change.deps().len());
    }
});
