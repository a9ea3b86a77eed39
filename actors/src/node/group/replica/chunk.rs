//! Automerge's chunks, one after the other: magic, checksum, type, length, data.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, Change, LoadOptions, OnPartialLoad, ReadDoc, TextEncoding, VerificationMode};
use schema::ChangeHash;

use super::{LoadError, ours};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const DOCUMENT: u8 = 0;
const CHANGE: u8 = 1;

/// Bytes that are not the chunks they were taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged chunk at byte {at}: {what}")]
pub struct ChunkError {
    /// The offset of the chunk.
    pub at: usize,
    /// The fault.
    pub what: String,
}

/// Cuts bytes into whole chunks of the two types that we store.
fn split(bytes: &[u8]) -> Result<Vec<(u8, &[u8])>, ChunkError> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let wrong = |what: &str| ChunkError { at, what: what.to_owned() };
        let rest = &bytes[at..];
        let kind = *rest.get(8).ok_or_else(|| wrong("cut short"))?;
        if rest[..4] != MAGIC {
            return Err(wrong("no chunk begins here"));
        }
        if !matches!(kind, DOCUMENT | CHANGE) {
            return Err(wrong("neither a document nor an uncompressed change"));
        }
        let (length, used) = leb128(&rest[9..]).ok_or_else(|| wrong("length is no number"))?;
        let end = length
            .checked_add(9 + used)
            .filter(|end| *end <= rest.len())
            .ok_or_else(|| wrong("cut short"))?;
        chunks.push((kind, &rest[..end]));
        at += end;
    }
    Ok(chunks)
}

fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0u64;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, i + 1));
        }
    }
    None
}

/// Reads one uncompressed change chunk. Automerge itself ignores the checksum here and takes any length of
/// id.
pub(super) fn change(bytes: &[u8]) -> Result<Change, ChunkError> {
    let wrong = |what: String| ChunkError { at: 0, what };
    if !matches!(split(bytes)?.as_slice(), [(CHANGE, _)]) {
        return Err(wrong("one uncompressed change expected".to_owned()));
    }
    let change = Change::from_bytes(bytes.to_vec()).map_err(|error| wrong(error.to_string()))?;
    if change.hash().0[..4] != bytes[4..8] {
        return Err(wrong("checksum does not match".to_owned()));
    }
    if change.actor_id().to_bytes().len() != 32 {
        return Err(wrong("replica id is not 32 bytes long".to_owned()));
    }
    Ok(change)
}

/// A dependency that neither the document nor the changes themselves have.
pub(super) fn missing(doc: &Automerge, changes: &[Change]) -> Option<ChangeHash> {
    let brought: BTreeSet<_> = changes.iter().map(Change::hash).collect();
    let deps: BTreeSet<_> =
        changes.iter().flat_map(Change::deps).filter(|dep| !brought.contains(*dep)).collect();
    let deps: Vec<_> = deps.into_iter().copied().collect();
    doc.get_missing_deps(&deps).first().map(ours)
}

/// Loads document chunks and change chunks; one `apply_changes` for all that is not in the first document.
pub(super) fn load(slices: &[&[u8]]) -> Result<Automerge, LoadError> {
    let mut doc = None;
    let mut changes = BTreeMap::new();
    for slice in slices {
        for (kind, bytes) in split(slice)? {
            if kind == CHANGE {
                let change = change(bytes)?;
                changes.insert(change.hash(), change);
                continue;
            }
            let loaded = document(bytes)?;
            match doc {
                None => doc = Some(loaded),
                Some(_) => {
                    changes.extend(loaded.get_changes(&[]).into_iter().map(|change| (change.hash(), change)))
                }
            }
        }
    }
    let mut doc = doc.unwrap_or_else(|| Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint));
    let changes: Vec<_> = changes.into_values().collect();
    if let Some(missing) = missing(&doc, &changes) {
        return Err(LoadError::Missing { missing });
    }
    let failed = |error: automerge::AutomergeError| LoadError::Document { what: error.to_string() };
    if !changes.is_empty() {
        let hashes: Vec<_> = changes.iter().map(Change::hash).collect();
        doc.apply_changes(changes).map_err(failed)?;
        if let Some(missing) = doc.get_missing_deps(&hashes).first() {
            return Err(LoadError::Missing { missing: ours(missing) });
        }
    }
    Ok(doc)
}

fn document(bytes: &[u8]) -> Result<Automerge, LoadError> {
    let options = LoadOptions::new()
        .on_partial_load(OnPartialLoad::Error)
        .verification_mode(VerificationMode::Check)
        .text_encoding(TextEncoding::UnicodeCodePoint);
    let doc = Automerge::load_with_options(bytes, options)
        .map_err(|error| LoadError::Document { what: error.to_string() })?;
    match doc.get_changes_meta(&[]).iter().all(|meta| meta.actor.to_bytes().len() == 32) {
        true => Ok(doc),
        false => Err(ChunkError { at: 0, what: "replica id is not 32 bytes long".to_owned() }.into()),
    }
}
