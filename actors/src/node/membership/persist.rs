//! Maps the records of the gate to keys of a group's space.

use schema::gate::StoredRecord;
use schema::id::hash;
use schema::signed::Envelope;
use schema::{GroupId, codec};

use super::State;
use crate::node::keys;
use crate::node::store::{Batch, StoreError};

impl State {
    /// Makes records durable, as one batch.
    pub(super) async fn persist(
        &mut self,
        group: GroupId,
        records: Vec<StoredRecord>,
    ) -> Result<(), StoreError> {
        let space = self.space(group)?;
        let ops = records.iter().filter(|record| matches!(record, StoredRecord::Op { .. })).count();
        self.arguments.meters.ledgers.admitted_ops.add(ops);
        let mut batch = Batch::default();
        for record in records {
            *self.orphans.entry(group).or_default() += put(&mut batch, record);
        }
        self.arguments.store.write(&space, batch).await
    }
}

/// Adds a record to a batch; the bytes of it that no op may name yet.
fn put(batch: &mut Batch, record: StoredRecord) -> u64 {
    match record {
        StoredRecord::Op { position, envelope, received_at } => {
            let record = codec::encode(&(envelope, received_at.as_millis()));
            batch.put(keys::tagged(keys::OP, &(position as u64).to_be_bytes()), record);
        }
        StoredRecord::Certificate(envelope) => put_side(batch, keys::CERTIFICATE, &envelope),
        StoredRecord::Revocation(envelope) => put_side(batch, keys::REVOCATION, &envelope),
        StoredRecord::DeviceRecord { device, envelope } => {
            batch.put(keys::tagged(keys::RECORD, &device.0), codec::encode(&envelope));
        }
        StoredRecord::NoDeviceRecord(device) => batch.remove(keys::tagged(keys::RECORD, &device.0)),
        StoredRecord::Tickets(tickets) => batch.put(keys::TICKET.to_vec(), codec::encode(&tickets)),
        StoredRecord::NoTickets => batch.remove(keys::TICKET.to_vec()),
        StoredRecord::ManifestList { root, pages } => {
            return put_orphan(batch, keys::manifest(&root), codec::encode(&pages));
        }
        StoredRecord::ManifestPage { hash, bytes } => return put_orphan(batch, keys::page(&hash), bytes),
    }
    0
}

fn put_side(batch: &mut Batch, tag: u8, envelope: &Envelope) {
    let id = hash("side", &[&envelope.payload]);
    batch.put(keys::tagged(tag, &id), codec::encode(envelope));
}

fn put_orphan(batch: &mut Batch, key: Vec<u8>, value: Vec<u8>) -> u64 {
    let bytes = (key.len() + value.len()) as u64;
    batch.put(key, value);
    bytes
}
