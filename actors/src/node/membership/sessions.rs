//! Ledger sessions: steps them, does what they want, and keeps and serves the pages of manifests in the group's space.

use std::collections::VecDeque;

use schema::ledger::ManifestRef;
use schema::session::StepError;
use schema::session::ledger::{AdmitOutcome, LedgerEffect, LedgerSession, ManifestStore};
use schema::wire::ledger::LedgerFrame;
use schema::{GroupId, Timestamp, codec};
use tokio::task::JoinSet;

use super::admit::LedgerDelta;
use super::{Entry, State};
use crate::node::connection_manager::LinkId;
use crate::node::keys;
use crate::node::store::{Batch, SpaceHandle, StoreError};

impl State {
    /// Takes a frame of a peer.
    pub(super) async fn ledger(
        &mut self,
        link: LinkId,
        group: GroupId,
        frame: LedgerFrame,
    ) -> Result<(), StoreError> {
        let step = |session: &mut LedgerSession, now, entry: &Entry| {
            session.handle_frame(now, frame, &entry.ledger, &mut entry.shelf())
        };
        self.step(link, group, step).await
    }

    /// A session has left something to do.
    pub(super) async fn resume(&mut self, link: LinkId, group: GroupId) -> Result<(), StoreError> {
        let step = |session: &mut LedgerSession, now, entry: &Entry| {
            session.handle_resume(now, &entry.ledger, &mut entry.shelf())
        };
        self.step(link, group, step).await
    }

    /// Steps a ledger session and does what it wants.
    async fn step(
        &mut self,
        link: LinkId,
        group: GroupId,
        step: impl FnOnce(
            &mut LedgerSession,
            Timestamp,
            &Entry,
        ) -> Result<Vec<LedgerEffect>, StepError<StoreError>>,
    ) -> Result<(), StoreError> {
        let mut effects = VecDeque::from(self.links.step(link, group, &self.entries, step)?);
        while let Some(effect) = effects.pop_front() {
            match effect {
                LedgerEffect::Admit { ops, certificates, revocations, records, last } => {
                    let gained = LedgerDelta { ops, certificates, revocations, records };
                    let verdict = self.admit(group, gained, Some(link)).await?;
                    self.links.score(link, verdict.invalid);
                    let held = verdict.held;
                    let step = |session: &mut LedgerSession, now, entry: &Entry| {
                        session.handle_admitted(
                            now,
                            AdmitOutcome { last, pending: held },
                            &entry.ledger,
                            &mut entry.shelf(),
                        )
                    };
                    effects.extend(self.links.step(link, group, &self.entries, step)?);
                }
                LedgerEffect::StoreList { root, pages } => {
                    self.keep_record(group, keys::manifest(&root), codec::encode(&pages)).await?;
                }
                LedgerEffect::StorePage { page, bytes } => {
                    self.keep_record(group, keys::page(&page), bytes).await?;
                }
                LedgerEffect::Attach { manifest } => {
                    self.entries.get_mut(&group).into_iter().for_each(|entry| entry.attach(manifest));
                }
                LedgerEffect::ScheduleResume => self.handle.resume(link, group),
                LedgerEffect::Send(_) | LedgerEffect::OpenDocuments { .. } => {
                    self.links.perform(link, group, effect, &self.entries);
                }
            }
        }
        self.watch();
        Ok(())
    }

    async fn keep_record(&mut self, group: GroupId, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        let Some(entry) = self.entries.get_mut(&group) else { return Ok(()) };
        entry.loose += (key.len() + value.len()) as u64;
        let mut batch = Batch::default();
        batch.put(key, value);
        self.arguments.store.write(&entry.space, batch).await
    }

    /// Lets those go who owe a page for too long.
    pub(super) fn wake(&mut self) {
        self.watch = JoinSet::new(); // its task has said its word
        self.links.wake();
        self.watch();
    }

    /// One pending wake-up at most. It may come early, and then the next is set.
    fn watch(&mut self) {
        let Some(at) = self.links.wake_at().filter(|_| self.watch.is_empty()) else { return };
        let (clock, handle) = (self.arguments.clock.clone(), self.handle.clone());
        let pause = at.since(self.arguments.moment());
        self.arguments.clock.spawn_in(&mut self.watch, async move {
            clock.sleep(pause).await;
            handle.wake();
        });
    }
}

/// What a ledger session reads of a group's pages. What is damaged is fetched again, and takes its place.
pub(super) struct Shelf<'s>(pub(super) &'s SpaceHandle);

impl ManifestStore for Shelf<'_> {
    type Error = StoreError;

    fn list(&mut self, root: &[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        let list = self.get(&keys::manifest(root))?;
        Ok(list.and_then(|list| codec::decode_stored(&list).ok()))
    }

    fn page(&mut self, page: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(&keys::page(page))
    }
}

impl Shelf<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.get(key) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            read => read,
        }
    }
}

impl Entry {
    pub(super) fn shelf(&self) -> Shelf<'_> {
        Shelf(&self.space)
    }

    /// A manifest is here, whole and checked: ops that name it may come in.
    pub(super) fn attach(&mut self, manifest: ManifestRef) {
        self.attached.insert(manifest);
    }
}
