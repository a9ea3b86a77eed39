//! Any bytes are a message of the control socket or are refused; what decodes, encodes to a message that
//! decodes alike.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use peerbase::control::{Answer, Greeting, Request, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn round_trip<T: Debug + PartialEq + Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = wire::decode::<T>(bytes) {
        let again = wire::encode(&message).expect("what fitted, fits");
        assert_eq!(wire::decode::<T>(&again).expect("what is written is read"), message);
    }
}

fuzz_target!(|json: &[u8]| {
    // The length in front: mutations spend themselves on the JSON.
    let length = u32::try_from(json.len()).expect("a short input");
    let bytes = [&length.to_be_bytes(), json].concat();
    round_trip::<Request>(&bytes);
    round_trip::<Answer>(&bytes);
    round_trip::<Greeting>(&bytes);
    // And any length.
    round_trip::<Request>(json);
});
