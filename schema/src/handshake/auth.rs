//! Who speaks on a link: the device's certificate, and its signature over this very link.
//!
//! Authority 3.10. Bound are both ephemerals and static keys (by h), the protocol's version (in h, by the prologue),
//! the direction (role byte: nothing can be reflected), the device to its X25519 key (certificate), and the features
//! (nobody between can strike any out).

use super::{HandshakeError, LinkRole, PeerIdentity, Terms};
use crate::DeviceId;
use crate::device::DeviceIdentity;
use crate::key;
use crate::signed::Signed;
use crate::wire::auth::Auth;
use crate::wire::device::DeviceCert;

const KIND: &str = "handshake";

/// One link, as one side of it sees it.
#[derive(Clone, Copy)]
pub(super) struct Binding {
    /// Whose Auth.
    pub(super) role: LinkRole,
    pub(super) h: [u8; 32],
    /// The static key of whoever reads the Auth.
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

    /// Checks in the order of authority 3.10 that `peer_static` belongs to who speaks. Whether that one may be spoken
    /// to is for those above.
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
