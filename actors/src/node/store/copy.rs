//! A copy of what is stored, made while the store is in use.
//!
//! Each space is copied as of one moment: its shared lock is held from its first entry to its last, so that memory stays
//! bounded however large it is. Reads go on meanwhile; writes wait, those of other spaces too, since there is one
//! writer: about as long as reading the space takes.

use std::path::Path;

use super::engine::{Batch, Engine};
use super::sled::{SledEngine, SledOptions};
use super::{OpenError, StoreError, StoreHandle};

/// Entries of one write to the copy, bytes: what a copy holds in memory.
const BATCH_BYTES: usize = 1 << 20;
/// What the copy's engine may cache, bytes: it reads nothing back.
const CACHE_BYTES: u64 = 16 << 20;

/// What a copy holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Keys and values, bytes.
    pub bytes: u64,
    /// Entries that are damaged: empty in the copy, so that they are damaged there too.
    pub damaged: u64,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The copy could not be made.
    #[error("copy was not opened")]
    Open(#[from] OpenError),
    /// The store could not be read.
    #[error("store was not read")]
    Read(#[source] StoreError),
    /// The copy could not be written.
    #[error("copy was not written")]
    Write(#[source] StoreError),
}

impl StoreHandle {
    /// Copies spaces, in this order, into a new database in `path`, which is durable when this returns; `take` is
    /// shown the name of each space and each key, and says what is copied. Blocks: call it off the runtime.
    ///
    /// What refers to other spaces comes first: what it refers to is then in the copy. Writes of this store wait while a
    /// space is copied, as long as reading it takes.
    ///
    /// # Errors
    /// [`CopyError`]; what there is of the copy is of no use then. [`StoreError::Closed`] when the store closes meanwhile.
    pub fn copy_to(
        &self,
        path: &Path,
        first: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Copied, CopyError> {
        let target = SledEngine::open(path, &SledOptions { cache_bytes: CACHE_BYTES })?;
        let mut copied = Copied::default();
        self.copy_space(&target, first, &mut take, &mut copied)?;
        for name in self.spaces().map_err(CopyError::Read)?.iter().filter(|name| *name != first) {
            match self.copy_space(&target, name, &mut take, &mut copied) {
                Err(CopyError::Read(StoreError::Dropped { .. })) => {}
                other => other?,
            }
        }
        target.flush().map_err(CopyError::Write)?;
        Ok(copied)
    }

    fn copy_space(
        &self,
        target: &SledEngine,
        name: &[u8],
        take: &mut impl FnMut(&[u8], &[u8]) -> bool,
        copied: &mut Copied,
    ) -> Result<(), CopyError> {
        let source = self.space(name).map_err(CopyError::Read)?;
        let space = target.open_space(name).map_err(CopyError::Write)?;
        let mut write = |batch: &mut Batch| {
            copied.bytes += batch.bytes() as u64;
            space.apply(&std::mem::take(batch)).map_err(CopyError::Write)
        };
        let copying = source.read(|view| {
            let mut batch = Batch::default();
            for entry in view.prefix(&[]) {
                let (key, value) = match entry {
                    Err(StoreError::Damaged { key, .. }) => {
                        copied.damaged += 1;
                        (key, Vec::new())
                    }
                    entry => entry.map_err(CopyError::Read)?,
                };
                if take(name, &key) {
                    batch.put(key, value);
                }
                if batch.bytes() >= BATCH_BYTES {
                    write(&mut batch)?;
                    // Closing waits for who reads.
                    if self.inner.shared.is_closing() {
                        return Err(CopyError::Read(StoreError::Closed));
                    }
                }
            }
            write(&mut batch)
        });
        copying.map_err(CopyError::Read)?
    }
}
