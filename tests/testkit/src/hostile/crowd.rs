//! Keys without number: devices of one user, and strangers, each with a device of its own.

use schema::device::DeviceIdentity;

use crate::identity::device_of;

/// Devices of one user, each certified, beginning with its `first`.
pub fn devices(user: u8, first: u32) -> impl Iterator<Item = DeviceIdentity> {
    (first..).map(move |number| device_of(&[user], &[&[user][..], &number.to_be_bytes()].concat()))
}

/// Users unknown to every node.
pub fn strangers() -> impl Iterator<Item = DeviceIdentity> {
    (0_u32..).map(|number| {
        let seed = [b"stranger", &number.to_be_bytes()[..]].concat();
        device_of(&seed, &seed)
    })
}
