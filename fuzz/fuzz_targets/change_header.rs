//! Reading never panics; what it accepts `Change::from_bytes` accepts and reads alike, in time bounded by the
//! ops it was told.
#![no_main]

use std::sync::LazyLock;

use automerge::Change;
use libfuzzer_sys::fuzz_target;
use schema::OpId;
use schema::change::{ChangeHeader, read_document, split};
use testkit::hostile::{self, Writer};
use testkit::{ADA, GARDEN, key, raw};

/// Data of the changes of hostile Writers.
static HOSTILE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let writer = Writer { group: GARDEN, grant: OpId([3; 32]), signing: key(ADA) };
    hostile::changes(&writer).iter().map(|chunk| raw::data(chunk).to_vec()).collect()
});

/// A hostile change with other bytes at some places: each is two bytes of place and one of value.
fn edited(which: u8, edits: &[u8]) -> Vec<u8> {
    let mut data = HOSTILE[usize::from(which) % HOSTILE.len()].clone();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % data.len();
        data[place] = edit[2];
    }
    raw::chunk(1, &data)
}

// The first byte is the chunk's type, the rest its data: the fuzzer need not guess checksums. From 128 on it
// names a hostile change, and the rest edits it.
fuzz_target!(|input: &[u8]| {
    let Some((&kind, data)) = input.split_first() else { return };
    let chunk = if kind < 128 { raw::chunk(kind, data) } else { edited(kind, data) };
    let _ = read_document(&chunk);
    let Ok(header) = ChangeHeader::read(&chunk) else { return };
    assert!(split(&chunk).all(|read| read.is_ok_and(|(read, bytes)| read == header && bytes == chunk)));
    if header.ops <= 10_000 {
        let change = Change::from_bytes(chunk).expect("our reader took it");
        assert_eq!(header.ops, change.len() as u64);
        assert_eq!(header.deps.len(), change.deps().len());
    }
});
