//! Every format: an arbitrary value survives encoding, arbitrary bytes decode or are refused, and what
//! decodes survives encoding too. The first byte picks the format, the second one of the two tests.
#![no_main]

use std::fmt::Debug;

use actors::node::group::record::DocumentRecord;
use actors::node::group::rows::RowRecord;
use bincode::{Decode, Encode};
use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use schema::codec;
use schema::key::Signature;
use schema::ledger::{Ledger, Op, manifest};
use schema::limits::{FRAME_BYTES_MAX, MANIFEST_PAGE_BYTES_MAX, SESSION_FRAME_BYTES_MAX};
use schema::signed::{Envelope, Record};
use schema::value::Value;
use schema::wire::device::{DeviceCert, DeviceRecord, UserDeviceRevocation};
use schema::wire::group::{Assembly, GroupFrame, parts};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::LinkFrame;
use schema::wire::session::SessionFrame;

fuzz_target!(|input: &[u8]| {
    let [format, is_value, rest @ ..] = input else { return };
    let input = if is_value % 2 == 0 { Input::Value(rest) } else { Input::Bytes(rest) };
    match format % 12 {
        0 => round_trip::<LinkFrame>(&input, FRAME_BYTES_MAX),
        1 => round_trip::<GroupFrame>(&input, FRAME_BYTES_MAX),
        2 => round_trip::<LedgerFrame>(&input, FRAME_BYTES_MAX),
        3 => {
            round_trip::<SessionFrame>(&input, SESSION_FRAME_BYTES_MAX);
            if let Some(frame) = input.read::<SessionFrame>(SESSION_FRAME_BYTES_MAX) {
                in_parts(&frame);
            }
        }
        4 => {
            round_trip::<Op>(&input, Op::BYTES_MAX);
            if let Some(op) = input.read::<Op>(Op::BYTES_MAX) {
                let _ = op.signer();
                let envelope = Envelope { payload: codec::encode(&op), signature: Signature([1; 64]) };
                assert!(Ledger::new(op.group).admit(envelope).is_err(), "the signature is forged");
            }
        }
        5 => round_trip::<DeviceCert>(&input, DeviceCert::BYTES_MAX),
        6 => round_trip::<UserDeviceRevocation>(&input, UserDeviceRevocation::BYTES_MAX),
        7 => round_trip::<DeviceRecord>(&input, DeviceRecord::BYTES_MAX),
        8 => round_trip::<manifest::Page>(&input, MANIFEST_PAGE_BYTES_MAX),
        9 => round_trip::<DocumentRecord>(&input, usize::MAX),
        // Containers that lie too deep are encoded as `TooDeep`, so the first round trip may change a value.
        10 => {
            if let Some(value) = input.read::<Value>(usize::MAX) {
                let value: Value =
                    codec::decode_stored(&codec::encode(&value)).expect("a value that we encoded");
                check(&value, usize::MAX);
            }
        }
        _ => {
            if let Some(record) = input.read::<RowRecord>(usize::MAX) {
                let record = RowRecord::decode(&codec::encode(&record)).expect("a record that we encoded");
                check(&record, usize::MAX);
            }
        }
    }
});

/// The source of a value.
enum Input<'a> {
    /// Choices for an arbitrary value.
    Value(&'a [u8]),
    /// Its alleged encoding.
    Bytes(&'a [u8]),
}

impl<'a> Input<'a> {
    fn read<T: Arbitrary<'a> + Decode<()>>(&self, max: usize) -> Option<T> {
        match self {
            Self::Value(choices) => T::arbitrary(&mut Unstructured::new(choices)).ok(),
            Self::Bytes(bytes) => codec::decode(bytes, max).ok(),
        }
    }
}

fn round_trip<'a, T>(input: &Input<'a>, max: usize)
where
    T: Arbitrary<'a> + Encode + Decode<()> + Debug + PartialEq,
{
    if let Some(value) = input.read::<T>(max) {
        check(&value, max);
    }
}

/// A value and its encoding determine each other; a byte more or less is an error.
fn check<T: Encode + Decode<()> + Debug + PartialEq>(value: &T, max: usize) {
    let mut bytes = codec::encode(value);
    if bytes.len() >= max {
        return;
    }
    assert_eq!(codec::decode::<T>(&bytes, max).as_ref(), Ok(value));
    assert!(codec::decode::<T>(&bytes[..bytes.len() - 1], max).is_err(), "truncated");
    bytes.push(0);
    assert!(codec::decode::<T>(&bytes, max).is_err(), "followed by a byte");
}

/// A session frame survives its parts.
fn in_parts(frame: &SessionFrame) {
    let mut assembly = Assembly::default();
    let mut joined = None;
    for part in parts(frame) {
        assert!(joined.is_none(), "only the last part completes the frame");
        joined = assembly.push(part).expect("parts that we made");
    }
    assert_eq!(joined.as_ref(), Some(frame));
}
