//! The name of a group's space: `g` and the id. Its keys: a tag byte, then fixed-width parts (rows:
//! `group/rows.rs`).

use schema::{DocumentId, GroupId};

use super::store::{SpaceHandle, StoreError};

/// (device, grant, judgement) by number; 4 bytes big-endian.
pub(crate) const AUTHOR: u8 = b'a';
/// A run of changes beside a document record; document id, number 4 bytes big-endian.
pub(crate) const CHUNK: u8 = b'c';
/// Document records by id.
pub(crate) const DOCUMENT: u8 = b'd';
/// The hashes of a manifest's pages, by its root.
pub(crate) const MANIFEST: u8 = b'f';
/// Pages of manifests, by hash.
pub(crate) const PAGE: u8 = b'g';
/// The index author → documents: author number, incarnation, document; no value.
pub(crate) const WRITTEN: u8 = b'i';
/// The changes of a document that are set aside, by document.
pub(crate) const SET_ASIDE_CHANGES: u8 = b'k';
/// The summary of the changes of a document that are set aside, by document.
pub(crate) const SET_ASIDE: u8 = b'q';
/// Membership ops and when each was taken in, milliseconds; by position: 8 bytes big-endian, in causal order.
pub(crate) const OP: u8 = b'o';
/// Device certificates, by id.
pub(crate) const CERTIFICATE: u8 = b'p';
/// Device revocations by their users, by id.
pub(crate) const REVOCATION: u8 = b'v';

/// Device records, by device.
pub(crate) const RECORD: u8 = b'w';

/// Single facts have keys under `m`. The incarnation under which this device writes: the losses of the store
/// when it was drawn, then itself; 8 bytes big-endian each.
pub(crate) const INCARNATION: &[u8] = b"mincarnation";
/// The tickets that this user redeems until the group admits them, at most `TICKETS_MAX`; and the last answer
/// to a ticket that admitted nobody.
pub(crate) const TICKET: &[u8] = b"mticket";

/// The name of a group's space. Ids may begin with NUL, names of spaces may not.
pub(crate) fn space(group: GroupId) -> Vec<u8> {
    tagged(b'g', &group.0)
}

/// The group whose space has this name.
pub(crate) fn group_of(space: &[u8]) -> Option<GroupId> {
    <[u8; 32]>::try_from(space.strip_prefix(b"g")?).map(GroupId).ok()
}

pub(crate) fn incarnation(losses: u64, incarnation: u64) -> Vec<u8> {
    [losses.to_be_bytes(), incarnation.to_be_bytes()].concat()
}

pub(crate) fn author(number: u32) -> Vec<u8> {
    tagged(AUTHOR, &number.to_be_bytes())
}

pub(crate) fn chunk(document: DocumentId, number: u32) -> Vec<u8> {
    let mut key = tagged(CHUNK, &document.0);
    key.extend(number.to_be_bytes());
    key
}

pub(crate) fn document(document: DocumentId) -> Vec<u8> {
    tagged(DOCUMENT, &document.0)
}

/// The pages of a manifest.
pub(crate) fn manifest(root: &[u8; 32]) -> Vec<u8> {
    tagged(MANIFEST, root)
}

/// A page of a manifest.
pub(crate) fn page(hash: &[u8; 32]) -> Vec<u8> {
    tagged(PAGE, hash)
}

/// That an author wrote a document under an incarnation.
pub(crate) fn written(author: u32, incarnation: u64, document: DocumentId) -> Vec<u8> {
    let mut key = written_by(author);
    key.extend(incarnation.to_be_bytes());
    key.extend(document.0);
    key
}

/// The common prefix of an author's keys in the index.
pub(crate) fn written_by(author: u32) -> Vec<u8> {
    tagged(WRITTEN, &author.to_be_bytes())
}

/// Incarnation and document of a [`written`] key.
pub(crate) fn read_written(key: &[u8]) -> Option<(u64, DocumentId)> {
    let rest = key.get(1 + 4..)?;
    let (incarnation, document) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*incarnation), DocumentId(document.try_into().ok()?)))
}

pub(crate) fn set_aside_changes(document: DocumentId) -> Vec<u8> {
    tagged(SET_ASIDE_CHANGES, &document.0)
}

pub(crate) fn set_aside(document: DocumentId) -> Vec<u8> {
    tagged(SET_ASIDE, &document.0)
}

/// A tag and what follows it.
pub(crate) fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// All entries under a tag, in key order.
pub(crate) fn entries(space: &SpaceHandle, tag: u8) -> Result<Vec<Entry>, StoreError> {
    space.read(|view| view.prefix(&[tag]).collect())?
}

/// The entries under a tag that can be read, in key order. What cannot is told of, and is no reason to do
/// without the rest.
pub(crate) fn readable(space: &SpaceHandle, tag: u8) -> Result<Vec<Entry>, StoreError> {
    let readable = |entry: Result<Entry, StoreError>| match entry {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "a record is damaged, and done without");
            None
        }
        entry => Some(entry),
    };
    space.read(|view| view.prefix(&[tag]).filter_map(readable).collect())?
}

/// The keys under a tag without it, also of values that are damaged.
pub(crate) fn names(space: &SpaceHandle, tag: u8) -> Result<Vec<Vec<u8>>, StoreError> {
    let name = |entry: Result<Entry, StoreError>| match entry {
        Ok((key, _)) | Err(StoreError::Damaged { key, .. }) => Ok(key[1..].to_vec()),
        Err(error) => Err(error),
    };
    space.read(|view| view.prefix(&[tag]).map(name).collect())?
}

/// A record of ours that cannot be read.
pub(crate) fn damaged(space: &SpaceHandle, key: &[u8]) -> StoreError {
    StoreError::Damaged { space: space.name().to_vec(), key: key.to_vec() }
}

#[cfg(test)]
mod tests {
    use testkit::golden::{check, check_bytes};

    use super::*;

    #[test]
    fn store_keys_keep_their_bytes() {
        let (group, id) = (GroupId([1; 32]), DocumentId([2; 32]));
        for (name, key, golden) in [
            ("space of a group", space(group), "67 | 01*32"),
            ("author", author(300), "61 | 0000012c"),
            ("chunk", chunk(id, 300), "63 | 02*32 | 0000012c"),
            ("document", document(id), "64 | 02*32"),
            ("list of a manifest", manifest(&[3; 32]), "66 | 03*32"),
            ("page of a manifest", page(&[3; 32]), "67 | 03*32"),
            ("document by author", written(1, 2, id), "69 | 00000001 | 0000000000000002 | 02*32"),
            ("op", tagged(OP, &7_u64.to_be_bytes()), "6f | 0000000000000007"),
            ("certificate", tagged(CERTIFICATE, &[4; 32]), "70 | 04*32"),
            ("device revocation", tagged(REVOCATION, &[4; 32]), "76 | 04*32"),
            ("device record", tagged(RECORD, &[5; 32]), "77 | 05*32"),
            ("incarnation", INCARNATION.to_vec(), "6d | 696e6361726e6174696f6e"),
            ("value of the incarnation", incarnation(1, 2), "0000000000000001 | 0000000000000002"),
            ("tickets", TICKET.to_vec(), "6d | 7469636b6574"),
        ] {
            check_bytes(name, &key, golden);
        }
        check(vec![("list of a manifest's pages", vec![[3_u8; 32], [4; 32]], "02 | 03*32 | 04*32")]);
    }
}
