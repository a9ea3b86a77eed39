//! The work of a commit and of an apply, with and without attestation of the changes, on the same rows.
//!
//! Without: Automerge makes or applies the change, the row is read from it, change and row go to a bare sled
//! with our engine's options in one batch, forced to the disk once. With: our own reader reads each change,
//! its device signs a tip or the tip's signature is verified, admission judges the change, the index records
//! it, and the tip is stored with it. Both leave out the group's actor with its queue, the digest, the index
//! of authors, and sessions.

#![allow(clippy::disallowed_methods, reason = "a bench measures by the clock on the wall")]

use std::time::{Duration, Instant};

use actors::edit::RowEdit;
use actors::node::group::replica::Replica;
use schema::change::ChangeHeader;
use schema::document::admission::{self, Index};
use schema::id::hash;
use schema::key::SigningKey;
use schema::tip::{Author, Tip};
use schema::wire::sync_message::SyncMessage;
use schema::{DeviceId, DocumentId, GroupId, OpId, ReplicaId, codec};

use super::{Entry, Raw, text};

const GROUP: GroupId = GroupId([7; 32]);
/// Changes in one batch.
pub(crate) const CHANGES: [u64; 3] = [1, 100, 10_000];
/// Bytes of a row's text.
const BYTES: usize = 100;

/// A device that writes rows.
pub(crate) struct Writer {
    device: SigningKey,
    author: Author,
}

/// A row's first change as a peer sends it, with the tip that vouches for it.
pub(crate) struct Sent {
    document: DocumentId,
    message: Vec<u8>,
    tip: Tip,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let device = SigningKey::from_seed([9; 32]);
        let author =
            Author { device: DeviceId(device.public()), grant: OpId([3; 32]), incarnation: 0x6869_6869 };
        Self { device, author }
    }

    /// Writes new rows in one batch; returns the time until they are durable.
    pub(crate) fn commit(&self, raw: &Raw, numbers: std::ops::Range<u64>, attested: bool) -> Duration {
        let edits: Vec<_> = numbers.map(|number| (number, edit(number))).collect();
        let began = Instant::now();
        let mut entries = Vec::new();
        for (number, edit) in &edits {
            let document = document(*number);
            let mut replica = Replica::new();
            let change = self.change(&mut replica, document, edit);
            let tip = attested.then(|| {
                let header = ChangeHeader::read(&change).expect("our own change");
                let mut index = Index::new();
                index.accept(&header);
                Tip::sign(GROUP, document, self.author, header.seq, header.hash, &self.device)
            });
            store(&replica, document, change, tip, &mut entries);
        }
        raw.apply(&entries);
        raw.barrier();
        began.elapsed()
    }

    /// Returns rows as a peer sends them.
    pub(crate) fn send(&self, numbers: std::ops::Range<u64>) -> Vec<Sent> {
        let sent = |number| {
            let document = document(number);
            let change = self.change(&mut Replica::new(), document, &edit(number));
            let header = ChangeHeader::read(&change).expect("our own change");
            let tip = Tip::sign(GROUP, document, self.author, header.seq, header.hash, &self.device);
            let message = SyncMessage { heads: vec![header.hash], need: Vec::new(), changes: vec![change] };
            Sent { document, message: message.encode(), tip }
        };
        numbers.map(sent).collect()
    }

    fn change(&self, replica: &mut Replica, document: DocumentId, edit: &RowEdit) -> Vec<u8> {
        let Author { device, grant, incarnation } = self.author;
        let id = ReplicaId::of(GROUP, document, device, grant, incarnation);
        let mut change = replica.commit(id, 1_795_375_444_123, edit).expect("the row is one");
        change.remove(0).bytes
    }
}

/// Applies rows from a peer in one batch; returns the time until they are durable.
pub(crate) fn apply(raw: &Raw, sent: &[Sent], attested: bool) -> Duration {
    let began = Instant::now();
    let mut entries = Vec::new();
    for Sent { document, message, tip } in sent {
        let changes = SyncMessage::decode(message).expect("our own message").changes;
        if attested {
            let headers = changes.iter().map(|change| ChangeHeader::read(change).expect("our own change"));
            let headers: Vec<_> = headers.collect();
            let tips = [tip.verify(GROUP, *document).expect("our own signature")];
            let mut index = Index::new();
            let verdict = admission::vet(&index, &headers, &tips, |_| Ok(Vec::new()));
            assert_eq!(verdict.accepted.len(), headers.len());
            headers.iter().for_each(|header| index.accept(header));
        }
        let mut replica = Replica::new();
        replica.apply(&changes).expect("our own change");
        store(&replica, *document, changes.concat(), attested.then_some(*tip), &mut entries);
    }
    raw.apply(&entries);
    raw.barrier();
    began.elapsed()
}

/// The stored entries of a document: its change with the tip, and the row.
fn store(
    replica: &Replica,
    document: DocumentId,
    mut change: Vec<u8>,
    tip: Option<Tip>,
    entries: &mut Vec<Entry>,
) {
    if let Some(tip) = tip {
        change.extend(tip.seq.to_be_bytes());
        change.extend(tip.signature.0);
    }
    let row = replica.row().expect("the row is one");
    entries.push(([b"d", &document.0[..]].concat(), change));
    entries.push(([b"r", &document.0[..]].concat(), codec::encode(&row.value)));
}

fn document(number: u64) -> DocumentId {
    DocumentId(hash("bench", &[&number.to_be_bytes()]))
}

fn edit(number: u64) -> RowEdit {
    let mut edit = RowEdit::default();
    edit.put("author", "ada");
    edit.put("body", text(number, BYTES));
    edit.put("sent_at", number);
    edit
}
