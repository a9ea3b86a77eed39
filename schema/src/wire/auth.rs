//! The Auth frame: the first record in each direction of a link.

use bincode::{Decode, Encode};

use crate::key::Signature;
use crate::signed::Envelope;

/// Proves the sender's identity on this link. No other frame is accepted before both sides have passed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Auth {
    /// The sender's signed [`DeviceCert`](super::device::DeviceCert).
    pub certificate: Envelope,
    /// Digest of the device revocations that the sender knows; zeros where it does not tell.
    pub revocations: [u8; 32],
    /// Optional features of the sender beyond version 1, one bit each; unknown bits are ignored.
    pub features: u64,
    /// Signature by the device over role byte ‖ h ‖ device ‖ receiver's static key ‖ features (u64, big
    /// endian).
    pub signature: Signature,
}
