//! Maps the records of the gate to keys of a group's space.

use schema::gate::StoredRecord;
use schema::id::hash;
use schema::signed::Envelope;
use schema::{GroupId, codec};

use super::perform::StoredBatch;
use super::{Message, State};
use crate::node::keys;
use crate::node::store::{Batch, Durability, StoreError};

impl State {
    /// Submits records as one batch.
    pub(super) fn persist(
        &mut self,
        number: u64,
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
        let (stored, handle) = (self.stored.0.clone(), self.handle.clone());
        self.arguments.store.submit(&space, batch, Durability::Immediate, move |result| {
            // Fails if the actor has ended.
            let _ = stored.send(StoredBatch { number, result });
            handle.tell(Message::Stored);
        });
        Ok(())
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
        StoredRecord::NoCertificate(envelope) => batch.remove(side(keys::CERTIFICATE, &envelope)),
        StoredRecord::Revocation(envelope) => put_side(batch, keys::REVOCATION, &envelope),
        StoredRecord::NoRevocation(envelope) => batch.remove(side(keys::REVOCATION, &envelope)),
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
    batch.put(side(tag, envelope), codec::encode(envelope));
}

/// The key of a record beside the ops.
fn side(tag: u8, envelope: &Envelope) -> Vec<u8> {
    keys::tagged(tag, &hash("side", &[&envelope.payload]))
}

fn put_orphan(batch: &mut Batch, key: Vec<u8>, value: Vec<u8>) -> u64 {
    let bytes = (key.len() + value.len()) as u64;
    batch.put(key, value);
    bytes
}

#[cfg(test)]
mod tests {
    use schema::key::Signature;
    use schema::{DeviceId, Timestamp};
    use testkit::golden::{bytes, check_bytes};

    use super::*;
    use crate::node::store::engine::Write;

    #[test]
    fn records_of_a_ledger_keep_their_bytes() {
        let envelope = Envelope { payload: vec![1, 2], signature: Signature([0xab; 64]) };
        let tickets = "01 | 01*32 | 01 02*16 | 03*32 | 01 06 77733a2f2f61 | 04*32 | 01 | 01 fb 2c01 02";
        let stored_tickets = codec::decode_stored(&bytes(tickets)).unwrap();
        let received_at = Timestamp(7);
        for (name, record, key, value) in [
            (
                "op",
                StoredRecord::Op { position: 300, envelope: envelope.clone(), received_at },
                "6f | 000000000000012c",
                "02 0102 | ab*64 | 07",
            ),
            (
                "device record",
                StoredRecord::DeviceRecord { device: DeviceId([5; 32]), envelope },
                "77 | 05*32",
                "02 0102 | ab*64",
            ),
            ("tickets", StoredRecord::Tickets(stored_tickets), "6d | 7469636b6574", tickets),
            (
                "list of a manifest",
                StoredRecord::ManifestList { root: [3; 32], pages: vec![[4; 32]] },
                "66 | 03*32",
                "01 | 04*32",
            ),
            (
                "page of a manifest",
                StoredRecord::ManifestPage { hash: [3; 32], bytes: vec![1, 2] },
                "67 | 03*32",
                "0102",
            ),
        ] {
            let mut batch = Batch::default();
            put(&mut batch, record);
            let [Write::Put { key: got_key, value: got_value }] = batch.iter().as_slice() else {
                panic!("{name}")
            };
            check_bytes(name, got_key, key);
            check_bytes(name, got_value, value);
        }
    }

    #[test]
    fn a_record_beside_the_ops_has_its_id_as_key() {
        let envelope = Envelope { payload: vec![1, 2], signature: Signature([0xab; 64]) };
        let mut batch = Batch::default();
        put(&mut batch, StoredRecord::Certificate(envelope));
        let [Write::Put { key, value }] = batch.iter().as_slice() else { panic!("one write") };
        assert_eq!(key[..], [&b"p"[..], &hash("side", &[&[1, 2]])].concat());
        check_bytes("certificate", value, "02 0102 | ab*64");
    }

    #[test]
    fn an_evicted_record_leaves_the_key_that_it_was_put_under() {
        let envelope = Envelope { payload: vec![1, 2], signature: Signature([0xab; 64]) };
        let id = "8d750ae4814e6066e0907559617f0e842fe701d2c2e3c4680ecb89655c711da1";
        for (name, put_record, no_record, tag) in [
            (
                "certificate",
                StoredRecord::Certificate(envelope.clone()),
                StoredRecord::NoCertificate(envelope.clone()),
                "70",
            ),
            (
                "device revocation",
                StoredRecord::Revocation(envelope.clone()),
                StoredRecord::NoRevocation(envelope.clone()),
                "76",
            ),
        ] {
            let mut batch = Batch::default();
            put(&mut batch, put_record);
            put(&mut batch, no_record);
            let [Write::Put { key: put_key, .. }, Write::Remove { key }] = batch.iter().as_slice() else {
                panic!("{name}")
            };
            check_bytes(name, key, &format!("{tag} | {id}"));
            assert_eq!(put_key, key, "{name}");
        }
    }
}
