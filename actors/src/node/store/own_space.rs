//! The store's own space: whether the last close was clean, the count of ends that may have lost writes, and
//! the identity of the files at the last open.

use std::sync::Arc;

use super::engine::{Batch, Engine, Space};
use super::error::StoreError;

/// The name of the store's own space; names that begin with NUL are reserved for it.
pub(super) const OWN_SPACE: &[u8] = b"\0store";
/// [`STATE_OPEN`], [`STATE_BUFFERED`] or [`STATE_CLOSED`].
pub(super) const STATE_KEY: &[u8] = b"state";
/// Opens before which writes may have been lost after they were answered; 8 bytes big-endian.
const LOSSES_KEY: &[u8] = b"losses";
/// The identity of the files at the last open ([`Engine::file_identity`]).
const FILE_IDENTITY_KEY: &[u8] = b"place";
/// Open: every write that was answered is durable.
const STATE_OPEN: &[u8] = b"open";
/// Open: writes were answered that may not be durable.
const STATE_BUFFERED: &[u8] = b"buffered";
const STATE_CLOSED: &[u8] = b"closed";

/// The state that an open found.
pub(super) struct OpenState {
    pub(super) space: Arc<dyn Space>,
    /// The last close was clean, or there was none.
    pub(super) cleanly: bool,
    /// Opens, with this one, before which answered writes may have been lost, or that were of a copy.
    pub(super) losses: u64,
}

/// Reads how the last close went and notes durably that the database is open, before any other write.
pub(super) fn note_open(engine: &dyn Engine) -> Result<OpenState, StoreError> {
    let space = engine.open_space(OWN_SPACE)?;
    // Without a record nothing was ever written. A damaged record leaves unknown what else was lost.
    let (cleanly, is_whole) = match read(&*space, STATE_KEY)? {
        Record::Absent => (true, true),
        Record::Present(state) => (state == STATE_CLOSED, state == STATE_CLOSED || state == STATE_OPEN),
        Record::Damaged => (false, false),
    };
    let losses = match read(&*space, LOSSES_KEY)? {
        Record::Present(count) => count.try_into().map_or(0, u64::from_be_bytes),
        // The count before the damage is unknown: counting starts again, with one loss.
        Record::Absent | Record::Damaged => 0,
    };
    let identity = engine.file_identity();
    let is_copy = match read(&*space, FILE_IDENTITY_KEY)? {
        Record::Present(before) => identity.as_ref().is_some_and(|identity| *identity != before),
        Record::Absent => false,
        Record::Damaged => true,
    };
    let losses = if is_whole && !is_copy { losses } else { losses + 1 };

    let mut batch = Batch::default();
    batch.put(STATE_KEY, STATE_OPEN);
    if let Some(identity) = identity {
        batch.put(FILE_IDENTITY_KEY, identity);
    }
    batch.put(LOSSES_KEY, losses.to_be_bytes());
    space.apply(&batch)?;
    engine.flush()?;
    Ok(OpenState { space, cleanly, losses })
}

/// Notes that writes are answered from now on that may not be durable; durable after the next flush.
pub(super) fn note_buffered(space: &dyn Space) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put(STATE_KEY, STATE_BUFFERED);
    space.apply(&batch)
}

/// Notes that the close was clean; durable after the next flush.
pub(super) fn note_clean_close(space: &dyn Space) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put(STATE_KEY, STATE_CLOSED);
    space.apply(&batch)
}

enum Record {
    Absent,
    Present(Vec<u8>),
    Damaged,
}

fn read(space: &dyn Space, key: &[u8]) -> Result<Record, StoreError> {
    match space.get(key) {
        Ok(None) => Ok(Record::Absent),
        Ok(Some(value)) => Ok(Record::Present(value)),
        Err(StoreError::Damaged { .. }) => Ok(Record::Damaged),
        Err(other) => Err(other),
    }
}
