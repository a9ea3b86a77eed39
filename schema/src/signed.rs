//! Signed records: a payload and its signature. A [`Signed`] record is always verified.
//!
//! An envelope is the payload bytes as received, then 64 bytes of signature. The received bytes are hashed
//! and verified; they are decoded strictly and never encoded again. The id of a record excludes the
//! signature.

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::id::hash;
use crate::key::{self, BadSignature, Signature, SigningKey};

/// A payload and a signature, not verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Envelope {
    /// The record as its author encoded it.
    pub payload: Vec<u8>,
    /// Signature by the key that the record names.
    pub signature: Signature,
}

/// A record that names the key that signs it.
pub trait Record: Encode + Decode<()> {
    /// The hash domain of its id and signature.
    const KIND: &'static str;
    /// Longest payload, bytes.
    const BYTES_MAX: usize;
    /// Returns the verifying key of the signer.
    ///
    /// # Errors
    /// When the record violates a rule of its kind, or carries an invalid certificate.
    fn signer(&self) -> Result<[u8; 32], SignedError>;
}

/// The reason why an envelope is not a valid signed record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// The payload is not a record of the expected kind.
    #[error("payload is not a {kind}")]
    Payload {
        /// The expected kind.
        kind: &'static str,
        /// The fault of the payload.
        #[source]
        cause: DecodeError,
    },
    /// The signature is not by the key that the record names.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The certificate is signed by another user, or for another device.
    #[error("certificate does not belong to the signer")]
    Certificate,
}

/// A record whose signature is verified, with the signed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    record: T,
    envelope: Envelope,
}

impl<T: Record> Signed<T> {
    /// Signs a record.
    pub fn sign(record: T, key: &SigningKey) -> Self {
        let payload = codec::encode(&record);
        debug_assert!(payload.len() <= T::BYTES_MAX, "{} of {} bytes", T::KIND, payload.len());
        let signature = key.sign(T::KIND, &payload);
        Self { record, envelope: Envelope { payload, signature } }
    }

    /// Decodes and verifies a record of a peer.
    ///
    /// # Errors
    /// [`SignedError`]; an unverified record is never returned.
    pub fn verify(envelope: Envelope) -> Result<Self, SignedError> {
        let record: T = codec::decode(&envelope.payload, T::BYTES_MAX)
            .map_err(|cause| SignedError::Payload { kind: T::KIND, cause })?;
        key::verify(T::KIND, &envelope.payload, &record.signer()?, &envelope.signature)?;
        Ok(Self { record, envelope })
    }

    /// Returns `H(kind, payload)`, the id of the record.
    pub fn id(&self) -> [u8; 32] {
        hash(T::KIND, &[&self.envelope.payload])
    }

    /// Returns the envelope, as it is sent and stored.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the record.
    pub fn record(&self) -> &T {
        &self.record
    }
}
