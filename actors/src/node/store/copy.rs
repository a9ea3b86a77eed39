//! Copies the stored spaces into another database while the store is in use.
//!
//! Each space is copied as of one moment: its shared lock is held from its first entry to its last, so that
//! memory stays bounded however large the space is. Reads continue meanwhile. Writes wait, to other spaces
//! too since there is one writer, about as long as reading the space takes.

use std::path::Path;

use super::engine::{Batch, Engine, OpenEngine};
use super::{OpenError, StoreError, StoreHandle};

/// Entries of one write to the copy, bytes: the memory that a copy holds.
const BATCH_BYTES: usize = 1 << 20;

/// The size of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Keys and values, bytes.
    pub bytes: u64,
    /// Entries that are damaged. The copy has them with empty values, which the layers above find damaged
    /// too.
    pub damaged: u64,
}

/// Error of making a copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The database of the copy was not opened.
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
    /// Copies spaces into a new database in `folder`, which is durable when this returns. `filter` receives
    /// the name of each space and each key and returns true for the entries to copy. Blocks: call it off the
    /// runtime.
    ///
    /// The space `first` is copied before the others: a space that refers to others comes first, so that the
    /// copy has what it refers to. Writes to this store wait while a space is copied, about as long as
    /// reading it takes.
    ///
    /// # Errors
    /// [`CopyError`]; the copy is then unusable. [`StoreError::Closed`] if the store closes meanwhile.
    pub fn copy_to(
        &self,
        folder: &Path,
        engine: &dyn OpenEngine,
        first: &[u8],
        mut filter: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Copied, CopyError> {
        let target = engine.open_in(folder)?;
        let mut copied = Copied::default();
        self.copy_space(&*target, first, &mut filter, &mut copied)?;
        for name in self.spaces().map_err(CopyError::Read)?.iter().filter(|name| *name != first) {
            match self.copy_space(&*target, name, &mut filter, &mut copied) {
                Err(CopyError::Read(StoreError::Dropped { .. })) => {}
                other => other?,
            }
        }
        target.flush().map_err(CopyError::Write)?;
        Ok(copied)
    }

    fn copy_space(
        &self,
        target: &dyn Engine,
        name: &[u8],
        filter: &mut impl FnMut(&[u8], &[u8]) -> bool,
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
                if filter(name, &key) {
                    batch.put(key, value);
                }
                if batch.bytes() >= BATCH_BYTES {
                    write(&mut batch)?;
                    // Closing waits for this read to end.
                    if self.inner.shared.queue.is_closing() {
                        return Err(CopyError::Read(StoreError::Closed));
                    }
                }
            }
            write(&mut batch)
        });
        copying.map_err(CopyError::Read)?
    }
}
