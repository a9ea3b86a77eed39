//! A peer that says anything at any step of a handshake proves nothing and breaks nothing.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use schema::device::DeviceIdentity;
use schema::handshake::{Handshake, Terms};
use schema::key::{AgreementKey, SigningKey};

fn device(seed: u8) -> DeviceIdentity {
    let key = |add| SigningKey::from_seed([seed + add; 32]);
    DeviceIdentity::certify(&key(0), key(50), AgreementKey::from_seed([seed + 99; 32]), "laptop")
}

// The first byte says which of the five messages on their way is another than the one that was sent, and how:
// bits are flipped, or it is replaced by the rest of the input.
fuzz_target!(|input: (u8, bool, Vec<u8>)| {
    let (at, replace, bytes) = input;
    let (mut ada, first) = Handshake::initiator(device(1), Terms::default(), [1; 32], None);
    let mut ben = Handshake::responder(device(2), Terms::default(), [2; 32]);
    let (mut queue, mut sent, mut through) = (VecDeque::from([(true, first)]), 0, [false; 2]);
    let mut changed = false;
    while let Some((to_ben, mut message)) = queue.pop_front() {
        if sent == at % 5 {
            let honest = message.clone();
            if replace {
                message = bytes.clone();
            } else {
                message.iter_mut().zip(&bytes).for_each(|(byte, flip)| *byte ^= flip);
            }
            changed = message != honest;
        }
        sent += 1;
        let machine = if to_ben { &mut ben } else { &mut ada };
        if let Ok(step) = machine.step(&message) {
            queue.extend(step.send.into_iter().map(|message| (!to_ben, message)));
            through[usize::from(to_ben)] |= step.established.is_some();
        }
    }
    // Ada hears last: she is never deceived.
    assert_eq!(through[0], !changed);
});
