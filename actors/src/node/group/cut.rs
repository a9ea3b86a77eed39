//! Writes a cut: lists all accepted changes of one author as a manifest (authority 3.6).
//!
//! Reads the index author → documents straight from the store, page by page, and stores the manifest's pages
//! as they fill: neither memory nor the group's actor feels how much somebody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use ractor::RpcReplyPort;
use schema::document::WrittenKey;
use schema::ledger::manifest::{Entry, Writer, page_hash};
use schema::ledger::{ManifestRef, Roster};
use schema::tip::Author;
use schema::{DeviceId, DocumentId, GroupId, OpId, UserId, codec};

use super::documents::Rejudged;
use super::record::{AuthorRecord, DocumentRecord};
use super::{State, rows};
use crate::call::answer;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError, StoreHandle};

/// Documents that are read under one hold of the store's lock.
const PAGE_DOCUMENTS: usize = 512;

/// The author of the changes to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of a user's devices.
    User(UserId),
    /// One device.
    Device(DeviceId),
}

/// A moment at which every stored document was judged under one roster, and nothing waited to be judged or
/// stored.
#[derive(Clone, Debug)]
pub(crate) struct JudgedMoment {
    /// The roster.
    pub(crate) roster: Arc<Roster>,
    /// The documents that are not materialised here.
    pub(crate) unmaterialised: BTreeSet<DocumentId>,
    /// Replaced whenever a re-judging ends.
    judged: Arc<()>,
}

impl JudgedMoment {
    /// Returns true if nothing was re-judged in between.
    pub(crate) fn is_still(&self, later: &Self) -> bool {
        Arc::ptr_eq(&self.judged, &later.judged)
    }
}

impl State {
    /// Answers behind everything that waits to be stored.
    pub(super) fn settled(&self, reply: RpcReplyPort<Result<JudgedMoment, Rejudged>>) {
        let is_settled = self.rejudging.is_none() && !self.documents.is_rejudging();
        let settled = || JudgedMoment {
            roster: self.documents.roster().clone(),
            unmaterialised: self.documents.unmaterialised_documents(),
            judged: self.judged.clone(),
        };
        let settled = is_settled.then(settled).ok_or_else(|| self.documents.rejudged());
        let (store, durability) = (&self.arguments.store, self.arguments.durability);
        // A batch that fails fails the group too: nobody goes on by this answer then.
        store.submit(self.handle.space(), Batch::default(), durability, |stored| match stored {
            Ok(()) => answer(reply, settled),
            Err(_) => drop(reply),
        });
    }
}

/// A document whose record cannot be read. The next peer that has it sends it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedDocument {
    /// The document.
    pub document: DocumentId,
    /// Its row, where one is there.
    pub row: Option<DamagedRow>,
}

/// The row of a damaged document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRow {
    /// Its table.
    pub table: String,
    /// Its key.
    pub key: String,
}

impl fmt::Display for DamagedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.row {
            Some(DamagedRow { table, key }) => write!(f, "{table}/{key}"),
            None => write!(f, "{}", self.document.short()),
        }
    }
}

/// The reason for which no cut was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutError {
    /// A cut revokes every change that it does not list, and those of damaged documents cannot be listed.
    #[error("{count} documents are damaged")]
    Damaged {
        /// The first of them.
        documents: Vec<DamagedDocument>,
        /// The number of damaged documents.
        count: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Documents that an error names.
const NAMED: usize = 16;

/// A cut to be written.
#[derive(Clone, Copy)]
pub(crate) struct CutRequest<'r> {
    /// The roster under which every document is judged.
    pub(crate) roster: &'r Roster,
    /// The author of the changes to cut.
    pub(crate) target: Target,
    /// Writes the cut although documents are damaged, and leaves these out.
    pub(crate) without_damaged: bool,
    /// Documents of which only what their row shows here is listed.
    pub(crate) as_read: &'r BTreeSet<DocumentId>,
}

/// Writes the manifest of a cut: the last accepted change of each replica of its target, or of documents in
/// `as_read` the last that the row has. Every page is
/// durable when this returns. Returns the manifest and the number of damaged documents that it leaves out,
/// which is 0 unless the request allows that. Calls `progress` with the number of documents read so far.
///
/// # Errors
/// [`CutError`]
pub(crate) async fn write(
    store: &StoreHandle,
    space: &SpaceHandle,
    cut: CutRequest<'_>,
    progress: impl Fn(u64),
) -> Result<(ManifestRef, u64), CutError> {
    let (mut writer, mut damaged) = (Writer::default(), BTreeSet::new());
    let CutRequest { roster, target, without_damaged, as_read } = cut;
    for NumberedAuthor { device, grant, number } in authors(space, roster, target)? {
        let mut done = None;
        loop {
            let page = page(space, number, done, as_read)?;
            damaged.extend(page.damaged);
            for (incarnation, entry) in page.entries {
                // A refused cut is not written; the pass goes on to count the damaged documents.
                if let Some(page) = writer.push(Author { device, grant, incarnation }, entry)
                    && (without_damaged || damaged.is_empty())
                {
                    put_page(store, space, page).await?;
                }
            }
            progress(writer.entries());
            match page.last {
                Some(last) => done = Some(last),
                None => break,
            }
            tokio::task::yield_now().await;
        }
    }
    let count = damaged.len() as u64;
    if count > 0 && !without_damaged {
        return Err(CutError::Damaged { documents: named(space, roster.group(), &damaged)?, count });
    }
    let (page, manifest, pages) = writer.finish();
    if let Some(page) = page {
        put_page(store, space, page).await?;
    }
    let mut batch = Batch::default();
    batch.put(keys::manifest(&manifest.root), codec::encode(&pages));
    store.write(space, batch).await?;
    Ok((manifest, count))
}

