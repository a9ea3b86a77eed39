//! Pages of manifests that no op of the ledger names, since a fetch or a cut was interrupted: kept within a bound, so that
//! it goes on where it was.

use std::collections::BTreeSet;

use schema::GroupId;
use schema::ledger::Ledger;
use schema::limits::ORPHAN_PAGES_BYTES_MAX;
use schema::session::ledger::ManifestStore;

use super::State;
use super::sessions::Shelf;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError, StoreHandle};

/// Keys that are removed at once.
const KEYS: usize = 256;

impl State {
    /// Counts what no op of a group names, and lets it go where it is more than is kept. Nothing is let go while somebody
    /// is about to name some of it: then there is another time.
    pub(super) async fn tidy(&mut self, group: GroupId) -> Result<(), StoreError> {
        let Ok(_nobody_cuts) = self.handle.cutting.clone().try_write_owned() else { return Ok(()) };
        let Some(entry) = self.entries.get_mut(&group).filter(|_| !self.links.is_fetching(group)) else {
            return Ok(());
        };
        entry.loose =
            let_go(&self.arguments.store, &entry.space, &entry.ledger, ORPHAN_PAGES_BYTES_MAX).await?;
        Ok(())
    }

    /// As [`tidy`](Self::tidy), for all groups that may have too much.
    pub(super) async fn tidy_all(&mut self) -> Result<(), StoreError> {
        let too_much = self.entries.iter().filter(|(_, entry)| entry.loose > ORPHAN_PAGES_BYTES_MAX);
        for group in too_much.map(|(group, _)| *group).collect::<Vec<_>>() {
            self.tidy(group).await?;
        }
        Ok(())
    }
}

/// Removes the lists and pages that no op names, where they have more than `max` bytes; how many bytes are left of them.
async fn let_go(
    store: &StoreHandle,
    space: &SpaceHandle,
    ledger: &Ledger,
    max: u64,
) -> Result<u64, StoreError> {
    let (loose, bytes) = loose(space, ledger)?;
    if bytes <= max {
        return Ok(bytes);
    }
    tracing::debug!(bytes, "pages that no op names are let go");
    for some in loose.chunks(KEYS) {
        let mut batch = Batch::default();
        some.iter().for_each(|key| batch.remove(key.clone()));
        store.write(space, batch).await?;
    }
    Ok(0)
}

/// The keys of lists and pages that no op names, and their bytes.
fn loose(space: &SpaceHandle, ledger: &Ledger) -> Result<(Vec<Vec<u8>>, u64), StoreError> {
    let mut named = BTreeSet::new();
    for op in ledger.ids().filter_map(|id| ledger.op(id)) {
        let Some(manifest) = op.record().manifest() else { continue };
        let Some(pages) = Shelf(space).list(&manifest.root)? else {
            // Damaged: nobody knows which pages it names.
            return Ok((Vec::new(), 0));
        };
        named.insert(keys::manifest(&manifest.root));
        named.extend(pages.iter().map(keys::page));
    }
    let (mut loose, mut bytes) = (Vec::new(), 0);
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
                    loose.push(key);
                }
            }
        }
        Ok(())
    })??;
    Ok((loose, bytes))
}

#[cfg(test)]
mod tests {
    use schema::key::SigningKey;
    use schema::ledger::manifest::{page_hash, root};
    use schema::ledger::{Body, By, ManifestRef, Role};
    use schema::signed::Signed;
    use schema::{UserId, codec};

    use super::*;

    /// Keeps a manifest of these pages.
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
    async fn pages_that_no_op_names_are_kept_within_a_bound_and_named_ones_always() {
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

        let kept = let_go(&store, &space, &ledger, 2_000).await.unwrap();
        assert!((1_000..1_200).contains(&kept), "{kept} bytes");
        assert!(has(&[7; 1_000]), "within the bound");
        assert_eq!(let_go(&store, &space, &ledger, kept - 1).await.unwrap(), 0);

        assert_eq!((has(&[7; 1_000]), has(b"shared"), has(b"named")), (false, true, true));
        assert!(space.get(&keys::manifest(&named.root)).unwrap().is_some());
        assert_eq!(loose(&space, &ledger).unwrap(), (Vec::new(), 0), "the other list is gone with its page");
    }
}
