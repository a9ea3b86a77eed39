//! The rules of the Auth frame: a device proves its identity by its certificate and a signature over this
//! link.
//!
//! Authority 3.10. The signature binds both ephemeral and static keys and the protocol version (by h), the
//! direction (by the role byte, so that it cannot be reflected) and the features (so that they cannot be
//! removed on the way). The certificate binds the device to its X25519 key.

use super::{HandshakeError, LinkRole, PeerIdentity, Terms};
use crate::DeviceId;
use crate::device::DeviceIdentity;
use crate::key;
use crate::signed::Signed;
use crate::wire::auth::Auth;
use crate::wire::device::DeviceCert;

const KIND: &str = "handshake";

/// The parts of a link that an Auth is bound to.
#[derive(Clone, Copy)]
pub(super) struct Binding {
    /// Role of the sender.
    pub(super) role: LinkRole,
    pub(super) h: [u8; 32],
    /// Static key of the receiver.
    pub(super) reader_static: [u8; 32],
}

impl Binding {
    fn proof(&self, device: DeviceId, features: u64) -> Vec<u8> {
        let Self { role, h, reader_static } = self;
        [&[role.byte()][..], h, device.as_bytes(), reader_static, &features.to_be_bytes()].concat()
    }
}

impl Auth {
    pub(super) fn sign(identity: &DeviceIdentity, terms: &Terms, binding: Binding) -> Self {
        let proof = binding.proof(identity.device(), terms.features);
        Self {
            certificate: identity.certificate.envelope().clone(),
            revocations: terms.revocations,
            features: terms.features,
            signature: identity.signing.sign(KIND, &proof),
        }
    }

    /// Checks in the order of authority 3.10 that `peer_static` belongs to the sender. The gate decides if
    /// the sender is allowed.
    pub(super) fn check(
        self,
        binding: Binding,
        peer_static: &[u8; 32],
    ) -> Result<PeerIdentity, HandshakeError> {
        let certificate =
            Signed::<DeviceCert>::verify(self.certificate).map_err(HandshakeError::Certificate)?;
        let DeviceCert { user, device, agreement, .. } = *certificate.record();
        if agreement != *peer_static {
            return Err(HandshakeError::StaticKey);
        }
        let proof = binding.proof(device, self.features);
        key::verify(KIND, &proof, device.as_bytes(), &self.signature).map_err(HandshakeError::Signature)?;
        let Self { revocations, features, .. } = self;
        Ok(PeerIdentity { user, device, certificate, revocations, features })
    }
}