/// Some of these documents, with their rows: the key of a row gives its document.
fn named(
    space: &SpaceHandle,
    group: GroupId,
    damaged: &BTreeSet<DocumentId>,
) -> Result<Vec<DamagedDocument>, StoreError> {
    let mut found: BTreeMap<DocumentId, _> =
        damaged.iter().take(NAMED).map(|document| (*document, None)).collect();
    space.read(|view| {
        for entry in view.prefix(&[rows::TAG]) {
            let key = match entry {
                Ok((key, _)) | Err(StoreError::Damaged { key, .. }) => key,
                Err(error) => return Err(error),
            };
            let table = rows::decode_table(&key);
            let row = table.and_then(|table| Ok(DamagedRow { key: rows::decode_key(&table, &key)?, table }));
            let Ok(row) = row else { continue };
            if let Some(known) = found.get_mut(&DocumentId::of(group, &row.table, &row.key)) {
                *known = Some(row);
            }
        }
        Ok(())
    })??;
    Ok(found.into_iter().map(|(document, row)| DamagedDocument { document, row }).collect())
}

/// An author, with the number by which records name it; in the order of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NumberedAuthor {
    device: DeviceId,
    grant: OpId,
    number: u32,
}

/// The authors whose changes are cut.
fn authors(
    space: &SpaceHandle,
    roster: &Roster,
    target: Target,
) -> Result<BTreeSet<NumberedAuthor>, StoreError> {
    let mut authors = BTreeSet::new();
    for (key, value) in keys::entries(space, keys::AUTHOR)? {
        let damaged = || keys::damaged(space, &key);
        let author: AuthorRecord = codec::decode_stored(&value).map_err(|_| damaged())?;
        let number = key[1..].try_into().map(u32::from_be_bytes).map_err(|_| damaged())?;
        let AuthorRecord { device, grant, .. } = author;
        let is_meant = match target {
            Target::User(user) => roster.user_of(device, grant) == Some(user),
            Target::Device(meant) => device == meant,
        };
        if is_meant {
            authors.insert(NumberedAuthor { device, grant, number });
        }
    }
    Ok(authors)
}

/// One page of an author's documents.
#[derive(Default)]
struct Page {
    /// Each with its incarnation.
    entries: Vec<(u64, Entry)>,
    /// Damaged documents.
    damaged: Vec<DocumentId>,
    /// The last position that was read; `None`: there are no more.
    last: Option<WrittenKey>,
}

/// The next documents of an author behind `done`.
fn page(
    space: &SpaceHandle,
    author: u32,
    done: Option<WrittenKey>,
    as_read: &BTreeSet<DocumentId>,
) -> Result<Page, StoreError> {
    let prefix = keys::written_by(author);
    let from = match done {
        Some((incarnation, document)) => Excluded(keys::written(author, incarnation, document)),
        None => Included(prefix.clone()),
    };
    space.read(|view| {
        let mut page = Page::default();
        for entry in view.scan(from.as_ref().map(Vec::as_slice), Unbounded).take(PAGE_DOCUMENTS) {
            // Nothing lies under these keys that could be damaged and matter.
            let key = match entry {
                Ok((key, _)) | Err(StoreError::Damaged { key, .. }) => key,
                Err(error) => return Err(error),
            };
            if !key.starts_with(&prefix) {
                break;
            }
            let (incarnation, document) =
                keys::read_written(&key).ok_or_else(|| keys::damaged(space, &key))?;
            page.last = Some((incarnation, document));
            let record = match view.get(&keys::document(document)) {
                Ok(record) => record.and_then(|record| codec::decode_stored(&record).ok()),
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            let Some(record): Option<DocumentRecord> = record else {
                page.damaged.push(document);
                continue;
            };
            let end = match as_read.contains(&document) {
                true => record.read_end_of(author, incarnation),
                false => record.end_of(author, incarnation),
            };
            page.entries.extend(end.map(|(change, tip)| {
                (incarnation, Entry { document, seq: tip.seq, change, signature: tip.signature })
            }));
        }
        Ok(page)
    })?
}

async fn put_page(store: &StoreHandle, space: &SpaceHandle, page: Vec<u8>) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put(keys::page(&page_hash(&page)), page);
    store.write(space, batch).await
}
