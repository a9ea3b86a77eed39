//! What of a writer stays: everything of theirs that is accepted here, written down as a manifest (AUTHORITY 3.6).
//!
//! Reads the index author → documents straight from the store, page by page, and stores the manifest's pages as they
//! fill: neither memory nor the group's actor feels how much somebody wrote.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use ractor::RpcReplyPort;
use schema::ledger::cut::{Entry, Writer, page_hash};
use schema::ledger::{ManifestRef, Roster};
use schema::tip::Author;
use schema::{DeviceId, DocumentId, OpId, UserId, codec};

use super::State;
use super::documents::Rejudged;
use super::record::{AuthorRecord, DocumentRecord};
use crate::call::answer;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError, StoreHandle};

/// Documents that are read under one hold of the store's lock.
const PAGE_DOCUMENTS: usize = 512;

/// Whose writes are to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of a user's devices.
    User(UserId),
    /// One device.
    Device(DeviceId),
}

/// What is stored is what one membership accepts of all that is known.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// The membership.
    pub(crate) roster: Arc<Roster>,
    /// Another one once documents have been judged anew.
    judged: Arc<()>,
}

impl Settled {
    /// Whether nothing was judged otherwise in between.
    pub(crate) fn is_still(&self, later: &Self) -> bool {
        Arc::ptr_eq(&self.judged, &later.judged) && self.roster.state_digest() == later.roster.state_digest()
    }
}

impl State {
    /// Answers behind everything that waits to be stored.
    pub(super) fn settled(&self, reply: RpcReplyPort<Result<Settled, Rejudged>>) {
        let is_settled = self.rejudging.is_none() && !self.documents.is_rejudging();
        let settled = || Settled { roster: self.documents.roster().clone(), judged: self.judged.clone() };
        let settled = is_settled.then(settled).ok_or_else(|| self.documents.rejudged());
        let (store, durability) = (&self.arguments.store, self.arguments.durability);
        // A batch that fails fails the group too: nobody goes on by this answer then.
        store.submit(self.handle.space(), Batch::default(), durability, |stored| match stored {
            Ok(()) => answer(reply, settled),
            Err(_) => drop(reply),
        });
    }
}

/// Writes down what of `target` is accepted here; durable, pages and all, when it returns. `progress` hears how many
/// documents are done.
///
/// # Errors
/// [`StoreError`]; `Damaged` for a document that cannot be read: let a peer send it again first, since what a cut does
/// not name is taken from everybody.
pub(crate) async fn write(
    store: &StoreHandle,
    space: &SpaceHandle,
    roster: &Roster,
    target: Target,
    progress: impl Fn(u64),
) -> Result<ManifestRef, StoreError> {
    let mut writer = Writer::default();
    for author @ (device, grant, _) in authors(space, roster, target)? {
        let mut done = None;
        loop {
            let (entries, last) = page(space, author, done)?;
            for (incarnation, entry) in entries {
                if let Some(page) = writer.push(Author { device, grant, incarnation }, entry) {
                    put_page(store, space, page).await?;
                }
            }
            progress(writer.entries());
            match last {
                Some(last) => done = Some(last),
                None => break,
            }
            tokio::task::yield_now().await;
        }
    }
    let (page, manifest, pages) = writer.finish();
    if let Some(page) = page {
        put_page(store, space, page).await?;
    }
    let mut batch = Batch::default();
    batch.put(keys::manifest(&manifest.root), codec::encode(&pages));
    store.write(space, batch).await?;
    Ok(manifest)
}

/// An author and their number.
type Numbered = (DeviceId, OpId, u32);

/// The authors whose writes are meant, in the order of a manifest.
fn authors(space: &SpaceHandle, roster: &Roster, target: Target) -> Result<BTreeSet<Numbered>, StoreError> {
    let mut authors = BTreeSet::new();
    for (key, value) in keys::entries(space, keys::AUTHOR)? {
        let damaged = || keys::damaged(space, &key);
        let (device, grant, _): AuthorRecord = codec::decode_stored(&value).map_err(|_| damaged())?;
        let number = key[1..].try_into().map(u32::from_be_bytes).map_err(|_| damaged())?;
        let (device, grant) = (DeviceId(device), OpId(grant));
        let is_meant = match target {
            Target::User(user) => roster.owner(device, grant) == Some(user),
            Target::Device(meant) => device == meant,
        };
        if is_meant {
            authors.insert((device, grant, number));
        }
    }
    Ok(authors)
}

/// Where an author's documents go on.
type Place = (u64, DocumentId);
/// What an author wrote, each with the incarnation, and the last place that was looked at.
type Page = (Vec<(u64, Entry)>, Option<Place>);

/// The next documents of an author behind `done`, and where they end; `None`: there are no more.
fn page(space: &SpaceHandle, (.., author): Numbered, done: Option<Place>) -> Result<Page, StoreError> {
    let prefix = keys::written_by(author);
    let from = match done {
        Some((incarnation, document)) => Excluded(keys::written(author, incarnation, document)),
        None => Included(prefix.clone()),
    };
    space.read(|view| {
        let (mut entries, mut last) = (Vec::new(), None);
        for entry in view.scan(from.as_ref().map(Vec::as_slice), Unbounded).take(PAGE_DOCUMENTS) {
            let (key, _) = entry?;
            if !key.starts_with(&prefix) {
                break;
            }
            let (incarnation, document) =
                keys::read_written(&key).ok_or_else(|| keys::damaged(space, &key))?;
            last = Some((incarnation, document));
            let key = keys::document(document);
            let record = view.get(&key)?.and_then(|record| codec::decode_stored(&record).ok());
            let record: DocumentRecord = record.ok_or_else(|| keys::damaged(space, &key))?;
            entries.extend(record.end_of(author, incarnation).map(|(change, tip)| {
                (incarnation, Entry { document, seq: tip.seq, change, signature: tip.signature })
            }));
        }
        Ok((entries, last))
    })?
}

async fn put_page(store: &StoreHandle, space: &SpaceHandle, page: Vec<u8>) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put(keys::page(&page_hash(&page)), page);
    store.write(space, batch).await
}
