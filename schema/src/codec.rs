//! The encoding of every frame and record; the only caller of bincode.
//!
//! It is bincode 2, little endian, with variable-length integers. Decoding is strict: at most `max` bytes, no
//! trailing bytes, and the claimed length of a collection is charged before it is allocated.

use crate::limits::{STORED_CLAIM_BYTES_MAX, WIRE_CLAIM_BYTES_MAX};
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

type Config<const N: usize> = Configuration<LittleEndian, Varint, Limit<N>>;

fn config<const N: usize>() -> Config<N> {
    bincode::config::standard().with_limit::<N>()
}

/// The reason why bytes are not a record of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes exceed the bound of the record.
    #[error("{got} bytes where at most {max} are allowed")]
    TooLong {
        /// Length, bytes.
        got: usize,
        /// Bound, bytes.
        max: usize,
    },
    /// Bytes follow the record.
    #[error("{extra} bytes after the end of the record")]
    TrailingBytes {
        /// The number of bytes beyond the record.
        extra: usize,
    },
    /// The bytes end early, name an unknown variant, or claim more memory than allowed.
    #[error("malformed record: {what}")]
    Malformed {
        /// The fault, as bincode describes it.
        what: String,
    },
}

/// Encodes a record.
pub fn encode<T: Encode>(record: &T) -> Vec<u8> {
    bincode::encode_to_vec(record, bincode::config::standard()).expect("encoding to memory cannot fail")
}

/// Decodes a record that came from a peer, at most `max` bytes long.
///
/// # Errors
/// [`DecodeError`]; a decoder never allocates more than `WIRE_CLAIM_BYTES_MAX`.
pub fn decode<T: Decode<()>>(bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { got: bytes.len(), max });
    }
    finish(bytes, bincode::decode_from_slice(bytes, config::<WIRE_CLAIM_BYTES_MAX>()))
}

/// Decodes a record of our own store.
///
/// # Errors
/// [`DecodeError`] when the record is damaged.
pub fn decode_stored<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    finish(bytes, bincode::decode_from_slice(bytes, config::<STORED_CLAIM_BYTES_MAX>()))
}

fn finish<T>(
    bytes: &[u8],
    decoded: Result<(T, usize), bincode::error::DecodeError>,
) -> Result<T, DecodeError> {
    match decoded {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        Ok((_, used)) => Err(DecodeError::TrailingBytes { extra: bytes.len() - used }),
        Err(error) => Err(DecodeError::Malformed { what: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_an_error() {
        assert_eq!(decode::<u8>(&[7, 8], 9), Err(DecodeError::TrailingBytes { extra: 1 }));
    }

    #[test]
    fn a_claimed_length_is_refused_before_it_is_allocated() {
        let claim = encode(&u64::MAX);
        assert!(matches!(decode::<Vec<u8>>(&claim, 64), Err(DecodeError::Malformed { .. })));
    }
}
