//! Records: the encrypted pieces of a link's byte stream after the handshake.
//!
//! A record is its content and a tag of 16 bytes, at most [`RECORD_BYTES_MAX`] together. The number of a
//! record in its direction is part of the seal, so that records cannot be dropped, repeated or reordered.
//! After every [`REKEY_RECORDS`] both sides derive the next key, from which the previous one cannot be
//! recovered.

use std::fmt;

use super::resolver::{AesGcm, TAG_BYTES, Tampered};
use crate::limits::{LINK_BYTES_MAX, RECORD_BYTES_MAX, REKEY_RECORDS};

/// Bytes that sealing adds to the content.
pub const RECORD_TAG_BYTES: usize = TAG_BYTES;

/// The reason why a record cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The length is impossible: no content, or above the bound.
    #[error("record of {got} bytes")]
    Length {
        /// Length, bytes.
        got: usize,
    },
    /// The record is not the peer's next one: it is changed, missing, repeated or forged.
    #[error("record does not open")]
    Tampered,
    /// The keys have sealed as much as they may; a new link has fresh ones.
    #[error("keys of the link are worn")]
    Worn,
}

/// Seals or opens the records of one direction, in order.
pub struct RecordCipher {
    cipher: AesGcm,
    /// Number of the next record.
    number: u64,
    bytes: u64,
}

/// The ciphers of both directions of a link.
#[derive(Debug)]
pub struct Records {
    /// Seals records to the peer.
    pub send: RecordCipher,
    /// Opens records of the peer.
    pub receive: RecordCipher,
}

impl RecordCipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { cipher: AesGcm::new(key), number: 0, bytes: 0 }
    }

    /// Seals the next record in place, and returns the tag, which follows the content.
    ///
    /// # Errors
    /// [`RecordError::Length`] without content or with too much, [`RecordError::Worn`].
    pub fn seal(&mut self, content: &mut [u8]) -> Result<[u8; RECORD_TAG_BYTES], RecordError> {
        self.check(content.len() + TAG_BYTES)?;
        let tag = self.cipher.seal(self.number, &[], content);
        self.advance(content.len());
        Ok(tag)
    }

    /// Opens the next record in place, and returns its content.
    ///
    /// # Errors
    /// [`RecordError`]; the link is then over, since the order of further records cannot be trusted.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [u8], RecordError> {
        self.check(record.len())?;
        let (content, tag) = record.split_last_chunk_mut().expect("its length was checked");
        self.cipher.open(self.number, &[], content, tag).map_err(|Tampered| RecordError::Tampered)?;
        self.advance(content.len());
        Ok(content)
    }

    fn check(&self, got: usize) -> Result<(), RecordError> {
        if !(TAG_BYTES + 1..=RECORD_BYTES_MAX).contains(&got) {
            return Err(RecordError::Length { got });
        }
        if self.bytes >= LINK_BYTES_MAX { Err(RecordError::Worn) } else { Ok(()) }
    }

    fn advance(&mut self, bytes: usize) {
        self.number += 1;
        self.bytes += u64::try_from(bytes).expect("a record is small");
        if self.number.is_multiple_of(REKEY_RECORDS) {
            self.cipher = self.cipher.next();
        }
    }
}

impl fmt::Debug for RecordCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordCipher(secret, {} records)", self.number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (RecordCipher, RecordCipher) {
        (RecordCipher::new(&[7; 32]), RecordCipher::new(&[7; 32]))
    }

    fn seal(cipher: &mut RecordCipher, content: &[u8]) -> Vec<u8> {
        let mut record = content.to_vec();
        let tag = cipher.seal(&mut record).unwrap();
        [record, tag.to_vec()].concat()
    }

    #[test]
    fn records_open_in_order_alone() {
        let (mut ada, mut ben) = pair();
        let [mut one, mut two] = [b"one", b"two"].map(|word| seal(&mut ada, word));

        assert_eq!(ben.open(&mut two.clone()), Err(RecordError::Tampered), "one was left out");
        assert_eq!(ben.open(&mut one.clone()).unwrap(), b"one");
        assert_eq!(ben.open(&mut one), Err(RecordError::Tampered), "it comes a second time");
        assert_eq!(ben.open(&mut two).unwrap(), b"two");
    }

    #[test]
    fn lengths_that_no_record_has_are_refused() {
        let (mut ada, mut ben) = pair();
        let most = RECORD_BYTES_MAX - TAG_BYTES;
        assert_eq!(ada.seal(&mut []), Err(RecordError::Length { got: 16 }));
        assert_eq!(ada.seal(&mut vec![0; most + 1]), Err(RecordError::Length { got: 65_536 }));
        for got in [0, 15, 16, 65_536] {
            assert_eq!(ben.open(&mut vec![0; got]), Err(RecordError::Length { got }));
        }
        let mut largest = seal(&mut ada, &vec![5; most]);
        assert_eq!(ben.open(&mut largest).unwrap(), vec![5; most]);
    }

    #[test]
    fn both_sides_go_on_to_the_next_key_at_the_same_record() {
        let (mut ada, mut ben) = pair();
        let first_key = AesGcm::new(&[7; 32]);
        for number in 0..2 * REKEY_RECORDS + 2 {
            let mut record = seal(&mut ada, &number.to_be_bytes());
            let mut copy = record.clone();
            let (content, tag) = copy.split_last_chunk_mut().unwrap();
            let old_key = first_key.open(number, &[], content, tag).is_ok();
            assert_eq!(old_key, number < REKEY_RECORDS, "record {number}");
            assert_eq!(ben.open(&mut record).unwrap(), number.to_be_bytes());
        }
    }

    #[test]
    fn worn_keys_seal_and_open_nothing_more() {
        let (mut ada, mut ben) = pair();
        ada.bytes = LINK_BYTES_MAX - 1;
        let mut last = seal(&mut ada, b"last");
        assert_eq!(ada.seal(&mut [1]), Err(RecordError::Worn));
        ben.bytes = LINK_BYTES_MAX;
        assert_eq!(ben.open(&mut last), Err(RecordError::Worn));
    }

    #[test]
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", pair().0), "RecordCipher(secret, 0 records)");
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(
            content in prop::collection::vec(any::<u8>(), 1..300),
            bit in any::<prop::sample::Index>(),
        ) {
            let (mut ada, mut ben) = pair();
            let mut record = seal(&mut ada, &content);
            let bit = bit.index(record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(ben.open(&mut record), Err(RecordError::Tampered));
        }
    }
}
