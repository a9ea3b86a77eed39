//! A payload with its verified signature; an unverified one cannot be held.
//!
//! Shape: the payload bytes as received, then 64 bytes of signature. The bytes are what is hashed and signed; they
//! are decoded strictly and never encoded again. An id excludes the signature.

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::id::hash;
use crate::key::{self, BadSignature, Signature, SigningKey};

/// A payload and a signature that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Envelope {
    /// The record, encoded by its author.
    pub payload: Vec<u8>,
    /// By the key that the record names.
    pub signature: Signature,
}

/// A record that names the key which must have signed it.
pub trait Record: Encode + Decode<()> {
    /// The hash domain of its id and signature.
    const KIND: &'static str;
    /// Payload bytes.
    const BYTES_MAX: usize;
    /// The verifying key that must have signed it.
    ///
    /// # Errors
    /// A record that carries its own proof (a certificate) may fail to prove it.
    fn signer(&self) -> Result<[u8; 32], SignedError>;
}

/// Why an envelope is not the signed record that it claims to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// The payload is not such a record.
    #[error("payload is not a {kind}")]
    Payload {
        /// The kind that was expected.
        kind: &'static str,
        /// What is wrong with the bytes.
        #[source]
        cause: DecodeError,
    },
    /// The signature is not by the key that the record names.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The device's certificate is by another user or for another device.
    #[error("certificate does not belong to the signer")]
    Certificate,
}

/// A record whose signature was verified, with the bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    record: T,
    envelope: Envelope,
}

impl<T: Record> Signed<T> {
    /// Signs a record of our own.
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

    /// `H(kind, payload)`: the id of the record, whoever signed it.
    pub fn id(&self) -> [u8; 32] {
        hash(T::KIND, &[&self.envelope.payload])
    }

    /// What crosses the wire and lies in the store.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The record itself.
    pub fn record(&self) -> &T {
        &self.record
    }
}
