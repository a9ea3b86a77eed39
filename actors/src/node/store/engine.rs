//! The traits of a storage engine: spaces of ordered keys, atomic batches, one durable barrier.
//!
//! Nothing above these traits names an engine. To add one, implement the three traits in a file beside this
//! one, test it with `conformance!` (see `store/conformance.rs`), and list it in `store.rs`.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::error::{OpenError, StoreError};

pub use schema::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Bytes of the checksum at the end of every stored value.
const CHECKSUM_BYTES: usize = 4;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Entries in key order from the front, in reverse order from the back. A damaged value is an error of that
/// entry alone; any other error ends the scan.
pub type Scan<'a> = Box<dyn DoubleEndedIterator<Item = Result<Entry, StoreError>> + Send + 'a>;

/// An engine with its options: opens the database in a folder.
pub trait OpenEngine: Send + Sync + 'static {
    /// Opens the database in `folder`, which is created if absent, readable by its owner alone, and locks it
    /// until the engine is dropped. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while it is open elsewhere, [`OpenError::Format`] or [`OpenError::Damaged`] if
    /// this engine cannot read the files; it changes none of them then.
    fn open_in(&self, folder: &Path) -> Result<Box<dyn Engine>, OpenError>;

    /// Returns true if `folder` holds a database, readable or not, or the beginning of one.
    ///
    /// Call it before the identity file is made, and make that before the database: an identity without a
    /// database is a new start, a database without its identity is a loss.
    fn exists_in(&self, folder: &Path) -> bool;

    /// The thread on which writes are performed.
    fn mode(&self) -> Mode {
        Mode::Threaded
    }
}

/// The thread on which writes are performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A thread of the store's own: for engines that wait for a disk.
    Threaded,
    /// The caller's thread, before `submit` returns unless another caller is performing writes: for engines
    /// in memory, and for simulations, which have one thread.
    Inline,
}

/// An open database of named spaces. Dropping the last reference closes it and frees its lock.
pub trait Engine: Send + Sync + 'static {
    /// Opens the space, which is empty if it did not exist. Equal names open the same space.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    fn open_space(&self, name: &[u8]) -> Result<Arc<dyn Space>, StoreError>;

    /// Removes the space and its entries; does nothing if there is none.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    fn drop_space(&self, name: &[u8]) -> Result<(), StoreError>;

    /// The names of all spaces, sorted.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    fn spaces(&self) -> Result<Vec<Vec<u8>>, StoreError>;

    /// A round of batches begins: those that were applied before were answered, as durable or as buffered.
    fn begin_round(&self) {}

    /// The barrier: every batch that was applied before survives a power cut once this returns.
    ///
    /// # Errors
    /// [`StoreError::Engine`]; the engine then refuses every write until it is opened again, and rolls back
    /// what was applied since the last barrier if it can.
    fn flush(&self) -> Result<(), StoreError>;

    /// Bytes that differ between these files and a copy of them, and stay equal when the files are moved;
    /// none if the system offers nothing of the kind. A copied database must not continue the incarnation of
    /// its original.
    fn file_identity(&self) -> Option<Vec<u8>> {
        None
    }
}

/// One ordered map of bytes. The store never calls `apply` while it reads the space; an engine need not guard
/// that.
pub trait Space: Send + Sync + 'static {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the checksum of this value is wrong.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The entries between the bounds; none if the bounds cross.
    fn scan<'a>(&'a self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan<'a>;

    /// Applies all of `batch` or, after a crash, none of it.
    ///
    /// # Errors
    /// [`StoreError::KeyTooLong`] and [`StoreError::ValueTooLong`] change nothing. After any other error the
    /// space may show a part of the batch until the engine is opened again.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;
}

/// One change of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets the value of a key.
    Put {
        /// At most [`KEY_BYTES_MAX`].
        key: Vec<u8>,
        /// At most [`VALUE_BYTES_MAX`].
        value: Vec<u8>,
    },
    /// Removes a key, which may be absent.
    Remove {
        /// At most [`KEY_BYTES_MAX`].
        key: Vec<u8>,
    },
}

