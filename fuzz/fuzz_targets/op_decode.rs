//! Any bytes taken for an op: decoding never panics, and what decodes encodes to something that decodes alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::ledger::{Ledger, Op};
use schema::signed::{Envelope, Record};
use schema::{GroupId, codec, key};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(op) = codec::decode::<Op>(bytes, Op::BYTES_MAX) {
        let again = codec::encode(&op);
        assert_eq!(codec::decode::<Op>(&again, Op::BYTES_MAX * 2).as_ref(), Ok(&op));
        let _ = op.signer();
    }
    let envelope = Envelope { payload: bytes.to_vec(), signature: key::Signature([1; 64]) };
    assert!(Ledger::new(GroupId([0; 32])).admit(envelope).is_err());
});
