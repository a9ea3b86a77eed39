//! Keys for signing, verifying and agreement. Secrets are wiped on drop and never printed.
//!
//! Ed25519 (RFC 8032) with strict verification, one signature at a time, because two devices must never
//! disagree about a signature (authority 3.0). X25519 (RFC 7748) for agreement.

use std::fmt;

use ed25519_dalek::Signer;

use crate::id::hash;

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// The error for a signature that does not belong to the payload and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature of {kind} does not verify")]
pub struct BadSignature {
    /// The kind of the record.
    pub kind: &'static str,
}

/// The signing key of a user or a device: 32 secret bytes, wiped on drop.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a key from 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The secret bytes, for the identity file alone.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The verifying key's bytes: a [`UserId`](crate::UserId) or [`DeviceId`](crate::DeviceId).
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `H(kind ‖ "-sig", payload)`.
    pub fn sign(&self, kind: &'static str, payload: &[u8]) -> Signature {
        Signature(self.0.sign(&signed_hash(kind, payload)).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

/// Checks that the holder of `public` signed `payload` as a record of `kind`.
///
/// # Errors
/// [`BadSignature`], also when `public` is no point of the curve or of small order.
pub fn verify(
    kind: &'static str,
    payload: &[u8],
    public: &[u8; 32],
    signature: &Signature,
) -> Result<(), BadSignature> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| BadSignature { kind })?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(&signed_hash(kind, payload), &signature).map_err(|_| BadSignature { kind })
}

fn signed_hash(kind: &str, payload: &[u8]) -> [u8; 32] {
    hash(&format!("{kind}-sig"), &[payload])
}

/// The X25519 key with which a device agrees on the secrets of a link: 32 secret bytes, wiped on drop.
#[derive(Clone)]
pub struct AgreementKey(x25519_dalek::StaticSecret);

impl AgreementKey {
    /// Makes a key from 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(seed.into())
    }

    /// The secret bytes, for the identity file and the handshake alone.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public key's bytes.
    pub fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&self.0).to_bytes()
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreementKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_kind_alone() {
        let key = SigningKey::from_seed([1; 32]);
        let signature = key.sign("op", b"payload");
        assert_eq!(verify("op", b"payload", &key.public(), &signature), Ok(()));
        assert!(verify("tip", b"payload", &key.public(), &signature).is_err());
        assert!(verify("op", b"payloae", &key.public(), &signature).is_err());
    }

    #[test]
    fn debug_output_of_a_key_shows_no_secret() {
        assert_eq!(format!("{:?}", SigningKey::from_seed([7; 32])), "SigningKey(secret)");
    }
}
