//! Our sync messages against an unmodified Automerge.

use automerge::AutoCommit;
use automerge::sync::{Message, State, SyncDoc};
use automerge::transaction::Transactable;
use peerbase_schema::change::ChangeHeader;
use peerbase_schema::limits::SYNC_MESSAGE_BYTES_MAX;
use peerbase_schema::wire::sync_message::{SyncMessage, SyncMessageError};
use proptest::prelude::*;
use testkit::{ADA, BEN};

use crate::support::from_automerge;
use crate::support::history::{document, edits, play};

fn all_of(document: &mut AutoCommit) -> SyncMessage {
    let changes = document.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect();
    let heads = document.get_heads().into_iter().map(from_automerge).collect();
    SyncMessage { heads, need: Vec::new(), changes }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_unmodified_peer_reaches_the_same_heads(edits in edits(0..40)) {
        let mut ada = play(&edits);
        let sent = all_of(&mut ada).encode();

        let message = Message::decode(&sent).unwrap();
        prop_assert_eq!(message.clone().encode(), sent);
        let mut ben = document(BEN);
        ben.sync().receive_sync_message(&mut State::new(), message).unwrap();

        prop_assert_eq!(ben.get_heads(), ada.get_heads());
    }

    #[test]
    fn a_message_survives_encoding(edits in edits(0..40)) {
        let mut ada = play(&edits);
        let mut message = all_of(&mut ada);
        message.need = message.heads.clone();

        prop_assert_eq!(SyncMessage::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(mut noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SyncMessage::decode(&noise);
        noise.insert(0, 0x42);
        let _ = SyncMessage::decode(&noise);
    }
}

#[test]
fn we_read_what_an_unmodified_peer_writes() {
    let mut ada = document(ADA);
    for number in 0..20 {
        ada.put(automerge::ROOT, "long", "aaaa".repeat(200 + number)).unwrap();
        ada.commit();
    }
    let mut ben = document(BEN);
    ben.merge(&mut ada).unwrap();
    ada.put(automerge::ROOT, "last", 1).unwrap();
    ada.commit();
    let (mut ada_state, mut ben_state) = (State::new(), State::new());

    let mut read = Vec::new();
    for _ in 0..5 {
        if let Some(mut message) = ben.sync().generate_sync_message(&mut ben_state) {
            message.flags = None; // flags offer whole documents: version 2
            ada.sync().receive_sync_message(&mut ada_state, message).unwrap();
        }
        if let Some(message) = ada.sync().generate_sync_message(&mut ada_state) {
            read.push(SyncMessage::decode(&message.clone().encode()).unwrap());
            ben.sync().receive_sync_message(&mut ben_state, message).unwrap();
        }
    }

    let heads: Vec<_> = ada.get_heads().into_iter().map(from_automerge).collect();
    assert!(read.iter().all(|message| message.heads == heads));
    let changes: Vec<_> = read.iter().flat_map(|message| &message.changes).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(ChangeHeader::read(changes[0]).unwrap().hash, heads[0]);
}

#[test]
fn a_real_peer_answers_us_with_what_we_need() {
    let mut ada = document(ADA);
    ada.put(automerge::ROOT, "greeting", "hello").unwrap();
    ada.commit();
    let mut state = State::new();
    let hello = Message::decode(&SyncMessage::default().encode()).unwrap();

    ada.sync().receive_sync_message(&mut state, hello).unwrap();
    let answer = ada.sync().generate_sync_message(&mut state).unwrap().encode();

    let answer = SyncMessage::decode(&answer).unwrap();
    assert_eq!(answer.changes.len(), 1);
}

#[test]
fn whole_documents_and_compressed_changes_are_refused() {
    let mut ada = document(ADA);
    ada.put(automerge::ROOT, "long", "aaaa".repeat(200)).unwrap();
    ada.commit();
    let mut change = ada.get_last_local_change().unwrap();
    let with = |bytes: Vec<u8>| SyncMessage { changes: vec![bytes], ..SyncMessage::default() }.encode();
    let decode = |message: &[u8]| SyncMessage::decode(message).unwrap_err();

    let compressed = with(change.bytes().into_owned());
    assert_eq!(decode(&compressed), SyncMessageError::Compressed { index: 0 });
    assert_eq!(decode(&with(ada.save())), SyncMessageError::NotAChange { index: 0 });
    assert_eq!(decode(&with(b"noise".to_vec())), SyncMessageError::NotAChange { index: 0 });
    assert_eq!(decode(&[0x43, 0, 0, 0, 0]), SyncMessageError::Version { got: 0x43 });
    assert_eq!(decode(&[0x42, 0, 0, 0, 0, 0, 9]), SyncMessageError::TrailingBytes { extra: 1 });
    let max = SYNC_MESSAGE_BYTES_MAX;
    assert_eq!(decode(&vec![0; max + 1]), SyncMessageError::TooLong { got: max + 1, max });
}

#[test]
fn a_sync_message_keeps_its_bytes() {
    let message = SyncMessage {
        heads: vec![peerbase_schema::ChangeHash([1; 32])],
        need: vec![],
        changes: vec![[&[0x85, 0x6f, 0x4a, 0x83][..], &[0, 0, 0, 0, 1, 0]].concat()],
    };

    let expected = [&[0x42, 1][..], &[1; 32], &[0, 1, 0, 0, 1, 10, 0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1, 0]];

    assert_eq!(message.encode(), expected.concat());
}
