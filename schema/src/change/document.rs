//! The head of a document chunk: the same walk over deflated columns.

use super::bytes::Bytes;
use super::columns::{
    CHANGE_DEP, CHANGE_DEPS, CHANGE_EXTRA, CHANGE_EXTRA_META, CHANGE_MAX_OP, CHANGE_MESSAGE, CHANGE_REPLICA,
    CHANGE_SEQ, CHANGE_TIME, Columns, ID_COUNTER, ID_REPLICA, Layout, SUCCESSOR_COUNTER, SUCCESSOR_REPLICA,
    SUCCESSORS, Table,
};
use super::runs::Bounds;
use super::{ChangeError, DOCUMENT, Fault, Frame, hashes, no_more, ops, replica_id};
use crate::id::ChangeHash;
use crate::limits::{EXPANDED_TEXT_BYTES_MAX, INFLATED_BYTES_MAX, OP_COUNTER_MAX};

/// The header of a document chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentHeader {
    /// The heads that loading it must give, ascending.
    pub heads: Vec<ChangeHash>,
    /// The number of replicas with changes in the document.
    pub replicas: u64,
    /// The number of changes in the document.
    pub changes: u64,
    /// The number of ops in the document, without deletions.
    pub ops: u64,
    /// Successors of ops (deletions among them) and dependencies of changes: loading expands these too.
    pub links: u64,
}

/// Reads exactly one document chunk: frame and checksum, and all columns, inflated under one running budget.
///
/// Its counts are up to 2³¹ each: the caller charges them before Automerge loads the chunk. The changes in it
/// are vetted after loading, one by one.
///
/// # Errors
/// [`ChangeError`]: the chunk must not reach Automerge.
pub fn read_document(chunk: &[u8]) -> Result<DocumentHeader, ChangeError> {
    let (frame, rest) = Frame::read(chunk, DOCUMENT, INFLATED_BYTES_MAX)?;
    no_more(rest)?;

    let mut bytes = Bytes(frame.data);
    let replicas = bytes.count(33)?;
    let mut last = None;
    for _ in 0..replicas {
        let replica = replica_id(&mut bytes)?;
        if last >= Some(replica) {
            return Err(Fault::OutOfOrder.into());
        }
        last = Some(replica);
    }
    let heads = hashes(&mut bytes, "heads", usize::MAX)?;
    let change_table = Table::read(&mut bytes, Layout::DocumentChanges)?;
    let op_table = Table::read(&mut bytes, Layout::DocumentOps)?;

    let mut budget = INFLATED_BYTES_MAX;
    let replicas = replicas as u64;
    let bounds = Bounds { rows_max: OP_COUNTER_MAX, replicas, normal: false };
    let columns = change_table.measure(&mut bytes, &bounds, &mut budget)?;
    let (changes, dependencies) = count_changes(&columns)?;
    let columns = op_table.measure(&mut bytes, &bounds, &mut budget)?;
    let ops = ops::count(&columns)?.count;
    columns.full(ID_REPLICA, ops)?;
    columns.full(ID_COUNTER, ops)?;
    let successors = ops::group(&columns, SUCCESSORS, &[SUCCESSOR_REPLICA, SUCCESSOR_COUNTER], ops)?;

    // The place of each head among the changes; older writers leave it out.
    if !bytes.0.is_empty() {
        for _ in &heads {
            if bytes.uleb()? >= changes {
                return Err(Fault::OutOfRange.into());
            }
        }
    }
    no_more(bytes.0)?;

    let links = successors.saturating_add(dependencies);
    Ok(DocumentHeader { heads, replicas, changes, ops, links })
}

fn count_changes(columns: &Columns<'_>) -> Result<(u64, u64), ChangeError> {
    let changes = columns.of(CHANGE_REPLICA).rows;
    for column in [CHANGE_REPLICA, CHANGE_SEQ, CHANGE_MAX_OP, CHANGE_TIME] {
        columns.full(column, changes)?;
    }
    let text = columns.some_rows(CHANGE_MESSAGE, changes)?.sum;
    if text > EXPANDED_TEXT_BYTES_MAX {
        let max = EXPANDED_TEXT_BYTES_MAX;
        return Err(ChangeError::TooMany { what: "bytes of messages", got: text, max });
    }
    let extra = columns.some_rows(CHANGE_EXTRA_META, changes)?.sum;
    columns.all_rows(CHANGE_EXTRA, extra)?;
    Ok((changes, ops::group(columns, CHANGE_DEPS, &[CHANGE_DEP], changes)?))
}
