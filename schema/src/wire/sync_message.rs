//! Automerge sync messages of version 1: heads, needs and uncompressed changes, within a bound.
//!
//! A message is 0x42, heads, need, have, changes, and optional flags. Lists are a LEB128 count and their
//! items; hashes are 32 bytes; changes and flags are a LEB128 length and their bytes. Source: `sync.rs` of
//! automerge 0.12. Peerbase compares documents by version vectors, so it sends one empty `have` and ignores
//! the peer's.

use std::collections::BTreeSet;

use crate::change::bytes::{Bytes, write_uleb};
use crate::change::{CHANGE, COMPRESSED, Fault, MAGIC};
use crate::id::ChangeHash;
use crate::limits::{CHANGE_BYTES_MAX, SYNC_MESSAGE_BYTES_MAX};

const VERSION_1: u8 = 0x42;

/// A sync message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncMessage {
    /// The sender's heads.
    pub heads: Vec<ChangeHash>,
    /// Changes that the sender asks for.
    pub need: Vec<ChangeHash>,
    /// Uncompressed change chunks, to be checked by
    /// [`ChangeHeader::read`](crate::change::ChangeHeader::read).
    pub changes: Vec<Vec<u8>>,
}

/// The reason why bytes are not an accepted sync message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncMessageError {
    /// The message is longer than allowed.
    #[error("{got} bytes where at most {max} are allowed")]
    TooLong {
        /// Length, bytes.
        got: usize,
        /// Bound, bytes.
        max: usize,
    },
    /// The first byte is not 0x42; version 2 carries whole documents.
    #[error("sync message of kind {got:#04x}")]
    Version {
        /// First byte.
        got: u8,
    },
    /// A field ends early or a number is not canonical.
    #[error("malformed sync message: {0}")]
    Malformed(#[from] Fault),
    /// The change at `index` is compressed; peers send changes uncompressed.
    #[error("change {index} is compressed")]
    Compressed {
        /// Index in the message, from zero.
        index: usize,
    },
    /// The item at `index` is not a change chunk, or too long.
    #[error("item {index} is not a change")]
    NotAChange {
        /// Index in the message, from zero.
        index: usize,
    },
    /// Bytes follow the message.
    #[error("{extra} bytes after the end of the sync message")]
    TrailingBytes {
        /// Bytes left over.
        extra: usize,
    },
}

impl SyncMessage {
    /// Encodes the message as Automerge peers of version 1 read it; hashes are sorted.
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize = self.changes.iter().map(|change| change.len() + 10).sum();
        let mut out = Vec::with_capacity(64 + 32 * (self.heads.len() + self.need.len()) + bytes);
        out.push(VERSION_1);
        write_hashes(&mut out, &self.heads);
        write_hashes(&mut out, &self.need);
        // One `have`: synchronised at no hash, with an empty Bloom filter.
        out.extend([1, 0, 0]);
        write_uleb(&mut out, self.changes.len() as u64);
        for change in &self.changes {
            write_uleb(&mut out, change.len() as u64);
            out.extend(change);
        }
        out
    }

    /// Decodes a message of at most [`SYNC_MESSAGE_BYTES_MAX`] bytes. Claimed lengths are checked before they
    /// are allocated.
    ///
    /// # Errors
    /// [`SyncMessageError`].
    pub fn decode(message: &[u8]) -> Result<Self, SyncMessageError> {
        if message.len() > SYNC_MESSAGE_BYTES_MAX {
            return Err(SyncMessageError::TooLong { got: message.len(), max: SYNC_MESSAGE_BYTES_MAX });
        }
        let mut bytes = Bytes(message);
        let got = bytes.byte()?;
        if got != VERSION_1 {
            return Err(SyncMessageError::Version { got });
        }
        let heads = read_hashes(&mut bytes)?;
        let need = read_hashes(&mut bytes)?;
        for _ in 0..bytes.count(2)? {
            let last_sync = bytes.count(32)?;
            bytes.take(32 * last_sync as u64)?;
            bytes.prefixed()?;
        }
        let count = bytes.count(1)?;
        let mut changes = Vec::new();
        for index in 0..count {
            let chunk = bytes.prefixed()?;
            match chunk_type(chunk) {
                Some(CHANGE) if chunk.len() <= CHANGE_BYTES_MAX => changes.push(chunk.to_vec()),
                Some(COMPRESSED) => return Err(SyncMessageError::Compressed { index }),
                _ => return Err(SyncMessageError::NotAChange { index }),
            }
        }
        if !bytes.0.is_empty() {
            bytes.prefixed()?; // flags: features of the peer's Automerge
        }
        if !bytes.0.is_empty() {
            return Err(SyncMessageError::TrailingBytes { extra: bytes.0.len() });
        }
        Ok(Self { heads, need, changes })
    }
}

/// The type byte behind magic and checksum.
fn chunk_type(chunk: &[u8]) -> Option<u8> {
    chunk.strip_prefix(&MAGIC)?.get(4).copied()
}

fn write_hashes(out: &mut Vec<u8>, hashes: &[ChangeHash]) {
    let sorted: BTreeSet<_> = hashes.iter().collect();
    write_uleb(out, sorted.len() as u64);
    for hash in sorted {
        out.extend(hash.0);
    }
}

fn read_hashes(bytes: &mut Bytes<'_>) -> Result<Vec<ChangeHash>, Fault> {
    let count = bytes.count(32)?;
    (0..count).map(|_| bytes.hash().map(ChangeHash)).collect()
}