impl Write {
    /// The key, and its new value if it is put.
    pub fn parts(&self) -> (&[u8], Option<&[u8]>) {
        match self {
            Self::Put { key, value } => (key, Some(value)),
            Self::Remove { key } => (key, None),
        }
    }
}

/// Puts and removes that happen together, in order: of several for one key the last wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put { key, value });
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes += key.len();
        self.writes.push(Write::Remove { key });
    }

    /// Appends the puts and removes of `later`.
    pub fn append(&mut self, mut later: Batch) {
        self.bytes += later.bytes;
        self.writes.append(&mut later.writes);
    }

    /// Keys and values together, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of puts and removes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Returns true if the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The puts and removes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Write> {
        self.writes.iter()
    }

    /// Checks the lengths of keys and values.
    ///
    /// # Errors
    /// [`StoreError::KeyTooLong`], [`StoreError::ValueTooLong`].
    pub fn check(&self) -> Result<(), StoreError> {
        for (key, value) in self.iter().map(Write::parts) {
            if key.len() > KEY_BYTES_MAX {
                return Err(StoreError::KeyTooLong { got: key.len(), max: KEY_BYTES_MAX });
            }
            let got = value.map_or(0, <[u8]>::len);
            if got > VALUE_BYTES_MAX {
                return Err(StoreError::ValueTooLong { got, max: VALUE_BYTES_MAX });
            }
        }
        Ok(())
    }
}

impl IntoIterator for Batch {
    type Item = Write;
    type IntoIter = std::vec::IntoIter<Write>;

    fn into_iter(self) -> Self::IntoIter {
        self.writes.into_iter()
    }
}

impl FromIterator<Write> for Batch {
    fn from_iter<I: IntoIterator<Item = Write>>(writes: I) -> Self {
        let mut batch = Self::default();
        for write in writes {
            match write {
                Write::Put { key, value } => batch.put(key, value),
                Write::Remove { key } => batch.remove(key),
            }
        }
        batch
    }
}

/// The bounds of all keys that begin with `prefix`.
pub fn prefix_bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    // The next key that does not begin with it: cut trailing 0xFF, then count the last byte up.
    let end = prefix.iter().rposition(|&byte| byte != 0xFF).map(|last| {
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        end
    });
    (Bound::Included(prefix.to_vec()), end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// Returns true if no key can lie between the bounds; ordered maps panic or misbehave on such bounds.
pub(super) fn bounds_cross(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// Appends a CRC-32 over key and value, which detects a value that moved or changed on disk.
pub(super) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(key, &value);
    value.extend_from_slice(&checksum);
    value
}

/// Removes the checksum; `None` if it is wrong.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (value, stored) = sealed.split_at_checked(sealed.len().checked_sub(CHECKSUM_BYTES)?)?;
    (checksum(key, value) == stored).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_without_it() {
        assert_eq!(prefix_bounds(b"ab").1, Bound::Excluded(b"ac".to_vec()));
        assert_eq!(prefix_bounds(b"a\xFF\xFF").1, Bound::Excluded(b"b".to_vec()));
        assert_eq!(prefix_bounds(b"\xFF").1, Bound::Unbounded);
        assert_eq!(prefix_bounds(b""), (Bound::Included(vec![]), Bound::Unbounded));
    }

    #[test]
    fn a_sealed_value_opens_only_under_its_own_key() {
        let sealed = seal(b"key", b"value".to_vec());
        assert_eq!(unseal(b"key", &sealed), Some(&b"value"[..]));
        assert_eq!(unseal(b"kez", &sealed), None);
        assert_eq!(unseal(b"key", &sealed[..sealed.len() - 1]), None);
        assert_eq!(unseal(b"key", b"abc"), None);
    }
}
