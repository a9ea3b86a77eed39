//! The first record each way: a device proves its identity on this link.

use bincode::{Decode, Encode};

use crate::key::Signature;
use crate::signed::Envelope;

/// Proves who speaks on a link: the first record each way, and the only one before both have passed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Auth {
    /// A signed [`DeviceCert`](crate::wire::device::DeviceCert).
    pub certificate: Envelope,
    /// Of the device revocations that the sender knows; zeros where it does not say.
    pub revocations: [u8; 32],
    /// What the sender can do beyond version 1, a bit each; unknown ones mean nothing.
    pub features: u64,
    /// By the device, over role byte ‖ h ‖ device ‖ peer's static key ‖ features (big endian).
    pub signature: Signature,
}
