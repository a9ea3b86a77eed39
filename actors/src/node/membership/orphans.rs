//! Orphans: lists and pages of manifests that no op names, left by an interrupted fetch or cut. They are kept
//! within a bound, so that it goes on where it was.

use std::collections::BTreeSet;

use schema::ledger::Ledger;
use schema::ledger::manifest::NamedPages;
use schema::limits::ORPHAN_PAGES_BYTES_MAX;
use schema::{GroupId, codec};

use super::State;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError, StoreHandle};

/// Keys that are removed in one batch.
const KEYS: usize = 256;

impl State {
    /// Counts the orphans of a group, and deletes them if they are more than are kept. Nothing is deleted
    /// while a cut is made or a manifest fetched, which are about to name some: the next call does it.
    pub(super) async fn delete_orphans_of(&mut self, group: GroupId) -> Result<(), StoreError> {
        let Ok(_no_cut_is_made) = self.handle.cutting.clone().try_write_owned() else { return Ok(()) };
        let Some(ledger) = self.gate.ledger(group).filter(|_| !self.gate.is_fetching(group)) else {
            return Ok(());
        };
        let (store, space) = (&self.arguments.store, &self.spaces[&group]);
        let left = delete_orphans(store, space, ledger, ORPHAN_PAGES_BYTES_MAX).await?;
        self.orphans.insert(group, left);
        Ok(())
    }

    /// Deletes the orphans of all groups that may have too many.
    pub(super) async fn delete_orphans(&mut self) -> Result<(), StoreError> {
        let too_many = self.orphans.iter().filter(|(_, bytes)| **bytes > ORPHAN_PAGES_BYTES_MAX);
        for group in too_many.map(|(group, _)| *group).collect::<Vec<_>>() {
            self.delete_orphans_of(group).await?;
        }
        Ok(())
    }
}

/// Deletes the orphans of a space if they have more than `max` bytes; the bytes that are left of them.
async fn delete_orphans(
    store: &StoreHandle,
    space: &SpaceHandle,
    ledger: &Ledger,
    max: u64,
) -> Result<u64, StoreError> {
    let (orphans, bytes) = orphans(space, ledger)?;
    if bytes <= max {
        return Ok(bytes);
    }
    tracing::debug!(bytes, "pages that no op names are deleted");
    for some in orphans.chunks(KEYS) {
        let mut batch = Batch::default();
        some.iter().for_each(|key| batch.remove(key.clone()));
        store.write(space, batch).await?;
    }
    Ok(0)
}

/// The keys of orphans, and their bytes.
fn orphans(space: &SpaceHandle, ledger: &Ledger) -> Result<(Vec<Vec<u8>>, u64), StoreError> {
    let Some(named) = NamedPages::of(ledger, |root| list(space, root))? else { return Ok((Vec::new(), 0)) };
    let named: BTreeSet<_> = named.lists().map(keys::manifest).chain(named.pages().map(keys::page)).collect();
    let (mut orphans, mut bytes) = (Vec::new(), 0);
    space.read(|view| {
        for tag in [keys::MANIFEST, keys::PAGE] {
            for entry in view.prefix(&[tag]) {
                let (key, value) = match entry {
                    Ok(entry) => entry,
                    Err(StoreError::Damaged { key, .. }) => (key, Vec::new()),
                    Err(error) => return Err(error),
                };
                if !named.contains(&key) {
                    bytes += (key.len() + value.len()) as u64;
                    orphans.push(key);
                }
            }
        }
        Ok(())
    })??;
    Ok((orphans, bytes))
}

/// The hashes of a manifest's pages; none if they are not here, or damaged.
fn list(space: &SpaceHandle, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
    match space.get(&keys::manifest(root)) {
        Ok(list) => Ok(list.and_then(|list| codec::decode_stored(&list).ok())),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use schema::UserId;
    use schema::key::SigningKey;
    use schema::ledger::manifest::{page_hash, root};
    use schema::ledger::{Body, By, ManifestRef, Role};
    use schema::signed::Signed;

    use super::*;

    /// Stores a manifest of these pages.
    async fn keep(store: &StoreHandle, space: &SpaceHandle, pages: &[&[u8]]) -> ManifestRef {
        let hashes: Vec<_> = pages.iter().map(|page| page_hash(page)).collect();
        let mut batch = Batch::default();
        for (hash, page) in hashes.iter().zip(pages) {
            batch.put(keys::page(hash), page.to_vec());
        }
        batch.put(keys::manifest(&root(&hashes)), codec::encode(&hashes));
        store.write(space, batch).await.unwrap();
        ManifestRef { root: root(&hashes), entries: 1 }
    }

    #[tokio::test]
    async fn orphans_are_kept_within_a_bound_and_named_pages_always() {
        let store = StoreHandle::in_memory();
        let space = store.space(b"garden").unwrap();
        let key = SigningKey::from_seed([1; 32]);
        let ada = UserId(key.public());
        let (mut ledger, _) = Ledger::create([0; 32], vec![ada], "home", ada, By::User, &key).unwrap();
        let named = keep(&store, &space, &[b"shared", b"named"]).await;
        keep(&store, &space, &[b"shared", &[7; 1_000]]).await;
        for (role, cut) in [(Role::Writer, None), (Role::None, Some(named))] {
            let body = Body::SetRole { user: UserId([2; 32]), role, cut, via: None };
            let op = ledger.draft(ada, By::User, body).unwrap();
            ledger.admit(Signed::sign(op, &key).envelope().clone()).unwrap();
        }
        let has = |page: &[u8]| space.get(&keys::page(&page_hash(page))).unwrap().is_some();

        let kept = delete_orphans(&store, &space, &ledger, 2_000).await.unwrap();
        assert!((1_000..1_200).contains(&kept), "{kept} bytes");
        assert!(has(&[7; 1_000]), "within the bound");
        assert_eq!(delete_orphans(&store, &space, &ledger, kept - 1).await.unwrap(), 0);

        assert_eq!((has(&[7; 1_000]), has(b"shared"), has(b"named")), (false, true, true));
        assert!(space.get(&keys::manifest(&named.root)).unwrap().is_some());
        assert_eq!(
            orphans(&space, &ledger).unwrap(),
            (Vec::new(), 0),
            "the other list is gone with its page"
        );
    }
}
