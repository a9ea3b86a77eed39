//! Decoding never panics; what it reads Automerge reads alike, and it is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::wire::sync_message::SyncMessage;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = SyncMessage::decode(bytes) else { return };
    let again = SyncMessage::decode(&message.encode()).expect("what we write we read");
    assert_eq!(again.changes, message.changes);
    let theirs = automerge::sync::Message::decode(&message.encode()).expect("what we write Automerge reads");
    assert_eq!(theirs.changes.len(), message.changes.len());
});
