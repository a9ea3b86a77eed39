//! Any bytes are a link frame or are refused; what decodes, encodes to a frame that decodes alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::wire::link::LinkFrame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = LinkFrame::decode(bytes) {
        assert_eq!(LinkFrame::decode(&frame.encode()), Ok(frame));
    }
});
